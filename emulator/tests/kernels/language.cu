// Corners of the language that kernels use.
#include "common.cuh"

__constant__ float weights[4] = {1.0f, 2.0f, 4.0f, 8.0f};
__device__ const int offsets[] = {3, 1, 2, 0};

struct Options {
  unsigned char flag;
  float factor;
  int2 size;
};

namespace detail {
template <int N, class T> __device__ T sum_through_shared(T x) {
  __shared__ T values[N], total;
  values[threadIdx.x] = x;
  __syncthreads();
  if (threadIdx.x == 0) {
    T sum = 0;
    for (const T& value : values) sum += value;
    total = sum;
  }
  __syncthreads();
  return total;
}
}  // namespace detail

template <class F> __device__ __forceinline__ void each(int n, F f) {
#pragma unroll 4
  for (int i = threadIdx.x; i < n; i += blockDim.x) f(i);
}

extern "C" __global__ void
__launch_bounds__(64, 2)
language(float* __restrict__ out, const uint4* __restrict__ in, const Options options, unsigned long long n) {
  extern __shared__ __align__(16) unsigned char dynamic[];
  float* const scratch = reinterpret_cast<float*>(dynamic);
  __shared__ alignas(8) float2 pairs[2][32];
  static constexpr int TABLE[] = {5, 6, 7, 8};
  const int i = threadIdx.x, last = min((int)n, 64) - 1;
  pairs[i / 32][i % 32] = make_float2(i, 2.0f * i);
  each(options.size.x, [&](int j) { scratch[j] = weights[j % 4] + offsets[j % 4] + TABLE[j % 4]; });
  __syncthreads();
  const float2 other = pairs[1 - i / 32][i % 32];
  const uint4 words = __ldg(in + i);
  const int integers = detail::sum_through_shared<64>(i);
  const float floats = detail::sum_through_shared<64>(1.0f);
  assert(integers == 2016);
  if (i == last) printf("language: %d %s\n", integers, "printed");
  out[i] = other.x + other.y + scratch[i % options.size.x] * options.factor + __popc(words.x) + words.w + floats;
}
