//! Barriers of a block.

use super::failure::{Site, fail};
use super::thread::Thread;
use crate::status::Status;

/// Hardware has sixteen.
pub const BARRIERS: usize = 16;

#[derive(Debug, Clone)]
pub struct Barrier {
    pub site: Site,
    pub expected: u32,
    pub arrived: u32,
    /// Waiting lanes, by warp.
    waiting: Vec<u32>,
    op: u32,
    gathered: i32,
    result: i32,
}

impl Default for Barrier {
    fn default() -> Self {
        Self {
            site: Site {
                file: std::ptr::null(),
                line: 0,
            },
            expected: 0,
            arrived: 0,
            waiting: Vec::new(),
            op: 0,
            gathered: 0,
            result: 0,
        }
    }
}

/// `threads` 0 means the whole block. `op` 0 waits, 1 counts, 2 ands, 3 ors `value`s.
///
/// # Safety
/// `thread` is the calling fiber's own, which the launch keeps alive.
pub unsafe extern "C" fn barrier(
    thread: *mut Thread,
    id: u32,
    threads: u32,
    op: u32,
    value: i32,
    file: *const std::ffi::c_char,
    line: u32,
) -> i32 {
    // SAFETY: the running fiber's thread; no borrow lives across the pause.
    unsafe {
        let site = Site { file, line };
        let run = &mut *(*thread).run;
        let block_threads = run.threads() as u32;
        let expected = if threads == 0 { block_threads } else { threads };
        if id as usize >= BARRIERS || expected > block_threads || expected % 32 != 0 && threads != 0
        {
            let text = format!(
                "barrier {id} for {threads} threads at {site}: there are {BARRIERS} barriers, for whole warps of the block's {block_threads} threads"
            );
            fail(thread, Status::ERROR_LAUNCH_FAILED, text);
        }
        let warps = run.warps.len();
        let barrier = &mut run.barriers[id as usize];
        if barrier.arrived == 0 {
            let initial = if op == 2 { 1 } else { 0 };
            *barrier = Barrier {
                site,
                expected,
                op,
                gathered: initial,
                waiting: vec![0; warps],
                ..barrier.clone()
            };
        } else if barrier.expected != expected
            || threads == 0 && (barrier.site != site || barrier.op != op)
        {
            let text = format!(
                "a thread arrives at the barrier at {site} while {} threads wait at the one at {}; they can never meet",
                barrier.arrived, barrier.site
            );
            fail(thread, Status::ERROR_LAUNCH_FAILED, text);
        }
        match op {
            1 => barrier.gathered += value,
            2 => barrier.gathered &= i32::from(value != 0),
            _ => barrier.gathered |= i32::from(value != 0),
        }
        barrier.arrived += 1;
        let warp = (*thread).linear as usize / 32;
        if barrier.arrived == barrier.expected {
            barrier.arrived = 0;
            barrier.result = barrier.gathered;
            for (index, lanes) in std::mem::take(&mut barrier.waiting).into_iter().enumerate() {
                (*run.warps[index]).ready |= lanes;
            }
            run.counters.barriers += 1;
            run.shared.next_epoch();
        } else {
            barrier.waiting[warp] |= 1 << (*thread).lane;
            (*run.warps[warp]).ready &= !(1 << (*thread).lane);
            run.waits[(*thread).linear as usize] = id as u8 + 1;
            Thread::pause(thread);
            let run = &mut *(*thread).run;
            run.waits[(*thread).linear as usize] = 0;
        }
        (&*(*thread).run).barriers[id as usize].result
    }
}
