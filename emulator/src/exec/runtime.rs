//! The table of functions handed to every compiled kernel file (prelude/thread.h).

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

use super::thread::Thread;
use super::{access, atomic, barrier, collective, copy_async};
use crate::exec::failure::{Site, fail};
use crate::memory;
use crate::status::Status;

#[repr(C)]
pub struct Runtime {
    arena: u64,
    arena_bytes: u64,
    write_state: u64,
    read_tag: u64,
    launch_tag: *const u8,
    collective: unsafe extern "C" fn(*mut Thread, u32, u32, u32, *const c_char, u32),
    barrier: unsafe extern "C" fn(*mut Thread, u32, u32, u32, c_int, *const c_char, u32) -> c_int,
    static_shared:
        unsafe extern "C" fn(*mut Thread, *const c_void, u64, u64, *const c_char) -> *mut c_void,
    access: unsafe extern "C" fn(*mut Thread, u64, u64, c_int, *const c_void),
    cp_async: unsafe extern "C" fn(*mut Thread, *mut u8, *const u8, u32, u32, *const c_char, u32),
    cp_async_commit: unsafe extern "C" fn(*mut Thread),
    cp_async_wait: unsafe extern "C" fn(*mut Thread, u32),
    atomic: unsafe extern "C" fn(*mut Thread, u64, u32, u64, u64, *const c_void) -> u64,
    trap: unsafe extern "C" fn(*mut Thread, *const c_char, *const c_char, u32),
    print: unsafe extern "C" fn(*mut Thread, *const c_char),
}

// SAFETY: written once, read only; the pointer inside is to an atomic of static life.
unsafe impl Send for Runtime {}
// SAFETY: as above.
unsafe impl Sync for Runtime {}

/// The one table.
pub fn runtime() -> &'static Runtime {
    static TABLE: OnceLock<Runtime> = OnceLock::new();
    TABLE.get_or_init(|| {
        let arena = memory::arena();
        Runtime {
            arena: arena.base as u64,
            arena_bytes: memory::ARENA_BYTES as u64,
            write_state: arena.write_state as u64,
            read_tag: arena.read_tag as u64,
            launch_tag: memory::launch_tag(),
            collective: collective::collective,
            barrier: barrier::barrier,
            static_shared,
            access: access::access,
            cp_async: copy_async::cp_async,
            cp_async_commit: copy_async::cp_async_commit,
            cp_async_wait: copy_async::cp_async_wait,
            atomic: atomic::atomic,
            trap,
            print,
        }
    })
}

/// # Safety
/// `thread` is the calling fiber's own, `name` a C string of its kernel.
unsafe extern "C" fn static_shared(
    thread: *mut Thread,
    key: *const c_void,
    bytes: u64,
    align: u64,
    name: *const c_char,
) -> *mut c_void {
    // SAFETY: the running fiber's thread and block; `name` is a literal of the kernel.
    unsafe {
        let run = &mut *(*thread).run;
        let name = CStr::from_ptr(name).to_string_lossy();
        let base = run
            .shared
            .static_variable(key as usize, bytes as usize, align as usize, &name);
        let total = run.shared.static_bytes() + run.launch().dynamic_shared as usize;
        let limit = run.launch().shared_limit as usize;
        if total > limit {
            let text = format!(
                "static and dynamic shared memory come to {total} bytes; {limit} are allowed for this launch"
            );
            fail(thread, Status::ERROR_LAUNCH_OUT_OF_RESOURCES, text);
        }
        base as *mut c_void
    }
}

/// # Safety
/// `thread` is the calling fiber's own, the texts are C strings of its kernel.
unsafe extern "C" fn trap(
    thread: *mut Thread,
    what: *const c_char,
    file: *const c_char,
    line: u32,
) {
    // SAFETY: `what` is a literal of the kernel.
    let what = unsafe { CStr::from_ptr(what) }.to_string_lossy();
    let text = format!("{what} at {}", Site { file, line });
    fail(thread, Status::ERROR_ASSERT, text);
}

/// # Safety
/// `text` is a C string of the kernel.
unsafe extern "C" fn print(_: *mut Thread, text: *const c_char) {
    // SAFETY: a buffer of the caller, ended by a zero.
    print!("{}", unsafe { CStr::from_ptr(text) }.to_string_lossy());
}
