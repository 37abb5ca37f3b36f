// What the passes of attention.cu are made of: strips of 16 rows in a warp's registers, tiles of rows
// in shared memory, products of the two, and the walk of strips along tiles.
//
// Wants TOKENS, QUERIES, HEADS, HEAD_SIZE, WARPS, TILE and BLOCK, see attention.cu.
#pragma once
#include "common.cuh"

#define THREADS (WARPS * WARP_SIZE)
#define MINUS_INFINITY __int_as_float(0xff800000)
constexpr int STRIP = 16;                               // rows of an A fragment
constexpr int CHUNKS = ceil_div(HEAD_SIZE, STRIP) * 2;  // 16-byte chunks of a row: whole k16 steps
constexpr int WIDTH = CHUNKS * 8;                       // columns; those from HEAD_SIZE on are zeros
constexpr int STEPS = WIDTH / 16;                       // k16 steps of a row
constexpr int C = HEADS * HEAD_SIZE;

static_assert(HEAD_SIZE % 8 == 0 && HEAD_SIZE <= 128, "rows of whole 16-byte chunks, and sums that fit registers");
static_assert(QUERIES == TOKENS || QUERIES == 1, "every token asks, or the class token");
static_assert(TILE % STRIP == 0 && BLOCK % STRIP == 0, "whole fragments");

// A strip as operand: the A fragment of each k16 step. A strip of sums: the C fragment of each n8 tile,
// in which values 0 and 1 are of the lane's first row, 2 and 3 of its second.
typedef unsigned Operand[STEPS][4];
typedef float Sums[CHUNKS][4];

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

// c += a b for two n8 tiles, k16. A k16 fragment is two k8 fragments: sm_75 takes one after the other.
__device__ __forceinline__ void multiply(float (*c)[4], const unsigned (&a)[4], const unsigned (&b)[2][2]) {
  auto& sums = *reinterpret_cast<float (*)[1][2][4]>(c);
#if __CUDA_ARCH__ >= 800
  mma_k16<element>(sums, reinterpret_cast<const unsigned (&)[1][4]>(a), b);
#else
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const unsigned a8[1][2] = {{a[2 * half], a[2 * half + 1]}}, b8[2][1] = {{b[0][half]}, {b[1][half]}};
    mma_k8<element>(sums, a8, b8);
  }
#endif
}

// s += own · tileᵀ for N n8 tiles of rows, from `row` on.
template <int N>
__device__ __forceinline__ void times_transposed(float (&s)[N][4], const Operand& own, const element* tile, int row) {
#pragma unroll
  for (int n = 0; n < N; n += 2)
#pragma unroll
    for (int k = 0; k < STEPS; k++) {
      unsigned b[2][2];
      rows_as_n(b, tile, row + 8 * n, 2 * k);
      multiply(&s[n], own[k], b);
    }
}

// sum += p · tile, with p in N C fragments, rounded and used as A fragments, for 8 N rows from `row` on.
template <int N>
__device__ __forceinline__ void times(Sums& sum, const float (&p)[N][4], const element* tile, int row) {
#pragma unroll
  for (int k = 0; k < N; k += 2) {
    unsigned a[4];
#pragma unroll
    for (int r = 0; r < 4; r++) a[r] = pack2<element>(p[k + r / 2][r % 2 * 2], p[k + r / 2][r % 2 * 2 + 1]);
#pragma unroll
    for (int n = 0; n < CHUNKS; n += 2) {
      unsigned b[2][2];
      rows_as_k(b, tile, row + 8 * k, n);
      multiply(&sum[n], a, b);
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
__device__ __forceinline__ void load_strip(Operand& own, const element* from, int stride, int first, int rows) {
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

// Multiplies the lane's first (0) or second row.
__device__ __forceinline__ void scale_row(Sums& x, int r, float factor) {
#pragma unroll
  for (int tile = 0; tile < CHUNKS; tile++) {
    x[tile][2 * r] *= factor;
    x[tile][2 * r + 1] *= factor;
  }
}

// Rounds and writes the strip from row `first` on, without its padding.
__device__ __forceinline__ void store_strip(element* to, int stride, const Sums& x, int first, int rows) {
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const int row = first + lane_row() + 8 * r;
    if (row >= rows) continue;
    element* at = to + row * stride + lane_column();
#pragma unroll
    for (int chunk = 0; chunk < HEAD_SIZE / 8; chunk++) {
      *reinterpret_cast<unsigned*>(at + 8 * chunk) = pack2<element>(x[chunk][2 * r], x[chunk][2 * r + 1]);
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
template <class Rows, int N> __device__ __forceinline__ void mask_padding(float (&s)[N][4]) {
#pragma unroll
  for (int tile = 0; tile < N; tile++)
#pragma unroll
    for (int v = 0; v < 4; v++)
      if (8 * tile + lane_column() + v % 2 >= Rows::LAST_ROWS) s[tile][v] = MINUS_INFINITY;
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
