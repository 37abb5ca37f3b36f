// Product of two 16-bit matrices on tensor cores, one block a tile of the result:
//
//   c (TILE_M, TILE_N) = sum over k of a (M, K) at its rows * b (N, K) at its rows, in f32.
//
// An operand lies in global memory in one of two ways, and is never transposed there:
//   K_CONTIGUOUS     row m holds its K values one after the other    x and W of y = x W^T
//   otherwise        row k holds its M values one after the other    dy and x of dW = dy^T x
//
// The way of a number:
//   global memory --cp.async--> a tile in shared memory (STAGES of them under way)
//                 --ldmatrix--> fragments in registers (the next ones while these are multiplied)
//                 --mma-------> accumulators in registers
// sm_75 has no cp.async: there the next tile waits in registers while this one is multiplied.
//
// Macros of a specialisation (see linear.cu): TILE_M, TILE_N, TILE_K, WARP_M, WARP_N, STAGES,
// COPY_A, COPY_B.
#pragma once
#include "common.cuh"

constexpr int WARPS_M = TILE_M / WARP_M, WARPS_N = TILE_N / WARP_N;
constexpr int THREADS = WARPS_M * WARPS_N * WARP_SIZE;
constexpr int FRAGMENTS_M = WARP_M / 16, FRAGMENTS_N = WARP_N / 8;  // c fragments of a warp, 16 x 8 each
constexpr int STEPS_K = TILE_K / 16;                                // fragments along k in a tile

static_assert(TILE_M % WARP_M == 0 && TILE_N % WARP_N == 0, "a block tile is made of warp tiles");
static_assert(WARP_M % 16 == 0 && WARP_N % 16 == 0, "fragments are loaded 16 x 16");
static_assert(TILE_K >= 32 && TILE_K % 16 == 0 && STAGES >= 2, "the pipeline needs two of each");

typedef float Accumulators[FRAGMENTS_M][FRAGMENTS_N][4];

// ----------------------------------------------------------------------------------- shared tiles

// Where (row, column) of a tile with COLUMNS elements a row lies, in elements. The 16-byte chunks of
// a row are permuted by the row's number: the eight rows of an ldmatrix matrix (one column of
// chunks) fall into the 32 banks just once, and so do the pieces that a warp copies (along a row).
// 64 bytes a row: two rows share the 128 bytes of the banks, hence row / 2.
template <int COLUMNS> __device__ __forceinline__ int place(int row, int column) {
  static_assert(COLUMNS == 32 || COLUMNS % 64 == 0, "rows of 64 bytes, or whole rounds of the banks");
  const int turn = COLUMNS == 32 ? row / 2 % 4 : row % 8;
  return row * COLUMNS + (((column / 8) ^ turn) * 8 | column % 8);
}

// -------------------------------------------------------------------------------------- an operand

// One operand: walks its tiles along k, and hands out fragments.
//   EXTENT  rows (a) or columns (b) of c that a tile covers
//   COPY    bytes moved by one instruction. It divides the base address, the row stride and the
//           contiguous length in bytes, so that a piece is either inside the matrix or outside.
//   GROUP   with GROUP > 0, before each GROUP rows of the matrix lies one row that is no part of it
//           (the class token before the patches of an image); only for rows of k.
// Pieces outside become zeros: they add nothing to c along k, and rows of c that do not exist
// otherwise.
template <bool K_CONTIGUOUS, int EXTENT, int COPY, int GROUP = 0> struct Operand {
  static constexpr int ROWS = K_CONTIGUOUS ? EXTENT : TILE_K, COLUMNS = K_CONTIGUOUS ? TILE_K : EXTENT;
  static constexpr int SIZE = ROWS * COLUMNS;
  static constexpr int PIECE = COPY / 2, PIECES_A_ROW = COLUMNS / PIECE;
  static constexpr int ROW_STEP = THREADS / PIECES_A_ROW, COPIES = ROWS / ROW_STEP;
  static_assert(THREADS % PIECES_A_ROW == 0 && ROWS % ROW_STEP == 0, "each thread copies as many pieces");
  static_assert(GROUP == 0 || !K_CONTIGUOUS, "only rows of k are grouped");

  const element* source;  // this thread's column of the next tile, in row 0 of the matrix or of the tile
  unsigned stride;        // elements from row to row, less than 2^24: 32 bits span a tile
  int row, column;        // of this thread's first piece in a tile
  int rows_left;          // rows of the matrix from this thread's first one in the next tile on
  int columns_left;       // columns from this thread's on; K_CONTIGUOUS only, for otherwise they stay
                          // the same: where there are none, there are no rows either
  int next_row;           // GROUP only: this thread's first row in the next tile

  // The matrix from `first` on along c; of k, the part from `k_begin` to `k_end`.
  __device__ __forceinline__ Operand(const element* matrix, int stride, int first, int extent, int k_begin, int k_end)
      : stride(stride), row(threadIdx.x / PIECES_A_ROW), column(threadIdx.x % PIECES_A_ROW * PIECE) {
    const int row0 = K_CONTIGUOUS ? first : k_begin, column0 = K_CONTIGUOUS ? k_begin : first;
    rows_left = (K_CONTIGUOUS ? extent : k_end) - row0 - row;
    columns_left = (K_CONTIGUOUS ? k_end : extent) - column0 - column;
    if (!K_CONTIGUOUS && columns_left <= 0) rows_left = 0;
    next_row = row0 + row;
    source = matrix + column0 + column + (GROUP ? 0 : (long long)next_row * stride);
  }

  __device__ __forceinline__ const element* piece(int i) const {
    if constexpr (GROUP > 0) {
      const int row = next_row + i * ROW_STEP;
      return source + (long long)(row + row / GROUP + 1) * stride;
    } else {
      return source + (unsigned)(i * ROW_STEP) * stride;
    }
  }

  __device__ __forceinline__ bool inside(int i) const { return i * ROW_STEP < rows_left && (!K_CONTIGUOUS || columns_left > 0); }

  __device__ __forceinline__ void advance() {
    if constexpr (K_CONTIGUOUS) {
      source += TILE_K;
      columns_left -= TILE_K;
    } else {
      if constexpr (GROUP == 0) source += (unsigned)TILE_K * stride;
      next_row += TILE_K;
      rows_left -= TILE_K;
    }
  }

  // Two bytes are too few for cp.async, and not worth registers of their own: copied at once.
  __device__ __forceinline__ void copy_elements(element* tile) const {
#pragma unroll 4
    for (int i = 0; i < COPIES; i++) tile[place<COLUMNS>(row + i * ROW_STEP, column)] = inside(i) ? *piece(i) : element{};
  }

#if __CUDA_ARCH__ >= 800
  // Starts the copies of the next tile.
  __device__ __forceinline__ void load(element* tile) {
    if constexpr (COPY == 2) {
      copy_elements(tile);
    } else {
#pragma unroll 4
      for (int i = 0; i < COPIES; i++)
        cp_async<COPY>(tile + place<COLUMNS>(row + i * ROW_STEP, column), piece(i), inside(i) ? COPY : 0);
    }
    advance();
  }
#else
  // The pieces of the next tile, on their way through registers.
  struct alignas(COPY == 2 ? 4 : COPY) Piece {
    unsigned words[COPY == 2 ? 1 : COPY / 4];
  };
  struct Staged {
    Piece pieces[COPY == 2 ? 1 : COPIES];
  };

  __device__ __forceinline__ void fetch(Staged& staged) const {
    if constexpr (COPY > 2) {
#pragma unroll
      for (int i = 0; i < COPIES; i++) staged.pieces[i] = inside(i) ? *reinterpret_cast<const Piece*>(piece(i)) : Piece{};
    }
  }

  // To be called once for each `fetch`.
  __device__ __forceinline__ void store(element* tile, const Staged& staged) {
    if constexpr (COPY == 2) {
      copy_elements(tile);
    } else {
#pragma unroll
      for (int i = 0; i < COPIES; i++)  // counted in pieces: NVRTC splits the first store where elements are
        reinterpret_cast<Piece*>(tile)[place<COLUMNS>(row + i * ROW_STEP, column) / PIECE] = staged.pieces[i];
    }
    advance();
  }
#endif

  // Four 8 x 8 matrices: the 16 (along c) x 16 (along k) elements from (outer, k) on. The second
  // matrix is the next one along c for an A fragment, along k for a pair of B fragments (mma.cuh).
  template <bool IS_A> static __device__ __forceinline__ void fragment(unsigned (&d)[4], const element* tile, int outer, int k) {
    const int lane = threadIdx.x % WARP_SIZE, second = lane / 8 % 2 * 8, third = lane / 16 * 8;
    const int along_c = outer + (IS_A ? second : third), along_k = k + (IS_A ? third : second);
    if constexpr (K_CONTIGUOUS) {
      ldmatrix<4, false>(d, tile + place<COLUMNS>(along_c + lane % 8, along_k));
    } else {
      ldmatrix<4, true>(d, tile + place<COLUMNS>(along_k + lane % 8, along_c));
    }
  }
};

// ------------------------------------------------------------------------------------ the main loop

// Fragments of 16 columns of k: A 16 x 16, B 16 x 8.
struct Fragments {
  unsigned a[FRAGMENTS_M][4], b[FRAGMENTS_N][2];
};

template <class A, class B>
__device__ __forceinline__ void load_fragments(Fragments& to, const element* a, const element* b, int k) {
  const int warp = threadIdx.x / WARP_SIZE;
  const int warp_m = warp / WARPS_N * WARP_M, warp_n = warp % WARPS_N * WARP_N;
#pragma unroll
  for (int i = 0; i < FRAGMENTS_M; i++) A::template fragment<true>(to.a[i], a, warp_m + 16 * i, k);
#pragma unroll
  for (int j = 0; j < FRAGMENTS_N; j += 2)  // two at a time
    B::template fragment<false>(reinterpret_cast<unsigned(&)[4]>(to.b[j]), b, warp_n + 8 * j, k);
}

__device__ __forceinline__ void multiply_fragments(Accumulators& c, const Fragments& from) {
#if __CUDA_ARCH__ >= 800
  mma_k16<element>(c, from.a, from.b);
#else
  // The left and the right half of the fragments are what m16n8k8 takes.
  unsigned a[2][FRAGMENTS_M][2], b[2][FRAGMENTS_N][1];
#pragma unroll
  for (int half = 0; half < 2; half++) {
#pragma unroll
    for (int i = 0; i < FRAGMENTS_M; i++) a[half][i][0] = from.a[i][2 * half], a[half][i][1] = from.a[i][2 * half + 1];
#pragma unroll
    for (int j = 0; j < FRAGMENTS_N; j++) b[half][j][0] = from.b[j][half];
  }
  mma_k8<element>(c, a[0], b[0]);
  mma_k8<element>(c, a[1], b[1]);
#endif
}

// What else is made of a's fragments on their way: nothing.
struct NoSums {
  __device__ __forceinline__ void begin(int) {}
  __device__ __forceinline__ void add(const Fragments&) {}
  __device__ __forceinline__ void end(int, int) const {}
};

// Or the sums of a over k, one for each row of c: to[row] for row < M, written by the blocks of the
// first tiles along N, in an order that no tile changes.
struct SumsOfA {
  float* to;
  bool has_rows;              // this warp sums up its rows
  float at[FRAGMENTS_M][2];   // rows lane / 4 and lane / 4 + 8 of each fragment, over the lane's columns

  __device__ __forceinline__ void begin(int tile_n) { has_rows = tile_n == 0 && threadIdx.x / WARP_SIZE % WARPS_N == 0; }
  __device__ __forceinline__ void add(const Fragments& from) {
    if (!has_rows) return;
#pragma unroll
    for (int i = 0; i < FRAGMENTS_M; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) at[i][j % 2] += low_half<element>(from.a[i][j]) + high_half<element>(from.a[i][j]);
  }
  __device__ __forceinline__ void end(int row0, int M) const {
    if (!has_rows) return;
    const int warp = threadIdx.x / WARP_SIZE, lane = threadIdx.x % WARP_SIZE;
#pragma unroll
    for (int i = 0; i < FRAGMENTS_M; i++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float sum = at[i][half];
        sum += __shfl_xor_sync(FULL_WARP, sum, 1);
        sum += __shfl_xor_sync(FULL_WARP, sum, 2);
        const int row = row0 + warp / WARPS_N * WARP_M + 16 * i + 8 * half + lane / 4;
        if (lane % 4 == 0 && row < M) to[row] = sum;
      }
  }
};

// c += the product over `tiles` (at least one) tiles of k. `shared` has STAGES pairs of tiles, which
// nobody reads any more when this returns.
#if __CUDA_ARCH__ >= 800
// One barrier a tile. It stands before the last fragments of a tile are multiplied, when all of them
// are in registers: behind it the next tile can be read, and the tile before this one overwritten.
template <class A, class B, class Sums>
__device__ __forceinline__ void multiply(Accumulators& c, Sums& sums, A a, B b, element* shared, int tiles) {
  auto tile_a = [&](int slot) { return shared + slot * (A::SIZE + B::SIZE); };
  auto tile_b = [&](int slot) { return shared + slot * (A::SIZE + B::SIZE) + A::SIZE; };
  // A group of copies for each tile, empty ones behind the end, so that the number of groups under
  // way tells which tile has arrived.
  int loaded = 0;
  auto load = [&](int slot) {
    if (loaded++ < tiles) {
      a.load(tile_a(slot));
      b.load(tile_b(slot));
    }
    cp_async_commit();
  };
#pragma unroll
  for (int i = 0; i < STAGES - 1; i++) load(i);
  cp_async_wait<STAGES - 2>();
  __syncthreads();
  Fragments fragments[2];
  load_fragments<A, B>(fragments[0], tile_a(0), tile_b(0), 0);
  int slot = 0;
#pragma unroll 1
  for (int tile = 0; tile < tiles; tile++) {
    const int next = slot + 1 == STAGES ? 0 : slot + 1, previous = slot == 0 ? STAGES - 1 : slot - 1;
#pragma unroll
    for (int step = 0; step < STEPS_K; step++) {
      if (step + 1 < STEPS_K) {
        load_fragments<A, B>(fragments[(step + 1) % 2], tile_a(slot), tile_b(slot), 16 * (step + 1));
      } else {
        cp_async_wait<STAGES - 2>();
        __syncthreads();
        if (tile + 1 < tiles) load_fragments<A, B>(fragments[(step + 1) % 2], tile_a(next), tile_b(next), 0);
      }
      if (step == 0) load(previous);
      sums.add(fragments[step % 2]);
      multiply_fragments(c, fragments[step % 2]);
    }
    slot = next;
  }
}
#else
// One barrier a tile, two slots: the next tile is on its way to registers while this one is
// multiplied, and stored before the barrier. (Fragments of two steps would not fit beside it.)
template <class A, class B, class Sums>
__device__ __forceinline__ void multiply(Accumulators& c, Sums& sums, A a, B b, element* shared, int tiles) {
  static_assert(STAGES == 2, "one tile is read while one is written");
  auto tile_a = [&](int slot) { return shared + slot * (A::SIZE + B::SIZE); };
  auto tile_b = [&](int slot) { return shared + slot * (A::SIZE + B::SIZE) + A::SIZE; };
  typename A::Staged staged_a;
  typename B::Staged staged_b;
  a.fetch(staged_a);
  b.fetch(staged_b);
  a.store(tile_a(0), staged_a);
  b.store(tile_b(0), staged_b);
  __syncthreads();
#pragma unroll 1
  for (int tile = 0; tile < tiles; tile++) {
    const int slot = tile % 2;
    if (tile + 1 < tiles) {
      a.fetch(staged_a);
      b.fetch(staged_b);
    }
#pragma unroll
    for (int step = 0; step < STEPS_K; step++) {
      Fragments fragments;
      load_fragments<A, B>(fragments, tile_a(slot), tile_b(slot), 16 * step);
      if (step == STEPS_K - 1 && tile + 1 < tiles) {
        a.store(tile_a(1 - slot), staged_a);
        b.store(tile_b(1 - slot), staged_b);
      }
      sums.add(fragments);
      multiply_fragments(c, fragments);
    }
    __syncthreads();
  }
}
#endif

// ----------------------------------------------------------------------------------- tiles of blocks

// Which tile of c a block computes. Blocks run roughly in the order of their numbers, so numbers near
// one another get tiles near one another: they find each other's rows of a and b in the L2 cache.
// Strips of BAND tile rows, column by column within a strip.
struct TilePosition {
  int m, n;  // in tiles
};

__device__ __forceinline__ TilePosition tile_position(int index, int M, int N) {
  constexpr int BAND = 8;
  const int tiles_m = ceil_div(M, TILE_M), tiles_n = ceil_div(N, TILE_N);
  const int band = index / (BAND * tiles_n) * BAND, height = min(BAND, tiles_m - band);
  const int within = index % (BAND * tiles_n);
  return {band + within % height, within / height};
}
