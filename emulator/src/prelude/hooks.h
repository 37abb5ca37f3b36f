// Every load and store of the kernel calls one of these (-fsanitize=thread puts the calls in; the
// sanitizer's own library is not used). Device memory is judged here, by its shadow bytes; shared
// memory and everything else in the runtime.
//
// Shadow of a device byte: write_state = live (1) | initialised (2) | tag of the last writing
// launch << 2; read_tag = tag of the last reading launch.

#define VITCUDA_HOOK extern "C" __attribute__((noinline, used, no_sanitize("thread"), no_sanitize("address")))

template <int N> __attribute__((no_sanitize("thread"), no_sanitize("address"), always_inline)) static inline void vitcuda_on_read(vitcuda_u64 p, const void* pc) {
  auto rt = vitcuda_rt;
  auto self = vitcuda_self();
  if (p - rt->arena < rt->arena_bytes) {
    const vitcuda_u8* state = (const vitcuda_u8*)(p + rt->write_state);
    bool good = true;
    for (int i = 0; i < N; i++) good &= (state[i] & 3) == 3;
    if (__builtin_expect(good, 1)) {
      self->requested_read += N;
      vitcuda_u8* seen = (vitcuda_u8*)(p + rt->read_tag);
      const vitcuda_u8 tag = *rt->launch_tag;
      int fresh = 0;
      for (int i = 0; i < N; i++) fresh += seen[i] != tag;
      if (fresh) {
        self->touched_read += fresh;
        for (int i = 0; i < N; i++) seen[i] = tag;
      }
      return;
    }
  }
  if ((p ^ (vitcuda_u64)self) >> VITCUDA_STACK_BITS) rt->access(self, p, N, 0, pc);
}

template <int N> __attribute__((no_sanitize("thread"), no_sanitize("address"), always_inline)) static inline void vitcuda_on_write(vitcuda_u64 p, const void* pc) {
  auto rt = vitcuda_rt;
  auto self = vitcuda_self();
  if (p - rt->arena < rt->arena_bytes) {
    vitcuda_u8* state = (vitcuda_u8*)(p + rt->write_state);
    const vitcuda_u8 now = (vitcuda_u8)(*rt->launch_tag << 2 | 3);
    bool good = true;
    int fresh = 0;
    for (int i = 0; i < N; i++) good &= (state[i] & 1) == 1;
    for (int i = 0; i < N; i++) fresh += state[i] != now;
    if (__builtin_expect(good, 1)) {
      self->requested_written += N;
      if (fresh) {
        self->touched_written += fresh;
        for (int i = 0; i < N; i++) state[i] = now;
      }
      return;
    }
  }
  if ((p ^ (vitcuda_u64)self) >> VITCUDA_STACK_BITS) rt->access(self, p, N, 1, pc);
}

#define VITCUDA_HOOKS(N) \
  VITCUDA_HOOK void __tsan_read##N(void* p) { vitcuda_on_read<N>((vitcuda_u64)p, __builtin_return_address(0)); } \
  VITCUDA_HOOK void __tsan_write##N(void* p) { vitcuda_on_write<N>((vitcuda_u64)p, __builtin_return_address(0)); }
VITCUDA_HOOKS(1) VITCUDA_HOOKS(2) VITCUDA_HOOKS(4) VITCUDA_HOOKS(8) VITCUDA_HOOKS(16)
// A misaligned access faults on a GPU; the runtime says so.
#define VITCUDA_UNALIGNED(N) \
  VITCUDA_HOOK void __tsan_unaligned_read##N(void* p) { vitcuda_on_read<N>((vitcuda_u64)p, __builtin_return_address(0)); } \
  VITCUDA_HOOK void __tsan_unaligned_write##N(void* p) { vitcuda_on_write<N>((vitcuda_u64)p, __builtin_return_address(0)); }
VITCUDA_UNALIGNED(2) VITCUDA_UNALIGNED(4) VITCUDA_UNALIGNED(8) VITCUDA_UNALIGNED(16)
VITCUDA_HOOK void __tsan_read_range(void* p, vitcuda_u64 n) { for (vitcuda_u64 i = 0; i < n; i++) vitcuda_on_read<1>((vitcuda_u64)p + i, __builtin_return_address(0)); }
VITCUDA_HOOK void __tsan_write_range(void* p, vitcuda_u64 n) { for (vitcuda_u64 i = 0; i < n; i++) vitcuda_on_write<1>((vitcuda_u64)p + i, __builtin_return_address(0)); }
#define VITCUDA_VOLATILE(N) \
  VITCUDA_HOOK void __tsan_volatile_read##N(void* p) { vitcuda_on_read<N>((vitcuda_u64)p, __builtin_return_address(0)); } \
  VITCUDA_HOOK void __tsan_volatile_write##N(void* p) { vitcuda_on_write<N>((vitcuda_u64)p, __builtin_return_address(0)); }
VITCUDA_VOLATILE(1) VITCUDA_VOLATILE(2) VITCUDA_VOLATILE(4) VITCUDA_VOLATILE(8) VITCUDA_VOLATILE(16)
VITCUDA_HOOK void __tsan_vptr_update(void*, void*) {}
VITCUDA_HOOK void __tsan_func_entry(void*) {}
VITCUDA_HOOK void __tsan_func_exit(void*) {}
VITCUDA_HOOK void __tsan_init() {}
