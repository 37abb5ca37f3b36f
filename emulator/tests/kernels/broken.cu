// Kernels with one mistake each.
#include "common.cuh"

extern "C" __global__ void missing_barrier(float* out) {
  __shared__ float x[64];
  x[threadIdx.x] = threadIdx.x;
  out[threadIdx.x] = x[63 - threadIdx.x];
}

extern "C" __global__ void missing_second_barrier(float* out) {
  __shared__ float x[64];
  for (int round = 0; round < 2; round++) {
    x[threadIdx.x] = round;
    __syncthreads();
    out[threadIdx.x] = x[63 - threadIdx.x];
  }
}

extern "C" __global__ void missing_syncwarp(float* out) {
  __shared__ float x[32];
  x[threadIdx.x] = threadIdx.x;
  __shfl_sync(FULL_WARP, 1.0f, 0);  // meets, but orders no memory
  out[threadIdx.x] = x[31 - threadIdx.x];
}

// Each half of the warp waits for itself, and reads what the other has written.
extern "C" __global__ void syncwarp_of_halves(float* out) {
  __shared__ float x[32];
  x[threadIdx.x] = threadIdx.x;
  __syncwarp(threadIdx.x < 16 ? 0x0000ffffu : 0xffff0000u);
  out[threadIdx.x] = x[31 - threadIdx.x];
}

extern "C" __global__ void ldmatrix_too_early(float* out) {
  __shared__ __align__(16) unsigned short rows[8][8];
  for (int i = threadIdx.x; i < 64; i += 32) rows[i / 8][i % 8] = i;
  unsigned d[1];
  ldmatrix<1, false>(d, rows[threadIdx.x % 8]);
  out[threadIdx.x] = d[0];
}

extern "C" __global__ void ldmatrix_from_a_generic_address(float* out) {
  __shared__ __align__(16) unsigned short rows[8][8];
  for (int i = threadIdx.x; i < 64; i += 32) rows[i / 8][i % 8] = i;
  __syncwarp();
  unsigned d;
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(d) : "l"(rows[threadIdx.x % 8]) : "memory");
  out[threadIdx.x] = d;
}

extern "C" __global__ void partial_barrier(float* out) {
  if (threadIdx.x >= 40) return;
  __syncthreads();
  out[threadIdx.x] = 1.0f;
}

extern "C" __global__ void different_barriers(float* out) {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = 1.0f;
}

// A vote for what is not: two instructions here.
extern "C" __global__ void divergent_negated_vote(float* out) {
  int all = 0;
  if (threadIdx.x != 3) asm volatile("{ .reg .pred p; setp.eq.u32 p, %1, 7; vote.sync.any.pred p, !p, 0xffffffff; selp.s32 %0, 1, 0, p; }" : "=r"(all) : "r"(threadIdx.x));
  out[threadIdx.x] = all;
}

extern "C" __global__ void synchronise_for_ever(float* out) {
  out[threadIdx.x] = 1.0f;
  for (int i = 0; i < 1 << 20; i++) __syncthreads();
}

extern "C" __global__ void divergent_shuffle(float* out) {
  if (threadIdx.x >= 16) return;
  out[threadIdx.x] = __shfl_xor_sync(FULL_WARP, 1.0f, 1);
}

extern "C" __global__ void divergent_shuffles(float* out) {
  if (threadIdx.x < 16) {
    out[threadIdx.x] = __shfl_xor_sync(FULL_WARP, 1.0f, 1);
  } else {
    out[threadIdx.x] = __shfl_xor_sync(FULL_WARP, 2.0f, 2);
  }
}

extern "C" __global__ void shuffle_from_outside(float* out) {
  if (threadIdx.x < 8) out[threadIdx.x] = __shfl_sync(0xffu, 1.0f, 20);
}

extern "C" __global__ void divergent_vote(float* out) {
  if (threadIdx.x != 3) out[threadIdx.x] = __ballot_sync(FULL_WARP, 1);
}

extern "C" __global__ void divergent_ldmatrix(float* out) {
  __shared__ __align__(16) unsigned short rows[8][8];
  for (int i = threadIdx.x; i < 64; i += 32) rows[i / 8][i % 8] = i;
  __syncwarp();
  if (threadIdx.x < 8) return;  // "only the first eight addresses matter": all lanes do
  unsigned d[1];
  ldmatrix<1, false>(d, rows[threadIdx.x % 8]);
  out[threadIdx.x] = d[0];
}

#if __CUDA_ARCH__ >= 800
extern "C" __global__ void divergent_mma(float* out) {
  float c[1][1][4] = {};
  const unsigned a[1][4] = {}, b[1][2] = {};
  if (threadIdx.x < 31) mma_k16<f16>(c, a, b);
  out[threadIdx.x] = c[0][0][0];
}

extern "C" __global__ void whole_mma(float* out) {
  float c[1][1][4] = {};
  const unsigned a[1][4] = {}, b[1][2] = {};
  mma_k16<f16>(c, a, b);
  out[threadIdx.x] = c[0][0][0];
}

#define DYNAMIC_SHARED(T, name)                          \
  extern __shared__ __align__(16) unsigned char bytes[]; \
  T* name = reinterpret_cast<T*>(bytes)

extern "C" __global__ void copy_not_waited(float* out, const float* in) {
  DYNAMIC_SHARED(float, x);
  cp_async<16>(x + 4 * threadIdx.x, in + 4 * threadIdx.x);
  cp_async_commit();
  __syncthreads();
  out[threadIdx.x] = x[threadIdx.x];
}

extern "C" __global__ void copy_waited_too_little(float* out, const float* in) {
  DYNAMIC_SHARED(float, x);
  cp_async<16>(x + 4 * threadIdx.x, in + 4 * threadIdx.x);
  cp_async_commit();
  cp_async<16>(x + 256 + 4 * threadIdx.x, in + 4 * threadIdx.x);
  cp_async_commit();
  cp_async_wait<1>();
  __syncthreads();
  out[threadIdx.x] = x[256 + threadIdx.x];
}

extern "C" __global__ void copy_without_barrier(float* out, const float* in) {
  DYNAMIC_SHARED(float, x);
  cp_async<16>(x + 4 * threadIdx.x, in + 4 * threadIdx.x);
  cp_async_commit();
  cp_async_wait<0>();
  out[threadIdx.x] = x[threadIdx.x];
}

extern "C" __global__ void copy_over_readers(float* out, const float* in) {
  DYNAMIC_SHARED(float, x);
  for (int round = 0; round < 2; round++) {
    cp_async<16>(x + 4 * threadIdx.x, in + 4 * threadIdx.x);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    out[threadIdx.x] = x[threadIdx.x];
  }
}

extern "C" __global__ void copy_misaligned(float* out, const float* in) {
  DYNAMIC_SHARED(float, x);
  cp_async<16>(x + 4 * threadIdx.x, in + 4 * threadIdx.x + 1);
}

extern "C" __global__ void copy_to_a_generic_address(float* out, const float* in) {
  DYNAMIC_SHARED(float, x);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" : : "l"(x + 4 * threadIdx.x), "l"(in + 4 * threadIdx.x) : "memory");
}

extern "C" __global__ void copy_out_of_bounds(float* out, const float* in) {
  DYNAMIC_SHARED(float, x);
  cp_async<16>(x + 4 * threadIdx.x, in + 4 * threadIdx.x + 4);
}
#endif

extern "C" __global__ void read_beyond(float* out, const float* in, int n) {
  if (threadIdx.x == 0) out[0] = in[n];
}

extern "C" __global__ void write_before(float* out, const float* in, int n) {
  if (threadIdx.x == 5) out[-1] = in[0];
}

extern "C" __global__ void write_beyond(float* out, const float* in, int n) {
  if (threadIdx.x == 5) out[n] = in[0];
}

extern "C" __global__ void read_between(float* out, const float* in, int bytes) {
  out[0] = *reinterpret_cast<const float*>(reinterpret_cast<const char*>(in) + bytes);
}

extern "C" __global__ void sum_of(float* out, const float* in, int n) {
  float sum = 0.0f;
  for (int i = 0; i < n; i++) sum += in[i];
  out[threadIdx.x] = sum;
}

extern "C" __global__ void copy_pack(Pack<float>* out, const Pack<float>* in) { out[0] = in[0]; }

extern "C" __global__ void follow(float* out, unsigned long long address) { out[0] = *reinterpret_cast<const float*>(address); }

extern "C" __global__ void local_beyond(float* out, const float* in, int n) {
  float x[8];
  for (int i = 0; i < 8; i++) x[i] = in[i];
  out[threadIdx.x] = x[n];
}

extern "C" __global__ void local_uninitialised(float* out, const float* in, int n) {
  float x[8];
  for (int i = 0; i < n; i++) x[i] = in[i];
  out[threadIdx.x] = x[n];
}

extern "C" __global__ void divide(float* out, const float* in, int n) { out[threadIdx.x] = 100 / n; }

extern "C" __global__ void shared_beyond(float* out) {
  extern __shared__ float dynamic[];
  dynamic[threadIdx.x + 1] = 1.0f;
  out[threadIdx.x] = dynamic[threadIdx.x + 1];
}

extern "C" __global__ void static_shared_beyond(float* out) {
  __shared__ float tile[32];
  tile[threadIdx.x] = 1.0f;
  out[threadIdx.x] = tile[threadIdx.x];
}

extern "C" __global__ void shared_before_the_first(float* out) {
  __shared__ float tile[32];
  tile[(int)threadIdx.x - 1] = 1.0f;
  out[threadIdx.x] = tile[threadIdx.x];
}

extern "C" __global__ void shared_just_before_the_first(float* out) {
  __shared__ float tile[32];
  tile[threadIdx.x] = 1.0f;
  out[threadIdx.x] = tile[threadIdx.x] + tile[-1];
}

extern "C" __global__ void shared_uninitialised(float* out) {
  __shared__ float x[64];
  x[threadIdx.x] = 1.0f;
  __syncthreads();
  out[threadIdx.x] = x[threadIdx.x + 32];
}

extern "C" __global__ void shared_byte_uninitialised(float* out) {
  __shared__ volatile unsigned char x[64];
  x[2 * threadIdx.x] = threadIdx.x;
  __syncthreads();
  out[threadIdx.x] = x[2 * threadIdx.x + 1];
}

extern "C" __global__ void choose(float* out, bool yes) { out[threadIdx.x] = yes ? 1.0f : 2.0f; }

extern "C" __global__ void __launch_bounds__(64) bounded(float* out) { out[threadIdx.x] = 1.0f; }

extern "C" __global__ void float_atomics(float* out) { atomicAdd(out, 1.0f); }

// The last thread wins, whichever that is.
extern "C" __global__ void order_dependent(float* state) { atomicExch(state, (float)threadIdx.x); }

// Global memory: nothing orders the blocks of a launch, and only barriers the threads of a block.
extern "C" __global__ void blocks_write_one_place(float* out) { if (threadIdx.x == 0) out[0] = blockIdx.x; }

extern "C" __global__ void blocks_read_what_others_write(float* out) {
  out[blockIdx.x * blockDim.x + threadIdx.x] = 1.0f;
  out[1024 + blockIdx.x * blockDim.x + threadIdx.x] = out[(blockIdx.x * blockDim.x + threadIdx.x + 64) % 128];
}

extern "C" __global__ void blocks_write_what_others_read(float* out) {
  const float seen = out[512 + threadIdx.x];
  if (blockIdx.x == 1) out[512 + threadIdx.x] = 2.0f;
  out[blockIdx.x * blockDim.x + threadIdx.x] = seen;
}

extern "C" __global__ void threads_without_barrier(float* out) {
  out[threadIdx.x] = threadIdx.x;
  out[64 + threadIdx.x] = out[63 - threadIdx.x];
}

extern "C" __global__ void lanes_without_syncwarp(float* out) {
  out[threadIdx.x] = threadIdx.x;
  out[64 + threadIdx.x] = out[threadIdx.x ^ 1];
}

extern "C" __global__ void a_lane_writes_what_all_read(float* out) {
  const float seen = out[512];
  if (threadIdx.x == 0) out[512] = seen + 1.0f;
  out[threadIdx.x] = seen;
}

extern "C" __global__ void lanes_write_one_place(float* out) { out[threadIdx.x / 2] = threadIdx.x; }

// Warps that only one of two barriers orders.
extern "C" __global__ void half_a_barrier(float* out) {
  __shared__ float x[64];
  if (threadIdx.x < 32) x[threadIdx.x] = 1.0f;
  asm volatile("bar.sync 1, 64;" ::: "memory");
  if (threadIdx.x >= 32) x[threadIdx.x] = 2.0f;
  asm volatile("bar.sync 2, 32;" ::: "memory");
  out[threadIdx.x] = x[threadIdx.x ^ 32];
}

extern "C" __global__ void barrier_of_half_a_warp(float* out) {
  // ptxas refuses such a constant.
  asm volatile("bar.sync 1, %0;" ::"r"(blockDim.x - 24) : "memory");
  out[threadIdx.x] = 1.0f;
}

extern "C" __global__ void barriers_of_two_sorts(float* out) {
  if (threadIdx.x < 32) {
    asm volatile("bar.sync 1, 64;" ::: "memory");
  } else {
    asm volatile("{ .reg .pred p; setp.eq.u32 p, 0, 0; bar.red.and.pred p, 1, 64, p; }" ::: "memory");
  }
  out[threadIdx.x] = 1.0f;
}

// Atomics of shared memory: on what nobody has written, and what is read and written past them.
extern "C" __global__ void atomic_uninitialised(float* out) {
  __shared__ int count;
  atomicAdd(&count, 1);
  __syncthreads();
  out[threadIdx.x] = count;
}

template <int MISTAKE> __device__ __forceinline__ void count_together(float* out) {
  __shared__ int count;
  if (threadIdx.x == 0) count = 0;
  if (MISTAKE != 1) __syncthreads();
  atomicAdd(&count, 1);
  if (MISTAKE != 2) __syncthreads();
  out[threadIdx.x] = *(volatile int*)&count;
  if (MISTAKE == 3) atomicAdd(&count, 1);
}
extern "C" __global__ void atomic_after_a_store(float* out) { count_together<1>(out); }
extern "C" __global__ void atomic_and_a_load(float* out) { count_together<2>(out); }
extern "C" __global__ void atomic_after_a_load(float* out) { count_together<3>(out); }

// Inline assembly that reads a register which nothing has written.
extern "C" __global__ void unwritten_register(float* out) {
  float y;
  asm volatile("{ .reg .f32 x; add.f32 %0, x, 0f3F800000; }" : "=f"(y));
  out[threadIdx.x] = y;
}

#if __CUDA_ARCH__ >= 800
// c = a b with a: (16, 16), b the first eight columns of a.
template <bool SWAP_A, bool SWAP_B, bool TRANSPOSE_A> __device__ __forceinline__ void multiply(float* c, const f16* a) {
  __shared__ __align__(16) f16 tile[16][16];
  for (int i = threadIdx.x; i < 256; i += 32) tile[i / 16][i % 16] = a[i];
  __syncwarp();
  const int lane = threadIdx.x;
  unsigned fa[4], fb[2];
  ldmatrix<4, TRANSPOSE_A>(fa, &tile[lane % 16][lane / 16 * 8]);
  ldmatrix<2, true>(fb, &tile[lane % 16][0]);
  float sum[1][1][4] = {};
  const unsigned left[1][4] = {{fa[0], fa[SWAP_A ? 2 : 1], fa[SWAP_A ? 1 : 2], fa[3]}};
  const unsigned right[1][2] = {{fb[SWAP_B], fb[!SWAP_B]}};
  mma_k16<f16>(sum, left, right);
  for (int i = 0; i < 4; i++) c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sum[0][0][i];
}
extern "C" __global__ void right_fragments(float* c, const f16* a) { multiply<false, false, false>(c, a); }
extern "C" __global__ void exchanged_a_registers(float* c, const f16* a) { multiply<true, false, false>(c, a); }
extern "C" __global__ void exchanged_b_registers(float* c, const f16* a) { multiply<false, true, false>(c, a); }
extern "C" __global__ void transposed_a(float* c, const f16* a) { multiply<false, false, true>(c, a); }
#endif
