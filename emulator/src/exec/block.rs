//! One block: its warps, who runs next, and barriers.

use std::rc::Rc;

use super::failure::{Failure, Fault, lanes};
use super::launch::Launch;
use super::matrix::Spread;
use super::race::{self, Clock, WARPS};
use super::shared::Shared;
use super::vector::put;
use super::warp::{Pause, Turn, Wait, Warp};
use crate::counters::Counters;
use crate::ptx::Program;
use crate::ptx::program::{File, NONE, Op, Vote};
use crate::status::Status;

/// Named barriers of a block.
const BARRIERS: usize = 16;

/// What the warps of the running block share.
pub struct Block {
    pub shared: Shared,
    pub counters: Counters,
    /// Launch and block, as records of global memory have them.
    pub place: u64,
    /// Operands of tensor cores, spread out.
    pub spread: Box<Spread>,
    barriers: [Barrier; BARRIERS],
    threads: u32,
    warps: usize,
}

/// A barrier that some have reached.
#[derive(Debug, Clone, Default)]
struct Barrier {
    arrived: u32,
    expected: u32,
    vote: Option<Vote>,
    pc: usize,
    /// What all who have arrived know together.
    known: [u32; WARPS],
    /// Threads whose predicate is true, and false.
    yes: u32,
    no: u32,
}

impl Block {
    /// The warp's clock goes on: what `members`, or all its lanes, did so far is known among them.
    pub fn advance(&mut self, warp: &mut Warp, members: u32) -> Result<(), Fault> {
        self.tick()?;
        let now = self.shared.tick;
        if warp.exist & !warp.exited & !members == 0 {
            warp.clock.advance(now, self.warps);
        } else {
            warp.clock.advance_some(now, members, self.warps);
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<(), Fault> {
        if self.shared.next_tick() {
            return Ok(());
        }
        Err(Fault::misuse(
            0,
            "a block that synchronises half a million times is not played",
        ))
    }

    /// A warp reaches a barrier; it waits, unless it only tells that it was there. `complete` sees
    /// whether it was the last.
    pub fn arrive(
        &mut self,
        program: &Program,
        warp: &mut Warp,
        pc: usize,
        mask: u32,
    ) -> Result<(), Fault> {
        let instruction = &program.code[pc];
        let Op::Barrier { vote, arrive } = instruction.op else {
            unreachable!("only barriers are arrived at");
        };
        let first = mask.trailing_zeros() as usize;
        let value = |register: u32| warp.registers.narrow[register as usize].0[first];
        let id = value(instruction.a) as usize;
        // A barrier with a count of its own counts whole warps, wherever they come to it.
        let counted = instruction.b != NONE;
        let (expected, arriving) = if counted {
            (value(instruction.b), 32)
        } else {
            (self.threads, mask.count_ones())
        };
        let misuse = |text: String| Err(Fault::misuse(first as u32, text));
        if counted && (expected == 0 || !expected.is_multiple_of(32)) {
            return misuse(format!(
                "barrier {id} is to wait for {expected} threads, which are no whole warps"
            ));
        }
        let Some(barrier) = self.barriers.get_mut(id) else {
            return misuse(format!("barrier {id}: there are {BARRIERS}"));
        };
        if barrier.arrived == 0 {
            *barrier = Barrier {
                expected,
                vote,
                pc,
                ..Barrier::default()
            };
        } else if barrier.expected != expected {
            return misuse(format!(
                "barrier {id} is waited at for {} and for {expected} threads",
                barrier.expected
            ));
        } else if barrier.vote != vote
            || !counted && barrier.pc != pc && program.place(barrier.pc) != program.place(pc)
        {
            let (one, other) = (program.place(barrier.pc), program.place(pc));
            return misuse(format!(
                "the barrier at {one} and the barrier at {other} can never meet"
            ));
        }
        barrier.arrived += arriving;
        if instruction.c != NONE {
            let yes = warp.registers.predicates[instruction.c as usize];
            barrier.yes += (yes & mask).count_ones();
            barrier.no += (!yes & mask).count_ones();
        }
        let known = barrier.known.iter_mut().zip(warp.clock.known);
        known.for_each(|(all, one)| *all = (*all).max(one));
        let own = &mut barrier.known[warp.index as usize];
        *own = (*own).max(warp.clock.now);
        if arrive {
            return self.advance(warp, mask);
        }
        warp.wait = Some(Wait {
            barrier: id,
            pc,
            mask,
        });
        Ok(())
    }

    /// Lets those go on who wait at barriers that are complete; an error comes with the instruction.
    fn complete(&mut self, program: &Program, warps: &mut [Warp]) -> Result<(), (Fault, usize)> {
        for id in 0..BARRIERS {
            if self.barriers[id].arrived == 0
                || self.barriers[id].arrived < self.barriers[id].expected
            {
                continue;
            }
            let barrier = std::mem::take(&mut self.barriers[id]);
            self.tick().map_err(|fault| (fault, barrier.pc))?;
            self.counters.barriers += 1;
            for warp in warps
                .iter_mut()
                .filter(|warp| warp.wait.is_some_and(|wait| wait.barrier == id))
            {
                let Some(wait) = warp.wait.take() else {
                    continue;
                };
                let known = warp.clock.known.iter_mut().zip(barrier.known);
                known.for_each(|(own, all)| *own = (*own).max(all));
                warp.clock.advance(self.shared.tick, self.warps);
                let instruction = &program.code[wait.pc];
                let Op::Barrier {
                    vote: Some(vote), ..
                } = instruction.op
                else {
                    continue;
                };
                let d = instruction.d as usize;
                let yes = match vote {
                    Vote::Count => {
                        put(&mut warp.registers.narrow[d], [barrier.yes; 32], wait.mask);
                        continue;
                    }
                    Vote::All => barrier.no == 0,
                    _ => barrier.yes > 0,
                };
                let to = &mut warp.registers.predicates[d];
                *to = *to & !wait.mask | if yes { wait.mask } else { 0 };
            }
        }
        Ok(())
    }

    /// No warp can go on: who waits where, and for whom.
    fn deadlock(&self, program: &Program, warps: &[Warp]) -> String {
        let waiting = self
            .barriers
            .iter()
            .enumerate()
            .filter(|(_, one)| one.arrived > 0);
        let parts = waiting.map(|(id, barrier)| {
            let absent = warps.iter().filter_map(|warp| {
                let here = warp
                    .wait
                    .filter(|wait| wait.barrier == id)
                    .map_or(0, |wait| wait.mask);
                let missing = warp.exist & !here;
                let note = if missing & !warp.exited == 0 {
                    " (returned)"
                } else {
                    ""
                };
                (missing != 0).then(|| format!("warp {} {}{note}", warp.index, lanes(missing)))
            });
            format!(
                "{} of {} threads wait at the barrier at {}; never arrive: {}",
                barrier.arrived,
                barrier.expected,
                program.place(barrier.pc),
                absent.collect::<Vec<_>>().join(", ")
            )
        });
        format!("deadlock: {}", parts.collect::<Vec<_>>().join("; "))
    }
}

/// A CPU thread's means to run blocks, used again and again.
pub struct Worker {
    block: Block,
    warps: Vec<Warp>,
    unwritten: Vec<((File, u32), Rc<str>)>,
}

impl Worker {
    pub fn new() -> Self {
        Self {
            block: Block {
                shared: Shared::new(),
                counters: Counters::default(),
                place: 0,
                spread: Box::default(),
                barriers: std::array::from_fn(|_| Barrier::default()),
                threads: 0,
                warps: 0,
            },
            warps: Vec::new(),
            unwritten: Vec::new(),
        }
    }

    /// Prepares for the blocks of `launch`.
    pub fn start_launch(&mut self, launch: &Launch) {
        let program = &launch.kernel.program;
        let warps = launch.threads().div_ceil(32);
        self.block.threads = launch.threads() as u32;
        self.block.warps = warps;
        self.block.counters = Counters::default();
        self.block
            .shared
            .start_launch(program, launch.dynamic_shared as usize, warps);
        self.warps.clear();
        self.warps
            .extend((0..warps as u32).map(|index| Warp::new(index, program, launch)));
        let why = |name: &str| format!("reads register {name}, which was never written").into();
        let unwritten = program.unwritten.iter();
        self.unwritten = unwritten
            .map(|(file, place, name)| ((*file, *place), why(name)))
            .collect();
    }

    pub fn take_counters(&mut self) -> Counters {
        std::mem::take(&mut self.block.counters)
    }

    /// Runs one block to its end or its failure.
    pub fn run(
        &mut self,
        launch: &Launch,
        (index, linear): ([u32; 3], u64),
        seed: u64,
    ) -> Result<(), Failure> {
        let program = &launch.kernel.program;
        let count = self.warps.len();
        self.block.place = race::place(crate::memory::launch(), linear);
        self.block.barriers = std::array::from_fn(|_| Barrier::default());
        let start = self.block.shared.start_block();
        for warp in &mut self.warps {
            let clock = Clock::new(warp.index, start, count);
            let random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(warp.index) << 32;
            warp.start((program, launch), index, (clock, random), &self.unwritten);
        }
        let mut random = seed ^ 0x9E37_79B9_7F4A_7C15;
        let mut ready: Vec<usize> = (0..count).collect();
        while !ready.is_empty() {
            let chosen = next(&mut random) as usize % ready.len();
            let warp = ready[chosen];
            let branches = 1 + (next(&mut random) >> 20) as u32 % 64;
            let mut turn = Turn {
                program,
                launch,
                block: &mut self.block,
                warp: &mut self.warps[warp],
            };
            let paused = turn
                .run(branches)
                .map_err(|(fault, pc)| failure(launch, index, warp, &fault, pc))?;
            if paused == Pause::Turn {
                continue;
            }
            ready.swap_remove(chosen);
            if paused == Pause::Barrier {
                let done = self.block.complete(program, &mut self.warps);
                done.map_err(|(fault, pc)| failure(launch, index, warp, &fault, pc))?;
                let free = |one: &usize| {
                    self.warps[*one].wait.is_none()
                        && self.warps[*one].exited != self.warps[*one].exist
                };
                ready = (0..count).filter(free).collect();
            }
        }
        if self.warps.iter().any(|warp| warp.wait.is_some()) {
            let text = self.block.deadlock(program, &self.warps);
            return Err(Failure {
                status: Status::ERROR_LAUNCH_FAILED,
                message: format!("{}: {text}", place(launch, index)),
            });
        }
        Ok(())
    }
}

fn place(launch: &Launch, [x, y, z]: [u32; 3]) -> String {
    format!(
        "kernel `{}`, block ({x}, {y}, {z})",
        launch.kernel.program.name
    )
}

/// "kernel `k`, block (0, 0, 0), thread (5, 0, 0) [warp 0, lane 5]: ld.global.f32 at k.cu:3: …".
fn failure(launch: &Launch, index: [u32; 3], warp: usize, fault: &Fault, pc: usize) -> Failure {
    let program = &launch.kernel.program;
    let linear = 32 * warp as u32 + fault.lane;
    let [x, y, _] = launch.block;
    let thread = (linear % x, linear / x % y, linear / (x * y));
    let (spelling, line) = (&program.spellings[pc], program.place(pc));
    Failure {
        status: fault.status,
        message: format!(
            "{}, thread {thread:?} [warp {warp}, lane {}]: {spelling} at {line}: {}",
            place(launch, index),
            fault.lane,
            fault.text
        ),
    }
}

fn next(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random
}
