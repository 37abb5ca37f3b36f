// Accesses whose cost is known, and loads whose values nobody uses.
#include "common.cuh"

// One warp: words 32 apart lie in one bank (31 more cycles), every other word two in each (1 more),
// and a broadcast costs nothing more.
extern "C" __global__ void shared_patterns(float* out) {
  __shared__ float x[1024];
  const int lane = threadIdx.x;
  x[32 * lane] = lane;
  __syncwarp();
  x[(32 * lane + 1) % 1024] = lane;
  __syncwarp();
  x[2 * lane] = lane;
  __syncwarp();
  out[lane] = x[0];
}

// One warp: packed floats are four sectors of 32 bytes, floats 32 bytes apart are 32.
extern "C" __global__ void global_patterns(float* out, const float* in) { out[threadIdx.x] = in[8 * threadIdx.x]; }

// What a compiler may make of a condition: both sides are loaded, and one is taken. `x` is greater than
// -100; where the unwritten side is taken, that is a fault.
template <bool UNWRITTEN> __device__ __forceinline__ void speculate(float* out, const float* in) {
  __shared__ float x[64];
  x[threadIdx.x] = in[threadIdx.x];
  __syncwarp();
  const unsigned unwritten = (unsigned)__cvta_generic_to_shared(x + 32 + threadIdx.x);
  float taken;
  asm volatile(
      "{ .reg .f32 a; .reg .pred p;\n"
      "ld.shared.f32 a, [%2];\n"
      "add.f32 a, a, 0f3F800000;\n"
      "setp.gt.f32 p, %1, %3;\n"
      "selp.f32 %0, %1, a, p; }"
      : "=f"(taken) : "f"(x[threadIdx.x]), "r"(unwritten), "f"(UNWRITTEN ? 100.0f : -100.0f));
  out[threadIdx.x] = taken;
}
extern "C" __global__ void speculated(float* out, const float* in) { speculate<false>(out, in); }
extern "C" __global__ void speculated_and_used(float* out, const float* in) { speculate<true>(out, in); }

// What is left of a warp synchronises: the rest has returned.
extern "C" __global__ void some_returned(float* out) {
  __shared__ float x[32];
  if (threadIdx.x >= 24) return;
  x[threadIdx.x] = threadIdx.x;
  __syncwarp(0x00ffffffu);
  out[threadIdx.x] = x[23 - threadIdx.x];
}

// Lanes that synchronise by twos and then by fours: the last pass on what the first have handed them.
extern "C" __global__ void small_groups(float* out) {
  __shared__ volatile float x[32];
  const int lane = threadIdx.x;
  x[lane] = lane;
  __syncwarp(3u << (lane & ~1));
  const float pair = x[lane ^ 1];
  __syncwarp(15u << (lane & ~3));
  out[lane] = pair + 100.0f * x[lane ^ 3];
}

// A lane of a branch returns; those that are left vote together.
extern "C" __global__ void some_exit(unsigned* out) {
  if (threadIdx.x < 16) {
    asm volatile("{ .reg .pred p; setp.eq.u32 p, %0, 3; @p exit; }" : : "r"(threadIdx.x) : "memory");
    out[32 + threadIdx.x] = 1;
  }
  out[threadIdx.x] = __ballot_sync(0xfffffff7u, threadIdx.x % 2);
}

// Conditions of two parts, of which one is about what nobody has written and the other decides alone.
extern "C" __global__ void decided(float* out, const float* in) {
  __shared__ float x[64];
  x[threadIdx.x] = in[threadIdx.x];
  __syncwarp();
  const unsigned unwritten = (unsigned)__cvta_generic_to_shared(x + 32 + threadIdx.x);
  float taken;
  asm volatile(
      "{ .reg .f32 a; .reg .pred doubtful, no, yes, p;\n"
      "ld.shared.f32 a, [%2];\n"
      "setp.gt.f32 doubtful, a, 0f00000000;\n"
      "setp.gt.f32 no, %1, 0f42C80000;\n"
      "setp.lt.f32 yes, %1, 0f42C80000;\n"
      "mov.f32 %0, %1;\n"
      "setp.gt.and.f32 p, a, 0f00000000, no;\n"
      "selp.f32 %0, a, %0, p;\n"
      "setp.gt.or.f32 p, a, 0f00000000, yes;\n"
      "selp.f32 %0, %0, a, p;\n"
      "setp.gt.and.f32 p, %1, 0f42C80000, doubtful;\n"
      "selp.f32 %0, a, %0, p;\n"
      "setp.lt.or.f32 p, %1, 0f42C80000, doubtful;\n"
      "selp.f32 %0, %0, a, p; }"
      : "=&f"(taken) : "f"(x[threadIdx.x]), "r"(unwritten));
  out[threadIdx.x] = taken;
}

// Bytes of shared memory, each written by a thread of its own, then read alone and by twos.
extern "C" __global__ void shared_bytes(unsigned* out) {
  __shared__ __align__(4) volatile unsigned char x[66];
  x[threadIdx.x] = threadIdx.x;
  if (threadIdx.x == 0) x[64] = 200;
  __syncthreads();
  out[threadIdx.x] = x[threadIdx.x] + x[64] + ((volatile unsigned short*)x)[threadIdx.x / 2] * 1000;
}
