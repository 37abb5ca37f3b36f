// Softmax attention, one head of one image at a time, read from and written to the packed rows of
// the projection (Vaswani et al. 2017; recomputation in the backward pass: Dao et al. 2022):
//
//   S = Q Kᵀ    P = softmax(S / √HS) over keys    O = P V    lse = log Σ exp(S / √HS)
//   dV = Pᵀ dO    dP = dO Vᵀ    dS = P ⊙ (dP − δ), δ = rowsum(dO ⊙ O)
//   dQ = dS K / √HS    dK = dSᵀ Q / √HS
//
//   qkv, d_qkv   (B, T, 3, NH, HS)   element    QUERIES == 1: of Q and dQ only row 0 of each image
//   o, d_o       (B, QUERIES, NH, HS) element                 is read and written
//   lse          (B, NH, QUERIES)    float
//   statistics   (B, NH, QUERIES, 2) float      lse · log2 e and δ: backward's own
//   sums         (B · parts, 3, NH, HS) float   column sums of d_qkv over the rows of a block, to be
//                                               added up in order: the projection's bias gradient
//
// All three passes have one shape. A warp owns a *strip* of 16 rows on one side of the score matrix,
// as fragments in registers, and walks along the other side, whose two matrices lie in shared memory:
//
//   forward     own Q        along K, V    S → P, O += P V
//   query pass  own Q, dO    along K, V    S, dP → dS, dQ += dS K
//   key pass    own K, V     along Q, dO   Sᵀ, dPᵀ → Pᵀ, dSᵀ, dV += Pᵀ dO, dK += dSᵀ Q
//
// Scores never leave the registers: the C fragments of one product are the A fragments of the next.
// Each gradient row has one owner, so nothing is added atomically and the bits do not depend on the
// order of threads. The price is S and dP twice, 7 products instead of 5; sharing dS between warps
// through shared memory would save them, for two barriers a block, 26 KB more shared memory at
// T = 197, and a second scheme for long sequences.
//
// Where the walked side fits it stays in shared memory for all strips of the head (one tile), and
// both backward passes run in one launch, the second reading from L2 what the first brought there.
// Where it does not, two tiles take turns.
//
// Specialised by
//   TOKENS, QUERIES (TOKENS or 1), HEADS, HEAD_SIZE (a multiple of 8, at most 128)
//   FORWARD or BACKWARD   which kernels are wanted
//   WARPS                 a block
//   BLOCKS                a multiprocessor, at least: what registers are limited for
//   TILE                  rows of the walked side in shared memory at a time, a multiple of 16
//   BLOCK                 of them in registers at a time, a multiple of 16
#include "common.cuh"

#define THREADS (WARPS * WARP_SIZE)
constexpr int STRIP = 16;                                // rows of an A fragment
constexpr int CHUNKS = ceil_div(HEAD_SIZE, STRIP) * 2;   // 16-byte chunks of a row, a whole number of k16 steps
constexpr int WIDTH = CHUNKS * 8;                        // columns, those behind HEAD_SIZE are zeros
constexpr int STEPS = WIDTH / 16;                        // k16 steps of a row
constexpr int C = HEADS * HEAD_SIZE;
constexpr float LOG2_E = 1.44269504089f, LN_2 = 0.69314718056f;
#define MINUS_INFINITY __int_as_float(0xff800000)

typedef float Strip[STEPS][2][4];  // 16 rows of f32 sums: a C fragment for each n8 tile
struct __align__(8) Statistics { float lse, delta; };

static_assert(HEAD_SIZE % 8 == 0 && HEAD_SIZE <= 128, "rows of whole 16-byte chunks, and accumulators that fit");
static_assert(QUERIES == TOKENS || QUERIES == 1, "every token asks, or the class token");
static_assert(TILE % 16 == 0 && BLOCK % 16 == 0, "whole fragments");

template <int N> struct Size { static constexpr int value = N; };

// The walked side: ROWS rows, padded with zeros to whole fragments, in tiles and blocks. The last
// block is a case of its own: it may be shorter, and it alone has padding.
template <int ROWS> struct Side {
  static constexpr int COUNT = ROWS, STRIPS = ceil_div(ROWS, STRIP), PADDED = STRIPS * STRIP;
  static constexpr int TILE_ROWS = TILE < PADDED ? TILE : PADDED;
  static constexpr int TILES = ceil_div(PADDED, TILE_ROWS);
  static constexpr int LAST_TILE = PADDED - (TILES - 1) * TILE_ROWS;
  static constexpr int LAST_BLOCK = (LAST_TILE - 1) % BLOCK + 1;
  static constexpr int LAST_ROWS = ROWS - (PADDED - LAST_BLOCK);  // of the last block, without padding
  static constexpr bool ONE_BLOCK = PADDED == LAST_BLOCK;
  static constexpr int SLOTS = TILES > 1 ? 2 : 1;
  static_assert(TILES == 1 || TILE % BLOCK == 0, "tiles of whole blocks");
};

// ----------------------------------------------------------------------------------- fragments

// Where chunk `chunk` of row `row` of a tile lies, in elements. Rows follow one another without a
// gap, so eight copying threads fill 128 bytes; within each 128 bytes the chunks change places so
// that one chunk of eight rows, which is what ldmatrix reads, lies in all 32 banks. With CHUNKS =
// ODD · POWER the rows r and r + 8 / POWER start in the same bank, and 8 · ODD chunks apart: that
// distance changes SWIZZLE by one. A step of 16 rows leaves it as it was.
__device__ __forceinline__ constexpr int place(int row, int chunk) {
  constexpr int POWER = (CHUNKS & -CHUNKS) < 8 ? CHUNKS & -CHUNKS : 8;
  const int at = row * CHUNKS + chunk;
  const int swizzle = at / (8 * (CHUNKS / POWER)) % POWER;
  return (at ^ swizzle) * 8;
}

// B fragments of two n8 tiles from rows row … row + 15 and chunks chunk, chunk + 1: for A · tileᵀ the
// rows are n and the columns k, for A · tile the other way round.
__device__ __forceinline__ void rows_as_n(unsigned (&b)[2][2], const element* tile, int row, int chunk) {
  const int lane = threadIdx.x % WARP_SIZE;
  const int at = place(lane / 16 * 8 + lane % 8, chunk + lane / 8 % 2);
  ldmatrix<4, false>(reinterpret_cast<unsigned (&)[4]>(b), tile + row * WIDTH + at);
}
__device__ __forceinline__ void rows_as_k(unsigned (&b)[2][2], const element* tile, int row, int chunk) {
  const int lane = threadIdx.x % WARP_SIZE;
  ldmatrix<4, true>(reinterpret_cast<unsigned (&)[4]>(b), tile + row * WIDTH + place(lane % 16, chunk + lane / 16));
}

// c += a b, two n8 tiles, k16. A k16 fragment is two k8 fragments: sm_75 takes one after the other.
__device__ __forceinline__ void multiply(float (&c)[2][4], const unsigned (&a)[4], const unsigned (&b)[2][2]) {
#if __CUDA_ARCH__ >= 800
  mma_k16<element>(reinterpret_cast<float (&)[1][2][4]>(c), reinterpret_cast<const unsigned (&)[1][4]>(a), b);
#else
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const unsigned a8[1][2] = {{a[2 * half], a[2 * half + 1]}}, b8[2][1] = {{b[0][half]}, {b[1][half]}};
    mma_k8<element>(reinterpret_cast<float (&)[1][2][4]>(c), a8, b8);
  }
#endif
}

// Sixteen columns of a C fragment, rounded, as an A fragment.
__device__ __forceinline__ void as_operand(unsigned (&a)[4], const float (&c)[2][4]) {
#pragma unroll
  for (int r = 0; r < 4; r++) a[r] = pack2<element>(c[r / 2][r % 2 * 2], c[r / 2][r % 2 * 2 + 1]);
}

// s += own · tileᵀ for 16 N rows of the tile, from `row` on.
template <int N>
__device__ __forceinline__ void times_transposed(float (&s)[N][2][4], const unsigned (&own)[STEPS][4], const element* tile, int row) {
#pragma unroll
  for (int n = 0; n < N; n++)
#pragma unroll
    for (int k = 0; k < STEPS; k++) {
      unsigned b[2][2];
      rows_as_n(b, tile, row + 16 * n, 2 * k);
      multiply(s[n], own[k], b);
    }
}

// sum += p · tile for 16 N rows of the tile, from `row` on.
template <int N>
__device__ __forceinline__ void times(Strip& sum, const float (&p)[N][2][4], const element* tile, int row) {
#pragma unroll
  for (int k = 0; k < N; k++) {
    unsigned a[4];
    as_operand(a, p[k]);
#pragma unroll
    for (int n = 0; n < STEPS; n++) {
      unsigned b[2][2];
      rows_as_k(b, tile, row + 16 * k, 2 * n);
      multiply(sum[n], a, b);
    }
  }
}

// ------------------------------------------------------------------------------- strips and tiles

// The lane's first row and column in every fragment; its other row is 8 below.
__device__ __forceinline__ int lane_row() { return threadIdx.x % WARP_SIZE / 4; }
__device__ __forceinline__ int lane_column() { return threadIdx.x % 4 * 2; }

// The four lanes of a row hold all its columns.
__device__ __forceinline__ float row_sum(float x) {
  x += __shfl_xor_sync(FULL_WARP, x, 1);
  return x + __shfl_xor_sync(FULL_WARP, x, 2);
}
__device__ __forceinline__ float row_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(FULL_WARP, x, 1));
  return fmaxf(x, __shfl_xor_sync(FULL_WARP, x, 2));
}

// The strip from row `first` on, as A fragments; rows from `rows` on, and padding columns, are zeros.
__device__ __forceinline__ void load_strip(unsigned (&own)[STEPS][4], const element* from, int stride, int first, int rows) {
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const int row = first + lane_row() + 8 * r;
    const element* at = from + row * stride + lane_column();
#pragma unroll
    for (int chunk = 0; chunk < CHUNKS; chunk++) {
      const bool real = row < rows && 8 * chunk < HEAD_SIZE;
      own[chunk / 2][chunk % 2 * 2 + r] = real ? *reinterpret_cast<const unsigned*>(at + 8 * chunk) : 0;
    }
  }
}

// Rounds and writes the strip from row `first` on, without its padding.
__device__ __forceinline__ void store_strip(element* to, int stride, const Strip& x, int first, int rows) {
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const int row = first + lane_row() + 8 * r;
    if (row >= rows) continue;
    element* at = to + row * stride + lane_column();
#pragma unroll
    for (int chunk = 0; chunk < HEAD_SIZE / 8; chunk++) {
      const float (&tile)[4] = x[chunk / 2][chunk % 2];
      *reinterpret_cast<unsigned*>(at + 8 * chunk) = pack2<element>(tile[2 * r], tile[2 * r + 1]);
    }
  }
}

// Copies that a thread has under way: without cp.async each waits in a register.
#if __CUDA_ARCH__ >= 800
#define COPIES_AT_ONCE 1
#else
#define COPIES_AT_ONCE 2
#endif

// Starts the copy of BYTES (8 or 16) to shared memory, or of zeros.
template <int BYTES> __device__ __forceinline__ void copy(void* to, const void* from, bool real) {
#if __CUDA_ARCH__ >= 800
  cp_async<BYTES>(to, from, real ? BYTES : 0);
#else
  struct __align__(BYTES) Bytes { unsigned at[BYTES / 4]; };
  *static_cast<Bytes*>(to) = real ? *static_cast<const Bytes*>(from) : Bytes{};
#endif
}

// Waits for the thread's own copies; those of others are there after the barrier that must follow.
__device__ __forceinline__ void wait_for_copies() {
#if __CUDA_ARCH__ >= 800
  cp_async_commit();
  cp_async_wait<0>();
#endif
}

// Starts the copy of `count` rows to a tile; those from `rows` on, and padding columns, become zeros.
__device__ __forceinline__ void copy_rows(element* tile, const element* from, int stride, int count, int rows) {
#pragma unroll COPIES_AT_ONCE
  for (int i = threadIdx.x; i < count * CHUNKS; i += THREADS) {
    const int row = i / CHUNKS, chunk = i % CHUNKS;
    const bool real = row < rows && chunk * 8 < HEAD_SIZE;
    copy<16>(tile + place(row, chunk), real ? from + row * stride + chunk * 8 : from, real);
  }
}

// Tiles of the two matrices of a side.
template <class Rows> struct Tiles {
  static constexpr int BYTES = Rows::SLOTS * 2 * Rows::TILE_ROWS * WIDTH * (int)sizeof(element);
  element* tiles;
  const element* from[2];
  int stride[2];

  __device__ __forceinline__ element* tile(int matrix, int slot) const { return tiles + (2 * slot + matrix) * Rows::TILE_ROWS * WIDTH; }
  __device__ __forceinline__ void load(int index, int slot) const {
    const int first = index * Rows::TILE_ROWS, count = index + 1 < Rows::TILES ? Rows::TILE_ROWS : Rows::LAST_TILE;
    for (int m = 0; m < 2; m++) copy_rows(tile(m, slot), from[m] + first * stride[m], stride[m], count, Rows::COUNT - first);
  }
};

// Walks along a side for one strip: `step(size, is last, slot, row in tile)` for each block of rows.
// `load(tile, slot)` starts a copy; a side of one tile was loaded by the caller, once for all strips.
// Warps without a strip come along to the barriers.
template <class Rows, class Load, class Step>
__device__ __forceinline__ void walk(bool has_strip, const Load& load, const Step& step) {
  if constexpr (Rows::TILES > 1) {
    __syncthreads();
    load(0, 0);
  }
#pragma unroll 1
  for (int tile = 0; tile < Rows::TILES; tile++) {
    const bool last = tile + 1 == Rows::TILES;
    if constexpr (Rows::TILES > 1) {
      wait_for_copies();
      __syncthreads();  // this tile is there, and nobody reads the one before it any more
      if (!last) load(tile + 1, (tile + 1) % 2);
    }
    if (!has_strip) continue;
    const int rows = last ? Rows::LAST_TILE - Rows::LAST_BLOCK : Rows::TILE_ROWS;
#pragma unroll 1
    for (int row = 0; row < rows; row += BLOCK) step(Size<BLOCK>{}, Size<false>{}, tile % 2, row);
    if (last) step(Size<Rows::LAST_BLOCK>{}, Size<true>{}, tile % 2, rows);
  }
}

// Scores of padding become -inf, probability 0.
template <class Rows, int N> __device__ __forceinline__ void mask_padding(float (&s)[N][2][4]) {
#pragma unroll
  for (int i = 0; i < 8 * N; i++) {
    const int column = i / 4 * 8 + i % 2 + lane_column();
    if (column >= Rows::LAST_ROWS) s[i / 8][i / 4 % 2][i % 4] = MINUS_INFINITY;
  }
}

// What a block works on: a head of an image, and every `parts`-th group of WARPS strips of it.
struct Work {
  int part, head;
  size_t image;
  __device__ __forceinline__ explicit Work(int parts) {
    part = blockIdx.x % parts;
    head = blockIdx.x / parts % HEADS;
    image = blockIdx.x / parts / HEADS;
  }
};

// -------------------------------------------------------------------------------------- forward
#ifdef FORWARD

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
attention_forward(element* o, float* lse, const element* qkv, int parts, float scale) {
  extern __shared__ __align__(16) unsigned char shared[];
  using Keys = Side<TOKENS>;
  const Work work(parts);
  const element* q = qkv + work.image * TOKENS * 3 * C + work.head * HEAD_SIZE;
  element* o_head = o + work.image * QUERIES * C + work.head * HEAD_SIZE;
  float* lse_head = lse + (work.image * HEADS + work.head) * QUERIES;
  const Tiles<Keys> keys = {reinterpret_cast<element*>(shared), {q + C, q + 2 * C}, {3 * C, 3 * C}};
  const auto load = [&](int tile, int slot) { keys.load(tile, slot); };
  if constexpr (Keys::TILES == 1) {
    load(0, 0);
    wait_for_copies();
    __syncthreads();
  }
  const float to_exponent = scale * LOG2_E;  // exp(scale x) = 2^(to_exponent x)
  for (int strip0 = work.part * WARPS; strip0 < Side<QUERIES>::STRIPS; strip0 += parts * WARPS) {
    const int strip = strip0 + threadIdx.x / WARP_SIZE, first = strip * STRIP;
    const bool has_strip = strip < Side<QUERIES>::STRIPS;
    unsigned own[STEPS][4];
    Strip sum = {};
    float total[2] = {}, largest[2] = {MINUS_INFINITY, MINUS_INFINITY};  // of exponents, by row
    if (has_strip) load_strip(own, q, 3 * C, first, QUERIES);
    walk<Keys>(has_strip, load, [&](auto size, auto last, int slot, int row) {
      constexpr int N = decltype(size)::value / 16;
      float s[N][2][4] = {};
      times_transposed(s, own, keys.tile(0, slot), row);
      if constexpr (decltype(last)::value) mask_padding<Keys>(s);
#pragma unroll
      for (int r = 0; r < 2; r++) {
        float block = MINUS_INFINITY;
#pragma unroll
        for (int i = 0; i < 2 * N; i++) block = fmaxf(block, fmaxf(s[i / 2][i % 2][2 * r], s[i / 2][i % 2][2 * r + 1]));
        const float now = fmaxf(largest[r], row_max(block) * to_exponent);
        if constexpr (!Keys::ONE_BLOCK) {  // what was summed so far was relative to a smaller maximum
          const float shrink = fast_exp2(largest[r] - now);
          total[r] *= shrink;
#pragma unroll
          for (int i = 0; i < 4 * STEPS; i++) sum[i / 4][i / 2 % 2][2 * r + i % 2] *= shrink;
        }
        largest[r] = now;
#pragma unroll
        for (int i = 0; i < 2 * N; i++) {
          float* pair = &s[i / 2][i % 2][2 * r];
          for (int v = 0; v < 2; v++) pair[v] = fast_exp2(fmaf(pair[v], to_exponent, -now));
          total[r] += pair[0] + pair[1];
        }
      }
      times(sum, s, keys.tile(1, slot), row);
    });
    if (!has_strip) continue;
#pragma unroll
    for (int r = 0; r < 2; r++) {
      total[r] = row_sum(total[r]);
      const int query = first + lane_row() + 8 * r;
      if (query < QUERIES && lane_column() == 0) lse_head[query] = (largest[r] + log2f(total[r])) * LN_2;
      const float inverse = 1.0f / total[r];
#pragma unroll
      for (int i = 0; i < 4 * STEPS; i++) sum[i / 4][i / 2 % 2][2 * r + i % 2] *= inverse;
    }
    store_strip(o_head, C, sum, first, QUERIES);
  }
}

#endif
// ------------------------------------------------------------------------------------- backward
#ifdef BACKWARD

// Exchanges half of the N values with the lane `lanes` away: the sums of the lower half remain in
// the lane whose bit is clear, those of the upper half in the other.
template <int N> __device__ __forceinline__ void halve(float* x, int lanes) {
  const bool upper = threadIdx.x & lanes;
#pragma unroll
  for (int i = 0; i < N / 2; i++) {
    const float kept = upper ? x[i + N / 2] : x[i], given = upper ? x[i] : x[i + N / 2];
    x[i] = kept + __shfl_xor_sync(FULL_WARP, given, lanes);
  }
}

// Adds the column sums of a strip's real rows to the warp's `sums` (WIDTH). Every lane has the same
// part in each call, so no barrier is needed between calls.
__device__ __forceinline__ void add_column_sums(float* sums, const Strip& x, int first, int rows) {
  const int lane = threadIdx.x % WARP_SIZE;
  const bool real[2] = {first + lane_row() < rows, first + lane_row() + 8 < rows};
  float column[4 * STEPS];  // value v is column v / 2 * 8 + v % 2 + lane_column()
#pragma unroll
  for (int v = 0; v < 4 * STEPS; v++) {
    const float* value = x[v / 4][v / 2 % 2];
    column[v] = (real[0] ? value[v % 2] : 0.0f) + (real[1] ? value[v % 2 + 2] : 0.0f);
  }
  halve<4 * STEPS>(column, 16);
  halve<2 * STEPS>(column, 8);
  const int first_value = (lane / 16 * 2 + lane / 8 % 2) * STEPS;
#pragma unroll
  for (int i = 0; i < STEPS; i++) {
    const float total = column[i] + __shfl_xor_sync(FULL_WARP, column[i], 4);
    const int v = first_value + i;
    if (lane / 4 % 2 == 0) sums[v / 2 * 8 + v % 2 + lane_column()] += total;
  }
}

// Adds the warps' sums in order.
__device__ __forceinline__ void write_column_sums(float* to, const float* sums) {
#pragma unroll 1
  for (int column = threadIdx.x; column < HEAD_SIZE; column += THREADS) {
    float total = 0.0f;
#pragma unroll 1
    for (int warp = 0; warp < WARPS; warp++) total += sums[warp * WIDTH + column];
    to[column] = total;
  }
}

__device__ __forceinline__ void scale_strip(Strip& x, float factor) {
#pragma unroll
  for (int i = 0; i < 8 * STEPS; i++) x[i / 8][i / 4 % 2][i % 4] *= factor;
}

// rowsum(dO ⊙ O) of the lane's two rows: the diagonal of dO Oᵀ, by the instructions that make dP, in
// the same order of additions. So dS is 0 to the bit where softmax has one key and O is V.
__device__ __forceinline__ void row_products(float (&delta)[2], const unsigned (&own_d_o)[STEPS][4], const element* o, int first) {
  unsigned own_o[STEPS][4];
  load_strip(own_o, o, C, first, QUERIES);
  float square[2][4] = {};
#pragma unroll
  for (int k = 0; k < STEPS; k++) {
    const unsigned (&a)[4] = own_o[k];
    const unsigned b[2][2] = {{a[0], a[2]}, {a[1], a[3]}};  // rows as columns: the same registers
    multiply(square, own_d_o[k], b);
  }
  // Row g meets column g in lane 4 g + g / 2, as one of its two columns.
  const int row = lane_row(), owner = row * 4 + row / 2;
#pragma unroll
  for (int r = 0; r < 2; r++) delta[r] = __shfl_sync(FULL_WARP, row % 2 ? square[r][2 * r + 1] : square[r][2 * r], owner);
}

// dQ of a block's query strips, and the statistics that the key pass reads.
__device__ __forceinline__ void query_pass(
    unsigned char* shared, element* d_qkv, float* statistics, float* sums, const element* d_o, const element* o, const element* qkv,
    const float* lse, int parts, float scale) {
  using Keys = Side<TOKENS>;
  const Work work(parts);
  const size_t image = work.image * TOKENS * 3 * C + work.head * HEAD_SIZE, out = work.image * QUERIES * C + work.head * HEAD_SIZE;
  const size_t query0 = (work.image * HEADS + work.head) * QUERIES;
  const element* q = qkv + image;
  const Tiles<Keys> keys = {reinterpret_cast<element*>(shared), {q + C, q + 2 * C}, {3 * C, 3 * C}};
  float* column_sums = reinterpret_cast<float*>(shared + Tiles<Keys>::BYTES);
  const auto load = [&](int tile, int slot) { keys.load(tile, slot); };
  if constexpr (Keys::TILES == 1) load(0, 0);
  for (int i = threadIdx.x; i < WARPS * WIDTH; i += THREADS) column_sums[i] = 0.0f;
  wait_for_copies();
  __syncthreads();
  const float to_exponent = scale * LOG2_E;
  for (int strip0 = work.part * WARPS; strip0 < Side<QUERIES>::STRIPS; strip0 += parts * WARPS) {
    const int warp = threadIdx.x / WARP_SIZE, strip = strip0 + warp, first = strip * STRIP;
    const bool has_strip = strip < Side<QUERIES>::STRIPS;
    unsigned own_q[STEPS][4], own_d_o[STEPS][4];
    float exponent[2] = {}, delta[2] = {};  // lse and delta of the lane's rows
    Strip d_q = {};
    if (has_strip) {
      load_strip(own_q, q, 3 * C, first, QUERIES);
      load_strip(own_d_o, d_o + out, C, first, QUERIES);
      row_products(delta, own_d_o, o + out, first);
#pragma unroll
      for (int r = 0; r < 2; r++) {
        const int query = first + lane_row() + 8 * r;
        if (query >= QUERIES) continue;
        exponent[r] = lse[query0 + query] * LOG2_E;
        if (lane_column() == 0) *reinterpret_cast<Statistics*>(statistics + 2 * (query0 + query)) = {exponent[r], delta[r]};
      }
    }
    walk<Keys>(has_strip, load, [&](auto size, auto last, int slot, int row) {
      constexpr int N = decltype(size)::value / 16;
      float s[N][2][4] = {}, d[N][2][4] = {};
      times_transposed(s, own_q, keys.tile(0, slot), row);
      times_transposed(d, own_d_o, keys.tile(1, slot), row);
      if constexpr (decltype(last)::value) mask_padding<Keys>(s);
#pragma unroll
      for (int i = 0; i < 8 * N; i++) {
        const int r = i / 2 % 2;
        const float p = fast_exp2(fmaf(s[i / 8][i / 4 % 2][i % 4], to_exponent, -exponent[r]));
        d[i / 8][i / 4 % 2][i % 4] = p * (d[i / 8][i / 4 % 2][i % 4] - delta[r]);
      }
      times(d_q, d, keys.tile(0, slot), row);
    });
    if (!has_strip) continue;
    scale_strip(d_q, scale);
    store_strip(d_qkv + image, 3 * C, d_q, first, QUERIES);
    add_column_sums(column_sums + warp * WIDTH, d_q, first, QUERIES);
  }
  __syncthreads();
  write_column_sums(sums + (work.image * parts + work.part) * 3 * C + work.head * HEAD_SIZE, column_sums);
}

// dK and dV of a block's key strips. Padding queries have Q, dO, lse and delta 0, so P = 1 and
// dS = 0 there, and both add nothing.
__device__ __forceinline__ void key_pass(
    unsigned char* shared, element* d_qkv, float* sums, const element* d_o, const element* qkv, const float* statistics, int parts, float scale) {
  using Queries = Side<QUERIES>;
  const Work work(parts);
  const size_t image = work.image * TOKENS * 3 * C + work.head * HEAD_SIZE, out = work.image * QUERIES * C + work.head * HEAD_SIZE;
  const float* statistics_head = statistics + 2 * (work.image * HEADS + work.head) * QUERIES;
  const element *q = qkv + image, *k = q + C, *v = q + 2 * C;
  const Tiles<Queries> queries = {reinterpret_cast<element*>(shared), {q, d_o + out}, {3 * C, C}};
  float* query_statistics = reinterpret_cast<float*>(shared + Tiles<Queries>::BYTES);
  float* column_sums = query_statistics + Queries::SLOTS * Queries::TILE_ROWS * 2;
  const auto load = [&](int tile, int slot) {
    queries.load(tile, slot);
    const int first = tile * Queries::TILE_ROWS;
    for (int i = threadIdx.x; i < Queries::TILE_ROWS; i += THREADS) {
      const bool real = first + i < QUERIES;
      copy<8>(query_statistics + 2 * (slot * Queries::TILE_ROWS + i), statistics_head + (real ? 2 * (first + i) : 0), real);
    }
  };
  if constexpr (Queries::TILES == 1) load(0, 0);
  for (int i = threadIdx.x; i < 2 * WARPS * WIDTH; i += THREADS) column_sums[i] = 0.0f;
  wait_for_copies();
  __syncthreads();
  const float to_exponent = scale * LOG2_E;
  for (int strip0 = work.part * WARPS; strip0 < Side<TOKENS>::STRIPS; strip0 += parts * WARPS) {
    const int warp = threadIdx.x / WARP_SIZE, strip = strip0 + warp, first = strip * STRIP;
    const bool has_strip = strip < Side<TOKENS>::STRIPS;
    const auto one_walk = [&](auto of_k, auto of_v) {
      constexpr bool D_K = decltype(of_k)::value, D_V = decltype(of_v)::value;
      unsigned own_k[STEPS][4], own_v[STEPS][4];
      Strip d_k = {}, d_v = {};
      if (has_strip) {
        load_strip(own_k, k, 3 * C, first, TOKENS);
        if constexpr (D_K) load_strip(own_v, v, 3 * C, first, TOKENS);
      }
      walk<Queries>(has_strip, load, [&](auto size, auto, int slot, int row) {
        constexpr int N = decltype(size)::value / 16;
        float s[N][2][4] = {}, d[N][2][4] = {};  // transposed: keys by queries
        times_transposed(s, own_k, queries.tile(0, slot), row);
        if constexpr (D_K) times_transposed(d, own_v, queries.tile(1, slot), row);
#pragma unroll
        for (int i = 0; i < 2 * N; i++) {
          const int column = slot * Queries::TILE_ROWS + row + 8 * i + lane_column();
          const Pack<float> two = load_pack(query_statistics + 2 * column);
#pragma unroll
          for (int j = 0; j < 4; j++) {
            float &p = s[i / 2][i % 2][j], &x = d[i / 2][i % 2][j];
            p = fast_exp2(fmaf(p, to_exponent, -two.at[j % 2 * 2]));
            x = p * (x - two.at[j % 2 * 2 + 1]);
          }
        }
        if constexpr (D_V) times(d_v, s, queries.tile(1, slot), row);
        if constexpr (D_K) times(d_k, d, queries.tile(0, slot), row);
      });
      if (!has_strip) return;
      if constexpr (D_K) {
        scale_strip(d_k, scale);
        store_strip(d_qkv + image + C, 3 * C, d_k, first, TOKENS);
        add_column_sums(column_sums + warp * WIDTH, d_k, first, TOKENS);
      }
      if constexpr (D_V) {
        store_strip(d_qkv + image + 2 * C, 3 * C, d_v, first, TOKENS);
        add_column_sums(column_sums + (WARPS + warp) * WIDTH, d_v, first, TOKENS);
      }
    };
    if constexpr (HEAD_SIZE <= 96) {
      one_walk(Size<true>{}, Size<true>{});
    } else {  // two accumulators and two strips would not fit a thread's registers: S twice
      one_walk(Size<false>{}, Size<true>{});
      one_walk(Size<true>{}, Size<false>{});
    }
  }
  __syncthreads();
  float* to = sums + (work.image * parts + work.part) * 3 * C + work.head * HEAD_SIZE;
  write_column_sums(to + C, column_sums);
  write_column_sums(to + 2 * C, column_sums + WARPS * WIDTH);
}

#if TILE >= TOKENS
// Both passes of a head in one block.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
attention_backward(element* d_qkv, float* statistics, float* sums, const element* d_o, const element* o, const element* qkv, const float* lse, float scale) {
  extern __shared__ __align__(16) unsigned char shared[];
  query_pass(shared, d_qkv, statistics, sums, d_o, o, qkv, lse, 1, scale);
  __syncthreads();
  key_pass(shared, d_qkv, sums, d_o, qkv, statistics, 1, scale);
}
#else
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
attention_backward_query(element* d_qkv, float* statistics, float* sums, const element* d_o, const element* o, const element* qkv, const float* lse, int parts, float scale) {
  extern __shared__ __align__(16) unsigned char shared[];
  query_pass(shared, d_qkv, statistics, sums, d_o, o, qkv, lse, parts, scale);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
attention_backward_key(element* d_qkv, float* sums, const element* d_o, const element* qkv, const float* statistics, int parts, float scale) {
  extern __shared__ __align__(16) unsigned char shared[];
  key_pass(shared, d_qkv, sums, d_o, qkv, statistics, parts, scale);
}
#endif
#endif
