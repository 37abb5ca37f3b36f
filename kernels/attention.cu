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
#include "attention.cuh"

constexpr float LOG2_E = 1.44269504089f;  // exp(x) = 2^(LOG2_E x)

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
  const float to_exponent = scale * LOG2_E;
  for (int strip0 = work.part * WARPS; strip0 < Side<QUERIES>::STRIPS; strip0 += parts * WARPS) {
    const int strip = strip0 + threadIdx.x / WARP_SIZE, first = strip * STRIP;
    const bool has_strip = strip < Side<QUERIES>::STRIPS;
    Operand own;
    Sums sum = {};
    float total[2] = {}, largest[2] = {MINUS_INFINITY, MINUS_INFINITY};  // of exponents, by row
    if (has_strip) load_strip(own, q, 3 * C, first, QUERIES);
    walk<Keys>(has_strip, load, [&](auto size, auto last, int slot, int row) {
      constexpr int N = decltype(size)::value / 8;
      float s[N][4] = {};
      times_transposed(s, own, keys.tile(0, slot), row);
      if constexpr (decltype(last)::value) mask_padding<Keys>(s);
#pragma unroll
      for (int r = 0; r < 2; r++) {
        float block = MINUS_INFINITY;
#pragma unroll
        for (int tile = 0; tile < N; tile++) block = fmaxf(block, fmaxf(s[tile][2 * r], s[tile][2 * r + 1]));
        const float now = fmaxf(largest[r], row_max(block) * to_exponent);
        if constexpr (!Keys::ONE_BLOCK) {  // what was summed so far was relative to a smaller maximum
          const float shrink = fast_exp2(largest[r] - now);
          total[r] *= shrink;
          scale_row(sum, r, shrink);
        }
        largest[r] = now;
#pragma unroll
        for (int tile = 0; tile < N; tile++) {
          float &first = s[tile][2 * r], &second = s[tile][2 * r + 1];
          first = fast_exp2(fmaf(first, to_exponent, -now));
          second = fast_exp2(fmaf(second, to_exponent, -now));
          total[r] += first + second;
        }
      }
      times(sum, s, keys.tile(1, slot), row);
    });
    if (!has_strip) continue;
#pragma unroll
    for (int r = 0; r < 2; r++) {
      total[r] = row_sum(total[r]);
      const int query = first + lane_row() + 8 * r;
      if (query < QUERIES && lane_column() == 0) lse_head[query] = (largest[r] + log2f(total[r])) * (1.0f / LOG2_E);
      scale_row(sum, r, 1.0f / total[r]);
    }
    store_strip(o_head, C, sum, first, QUERIES);
  }
}

#endif
// ------------------------------------------------------------------------------------- backward
#ifdef BACKWARD

struct __align__(8) Statistics { float exponent, delta; };  // of a query: lse · log2 e, and δ

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
__device__ __forceinline__ void add_column_sums(float* sums, const Sums& x, int first, int rows) {
  const int lane = threadIdx.x % WARP_SIZE;
  const bool real[2] = {first + lane_row() < rows, first + lane_row() + 8 < rows};
  float column[4 * STEPS];  // value v is column v / 2 * 8 + v % 2 + lane_column()
#pragma unroll
  for (int v = 0; v < 4 * STEPS; v++) {
    column[v] = (real[0] ? x[v / 2][v % 2] : 0.0f) + (real[1] ? x[v / 2][v % 2 + 2] : 0.0f);
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

// rowsum(dO ⊙ O) of the lane's two rows: the diagonal of dO Oᵀ, by the instructions that make dP, in
// the same order of additions. So dS is 0 to the bit where softmax has one key and O is V.
__device__ __forceinline__ void row_products(float (&delta)[2], const Operand& own_d_o, const element* o, int first) {
  Operand own_o;
  load_strip(own_o, o, C, first, QUERIES);
  float square[2][4] = {};  // 16 by 16
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
    Operand own_q, own_d_o;
    float exponent[2] = {}, delta[2] = {};  // lse and delta of the lane's rows
    Sums d_q = {};
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
      constexpr int N = decltype(size)::value / 8;
      float s[N][4] = {}, d[N][4] = {};
      times_transposed(s, own_q, keys.tile(0, slot), row);
      times_transposed(d, own_d_o, keys.tile(1, slot), row);
      if constexpr (decltype(last)::value) mask_padding<Keys>(s);
#pragma unroll
      for (int tile = 0; tile < N; tile++)
#pragma unroll
        for (int v = 0; v < 4; v++) {
          const float p = fast_exp2(fmaf(s[tile][v], to_exponent, -exponent[v / 2]));
          d[tile][v] = p * (d[tile][v] - delta[v / 2]);
        }
      times(d_q, d, keys.tile(0, slot), row);
    });
    if (!has_strip) continue;
    for (int r = 0; r < 2; r++) scale_row(d_q, r, scale);
    store_strip(d_qkv + image, 3 * C, d_q, first, QUERIES);
    add_column_sums(column_sums + warp * WIDTH, d_q, first, QUERIES);
  }
  __syncthreads();
  write_column_sums(sums + (work.image * parts + work.part) * 3 * C + work.head * HEAD_SIZE, column_sums);
}

// Two strips and two sums at a time, or, where those are too much for a thread's registers, dV and dK
// one after the other, with S made twice.
constexpr bool ONE_KEY_WALK = HEAD_SIZE <= 96;

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
      Operand own_k, own_v;
      Sums d_k = {}, d_v = {};
      if (has_strip) {
        load_strip(own_k, k, 3 * C, first, TOKENS);
        if constexpr (D_K) load_strip(own_v, v, 3 * C, first, TOKENS);
      }
      walk<Queries>(has_strip, load, [&](auto size, auto, int slot, int row) {
        constexpr int N = decltype(size)::value / 8;
        float s[N][4] = {}, d[N][4] = {};  // transposed: keys by queries
        times_transposed(s, own_k, queries.tile(0, slot), row);
        if constexpr (D_K) times_transposed(d, own_v, queries.tile(1, slot), row);
#pragma unroll
        for (int tile = 0; tile < N; tile++) {
          const int query = slot * Queries::TILE_ROWS + row + 8 * tile + lane_column();
          const Pack<float> two = load_pack(query_statistics + 2 * query);  // of this and the next query
#pragma unroll
          for (int v = 0; v < 4; v++) {
            const float exponent = two.at[v % 2 * 2], delta = two.at[v % 2 * 2 + 1];
            const float p = fast_exp2(fmaf(s[tile][v], to_exponent, -exponent));
            s[tile][v] = p;
            d[tile][v] = p * (d[tile][v] - delta);
          }
        }
        if constexpr (D_V) times(d_v, s, queries.tile(1, slot), row);
        if constexpr (D_K) times(d_k, d, queries.tile(0, slot), row);
      });
      if (!has_strip) return;
      if constexpr (D_K) {
        for (int r = 0; r < 2; r++) scale_row(d_k, r, scale);
        store_strip(d_qkv + image + C, 3 * C, d_k, first, TOKENS);
        add_column_sums(column_sums + warp * WIDTH, d_k, first, TOKENS);
      }
      if constexpr (D_V) {
        store_strip(d_qkv + image + 2 * C, 3 * C, d_v, first, TOKENS);
        add_column_sums(column_sums + (WARPS + warp) * WIDTH, d_v, first, TOKENS);
      }
    };
    if constexpr (ONE_KEY_WALK) {
      one_walk(Size<true>{}, Size<true>{});
    } else {
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
