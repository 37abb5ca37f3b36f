// Every load and store of the kernel calls one of these (-fsanitize=thread puts the calls in; the
// sanitizer's own library is not used). Device memory is judged here, by its shadow bytes; shared
// memory and everything else in the runtime.
//
// Shadow of a device byte: write_state = live (1) | initialised (2) | tag of the last writing
// launch << 2; read_tag = tag of the last reading launch.

#define VITCUDA_HOOK extern "C" __attribute__((noinline, used, no_sanitize("thread"), no_sanitize("address")))

// The shadow of N bytes as one number.
template <int N> struct vitcuda_wide;
template <> struct vitcuda_wide<1> { typedef vitcuda_u8 type; };
template <> struct vitcuda_wide<2> { typedef unsigned short type; };
template <> struct vitcuda_wide<4> { typedef vitcuda_u32 type; };
template <> struct vitcuda_wide<8> { typedef vitcuda_u64 type; };
template <> struct vitcuda_wide<16> { typedef unsigned __int128 type; };

#define VITCUDA_QUIET __attribute__((no_sanitize("thread"), no_sanitize("address"), always_inline)) static inline

// How many of the N bytes of `shadow` are not `value`; they become it, each by an exchange, so that of
// two CPU threads that touch a byte at the same moment one counts it.
template <int N> VITCUDA_QUIET int vitcuda_touch(vitcuda_u64 shadow, vitcuda_u8 value) {
  typedef typename vitcuda_wide<N>::type wide;
  const wide all = (wide)((wide)~(wide)0 / 255 * value);
  wide now;
  __builtin_memcpy(&now, (const void*)shadow, N);
  if (__builtin_expect(now == all, 1)) return 0;
  int fresh = 0;
  for (int i = 0; i < N; i++) fresh += __atomic_exchange_n((vitcuda_u8*)shadow + i, value, __ATOMIC_RELAXED) != value;
  return fresh;
}

template <int N, bool ALIGNED> VITCUDA_QUIET void vitcuda_on_read(vitcuda_u64 p, const void* pc) {
  typedef typename vitcuda_wide<N>::type wide;
  auto rt = vitcuda_rt;
  auto self = vitcuda_self();
  if (p - rt->arena < rt->arena_bytes) {
    wide state;
    __builtin_memcpy(&state, (const void*)(p + rt->write_state), N);
    const wide good = (wide)((wide)~(wide)0 / 255 * 3);
    if (__builtin_expect((state & good) == good && (!ALIGNED || p % (N < 8 ? N : 8) == 0), 1)) {
      self->requested_read += N;
      self->touched_read += vitcuda_touch<N>(p + rt->read_tag, *rt->launch_tag);
      return;
    }
  }
  if ((p ^ (vitcuda_u64)self) >> VITCUDA_STACK_BITS) rt->access(self, p, N, ALIGNED ? 0 : 2, pc);
}

template <int N, bool ALIGNED> VITCUDA_QUIET void vitcuda_on_write(vitcuda_u64 p, const void* pc) {
  typedef typename vitcuda_wide<N>::type wide;
  auto rt = vitcuda_rt;
  auto self = vitcuda_self();
  if (p - rt->arena < rt->arena_bytes) {
    wide state;
    __builtin_memcpy(&state, (const void*)(p + rt->write_state), N);
    const wide live = (wide)((wide)~(wide)0 / 255);
    if (__builtin_expect((state & live) == live && (!ALIGNED || p % (N < 8 ? N : 8) == 0), 1)) {
      self->requested_written += N;
      self->touched_written += vitcuda_touch<N>(p + rt->write_state, (vitcuda_u8)(*rt->launch_tag << 2 | 3));
      return;
    }
  }
  if ((p ^ (vitcuda_u64)self) >> VITCUDA_STACK_BITS) rt->access(self, p, N, ALIGNED ? 1 : 3, pc);
}

#define VITCUDA_HOOKS(N) \
  VITCUDA_HOOK void __tsan_read##N(void* p) { vitcuda_on_read<N, true>((vitcuda_u64)p, __builtin_return_address(0)); } \
  VITCUDA_HOOK void __tsan_write##N(void* p) { vitcuda_on_write<N, true>((vitcuda_u64)p, __builtin_return_address(0)); }
VITCUDA_HOOKS(1) VITCUDA_HOOKS(2) VITCUDA_HOOKS(4) VITCUDA_HOOKS(8) VITCUDA_HOOKS(16)
// Accesses that the compiler splits anyway, of packed or less aligned types.
#define VITCUDA_UNALIGNED(N) \
  VITCUDA_HOOK void __tsan_unaligned_read##N(void* p) { vitcuda_on_read<N, false>((vitcuda_u64)p, __builtin_return_address(0)); } \
  VITCUDA_HOOK void __tsan_unaligned_write##N(void* p) { vitcuda_on_write<N, false>((vitcuda_u64)p, __builtin_return_address(0)); }
VITCUDA_UNALIGNED(2) VITCUDA_UNALIGNED(4) VITCUDA_UNALIGNED(8) VITCUDA_UNALIGNED(16)
VITCUDA_HOOK void __tsan_read_range(void* p, vitcuda_u64 n) { for (vitcuda_u64 i = 0; i < n; i++) vitcuda_on_read<1, true>((vitcuda_u64)p + i, __builtin_return_address(0)); }
VITCUDA_HOOK void __tsan_write_range(void* p, vitcuda_u64 n) { for (vitcuda_u64 i = 0; i < n; i++) vitcuda_on_write<1, true>((vitcuda_u64)p + i, __builtin_return_address(0)); }
#define VITCUDA_VOLATILE(N) \
  VITCUDA_HOOK void __tsan_volatile_read##N(void* p) { vitcuda_on_read<N, true>((vitcuda_u64)p, __builtin_return_address(0)); } \
  VITCUDA_HOOK void __tsan_volatile_write##N(void* p) { vitcuda_on_write<N, true>((vitcuda_u64)p, __builtin_return_address(0)); }
VITCUDA_VOLATILE(1) VITCUDA_VOLATILE(2) VITCUDA_VOLATILE(4) VITCUDA_VOLATILE(8) VITCUDA_VOLATILE(16)
VITCUDA_HOOK void __tsan_vptr_update(void*, void*) {}
VITCUDA_HOOK void __tsan_func_entry(void*) {}
VITCUDA_HOOK void __tsan_func_exit(void*) {}
VITCUDA_HOOK void __tsan_init() {}
