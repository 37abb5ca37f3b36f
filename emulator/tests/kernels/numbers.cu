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
