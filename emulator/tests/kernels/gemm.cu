// C = A B^T with f32 accumulators. A: (M, K), B: (N, K), C: (M, N), K a multiple of 8.
// 64 x 64 x 32 tiles, four warps of 32 x 32; cp.async in two stages where the architecture has it.
#include "common.cuh"

#define TILE 64
#define DEPTH 32
#define THREADS 128
#if __CUDA_ARCH__ >= 800
#define STEP 16  // depth of one mma
#else
#define STEP 8
#endif

// 16-byte chunk `chunk` of row `row`: four chunks a row, exchanged so that the eight rows of a
// matrix lie in different banks.
__device__ __forceinline__ int place(int row, int chunk) { return row * DEPTH + ((chunk ^ ((row >> 1) & 3)) * 8); }

__device__ __forceinline__ void load_tile(element* tile, const element* from, int first, int rows, int k, int K) {
  for (int i = threadIdx.x; i < TILE * DEPTH / 8; i += THREADS) {
    const int row = i / 4, chunk = i % 4;
    const bool inside = first + row < rows && k + chunk * 8 < K;
    const element* source = inside ? from + (size_t)(first + row) * K + k + chunk * 8 : from;
#if __CUDA_ARCH__ >= 800
    cp_async<16>(tile + place(row, chunk), source, inside ? 16 : 0);
#else
    store_pack(tile + place(row, chunk), inside ? load_pack(source) : Pack<element>{});
#endif
  }
}

extern "C" __global__ void __launch_bounds__(THREADS) gemm(float* c, const element* a, const element* b, int M, int N, int K) {
  extern __shared__ __align__(128) unsigned char memory[];
  element* tiles = reinterpret_cast<element*>(memory);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int row0 = blockIdx.y * TILE, col0 = blockIdx.x * TILE;
  const int warp_row = warp / 2 * 32, warp_col = warp % 2 * 32;
  float sum[2][4][4] = {};
  auto stage_a = [&](int stage) { return tiles + (stage & 1) * 2 * TILE * DEPTH; };
  auto stage_b = [&](int stage) { return tiles + (stage & 1) * 2 * TILE * DEPTH + TILE * DEPTH; };
  auto load = [&](int stage) {
    load_tile(stage_a(stage), a, row0, M, stage * DEPTH, K);
    load_tile(stage_b(stage), b, col0, N, stage * DEPTH, K);
#if __CUDA_ARCH__ >= 800
    cp_async_commit();
#endif
  };
  const int stages = ceil_div(K, DEPTH);
  load(0);
  for (int stage = 0; stage < stages; stage++) {
    if (stage + 1 < stages) load(stage + 1);
#if __CUDA_ARCH__ >= 800
    if (stage + 1 < stages) cp_async_wait<1>(); else cp_async_wait<0>();
#endif
    __syncthreads();
    const element *tile_a = stage_a(stage), *tile_b = stage_b(stage);
#pragma unroll
    for (int k = 0; k < DEPTH; k += STEP) {
      unsigned fa[2][STEP / 4], fb[4][STEP / 8];
      for (int i = 0; i < 2; i++) {
        const int row = warp_row + 16 * i + lane % 16;
        ldmatrix<STEP / 4, false>(fa[i], tile_a + place(row, k / 8 + lane / 16 % (STEP / 8)));
      }
#if __CUDA_ARCH__ >= 800
      for (int j = 0; j < 4; j += 2) {  // two n8 tiles: matrices (n, k), (n, k+8), (n+8, k), (n+8, k+8)
        const int row = warp_col + 8 * j + lane / 16 * 8 + lane % 8;
        ldmatrix<4, false>(reinterpret_cast<unsigned (&)[4]>(fb[j]), tile_b + place(row, k / 8 + lane / 8 % 2));
      }
      mma_k16<element>(sum, fa, fb);
#else
      ldmatrix<4, false>(reinterpret_cast<unsigned (&)[4]>(fb), tile_b + place(warp_col + lane, k / 8));
      mma_k8<element>(sum, fa, fb);
#endif
    }
    __syncthreads();
  }
  for (int i = 0; i < 2; i++)
    for (int j = 0; j < 4; j++)
      for (int v = 0; v < 4; v++) {
        const int row = row0 + warp_row + 16 * i + lane / 4 + v / 2 * 8;
        const int col = col0 + warp_col + 8 * j + lane % 4 * 2 + v % 2;
        if (row < M && col < N) c[(size_t)row * N + col] = sum[i][j][v];
      }
}
