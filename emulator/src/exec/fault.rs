//! A kernel that touches a guard page (or divides an integer by zero) ends its launch, not the
//! process: the signal handler sends the fiber to [`landing`] instead of back to the fault.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::Once;

use super::failure::fail;
use super::thread::Thread;
use crate::memory;
use crate::status::Status;

thread_local! {
    /// The thread whose fiber runs on this CPU thread.
    static RUNNING: Cell<*mut Thread> = const { Cell::new(std::ptr::null_mut()) };
    static FAULT: Cell<(c_int, usize)> = const { Cell::new((0, 0)) };
}

const SIGNALS: [c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];
static mut PREVIOUS: [Option<libc::sigaction>; 4] = [None; 4];

/// Where to note the running thread of this CPU thread.
pub fn running() -> *mut *mut Thread {
    RUNNING.with(Cell::as_ptr)
}

/// Installs the handlers once, and a signal stack for this CPU thread.
pub fn prepare_cpu_thread() {
    static ONCE: Once = Once::new();
    // SAFETY: the handler below only touches this thread's cells and the interrupted context; the
    // signal stack is leaked with its thread, which lives as long as the process.
    unsafe {
        ONCE.call_once(|| {
            for (i, signal) in SIGNALS.into_iter().enumerate() {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = handler as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
                let mut previous = std::mem::zeroed();
                if libc::sigaction(signal, &action, &mut previous) == 0 {
                    PREVIOUS[i] = Some(previous);
                }
            }
        });
        let stack = Box::leak(vec![0u8; 64 << 10].into_boxed_slice());
        let alternate = libc::stack_t {
            ss_sp: stack.as_mut_ptr().cast(),
            ss_flags: 0,
            ss_size: stack.len(),
        };
        libc::sigaltstack(&alternate, std::ptr::null_mut());
    }
}

/// # Safety
/// The kernel calls it, with pointers that are good until it returns.
unsafe extern "C" fn handler(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let thread = RUNNING.get();
    // SAFETY: the kernel hands valid structures; sending the interrupted code to `landing` on the
    // fiber's own stack, with room left for the fiber's first frames, leaves the block to be
    // abandoned.
    unsafe {
        if thread.is_null() {
            let index = SIGNALS.iter().position(|&one| one == signal).unwrap_or(0);
            if let Some(previous) = PREVIOUS[index] {
                libc::sigaction(signal, &previous, std::ptr::null_mut());
            }
            return; // the instruction runs again and meets the previous handler
        }
        FAULT.set((signal, (*info).si_addr() as usize));
        let stack = ((thread as usize & !63) - 4096) & !15;
        redirect(context.cast(), landing as *const () as usize, stack);
    }
}

/// # Safety
/// `context` is that of a signal being handled; `to` never returns and wants a fresh stack that
/// ends at `stack`.
#[cfg(target_arch = "x86_64")]
unsafe fn redirect(context: *mut libc::ucontext_t, to: usize, stack: usize) {
    // SAFETY: the context of the interrupted thread, handed by the kernel.
    let registers = unsafe { &mut (*context).uc_mcontext.gregs };
    registers[libc::REG_RIP as usize] = to as i64;
    registers[libc::REG_RSP as usize] = (stack - 8) as i64; // as after a call
}

/// # Safety
/// `context` is that of a signal being handled; `to` never returns and wants a fresh stack that
/// ends at `stack`.
#[cfg(target_arch = "aarch64")]
unsafe fn redirect(context: *mut libc::ucontext_t, to: usize, stack: usize) {
    // SAFETY: as above.
    let registers = unsafe { &mut (*context).uc_mcontext };
    registers.pc = to as u64;
    registers.sp = stack as u64;
}

/// Runs on the stack of the fiber that faulted.
extern "C" fn landing() -> ! {
    let (signal, address) = FAULT.get();
    let (status, text) = match signal {
        libc::SIGFPE => (
            Status::ERROR_LAUNCH_FAILED,
            "integer division by zero".to_owned(),
        ),
        libc::SIGILL => (
            Status::ERROR_LAUNCH_FAILED,
            "illegal instruction".to_owned(),
        ),
        _ if address == 0 => (
            Status::ERROR_ILLEGAL_ADDRESS,
            "accesses a null pointer, or a vector type at a misaligned address".to_owned(),
        ),
        _ if memory::is_device_address(address) => (
            Status::ERROR_ILLEGAL_ADDRESS,
            format!(
                "accesses global memory out of bounds: {}",
                memory::describe(address)
            ),
        ),
        _ => (
            Status::ERROR_ILLEGAL_ADDRESS,
            format!(
                "accesses {address:#x}: out of bounds of shared memory or of its own stack, or no memory at all"
            ),
        ),
    };
    fail(Thread::current(), status, text)
}
