//! One block: its fibers, and the order in which they run.

use corosensei::{Coroutine, CoroutineResult};

use super::barrier::{BARRIERS, Barrier};
use super::collective::lanes;
use super::copy_async::{InFlight, Row, finish_rows};
use super::failure::Failure;
use super::fault;
use super::launch::Launch;
use super::shared::Shared;
use super::stack::{Slot, Stacks};
use super::thread::{LANES, Thread, Warp};
use crate::counters::Counters;
use crate::device::MAX_THREADS;
use crate::status::Status;

/// What the fibers of the running block share.
pub struct Block {
    launch: *const Launch,
    index: [u32; 3],
    threads: usize,
    /// Raw, because a lane works on its warp while it also changes the block.
    pub warps: Vec<*mut Warp>,
    /// By thread: the barrier it waits at, plus 1.
    pub waits: Vec<u8>,
    pub barriers: Vec<Barrier>,
    pub in_flight: Vec<InFlight>,
    /// By warp.
    pub copy_rows: Vec<Vec<Row>>,
    pub shared: Shared,
    pub counters: Counters,
    pub failure: Option<Failure>,
}

impl Block {
    pub fn launch(&self) -> &Launch {
        // SAFETY: set by `Worker::run`, which borrows the launch for the whole block.
        unsafe { &*self.launch }
    }

    pub fn arch(&self) -> u32 {
        self.launch().arch
    }

    pub fn threads(&self) -> usize {
        self.threads
    }

    /// "kernel `k`, block (0, 0, 0), thread (5, 0, 0) [warp 0, lane 5]".
    pub fn locate(&self, linear: u32) -> String {
        let [x, y, _] = self.launch().block;
        let thread = (linear % x, linear / x % y, linear / (x * y));
        let (warp, lane) = (linear / LANES as u32, linear % LANES as u32);
        format!(
            "{}, thread {thread:?} [warp {warp}, lane {lane}]",
            self.name()
        )
    }

    fn name(&self) -> String {
        let [x, y, z] = self.index;
        format!(
            "kernel `{}`, block ({x}, {y}, {z})",
            self.launch().kernel.name
        )
    }

    /// No fiber can go on: who waits where, and for whom.
    fn deadlock(&self) -> String {
        let mut parts = Vec::new();
        for (id, barrier) in self
            .barriers
            .iter()
            .enumerate()
            .filter(|(_, one)| one.arrived > 0)
        {
            let absent: Vec<String> = (0..self.warps.len())
                .filter_map(|w| {
                    // SAFETY: no fiber is running.
                    let warp = unsafe { &*self.warps[w] };
                    let waiting = (0..LANES)
                        .filter(|lane| self.waits.get(w * LANES + lane) == Some(&(id as u8 + 1)))
                        .fold(0u32, |mask, lane| mask | 1 << lane);
                    let missing = warp.exist & !waiting;
                    let gone = missing & !warp.alive;
                    let note = match (gone == missing, gone) {
                        (true, _) => " (returned)",
                        (false, 0) => "",
                        (false, _) => " (some returned)",
                    };
                    (missing != 0).then(|| format!("warp {w} {}{note}", lanes(missing)))
                })
                .collect();
            parts.push(format!(
                "{} of {} threads wait at the barrier at {}; never arrive: {}",
                barrier.arrived,
                barrier.expected,
                barrier.site,
                absent.join(", ")
            ));
        }
        for &warp in &self.warps {
            // SAFETY: no fiber is running.
            let warp = unsafe { &*warp };
            for group in &warp.groups {
                let missing = group.mask & !group.arrived;
                let note = match missing & warp.alive {
                    0 => " (returned)",
                    alive if alive == missing => "",
                    _ => " (some returned)",
                };
                parts.push(format!(
                    "warp {}: {} wait at {group}; never arrive: {}{note}",
                    warp.index,
                    lanes(group.arrived),
                    lanes(missing)
                ));
            }
        }
        format!("{}: deadlock: {}", self.name(), parts.join("; "))
    }
}

type Fiber = Coroutine<(), (), (), Slot>;

/// A CPU thread's means to run blocks, used again and again.
pub struct Worker {
    stacks: Stacks,
    block: *mut Block,
}

impl Worker {
    pub fn new() -> Self {
        Self {
            stacks: Stacks::new(MAX_THREADS as usize),
            block: Box::into_raw(Box::new(Block {
                launch: std::ptr::null(),
                index: [0; 3],
                threads: 0,
                warps: Vec::new(),
                waits: Vec::new(),
                barriers: vec![Barrier::default(); BARRIERS],
                in_flight: Vec::new(),
                copy_rows: Vec::new(),
                shared: Shared::new(),
                counters: Counters::default(),
                failure: None,
            })),
        }
    }

    /// Prepares for the blocks of `launch`.
    pub fn start_launch(&mut self, launch: &Launch) {
        // SAFETY: ours, and no fiber is alive.
        let block = unsafe { &mut *self.block };
        block.shared.start_launch(launch.dynamic_shared as usize);
        block.threads = launch.threads();
        let threads = block.threads;
        while block.warps.len() * LANES < threads {
            block.warps.push(Box::into_raw(Box::new(Warp {
                inputs: [[0; LANES]; 3],
                outputs: [[0; LANES]; 2],
                pointers: [[0; LANES]; 3],
                index: block.warps.len() as u32,
                ready: 0,
                alive: 0,
                exist: 0,
                epoch: 0,
                groups: Vec::new(),
            })));
        }
        while block.warps.len() > threads.div_ceil(LANES) {
            let warp = block.warps.pop().expect("longer than wanted");
            // SAFETY: made by `Box::into_raw` above, and popped once.
            drop(unsafe { Box::from_raw(warp) });
        }
        block.waits = vec![0; threads];
        block.in_flight.resize_with(threads, InFlight::default);
        block.copy_rows.resize_with(block.warps.len(), Vec::new);
    }

    /// Runs one block to its end or its failure.
    pub fn run(
        &mut self,
        launch: &Launch,
        index: [u32; 3],
        seed: u64,
    ) -> Result<Counters, Failure> {
        let run = self.block;
        // SAFETY: fibers run only inside `resume` below, on this thread; between resumes nothing
        // else refers to the block, and no borrow of it lives across a resume.
        unsafe {
            self.start_block(launch, index);
            let mut fibers = self.fibers(launch, index);
            let running = fault::running();
            let mut random = seed ^ 0x9E37_79B9_7F4A_7C15;
            let mut left = fibers.len();
            let warps = (&*run).warps.clone();
            let mut chosen = 0;
            while left > 0 {
                // Mostly stay with the warp (its stacks are in cache), sometimes jump.
                let dice = next(&mut random);
                if dice & 31 == 0 || (*warps[chosen]).ready == 0 {
                    let start = (dice >> 8) as usize % warps.len();
                    let ready = (0..warps.len()).map(|i| (start + i) % warps.len());
                    match ready.into_iter().find(|&i| (*warps[i]).ready != 0) {
                        Some(warp) => chosen = warp,
                        None => break,
                    }
                }
                let warp = warps[chosen];
                let (step, first) = ((dice >> 32) as usize | 1, (dice >> 48) as usize);
                for i in 0..LANES {
                    let lane = (i * step + first) % LANES;
                    if (*warp).ready >> lane & 1 == 0 {
                        continue;
                    }
                    let fiber: &mut Fiber = &mut fibers[chosen * LANES + lane];
                    *running = self.stacks.slot(chosen * LANES + lane).header() as *mut Thread;
                    let result = fiber.resume(());
                    *running = std::ptr::null_mut();
                    if let CoroutineResult::Return(()) = result {
                        (*warp).ready &= !(1 << lane);
                        (*warp).alive &= !(1 << lane);
                        left -= 1;
                    } else if (&*run).failure.is_some() {
                        left = 0;
                        break;
                    }
                }
            }
            for fiber in &mut fibers {
                if fiber.started() && !fiber.done() {
                    // Frames of kernels own nothing; those of the runtime leak at most a message.
                    fiber.force_reset();
                }
            }
            let run = &mut *run;
            if let Some(failure) = run.failure.take() {
                return Err(failure);
            }
            if left > 0 {
                return Err(Failure {
                    status: Status::ERROR_LAUNCH_FAILED,
                    message: run.deadlock(),
                });
            }
            Ok(self.finish_block())
        }
    }

    /// # Safety
    /// No fiber of the block is alive.
    unsafe fn start_block(&mut self, launch: &Launch, index: [u32; 3]) {
        // SAFETY: no fiber is alive.
        let block = unsafe { &mut *self.block };
        block.launch = launch;
        block.index = index;
        block.failure = None;
        block.counters = Counters::default();
        block.shared.start_block();
        block.waits.fill(0);
        block
            .barriers
            .iter_mut()
            .for_each(|barrier| barrier.arrived = 0);
        block.in_flight.iter_mut().for_each(InFlight::clear);
        for (w, &warp) in block.warps.iter().enumerate() {
            let count = (block.threads - w * LANES).min(LANES);
            let exist = (u64::MAX >> (64 - count)) as u32;
            // SAFETY: as above.
            let warp = unsafe { &mut *warp };
            (warp.ready, warp.alive, warp.exist) = (exist, exist, exist);
            warp.epoch = 0;
            warp.groups.clear();
        }
    }

    /// # Safety
    /// No fiber of the block is alive, and the fibers end before `launch` and the block do.
    unsafe fn fibers(&mut self, launch: &Launch, index: [u32; 3]) -> Vec<Fiber> {
        // SAFETY: no fiber is alive.
        let block = unsafe { &*self.block };
        let [x, y, _] = launch.block;
        let run = self.block;
        let (invoke, arguments) = (launch.kernel.invoke, launch.argument_pointers());
        (0..block.threads)
            .map(|linear| {
                let slot = self.stacks.slot(linear);
                let header = slot.header() as *mut Thread;
                let l = linear as u32;
                // SAFETY: the header is part of the slot, above the fiber's stack.
                unsafe {
                    header.write(Thread {
                        thread: [l % x, l / x % y, l / (x * y)],
                        block: index,
                        threads: launch.block,
                        blocks: launch.grid,
                        lane: l % LANES as u32,
                        linear: l,
                        warp: block.warps[linear / LANES],
                        dynamic_shared: block.shared.dynamic_base() as *mut u8,
                        requested_read: 0,
                        requested_written: 0,
                        touched_read: 0,
                        touched_written: 0,
                        yielder: std::ptr::null(),
                        run,
                    });
                }
                Fiber::with_stack(slot, move |yielder, ()| {
                    // SAFETY: `header` outlives the fiber; the arguments outlive the launch, and
                    // are described by the kernel's own signature.
                    unsafe {
                        (*header).yielder = yielder;
                        invoke(arguments);
                    }
                })
            })
            .collect()
    }

    /// # Safety
    /// No fiber of the block is alive.
    unsafe fn finish_block(&mut self) -> Counters {
        // SAFETY: all fibers have returned.
        let block = unsafe { &mut *self.block };
        for rows in &mut block.copy_rows {
            block.counters.cp_async_bank_conflicts += finish_rows(rows);
        }
        for linear in 0..block.threads {
            // SAFETY: written by `fibers`, kept up by the fiber.
            let thread = unsafe { &*(self.stacks.slot(linear).header() as *const Thread) };
            block.counters.global_read += thread.requested_read;
            block.counters.global_written += thread.requested_written;
            block.counters.global_read_distinct += thread.touched_read;
            block.counters.global_written_distinct += thread.touched_written;
        }
        block.counters
    }
}

/// Xorshift: the schedule needs variety, not quality.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    state.wrapping_mul(0x2545_F491_4F6C_DD1D)
}
