// Vector types and the words of the language. __global__, __shared__ and __launch_bounds__ are
// handled by the source scanner (src/nvrtc/rewrite.rs), not here.

#define __device__
#define __host__
#define __constant__ static
#define __managed__ static_assert(false, "managed memory is not offered");
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))
#define __grid_constant__
#define __restrict__ __restrict

typedef decltype(sizeof(0)) size_t;
typedef decltype((char*)0 - (char*)0) ptrdiff_t;
typedef unsigned long ulong_;  // keeps `long` types in use on every host

#define VITCUDA_VECTOR(T, name, align1, align2, align4)            \
  struct name##1 { T x; };                                         \
  struct __attribute__((aligned(align2))) name##2 { T x, y; };     \
  struct name##3 { T x, y, z; };                                   \
  struct __attribute__((aligned(align4))) name##4 { T x, y, z, w; }; \
  static inline name##1 make_##name##1(T x) { return {x}; }        \
  static inline name##2 make_##name##2(T x, T y) { return {x, y}; } \
  static inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; } \
  static inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }

VITCUDA_VECTOR(signed char, char, 1, 2, 4)
VITCUDA_VECTOR(unsigned char, uchar, 1, 2, 4)
VITCUDA_VECTOR(short, short, 2, 4, 8)
VITCUDA_VECTOR(unsigned short, ushort, 2, 4, 8)
VITCUDA_VECTOR(int, int, 4, 8, 16)
VITCUDA_VECTOR(unsigned int, uint, 4, 8, 16)
VITCUDA_VECTOR(float, float, 4, 8, 16)
VITCUDA_VECTOR(long long, longlong, 8, 16, 16)
VITCUDA_VECTOR(unsigned long long, ulonglong, 8, 16, 16)
VITCUDA_VECTOR(double, double, 8, 16, 16)

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

// `const`: a fiber's position never changes, so one call a function is enough.
__attribute__((const)) VITCUDA_RUNTIME uint3 vitcuda_thread_idx() { auto t = vitcuda_self()->thread; return {t[0], t[1], t[2]}; }
__attribute__((const)) VITCUDA_RUNTIME uint3 vitcuda_block_idx() { auto t = vitcuda_self()->block; return {t[0], t[1], t[2]}; }
__attribute__((const)) VITCUDA_RUNTIME uint3 vitcuda_block_dim() { auto t = vitcuda_self()->threads; return {t[0], t[1], t[2]}; }
__attribute__((const)) VITCUDA_RUNTIME uint3 vitcuda_grid_dim() { auto t = vitcuda_self()->blocks; return {t[0], t[1], t[2]}; }
__attribute__((const)) VITCUDA_RUNTIME unsigned vitcuda_lane() { return vitcuda_self()->lane; }
#define threadIdx (vitcuda_thread_idx())
#define blockIdx (vitcuda_block_idx())
#define blockDim (vitcuda_block_dim())
#define gridDim (vitcuda_grid_dim())
#define warpSize 32

VITCUDA_RUNTIME void* vitcuda_dynamic_shared() { return vitcuda_self()->dynamic_shared; }
VITCUDA_RUNTIME void* vitcuda_static_shared(const void* key, size_t bytes, size_t align, const char* name) {
  return vitcuda_rt->static_shared(vitcuda_self(), key, bytes, align, name);
}
