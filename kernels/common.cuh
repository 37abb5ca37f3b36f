// What every kernel uses: the element type, 16-byte packs, reductions in a fixed order.
#pragma once
#include "mma.cuh"

// Activations and tensor-core inputs: f16, or bf16 with -DVITCUDA_BF16 (sm_80 and later).
#ifdef VITCUDA_BF16
typedef bf16 element;
#else
typedef f16 element;
#endif

#define WARP_SIZE 32
#define FULL_WARP 0xffffffffu

__device__ __forceinline__ constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }

// 16 bytes moved by one instruction; the address must be aligned to 16.
template <class T> struct __align__(16) Pack {
  static constexpr int SIZE = 16 / sizeof(T);
  T at[SIZE];
};

template <class T> __device__ __forceinline__ Pack<T> load_pack(const T* p) { return *reinterpret_cast<const Pack<T>*>(p); }
template <class T> __device__ __forceinline__ void store_pack(T* p, const Pack<T>& x) { *reinterpret_cast<Pack<T>*>(p) = x; }

__device__ __forceinline__ float to_float(float x) { return x; }
template <> __device__ __forceinline__ float from_float<float>(float x) { return x; }

// Sum over the warp, the same bits in every lane: the butterfly adds the same pairs everywhere.
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int lanes = WARP_SIZE / 2; lanes > 0; lanes /= 2) x += __shfl_xor_sync(FULL_WARP, x, lanes);
  return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int lanes = WARP_SIZE / 2; lanes > 0; lanes /= 2) x = fmaxf(x, __shfl_xor_sync(FULL_WARP, x, lanes));
  return x;
}

// Sum over a one-dimensional block of THREADS, in every thread, warps added in order. `scratch` has
// THREADS / 32 floats of shared memory; it may be used again after the next barrier.
template <int THREADS> __device__ __forceinline__ float block_sum(float x, float* scratch) {
  static_assert(THREADS % WARP_SIZE == 0 && THREADS <= 1024, "a block of whole warps");
  x = warp_sum(x);
  if (threadIdx.x % WARP_SIZE == 0) scratch[threadIdx.x / WARP_SIZE] = x;
  __syncthreads();
  float sum = 0.0f;
#pragma unroll
  for (int warp = 0; warp < THREADS / WARP_SIZE; warp++) sum += scratch[warp];
  return sum;
}
