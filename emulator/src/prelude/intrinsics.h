// Single-precision functions of device code. Approximate ones (__expf, ex2.approx) are computed
// exactly: an engine may not rely on the error of an approximation.

#define VITCUDA_INLINE static inline __attribute__((always_inline, unused))

VITCUDA_INLINE unsigned __float_as_uint(float x) { unsigned u; __builtin_memcpy(&u, &x, 4); return u; }
VITCUDA_INLINE int __float_as_int(float x) { int u; __builtin_memcpy(&u, &x, 4); return u; }
VITCUDA_INLINE float __uint_as_float(unsigned u) { float x; __builtin_memcpy(&x, &u, 4); return x; }
VITCUDA_INLINE float __int_as_float(int u) { float x; __builtin_memcpy(&x, &u, 4); return x; }
VITCUDA_INLINE long long __double_as_longlong(double x) { long long u; __builtin_memcpy(&u, &x, 8); return u; }
VITCUDA_INLINE double __longlong_as_double(long long u) { double x; __builtin_memcpy(&x, &u, 8); return x; }

#define VITCUDA_MATH1(name) \
  VITCUDA_INLINE float name##f(float x) { return __builtin_##name##f(x); } \
  VITCUDA_INLINE double name(double x) { return __builtin_##name(x); } \
  VITCUDA_INLINE float name(float x) { return __builtin_##name##f(x); }
VITCUDA_MATH1(sqrt) VITCUDA_MATH1(exp) VITCUDA_MATH1(exp2) VITCUDA_MATH1(log) VITCUDA_MATH1(log2)
VITCUDA_MATH1(log10) VITCUDA_MATH1(log1p) VITCUDA_MATH1(expm1) VITCUDA_MATH1(erf) VITCUDA_MATH1(erfc)
VITCUDA_MATH1(sin) VITCUDA_MATH1(cos) VITCUDA_MATH1(tan) VITCUDA_MATH1(tanh) VITCUDA_MATH1(floor)
VITCUDA_MATH1(ceil) VITCUDA_MATH1(trunc) VITCUDA_MATH1(round) VITCUDA_MATH1(rint) VITCUDA_MATH1(fabs)
VITCUDA_MATH1(cbrt)
#define VITCUDA_MATH2(name) \
  VITCUDA_INLINE float name##f(float x, float y) { return __builtin_##name##f(x, y); } \
  VITCUDA_INLINE double name(double x, double y) { return __builtin_##name(x, y); } \
  VITCUDA_INLINE float name(float x, float y) { return __builtin_##name##f(x, y); }
VITCUDA_MATH2(pow) VITCUDA_MATH2(fmod) VITCUDA_MATH2(fmax) VITCUDA_MATH2(fmin) VITCUDA_MATH2(copysign)
VITCUDA_MATH2(hypot) VITCUDA_MATH2(atan2)

VITCUDA_INLINE float fmaf(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
VITCUDA_INLINE double fma(double x, double y, double z) { return __builtin_fma(x, y, z); }
VITCUDA_INLINE float rsqrtf(float x) { return 1.0f / __builtin_sqrtf(x); }
VITCUDA_INLINE float ldexpf(float x, int e) { return __builtin_ldexpf(x, e); }
VITCUDA_INLINE float exp10f(float x) { return __builtin_powf(10.0f, x); }
VITCUDA_INLINE void sincosf(float x, float* s, float* c) { *s = __builtin_sinf(x); *c = __builtin_cosf(x); }
VITCUDA_INLINE float __expf(float x) { return __builtin_expf(x); }
VITCUDA_INLINE float __exp2f(float x) { return __builtin_exp2f(x); }
VITCUDA_INLINE float __logf(float x) { return __builtin_logf(x); }
VITCUDA_INLINE float __log2f(float x) { return __builtin_log2f(x); }
VITCUDA_INLINE float __sinf(float x) { return __builtin_sinf(x); }
VITCUDA_INLINE float __cosf(float x) { return __builtin_cosf(x); }
VITCUDA_INLINE float __powf(float x, float y) { return __builtin_powf(x, y); }
VITCUDA_INLINE float __fdividef(float x, float y) { return x / y; }
VITCUDA_INLINE float __fdiv_rn(float x, float y) { return x / y; }
VITCUDA_INLINE float __frcp_rn(float x) { return 1.0f / x; }
VITCUDA_INLINE float __fsqrt_rn(float x) { return __builtin_sqrtf(x); }
VITCUDA_INLINE float __frsqrt_rn(float x) { return 1.0f / __builtin_sqrtf(x); }
VITCUDA_INLINE float __fmaf_rn(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
VITCUDA_INLINE float __saturatef(float x) { return x < 0.0f ? 0.0f : x > 1.0f ? 1.0f : x == x ? x : 0.0f; }
// Never contracted into an fma, as their definition demands.
__attribute__((noinline, unused, optimize("fp-contract=off"))) static float __fmul_rn(float x, float y) { return x * y; }
__attribute__((noinline, unused, optimize("fp-contract=off"))) static float __fadd_rn(float x, float y) { return x + y; }
__attribute__((noinline, unused, optimize("fp-contract=off"))) static float __fsub_rn(float x, float y) { return x - y; }

template <class T> VITCUDA_INLINE bool isnan(T x) { return __builtin_isnan(x); }
template <class T> VITCUDA_INLINE bool isinf(T x) { return __builtin_isinf(x); }
template <class T> VITCUDA_INLINE bool isfinite(T x) { return __builtin_isfinite(x); }
template <class T> VITCUDA_INLINE bool signbit(T x) { return __builtin_signbit(x); }

// Device code mixes int and unsigned here, as the CUDA headers allow.
template <class A, class B> VITCUDA_INLINE constexpr auto min(A a, B b) -> decltype(a + b) { return a < b ? a : b; }
template <class A, class B> VITCUDA_INLINE constexpr auto max(A a, B b) -> decltype(a + b) { return a > b ? a : b; }
VITCUDA_INLINE float min(float a, float b) { return __builtin_fminf(a, b); }
VITCUDA_INLINE float max(float a, float b) { return __builtin_fmaxf(a, b); }
VITCUDA_INLINE int abs(int x) { return x < 0 ? -x : x; }

VITCUDA_INLINE int __popc(unsigned x) { return __builtin_popcount(x); }
VITCUDA_INLINE int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
VITCUDA_INLINE int __clz(int x) { return x == 0 ? 32 : __builtin_clz((unsigned)x); }
VITCUDA_INLINE int __clzll(long long x) { return x == 0 ? 64 : __builtin_clzll((unsigned long long)x); }
VITCUDA_INLINE int __ffs(int x) { return __builtin_ffs(x); }
VITCUDA_INLINE int __ffsll(long long x) { return __builtin_ffsll(x); }
VITCUDA_INLINE unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((unsigned long long)a * b) >> 32); }
VITCUDA_INLINE int __mulhi(int a, int b) { return (int)(((long long)a * b) >> 32); }
VITCUDA_INLINE unsigned long long __umul64hi(unsigned long long a, unsigned long long b) { return (unsigned long long)(((unsigned __int128)a * b) >> 64); }
VITCUDA_INLINE unsigned __brev(unsigned x) { unsigned r = 0; for (int i = 0; i < 32; i++) r |= ((x >> i) & 1u) << (31 - i); return r; }
VITCUDA_INLINE unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned s) { return (unsigned)(((((unsigned long long)hi << 32) | lo) << (s & 31)) >> 32); }
VITCUDA_INLINE unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned s) { return (unsigned)((((unsigned long long)hi << 32) | lo) >> (s & 31)); }
VITCUDA_INLINE unsigned __byte_perm(unsigned x, unsigned y, unsigned s) {
  const unsigned long long both = ((unsigned long long)y << 32) | x;
  unsigned r = 0;
  for (int i = 0; i < 4; i++) r |= (unsigned)((both >> (8 * ((s >> (4 * i)) & 7))) & 0xff) << (8 * i);
  return r;
}
VITCUDA_INLINE int __float2int_rn(float x) { return (int)__builtin_rintf(x); }
VITCUDA_INLINE int __float2int_rd(float x) { return (int)__builtin_floorf(x); }
VITCUDA_INLINE int __float2int_rz(float x) { return (int)x; }
VITCUDA_INLINE unsigned __float2uint_rn(float x) { return (unsigned)__builtin_rintf(x); }
VITCUDA_INLINE float __int2float_rn(int x) { return (float)x; }
VITCUDA_INLINE float __uint2float_rn(unsigned x) { return (float)x; }

// Cached loads and streaming stores are plain accesses: caches are not modelled.
#define VITCUDA_LOAD(name) template <class T> VITCUDA_INLINE T name(const T* p) { return *p; }
VITCUDA_LOAD(__ldg) VITCUDA_LOAD(__ldca) VITCUDA_LOAD(__ldcg) VITCUDA_LOAD(__ldcs) VITCUDA_LOAD(__ldlu) VITCUDA_LOAD(__ldcv)
#define VITCUDA_STORE(name) template <class T> VITCUDA_INLINE void name(T* p, T x) { *p = x; }
VITCUDA_STORE(__stwb) VITCUDA_STORE(__stcg) VITCUDA_STORE(__stcs) VITCUDA_STORE(__stwt)

VITCUDA_INLINE unsigned short vitcuda_half_from_float(float x) { _Float16 h = (_Float16)x; unsigned short u; __builtin_memcpy(&u, &h, 2); return u; }
VITCUDA_INLINE float vitcuda_float_from_half(unsigned short u) { _Float16 h; __builtin_memcpy(&h, &u, 2); return (float)h; }
