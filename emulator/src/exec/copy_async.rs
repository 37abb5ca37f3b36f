//! `cp.async`: the bytes arrive when the issuing thread waits for their group, not earlier.

use std::collections::VecDeque;

use super::failure::{Site, fail};
use super::matrix::bank_conflicts;
use super::shared::{Problem, Who};
use super::thread::{LANES, Thread};
use crate::memory;
use crate::status::Status;

#[derive(Debug, Clone, Copy)]
struct Copy {
    to: usize,
    from: usize,
    bytes: u32,
    source_bytes: u32,
}

/// Copies of one thread that have not arrived.
#[derive(Debug, Default)]
pub struct InFlight {
    groups: VecDeque<Vec<Copy>>,
    open: Vec<Copy>,
    issued: usize,
}

impl InFlight {
    pub fn clear(&mut self) {
        self.groups.clear();
        self.open.clear();
        self.issued = 0;
    }
}

/// The n-th `cp.async` of each lane of a warp, taken as one instruction: for bank conflicts.
#[derive(Debug)]
pub struct Row {
    offsets: [u32; LANES],
    bytes: u32,
    lanes: u32,
}

/// Issues a copy of `bytes` (4, 8, 16): `source_bytes` from global memory, zeros behind them.
///
/// # Safety
/// `thread` is the calling fiber's own, which the launch keeps alive.
pub unsafe extern "C" fn cp_async(
    thread: *mut Thread,
    to: *mut u8,
    from: *const u8,
    bytes: u32,
    source_bytes: u32,
    file: *const std::ffi::c_char,
    line: u32,
) {
    let site = Site { file, line };
    let refuse = move |status, text: String| -> ! {
        fail(thread, status, format!("cp.async at {site}: {text}"))
    };
    // SAFETY: the running fiber's thread and block; nothing pauses while they are borrowed.
    unsafe {
        let run = &mut *(*thread).run;
        let (to, from) = (to as usize, from as usize);
        if run.arch() < 80 {
            refuse(
                Status::ERROR_LAUNCH_FAILED,
                format!("needs sm_80, this device is sm_{}", run.arch()),
            );
        }
        if !matches!(bytes, 4 | 8 | 16) || source_bytes > bytes {
            refuse(
                Status::ERROR_LAUNCH_FAILED,
                format!("copies {source_bytes} of {bytes} bytes; 4, 8 or 16 are possible"),
            );
        }
        if to % bytes as usize != 0 || source_bytes > 0 && from % bytes as usize != 0 {
            refuse(
                Status::ERROR_MISALIGNED_ADDRESS,
                format!("{from:#x} to {to:#x} is not aligned to {bytes} bytes"),
            );
        }
        if !run.shared.contains(to) {
            refuse(
                Status::ERROR_ILLEGAL_ADDRESS,
                format!("the target is no shared memory: {}", memory::describe(to)),
            );
        }
        let who = Who {
            thread: (*thread).linear,
            warp_epoch: (*(*thread).warp).epoch,
            whole_warp: false,
        };
        match run.shared.write(to, bytes as usize, who, true) {
            Ok(()) => {}
            Err(Problem::Outside(text)) => {
                refuse(Status::ERROR_ILLEGAL_ADDRESS, format!("writes {text}"))
            }
            Err(Problem::Misuse(text)) => refuse(Status::ERROR_LAUNCH_FAILED, text),
        }
        super::access::global_read(thread, from, source_bytes as usize, &|text| {
            format!("cp.async at {site}: {text}")
        });
        std::ptr::write_bytes(to as *mut u8, memory::POISON, bytes as usize);
        run.counters.cp_async += 1;
        let offset = run.shared.offset(to) as u32;
        let flight = &mut run.in_flight[(*thread).linear as usize];
        flight.open.push(Copy {
            to,
            from,
            bytes,
            source_bytes,
        });
        let index = flight.issued;
        flight.issued += 1;
        let rows = &mut run.copy_rows[(*thread).linear as usize / LANES];
        while rows.len() <= index {
            rows.push(Row {
                offsets: [u32::MAX; LANES],
                bytes,
                lanes: 0,
            });
        }
        rows[index].offsets[(*thread).lane as usize] = offset;
        rows[index].lanes += 1;
        if rows[index].lanes == LANES as u32 {
            run.counters.cp_async_bank_conflicts += conflicts(&rows[index]);
            rows[index].lanes = u32::MAX; // counted
        }
    }
}

/// Conflicts of one warp-wide copy: it is served in pieces of 128 bytes.
fn conflicts(row: &Row) -> u64 {
    let lanes = (128 / row.bytes) as usize;
    let pieces = row.offsets.chunks(lanes);
    pieces
        .map(|piece| {
            let mut present = [0; LANES];
            let mut count = 0;
            for &offset in piece.iter().filter(|&&offset| offset != u32::MAX) {
                present[count] = offset;
                count += 1;
            }
            bank_conflicts(&present[..count], row.bytes)
        })
        .sum()
}

/// Conflicts of copies in which not every lane took part, at the end of a block.
pub fn finish_rows(rows: &mut Vec<Row>) -> u64 {
    let partial = rows.drain(..).filter(|row| row.lanes != u32::MAX);
    partial.map(|row| conflicts(&row)).sum()
}

/// # Safety
/// `thread` is the calling fiber's own, which the launch keeps alive.
pub unsafe extern "C" fn cp_async_commit(thread: *mut Thread) {
    // SAFETY: as in `cp_async`.
    let flight = unsafe { &mut (&mut *(*thread).run).in_flight[(*thread).linear as usize] };
    let group = std::mem::take(&mut flight.open);
    flight.groups.push_back(group);
}

/// Returns when at most `pending_groups` of the thread's groups have not arrived.
///
/// # Safety
/// `thread` is the calling fiber's own, which the launch keeps alive.
pub unsafe extern "C" fn cp_async_wait(thread: *mut Thread, pending_groups: u32) {
    // SAFETY: as in `cp_async`.
    unsafe {
        let run = &mut *(*thread).run;
        let who = Who {
            thread: (*thread).linear,
            warp_epoch: (*(*thread).warp).epoch,
            whole_warp: false,
        };
        let flight = &mut run.in_flight[(*thread).linear as usize];
        while flight.groups.len() > pending_groups as usize {
            for copy in flight.groups.pop_front().unwrap_or_default() {
                let (to, kept) = (copy.to as *mut u8, copy.source_bytes as usize);
                std::ptr::copy_nonoverlapping(copy.from as *const u8, to, kept);
                std::ptr::write_bytes(to.add(kept), 0, copy.bytes as usize - kept);
                run.shared.finish_pending(copy.to, copy.bytes as usize, who);
            }
        }
    }
}
