//! Loads and stores that the compiled hooks could not wave through: shared memory, the fiber's own
//! stack, and everything that is wrong.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use super::failure::{fail, source_line};
use super::shared::{Problem, Who};
use super::stack::same_slot;
use super::thread::Thread;
use crate::memory::{self, INITIALISED, LIVE};
use crate::status::Status;

/// Judges an access of the kernel; returns when it is allowed.
///
/// # Safety
/// `thread` is the calling fiber's own, which the launch keeps alive.
pub unsafe extern "C" fn access(
    thread: *mut Thread,
    address: u64,
    bytes: u64,
    sort: i32,
    pc: *const std::ffi::c_void,
) {
    let (at, count) = (address as usize, bytes as usize);
    let (write, any_alignment) = (sort & 1 != 0, sort & 2 != 0);
    if same_slot(at, thread as usize) {
        return;
    }
    // SAFETY: the running fiber's thread and block; nothing pauses while they are borrowed.
    unsafe {
        let run = &mut *(*thread).run;
        let verb = if write { "writes" } else { "reads" };
        let problem = if run.shared.contains(at) {
            let who = Who {
                thread: (*thread).linear,
                warp_epoch: (*(*thread).warp).epoch,
                whole_warp: false,
            };
            let judged = match write {
                true => run.shared.write(at, count, who, false),
                false => run.shared.read(at, count, who),
            };
            match judged {
                Ok(()) if any_alignment || at.is_multiple_of(count.min(8)) => return,
                Ok(()) => (
                    Status::ERROR_MISALIGNED_ADDRESS,
                    format!(
                        "{verb} {count} bytes of shared memory at {at:#x}, which is misaligned"
                    ),
                ),
                Err(Problem::Outside(text)) => {
                    (Status::ERROR_ILLEGAL_ADDRESS, format!("{verb} {text}"))
                }
                Err(Problem::Misuse(text)) => (Status::ERROR_LAUNCH_FAILED, text),
            }
        } else if memory::is_device_address(at) {
            global_problem(at, count, write)
        } else if run.launch().kernel.module.contains(at) {
            return;
        } else {
            (
                Status::ERROR_ILLEGAL_ADDRESS,
                format!("{verb} {count} bytes at {at:#x}, which is no device memory"),
            )
        };
        let place = place(run.launch().kernel.module.image(), pc as usize);
        fail(thread, problem.0, format!("{}{place}", problem.1));
    }
}

fn place(image: (&str, usize), pc: usize) -> String {
    match source_line(image.0, pc.wrapping_sub(image.1)) {
        Some(line) => format!(" (at {line})"),
        None => String::new(),
    }
}

/// Why the shadow refuses a global access.
fn global_problem(address: usize, bytes: usize, write: bool) -> (Status, String) {
    // SAFETY: shadow of the reserved range is always mapped; hooks stay inside the range.
    let states: Vec<u8> = (0..bytes)
        .map(|i| unsafe { *memory::write_state(address + i) })
        .collect();
    let verb = if write { "writes" } else { "reads" };
    let lacks = |bit: u8| states.iter().position(|state| state & bit == 0);
    if let Some(dead) = lacks(LIVE) {
        let place = memory::describe(address + dead);
        let text = format!("{verb} {bytes} bytes out of bounds: {place}");
        return (Status::ERROR_ILLEGAL_ADDRESS, text);
    }
    if let Some(fresh) = lacks(INITIALISED).filter(|_| !write) {
        let place = memory::describe(address + fresh);
        let text = format!("reads uninitialised global memory: {place}");
        return (Status::ERROR_ILLEGAL_ADDRESS, text);
    }
    let place = memory::describe(address);
    let text = format!("{verb} {bytes} bytes at a misaligned address: {place}");
    (Status::ERROR_MISALIGNED_ADDRESS, text)
}

/// Checks and counts a read of global memory by a primitive.
///
/// # Safety
/// `thread` is the calling fiber's own, which the launch keeps alive.
pub unsafe fn global_read(
    thread: *mut Thread,
    address: usize,
    bytes: usize,
    explain: &dyn Fn(String) -> String,
) {
    if bytes == 0 {
        return;
    }
    if !memory::is_device_address(address) {
        let text = explain(format!("reads {}", memory::describe(address)));
        fail(thread, Status::ERROR_ILLEGAL_ADDRESS, text);
    }
    // SAFETY: the shadow of the range is mapped; the tag outlives the launch.
    unsafe {
        let shadow = std::slice::from_raw_parts(memory::write_state(address), bytes);
        let wanted = match crate::nvrtc::sees_every_access() {
            true => LIVE | INITIALISED,
            false => LIVE,
        };
        if shadow.iter().any(|state| state & wanted != wanted) {
            let (status, text) = global_problem(address, bytes, false);
            fail(thread, status, explain(text));
        }
        (*thread).requested_read += bytes as u64;
        let tag = *memory::launch_tag();
        let seen = std::slice::from_raw_parts(memory::read_tag(address).cast::<AtomicU8>(), bytes);
        let fresh = seen
            .iter()
            .filter(|seen| seen.load(Relaxed) != tag && seen.swap(tag, Relaxed) != tag);
        (*thread).touched_read += fresh.count() as u64;
    }
}
