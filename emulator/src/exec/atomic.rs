//! Atomics. Operations are numbered as in prelude/collectives.h.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

use super::access::access;
use super::failure::fail;
use super::thread::Thread;
use crate::memory::{self, INITIALISED, LIVE};
use crate::status::Status;

const WIDE: u32 = 0x100;
const FLOAT_ADD: u32 = 12;

/// Returns the old value.
///
/// # Safety
/// `thread` is the calling fiber's own, which the launch keeps alive.
pub unsafe extern "C" fn atomic(
    thread: *mut Thread,
    address: u64,
    op: u32,
    value: u64,
    compare: u64,
    pc: *const std::ffi::c_void,
) -> u64 {
    let wide = op & WIDE != 0;
    let bytes = if wide { 8 } else { 4 };
    let at = address as usize;
    // SAFETY: the running fiber's thread and block. Shared memory belongs to one fiber at a time;
    // device memory is checked live and initialised before it is touched.
    unsafe {
        let run = &mut *(*thread).run;
        run.counters.atomics += 1;
        if op & !WIDE == FLOAT_ADD {
            run.counters.float_atomics += 1;
        }
        if !at.is_multiple_of(bytes) {
            fail(
                thread,
                Status::ERROR_MISALIGNED_ADDRESS,
                format!("atomic on {at:#x}, which is no multiple of {bytes}"),
            );
        }
        let good = match crate::nvrtc::sees_every_access() {
            true => LIVE | INITIALISED,
            false => LIVE,
        };
        let global = memory::is_device_address(at);
        if !global && !run.shared.contains(at)
            || global && (0..bytes).any(|i| *memory::write_state(at + i) & good != good)
        {
            access(thread, address, bytes as u64, 0, pc);
            fail(
                thread,
                Status::ERROR_ILLEGAL_ADDRESS,
                format!("atomic on {at:#x}, which is neither global nor shared memory"),
            );
        }
        if global {
            (*thread).requested_read += bytes as u64;
            (*thread).requested_written += bytes as u64;
        }
        // Atomics on shared memory are not raced against each other; plain accesses beside them are
        // left to the order of the threads.
        match wide {
            true => update64(&*(at as *const AtomicU64), op & !WIDE, value, compare),
            false => update32(&*(at as *const AtomicU32), op, value as u32, compare as u32) as u64,
        }
    }
}

fn update32(cell: &AtomicU32, op: u32, value: u32, compare: u32) -> u32 {
    let next = |old: u32| match op {
        1 => old.wrapping_add(value),
        2 => value,
        3 => {
            if old == compare {
                value
            } else {
                old
            }
        }
        4 => (old as i32).min(value as i32) as u32,
        5 => (old as i32).max(value as i32) as u32,
        6 => old.min(value),
        7 => old.max(value),
        8 => old & value,
        9 => old | value,
        10 => old ^ value,
        11 => {
            if old >= value {
                0
            } else {
                old + 1
            }
        }
        _ => (f32::from_bits(old) + f32::from_bits(value)).to_bits(),
    };
    cell.fetch_update(SeqCst, SeqCst, |old| Some(next(old)))
        .unwrap_or_default()
}

fn update64(cell: &AtomicU64, op: u32, value: u64, compare: u64) -> u64 {
    let next = |old: u64| match op {
        1 => old.wrapping_add(value),
        2 => value,
        3 => {
            if old == compare {
                value
            } else {
                old
            }
        }
        6 => old.min(value),
        7 => old.max(value),
        8 => old & value,
        9 => old | value,
        10 => old ^ value,
        _ => (f64::from_bits(old) + f64::from_bits(value)).to_bits(),
    };
    cell.fetch_update(SeqCst, SeqCst, |old| Some(next(old)))
        .unwrap_or_default()
}
