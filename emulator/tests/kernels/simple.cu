#include "common.cuh"

extern "C" __global__ void add(float* c, const float* a, const float* b, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) c[i] = a[i] + b[i];
}

extern "C" __global__ void scale(float* x, float factor, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] *= factor;
}

// y = (x - mean) * rstd, one row of `width` a block.
extern "C" __global__ void __launch_bounds__(128) normalise(float* y, const float* x, int width) {
  __shared__ float scratch[2][4];
  const float* row = x + (size_t)blockIdx.x * width;
  float sum = 0.0f;
  for (int i = threadIdx.x; i < width; i += 128) sum += row[i];
  const float mean = block_sum<128>(sum, scratch[0]) / width;
  float squares = 0.0f;
  for (int i = threadIdx.x; i < width; i += 128) squares += (row[i] - mean) * (row[i] - mean);
  const float rstd = rsqrtf(block_sum<128>(squares, scratch[1]) / width + 1e-12f);
  for (int i = threadIdx.x; i < width; i += 128) y[(size_t)blockIdx.x * width + i] = (row[i] - mean) * rstd;
}

// Votes and shuffles of every sort: out[lane] gathers what each gave.
extern "C" __global__ void warp_functions(unsigned* out) {
  const unsigned lane = threadIdx.x;
  unsigned sum = __ballot_sync(FULL_WARP, lane % 3 == 0);
  sum += __any_sync(FULL_WARP, lane == 7) + 2 * __all_sync(FULL_WARP, lane < 32);
  sum += __shfl_sync(FULL_WARP, lane * 10, 5) + __shfl_up_sync(FULL_WARP, lane, 3) + __shfl_down_sync(FULL_WARP, lane, 3);
  if (lane < 16) sum += __shfl_xor_sync(0xffffu, lane, 1);
  sum += (unsigned)__shfl_sync(FULL_WARP, (unsigned long long)lane << 33, 2, 8);
  out[lane] = sum + __syncthreads_count(lane < 9) * 1000;
}

extern "C" __global__ void count(unsigned* total, int* largest, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  atomicAdd(total, 1u);
  atomicMax(largest, i);
}

// In shared memory, by all warps at once.
extern "C" __global__ void histogram(unsigned* out) {
  __shared__ unsigned counts[8];
  if (threadIdx.x < 8) counts[threadIdx.x] = 0;
  __syncthreads();
  atomicAdd(&counts[threadIdx.x % 8], 1u);
  atomicMax(&counts[7], 100u);
  __syncthreads();
  if (threadIdx.x < 8) out[threadIdx.x] = counts[threadIdx.x];
}

// Warp 0 hands x to warp 1 and does not wait; then all vote, the last warp with eight of its threads.
extern "C" __global__ void named_barriers(unsigned* out) {
  __shared__ unsigned x[32];
  const unsigned i = threadIdx.x;
  unsigned seen = 0, all, not_all, any;
  if (i < 32) {
    x[i] = 3 * i;
    asm volatile("bar.arrive 1, 64;" ::: "memory");
  } else if (i < 64) {
    asm volatile("bar.sync 1, 64;" ::: "memory");
    seen = x[i - 32];
  }
#define VOTE(d, of, condition) \
  asm volatile("{ .reg .pred p; setp." condition ".u32 p, %1, 71; bar.red." of ".pred p, 2, 96, p; selp.u32 %0, 1, 0, p; }" : "=r"(d) : "r"(i) : "memory")
  VOTE(all, "and", "le");
  VOTE(not_all, "and", "lt");
  VOTE(any, "or", "eq");
  out[blockIdx.x * blockDim.x + i] = seen + 1000 * all + 2000 * not_all + 4000 * any;
}

// Variables of one name and size in several functions, and one in a function that is called twice.
template <class T> __device__ volatile T* scratch_of() {
  __shared__ volatile T scratch[32];
  return scratch;
}

__device__ __noinline__ float kept(float x, bool put) {
  __shared__ volatile float slots[32];
  if (put) slots[threadIdx.x] = x;
  return slots[threadIdx.x];
}

extern "C" __global__ void shared_names(float* out) {
  volatile float* floats = scratch_of<float>();
  volatile int* integers = scratch_of<int>();
  floats[threadIdx.x] = 0.5f;
  integers[threadIdx.x] = 2 * threadIdx.x;
  out[threadIdx.x] = floats[threadIdx.x] + integers[threadIdx.x] + kept(100.0f, true) + kept(0.0f, false);
}
