// What a fiber knows about itself, and the functions the runtime offers.
// The layout is shared with src/exec/thread.rs and src/runtime.rs: change both together.

typedef unsigned char vitcuda_u8;
typedef unsigned int vitcuda_u32;
typedef unsigned long long vitcuda_u64;

#define VITCUDA_STACK_BITS 17     // a fiber's slot: 128 KiB, aligned to its size
#define VITCUDA_HEADER_BYTES 256  // vitcuda_thread at the top of the slot

struct vitcuda_warp {
  vitcuda_u32 in[3][32];        // what the lanes bring to a shuffle or a vote
  vitcuda_u32 out[2][32];       // what they take away
  vitcuda_u64 pointers[3][32];  // ldmatrix: row, registers; mma: c, a, b
};

struct vitcuda_thread {
  vitcuda_u32 thread[3], block[3], threads[3], blocks[3];
  vitcuda_u32 lane, linear;
  vitcuda_warp* warp;
  vitcuda_u8* dynamic_shared;
  vitcuda_u64 requested_read, requested_written;  // global bytes
  vitcuda_u64 touched_read, touched_written;      // of them, bytes not yet touched in this launch
};

// Call sites meet when file and line agree.
struct vitcuda_runtime {
  vitcuda_u64 arena, arena_bytes;     // device memory
  vitcuda_u64 write_state, read_tag;  // add to a device address: its shadow bytes
  const vitcuda_u8* launch_tag;       // changes with every launch: 0..63
  void (*collective)(vitcuda_thread*, vitcuda_u32 kind, vitcuda_u32 mask, vitcuda_u32 detail, const char* file, vitcuda_u32 line);
  int (*barrier)(vitcuda_thread*, vitcuda_u32 id, vitcuda_u32 threads, vitcuda_u32 op, int value, const char* file, vitcuda_u32 line);
  void* (*static_shared)(vitcuda_thread*, const void* key, vitcuda_u64 bytes, vitcuda_u64 align, const char* name);
  void (*access)(vitcuda_thread*, vitcuda_u64 address, vitcuda_u64 bytes, int sort, const void* pc);  // 0 read, 1 write, + 2 of any alignment
  void (*cp_async)(vitcuda_thread*, void* to, const void* from, vitcuda_u32 bytes, vitcuda_u32 source_bytes, const char* file, vitcuda_u32 line);
  void (*cp_async_commit)(vitcuda_thread*);
  void (*cp_async_wait)(vitcuda_thread*, vitcuda_u32 pending_groups);
  vitcuda_u64 (*atomic)(vitcuda_thread*, vitcuda_u64 address, vitcuda_u32 op, vitcuda_u64 value, vitcuda_u64 compare, const void* pc);
  void (*trap)(vitcuda_thread*, const char* what, const char* file, vitcuda_u32 line);
  void (*print)(vitcuda_thread*, const char* text);
};

static const vitcuda_runtime* vitcuda_rt;
extern "C" __attribute__((no_sanitize("thread"), no_sanitize("address"))) void vitcuda_bind(const vitcuda_runtime* runtime) { vitcuda_rt = runtime; }

// Not instrumented; noinline follows, since an uninstrumented function cannot be inlined into an instrumented one.
#define VITCUDA_RUNTIME __attribute__((noinline, no_sanitize("thread"), no_sanitize("address"))) static

// The header's place follows from the stack pointer alone. Headers are spread over cache sets by
// the slot's number, otherwise the lanes of a warp would evict one another.
static inline __attribute__((always_inline, no_sanitize("thread"), no_sanitize("address"))) vitcuda_thread* vitcuda_self() {
  const vitcuda_u64 sp = (vitcuda_u64)__builtin_frame_address(0);
  const vitcuda_u64 slot = sp >> VITCUDA_STACK_BITS;
  return (vitcuda_thread*)(((slot + 1) << VITCUDA_STACK_BITS) - VITCUDA_HEADER_BYTES - (slot & 31) * 320);
}

#define VITCUDA_HERE const char *file = __builtin_FILE(), vitcuda_u32 line = __builtin_LINE()
