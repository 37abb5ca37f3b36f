// Collectives, atomics, cp.async, ldmatrix and mma: thin doors to the runtime. Numbers of kinds
// and operations are shared with src/exec/collective.rs and src/exec/atomic.rs.

enum vitcuda_kind : vitcuda_u32 {
  VITCUDA_SYNCWARP = 1, VITCUDA_SHUFFLE, VITCUDA_VOTE, VITCUDA_REDUCE_ADD, VITCUDA_REDUCE_MIN, VITCUDA_REDUCE_MAX,
  VITCUDA_LDMATRIX, VITCUDA_MMA_F16_K8, VITCUDA_MMA_F16_K16, VITCUDA_MMA_BF16_K16, VITCUDA_MMA_BF16_K8,
};

VITCUDA_RUNTIME void __syncwarp(unsigned mask = 0xffffffffu, VITCUDA_HERE) {
  vitcuda_rt->collective(vitcuda_self(), VITCUDA_SYNCWARP, mask, 0, file, line);
}

template <class T> struct vitcuda_word_pair {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
  VITCUDA_RUNTIME T exchange(unsigned mask, T value, unsigned source, unsigned detail, const char* file, unsigned line) {
    auto self = vitcuda_self();
    auto warp = self->warp;
    const unsigned lane = self->lane;
    vitcuda_u32 words[2] = {0, 0};
    __builtin_memcpy(words, &value, sizeof(T));
    warp->in[0][lane] = words[0];
    warp->in[1][lane] = words[1];
    warp->in[2][lane] = source;
    vitcuda_rt->collective(self, VITCUDA_SHUFFLE, mask, detail, file, line);
    words[0] = warp->out[0][lane];
    words[1] = warp->out[1][lane];
    __builtin_memcpy(&value, words, sizeof(T));
    return value;
  }
};
// `detail` carries the sort and the width: lanes that disagree about them do not meet.
template <class T> inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, VITCUDA_HERE) {
  const unsigned base = vitcuda_lane() & ~(unsigned)(width - 1);
  return vitcuda_word_pair<T>::exchange(mask, value, base + ((unsigned)source & (width - 1)), 0x100 | width, file, line);
}
template <class T> inline T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, VITCUDA_HERE) {
  const unsigned lane = vitcuda_lane(), other = lane ^ (unsigned)lanes;
  const bool inside = other < (lane & ~(unsigned)(width - 1)) + width;
  return vitcuda_word_pair<T>::exchange(mask, value, inside ? other : lane, 0x200 | width | lanes << 16, file, line);
}
template <class T> inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, VITCUDA_HERE) {
  const unsigned lane = vitcuda_lane();
  const bool inside = (lane & (width - 1)) + delta < (unsigned)width;
  return vitcuda_word_pair<T>::exchange(mask, value, inside ? lane + delta : lane, 0x400 | width | delta << 16, file, line);
}
template <class T> inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, VITCUDA_HERE) {
  const unsigned lane = vitcuda_lane();
  const bool inside = (lane & (width - 1)) >= delta;
  return vitcuda_word_pair<T>::exchange(mask, value, inside ? lane - delta : lane, 0x800 | width | delta << 16, file, line);
}

VITCUDA_RUNTIME unsigned vitcuda_vote(unsigned mask, unsigned value, unsigned kind, unsigned detail, const char* file, unsigned line) {
  auto self = vitcuda_self();
  self->warp->in[0][self->lane] = value;
  vitcuda_rt->collective(self, kind, mask, detail, file, line);
  return self->warp->out[0][self->lane];
}
inline unsigned __ballot_sync(unsigned mask, int p, VITCUDA_HERE) { return vitcuda_vote(mask, p != 0, VITCUDA_VOTE, 0, file, line); }
inline int __any_sync(unsigned mask, int p, VITCUDA_HERE) { return vitcuda_vote(mask, p != 0, VITCUDA_VOTE, 1, file, line) != 0; }
inline int __all_sync(unsigned mask, int p, VITCUDA_HERE) { return vitcuda_vote(mask, p != 0, VITCUDA_VOTE, 2, file, line) == mask; }
#if __CUDA_ARCH__ >= 800
inline unsigned __reduce_add_sync(unsigned mask, unsigned v, VITCUDA_HERE) { return vitcuda_vote(mask, v, VITCUDA_REDUCE_ADD, 0, file, line); }
inline int __reduce_add_sync(unsigned mask, int v, VITCUDA_HERE) { return (int)vitcuda_vote(mask, (unsigned)v, VITCUDA_REDUCE_ADD, 0, file, line); }
inline unsigned __reduce_min_sync(unsigned mask, unsigned v, VITCUDA_HERE) { return vitcuda_vote(mask, v, VITCUDA_REDUCE_MIN, 0, file, line); }
inline int __reduce_min_sync(unsigned mask, int v, VITCUDA_HERE) { return (int)vitcuda_vote(mask, (unsigned)v, VITCUDA_REDUCE_MIN, 1, file, line); }
inline unsigned __reduce_max_sync(unsigned mask, unsigned v, VITCUDA_HERE) { return vitcuda_vote(mask, v, VITCUDA_REDUCE_MAX, 0, file, line); }
inline int __reduce_max_sync(unsigned mask, int v, VITCUDA_HERE) { return (int)vitcuda_vote(mask, (unsigned)v, VITCUDA_REDUCE_MAX, 1, file, line); }
#endif

VITCUDA_RUNTIME int vitcuda_barrier(unsigned id, unsigned threads, unsigned op, int value, const char* file, unsigned line) {
  return vitcuda_rt->barrier(vitcuda_self(), id, threads, op, value, file, line);
}
inline void __syncthreads(VITCUDA_HERE) { vitcuda_barrier(0, 0, 0, 0, file, line); }
inline int __syncthreads_count(int p, VITCUDA_HERE) { return vitcuda_barrier(0, 0, 1, p != 0, file, line); }
inline int __syncthreads_and(int p, VITCUDA_HERE) { return vitcuda_barrier(0, 0, 2, p != 0, file, line); }
inline int __syncthreads_or(int p, VITCUDA_HERE) { return vitcuda_barrier(0, 0, 3, p != 0, file, line); }

// Memory is sequentially consistent between fibers; a fence orders nothing that is not ordered already.
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
inline void __nanosleep(unsigned) {}

enum vitcuda_atomic_op : vitcuda_u32 {  // + 0x100: 8 bytes
  VITCUDA_ADD = 1, VITCUDA_EXCH, VITCUDA_CAS, VITCUDA_MIN, VITCUDA_MAX, VITCUDA_UMIN, VITCUDA_UMAX, VITCUDA_AND, VITCUDA_OR, VITCUDA_XOR, VITCUDA_INC, VITCUDA_FADD,
};
VITCUDA_RUNTIME vitcuda_u64 vitcuda_atomic(const volatile void* p, unsigned op, vitcuda_u64 value, vitcuda_u64 compare = 0) {
  return vitcuda_rt->atomic(vitcuda_self(), (vitcuda_u64)p, op, value, compare, __builtin_return_address(0));
}
#define VITCUDA_ATOMIC(name, T, op) inline T name(T* p, T v) { return (T)vitcuda_atomic(p, op | (sizeof(T) == 8 ? 0x100 : 0), (vitcuda_u64)v); }
VITCUDA_ATOMIC(atomicAdd, int, VITCUDA_ADD) VITCUDA_ATOMIC(atomicAdd, unsigned, VITCUDA_ADD) VITCUDA_ATOMIC(atomicAdd, unsigned long long, VITCUDA_ADD)
VITCUDA_ATOMIC(atomicExch, int, VITCUDA_EXCH) VITCUDA_ATOMIC(atomicExch, unsigned, VITCUDA_EXCH) VITCUDA_ATOMIC(atomicExch, unsigned long long, VITCUDA_EXCH)
VITCUDA_ATOMIC(atomicMin, int, VITCUDA_MIN) VITCUDA_ATOMIC(atomicMin, unsigned, VITCUDA_UMIN)
VITCUDA_ATOMIC(atomicMax, int, VITCUDA_MAX) VITCUDA_ATOMIC(atomicMax, unsigned, VITCUDA_UMAX)
VITCUDA_ATOMIC(atomicAnd, int, VITCUDA_AND) VITCUDA_ATOMIC(atomicAnd, unsigned, VITCUDA_AND)
VITCUDA_ATOMIC(atomicOr, int, VITCUDA_OR) VITCUDA_ATOMIC(atomicOr, unsigned, VITCUDA_OR)
VITCUDA_ATOMIC(atomicXor, int, VITCUDA_XOR) VITCUDA_ATOMIC(atomicXor, unsigned, VITCUDA_XOR)
VITCUDA_ATOMIC(atomicInc, unsigned, VITCUDA_INC)
inline int atomicSub(int* p, int v) { return atomicAdd(p, -v); }
inline unsigned atomicSub(unsigned* p, unsigned v) { return atomicAdd(p, 0u - v); }
inline int atomicCAS(int* p, int compare, int v) { return (int)vitcuda_atomic(p, VITCUDA_CAS, (unsigned)v, (unsigned)compare); }
inline unsigned atomicCAS(unsigned* p, unsigned compare, unsigned v) { return (unsigned)vitcuda_atomic(p, VITCUDA_CAS, v, compare); }
inline unsigned long long atomicCAS(unsigned long long* p, unsigned long long compare, unsigned long long v) { return vitcuda_atomic(p, VITCUDA_CAS | 0x100, v, compare); }
inline float atomicExch(float* p, float v) { return __uint_as_float((unsigned)vitcuda_atomic(p, VITCUDA_EXCH, __float_as_uint(v))); }
// Works, is counted and noted: the order of float additions would not be fixed.
inline float atomicAdd(float* p, float v) { return __uint_as_float((unsigned)vitcuda_atomic(p, VITCUDA_FADD, __float_as_uint(v))); }
inline double atomicAdd(double* p, double v) { return __longlong_as_double((long long)vitcuda_atomic(p, VITCUDA_FADD | 0x100, (vitcuda_u64)__double_as_longlong(v))); }

VITCUDA_RUNTIME void vitcuda_cp_async(void* to, const void* from, unsigned bytes, unsigned source_bytes, const char* file, unsigned line) {
  vitcuda_rt->cp_async(vitcuda_self(), to, from, bytes, source_bytes, file, line);
}
VITCUDA_RUNTIME void vitcuda_cp_async_commit() { vitcuda_rt->cp_async_commit(vitcuda_self()); }
VITCUDA_RUNTIME void vitcuda_cp_async_wait(unsigned pending_groups) { vitcuda_rt->cp_async_wait(vitcuda_self(), pending_groups); }

// ldmatrix and mma read and write the lanes' registers in place: kernels keep fragments in arrays
// that only these functions touch in their inner loops, so nothing there is instrumented.

// `count` 1, 2 or 4 matrices of 8x8 16-bit elements into d[count]; lane 8m+r brings the address of
// row r of matrix m.
VITCUDA_RUNTIME void vitcuda_ldmatrix(unsigned* d, const void* row, unsigned count, bool transposed, const char* file, unsigned line) {
  auto self = vitcuda_self();
  self->warp->pointers[0][self->lane] = (vitcuda_u64)row;
  self->warp->pointers[1][self->lane] = (vitcuda_u64)d;
  vitcuda_rt->collective(self, VITCUDA_LDMATRIX, 0xffffffffu, count | (transposed ? 0x100u : 0u), file, line);
}

// c[m][n][4] += a[m] b[n], every fragment of a with every one of b.
VITCUDA_RUNTIME void vitcuda_mma(unsigned kind, unsigned m, unsigned n, float* c, const unsigned* a, const unsigned* b, const char* file, unsigned line) {
  auto self = vitcuda_self();
  auto warp = self->warp;
  warp->pointers[0][self->lane] = (vitcuda_u64)c;
  warp->pointers[1][self->lane] = (vitcuda_u64)a;
  warp->pointers[2][self->lane] = (vitcuda_u64)b;
  vitcuda_rt->collective(self, kind, 0xffffffffu, m | n << 8, file, line);
}

VITCUDA_RUNTIME void vitcuda_trap(const char* what, const char* file, unsigned line) { vitcuda_rt->trap(vitcuda_self(), what, file, line); }
inline void __trap(VITCUDA_HERE) { vitcuda_trap("__trap()", file, line); }
#define assert(condition) ((condition) ? (void)0 : vitcuda_trap("assertion failed: " #condition, __FILE__, __LINE__))

extern "C" int snprintf(char*, size_t, const char*, ...);
template <class... A> __attribute__((no_sanitize("thread"))) inline int printf(const char* format, A... a) {
  char text[512];
  const int n = snprintf(text, sizeof text, format, a...);
  vitcuda_rt->print(vitcuda_self(), text);
  return n;
}
