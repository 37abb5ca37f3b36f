// What instructions make of numbers, written as PTX: one thread for each pair of operands.

// A bit for each comparison that holds.
#define COMPARED(bit, test, type, constraint) \
  asm("{ .reg .pred p; setp." test "." type " p, %1, %2; @p or.b32 %0, %0, " #bit "; }" : "+r"(holds) : constraint(a), constraint(b))

#define SIGNED_COMPARISONS(type, constraint) \
  COMPARED(1, "eq", type, constraint);       \
  COMPARED(2, "ne", type, constraint);       \
  COMPARED(4, "lt", type, constraint);       \
  COMPARED(8, "le", type, constraint);       \
  COMPARED(16, "gt", type, constraint);      \
  COMPARED(32, "ge", type, constraint)

#define UNSIGNED_COMPARISONS(type, constraint) \
  SIGNED_COMPARISONS(type, constraint);        \
  COMPARED(64, "lo", type, constraint);        \
  COMPARED(128, "ls", type, constraint);       \
  COMPARED(256, "hi", type, constraint);       \
  COMPARED(512, "hs", type, constraint)

#define FLOAT_COMPARISONS(type, constraint) \
  SIGNED_COMPARISONS(type, constraint);     \
  COMPARED(64, "equ", type, constraint);    \
  COMPARED(128, "neu", type, constraint);   \
  COMPARED(256, "ltu", type, constraint);   \
  COMPARED(512, "leu", type, constraint);   \
  COMPARED(1024, "gtu", type, constraint);  \
  COMPARED(2048, "geu", type, constraint);  \
  COMPARED(4096, "num", type, constraint);  \
  COMPARED(8192, "nan", type, constraint)

#define COMPARE(name, T, comparisons, constraint)                                         \
  extern "C" __global__ void compare_##name(unsigned* out, const T* x, const T* y) {      \
    const T a = x[threadIdx.x], b = y[threadIdx.x];                                       \
    unsigned holds = 0;                                                                   \
    comparisons(#name, constraint);                                                       \
    out[threadIdx.x] = holds;                                                             \
  }

COMPARE(f32, float, FLOAT_COMPARISONS, "f")
COMPARE(f64, double, FLOAT_COMPARISONS, "d")
COMPARE(s16, short, SIGNED_COMPARISONS, "h")
COMPARE(u16, unsigned short, UNSIGNED_COMPARISONS, "h")
COMPARE(s32, int, SIGNED_COMPARISONS, "r")
COMPARE(u32, unsigned, UNSIGNED_COMPARISONS, "r")
COMPARE(s64, long long, SIGNED_COMPARISONS, "l")
COMPARE(u64, unsigned long long, UNSIGNED_COMPARISONS, "l")

// Registers of 16 bits, whose upper half nobody may see. x: 0x80, 0x80.
#define SIXTEEN_BITS(k, text) asm("{ .reg .b16 a; .reg .b32 r; .reg .pred p; " text " }" : "=r"(y[k]) : "l"(x))
#define SIXTEEN_BITS_OF(k, text) SIXTEEN_BITS(k, text " cvt.u32.u16 %0, a;")
extern "C" __global__ void sixteen_bits(unsigned* out, const unsigned char* x) {
  unsigned y[16];
  SIXTEEN_BITS_OF(0, "mov.b16 a, -2;");
  SIXTEEN_BITS_OF(1, "mov.b16 a, 5; xor.b16 a, a, -1; shr.u16 a, a, 4;");
  SIXTEEN_BITS_OF(2, "mov.b16 a, 0; or.b16 a, a, -3; shr.b16 a, a, 8;");
  SIXTEEN_BITS_OF(3, "mov.b16 a, 7; max.u16 a, a, -1;");
  SIXTEEN_BITS_OF(4, "setp.eq.u32 p, 1, 1; selp.b16 a, -4, 1, p;");
  SIXTEEN_BITS_OF(5, "mov.b16 a, -1; div.u16 a, a, 16;");
  SIXTEEN_BITS_OF(6, "ld.global.s8 a, [%1]; shr.u16 a, a, 4;");
  SIXTEEN_BITS_OF(7, "ld.global.s16 a, [%1];");
  SIXTEEN_BITS(8, "mov.b16 a, 3; mul.wide.u16 %0, a, -1;");
  SIXTEEN_BITS(9, "ld.global.s8 %0, [%1];");
  SIXTEEN_BITS(10, "ld.global.s16 %0, [%1];");
  SIXTEEN_BITS(11, "mov.b32 r, 0x12345; cvt.u32.u16 %0, r;");
  SIXTEEN_BITS(12, "mov.b32 r, 0x12345; cvt.rn.f32.u16 r, r; mov.b32 %0, r;");
  SIXTEEN_BITS(13, "mov.b16 a, 0x123; cvt.rn.f32.u8 r, a; mov.b32 %0, r;");
  SIXTEEN_BITS(14, "mov.b16 a, -1; setp.lt.s16 p, a, 0; selp.b32 %0, 1, 0, p;");
  SIXTEEN_BITS(15, "mov.b16 a, -1; setp.eq.b16 p, a, -1; selp.b32 %0, 1, 0, p;");
  for (int k = 0; k < 16; k++) out[k] = y[k];
}

#define CONVERTED(type, from, constraint, x) asm("cvt." type "." from " %0, %1;" : "=l"(y) : constraint(x)); *out++ = y
#define CONVERTED_TO_32(type, from, constraint, x) asm("cvt." type "." from " %0, %1;" : "=r"(z) : constraint(x)); *out++ = z
extern "C" __global__ void to_integers(unsigned long long* out, float x) {
  const double wide = x;
  unsigned long long y;
  unsigned z;
  CONVERTED_TO_32("rzi.s32", "f32", "f", x);
  CONVERTED_TO_32("rni.s32", "f32", "f", x);
  CONVERTED_TO_32("rmi.s32", "f32", "f", x);
  CONVERTED_TO_32("rpi.s32", "f32", "f", x);
  CONVERTED_TO_32("rzi.u32", "f32", "f", x);
  CONVERTED("rzi.s64", "f32", "f", x);
  CONVERTED("rzi.u64", "f32", "f", x);
  CONVERTED_TO_32("rzi.s32", "f64", "d", wide);
}

#define APPROXIMATED(name)                                  \
  asm(name ".approx.f32 %0, %1;" : "=f"(y) : "f"(x));       \
  *out++ = y;                                               \
  asm(name ".approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));   \
  *out++ = y
extern "C" __global__ void approximations(float* out, float x) {
  float y;
  APPROXIMATED("ex2");
  APPROXIMATED("rcp");
  APPROXIMATED("sqrt");
  APPROXIMATED("rsqrt");
  APPROXIMATED("lg2");
}
