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

// What a compiler may make of a condition: both sides are loaded, one is taken.
extern "C" __global__ void speculated(float* out, const float* in) {
  __shared__ float x[64];
  x[threadIdx.x] = in[threadIdx.x];
  __syncwarp();
  const float* unwritten = x + 32 + threadIdx.x;
  float taken;
  asm volatile(
      "{ .reg .f32 a, b; .reg .pred p;\n"
      "ld.shared.f32 a, [%2];\n"
      "add.f32 a, a, 0f3F800000;\n"
      "setp.gt.f32 p, %1, 0fC2C80000;\n"
      "selp.f32 %0, %1, a, p; }"
      : "=f"(taken) : "f"(x[threadIdx.x]), "r"((unsigned)__cvta_generic_to_shared(unwritten)));
  out[threadIdx.x] = taken;
}

// The same, with the other side taken.
extern "C" __global__ void speculated_and_used(float* out, const float* in) {
  __shared__ float x[64];
  x[threadIdx.x] = in[threadIdx.x];
  __syncwarp();
  const float* unwritten = x + 32 + threadIdx.x;
  float taken;
  asm volatile(
      "{ .reg .f32 a, b; .reg .pred p;\n"
      "ld.shared.f32 a, [%2];\n"
      "add.f32 a, a, 0f3F800000;\n"
      "setp.lt.f32 p, %1, 0fC2C80000;\n"
      "selp.f32 %0, %1, a, p; }"
      : "=f"(taken) : "f"(x[threadIdx.x]), "r"((unsigned)__cvta_generic_to_shared(unwritten)));
  out[threadIdx.x] = taken;
}
