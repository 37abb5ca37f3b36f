// Warp-level primitives of sm_75 to sm_89 and sm_120: all their inline PTX is in this file. Each has
// a twin for the emulator, which takes the place of the device's compiler with VITCUDA_EMULATOR set.
//
// Layouts (PTX ISA, "Matrix fragments"), g = lane / 4, t = lane % 4, two elements a register, low
// half first:
//   A (16 x K, row)  a[0] = (g, 2t) (g, 2t+1)   a[1] = (g+8, ..)   a[2], a[3] = the same, column + 8
//   B (K x 8, col)   b[0] = (2t, g) (2t+1, g)   b[1] = (2t+8, g) (2t+9, g)
//   C (16 x 8)       c[0] c[1] = (g, 2t) (g, 2t+1)   c[2] c[3] = (g+8, ..)
#pragma once

#ifdef VITCUDA_EMULATOR
// The emulator compares where the lanes of a collective call it from.
#define CALL_SITE , const char *file = __builtin_FILE(), unsigned line = __builtin_LINE()
#else
#define CALL_SITE
#endif

// Storage types of 16-bit floats; arithmetic happens in f32.
struct f16 { unsigned short bits; };
struct bf16 { unsigned short bits; };

// ---------------------------------------------------------------------------------- conversions

__device__ __forceinline__ float to_float(f16 x) {
#ifdef VITCUDA_EMULATOR
  return vitcuda_float_from_half(x.bits);
#else
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
#endif
}

__device__ __forceinline__ float to_float(bf16 x) { return __uint_as_float((unsigned)x.bits << 16); }

// Rounds to nearest, ties to even; f16 overflows to infinity.
template <class T> __device__ __forceinline__ T from_float(float x);

template <> __device__ __forceinline__ f16 from_float<f16>(float x) {
  f16 y;
#ifdef VITCUDA_EMULATOR
  y.bits = vitcuda_half_from_float(x);
#else
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
#endif
  return y;
}

template <> __device__ __forceinline__ bf16 from_float<bf16>(float x) {
  // In integers: `cvt.rn.bf16.f32` needs sm_80, and this is as exact.
  const unsigned u = __float_as_uint(x);
  const unsigned rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
  return bf16{(unsigned short)(x == x ? rounded : 0x7fff)};
}

// Two elements in one register, `low` in the low half.
template <class T> __device__ __forceinline__ unsigned pack2(float low, float high);

template <> __device__ __forceinline__ unsigned pack2<f16>(float low, float high) {
#if !defined(VITCUDA_EMULATOR) && __CUDA_ARCH__ >= 800
  unsigned y;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
#else
  return from_float<f16>(low).bits | (unsigned)from_float<f16>(high).bits << 16;
#endif
}

template <> __device__ __forceinline__ unsigned pack2<bf16>(float low, float high) {
#if !defined(VITCUDA_EMULATOR) && __CUDA_ARCH__ >= 800
  unsigned y;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
#else
  return from_float<bf16>(low).bits | (unsigned)from_float<bf16>(high).bits << 16;
#endif
}

template <class T> __device__ __forceinline__ float low_half(unsigned x) { return to_float(T{(unsigned short)x}); }
template <class T> __device__ __forceinline__ float high_half(unsigned x) { return to_float(T{(unsigned short)(x >> 16)}); }

// 2^x, relative error below 2^-22; subnormal results become zero.
__device__ __forceinline__ float fast_exp2(float x) {
#ifdef VITCUDA_EMULATOR
  return exp2f(x);
#else
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}

// ------------------------------------------------------------------------------------- ldmatrix

#ifndef VITCUDA_EMULATOR
__device__ __forceinline__ unsigned shared_address(const void* p) { return (unsigned)__cvta_generic_to_shared(p); }
#endif

// Loads COUNT 8x8 matrices of 16-bit elements from shared memory. Lane 8m + r brings the address of
// row r of matrix m (16 bytes, aligned); lanes from 8 COUNT on bring anything. Lane 4g + t receives
// elements (g, 2t), (g, 2t+1) of each matrix, or (2t, g), (2t+1, g) of the transposed form.
template <int COUNT, bool TRANSPOSED>
__device__ __forceinline__ void ldmatrix(unsigned (&d)[COUNT], const void* row CALL_SITE) {
  static_assert(COUNT == 1 || COUNT == 2 || COUNT == 4, "ldmatrix loads 1, 2 or 4 matrices");
#ifdef VITCUDA_EMULATOR
  vitcuda_ldmatrix(d, row, COUNT, TRANSPOSED, file, line);
#else
  const unsigned p = shared_address(row);
  if constexpr (COUNT == 4 && TRANSPOSED) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3]) : "r"(p) : "memory");
  } else if constexpr (COUNT == 4) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3]) : "r"(p) : "memory");
  } else if constexpr (COUNT == 2 && TRANSPOSED) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(d[0]), "=r"(d[1]) : "r"(p) : "memory");
  } else if constexpr (COUNT == 2) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(d[0]), "=r"(d[1]) : "r"(p) : "memory");
  } else if constexpr (TRANSPOSED) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];" : "=r"(d[0]) : "r"(p) : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(d[0]) : "r"(p) : "memory");
  }
#endif
}

// ------------------------------------------------------------------------------------------ mma
// c[i][j] += a[i] b[j] for one warp and every pair of fragments, f32 accumulators. (The emulator's
// lanes meet once a call, so a call with many pairs is many times faster there.)

template <class T> struct IsBf16 { static constexpr bool value = false; };
template <> struct IsBf16<bf16> { static constexpr bool value = true; };

// mma.m16n8k8: what sm_75 has, f16 only.
template <class T, int M, int N>
__device__ __forceinline__ void mma_k8(float (&c)[M][N][4], const unsigned (&a)[M][2], const unsigned (&b)[N][1] CALL_SITE) {
  static_assert(!IsBf16<T>::value, "sm_75 multiplies f16 only");
#ifdef VITCUDA_EMULATOR
  vitcuda_mma(VITCUDA_MMA_F16_K8, M, N, c[0][0], a[0], b[0], file, line);
#else
#pragma unroll
  for (int i = 0; i < M; i++)
#pragma unroll
    for (int j = 0; j < N; j++)
      asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                   : "+f"(c[i][j][0]), "+f"(c[i][j][1]), "+f"(c[i][j][2]), "+f"(c[i][j][3])
                   : "r"(a[i][0]), "r"(a[i][1]), "r"(b[j][0]));
#endif
}

#if __CUDA_ARCH__ >= 800
// mma.m16n8k16, f16 and bf16.
template <class T, int M, int N>
__device__ __forceinline__ void mma_k16(float (&c)[M][N][4], const unsigned (&a)[M][4], const unsigned (&b)[N][2] CALL_SITE) {
#ifdef VITCUDA_EMULATOR
  vitcuda_mma(IsBf16<T>::value ? VITCUDA_MMA_BF16_K16 : VITCUDA_MMA_F16_K16, M, N, c[0][0], a[0], b[0], file, line);
#else
#pragma unroll
  for (int i = 0; i < M; i++)
#pragma unroll
    for (int j = 0; j < N; j++) {
      if constexpr (IsBf16<T>::value) {
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                     : "+f"(c[i][j][0]), "+f"(c[i][j][1]), "+f"(c[i][j][2]), "+f"(c[i][j][3])
                     : "r"(a[i][0]), "r"(a[i][1]), "r"(a[i][2]), "r"(a[i][3]), "r"(b[j][0]), "r"(b[j][1]));
      } else {
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                     : "+f"(c[i][j][0]), "+f"(c[i][j][1]), "+f"(c[i][j][2]), "+f"(c[i][j][3])
                     : "r"(a[i][0]), "r"(a[i][1]), "r"(a[i][2]), "r"(a[i][3]), "r"(b[j][0]), "r"(b[j][1]));
      }
    }
#endif
}

// ------------------------------------------------------------------------------------- cp.async

// Copies BYTES (4, 8 or 16, both ends aligned to it) from global to shared memory in the background;
// the bytes from `source_bytes` on become zero, and nothing is read behind `source_bytes`.
template <int BYTES>
__device__ __forceinline__ void cp_async(void* shared, const void* global, int source_bytes = BYTES CALL_SITE) {
  static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async copies 4, 8 or 16 bytes");
#ifdef VITCUDA_EMULATOR
  vitcuda_cp_async(shared, global, BYTES, source_bytes, file, line);
#else
  if constexpr (BYTES == 16) {  // past L1: a tile is read once by a block
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" : : "r"(shared_address(shared)), "l"(global), "r"(source_bytes) : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" : : "r"(shared_address(shared)), "l"(global), "n"(BYTES), "r"(source_bytes) : "memory");
  }
#endif
}

// Closes a group of this thread's copies.
__device__ __forceinline__ void cp_async_commit() {
#ifdef VITCUDA_EMULATOR
  vitcuda_cp_async_commit();
#else
  asm volatile("cp.async.commit_group;" : : : "memory");
#endif
}

// Waits until at most PENDING of this thread's groups are under way. Other threads see the data
// after the barrier that must follow.
template <int PENDING> __device__ __forceinline__ void cp_async_wait() {
#ifdef VITCUDA_EMULATOR
  vitcuda_cp_async_wait(PENDING);
#else
  asm volatile("cp.async.wait_group %0;" : : "n"(PENDING) : "memory");
#endif
}
#endif
