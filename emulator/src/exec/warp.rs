//! A warp: its registers, its diverged lanes, and the loop over instructions.

use std::rc::Rc;
use std::sync::OnceLock;

use super::block::Block;
use super::copies::Copy;
use super::doubt::Doubt;
use super::failure::{Fault, lanes};
use super::launch::Launch;
use super::race::Clock;
use super::vector::{LANES, Lanes, Registers, put};
use crate::ptx::Program;
use crate::ptx::program::*;
use crate::status::Status;

/// Lanes that go one way, from `pc` until `meet`, where those beneath in the stack go on with them.
#[derive(Debug, Clone, Copy)]
struct Frame {
    pc: u32,
    mask: u32,
    meet: u32,
}

/// A barrier that a warp waits at.
#[derive(Debug, Clone, Copy)]
pub struct Wait {
    pub barrier: usize,
    pub pc: usize,
    pub mask: u32,
}

/// What a warp is.
pub struct Warp {
    pub index: u32,
    /// Lanes that exist, and those that have returned.
    pub exist: u32,
    pub exited: u32,
    pub registers: Registers,
    /// Local memory of each lane, and which of its bytes were written.
    pub local: Vec<Vec<u8>>,
    pub local_written: Vec<Vec<bool>>,
    pub clock: Clock,
    pub doubt: Doubt,
    pub copies: Vec<Copy>,
    /// Groups of `cp.async` that each lane has closed.
    pub groups: [u32; LANES],
    pub wait: Option<Wait>,
    frames: Vec<Frame>,
    random: u64,
}

/// Why a warp stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    Turn,
    /// It came to one, and may or may not wait there.
    Barrier,
    Done,
}

/// A warp that runs, and all it needs for it.
pub struct Turn<'a> {
    pub program: &'a Program,
    pub launch: &'a Launch,
    pub block: &'a mut Block,
    pub warp: &'a mut Warp,
}

impl Warp {
    /// For blocks of `launch`; constants are in their places.
    pub fn new(index: u32, program: &Program, launch: &Launch) -> Self {
        let threads = launch.threads() as u32;
        let here = threads.saturating_sub(32 * index).min(32);
        let local = program.local_bytes as usize;
        let mut warp = Self {
            index,
            exist: if here == 32 {
                u32::MAX
            } else {
                (1 << here) - 1
            },
            exited: 0,
            registers: Registers {
                narrow: vec![Lanes([0; LANES]); program.narrow],
                wide: vec![Lanes([0; LANES]); program.wide],
                predicates: vec![0; program.predicates],
            },
            local: vec![vec![crate::memory::POISON; local]; LANES],
            local_written: vec![vec![false; local]; LANES],
            clock: Clock::new(index, 1, 1),
            doubt: Doubt::new(program),
            copies: Vec::new(),
            groups: [0; LANES],
            wait: None,
            frames: Vec::new(),
            random: 1,
        };
        warp.fill(program, launch, None);
        warp
    }

    /// Puts constants and special registers in their places; those of the block if one is given.
    fn fill(&mut self, program: &Program, launch: &Launch, block: Option<[u32; 3]>) {
        let [x, y, _] = launch.block;
        let linear = |lane: usize| self.index * 32 + lane as u32;
        let thread = |lane: usize| {
            [
                linear(lane) % x,
                linear(lane) / x % y,
                linear(lane) / (x * y),
            ]
        };
        for &(file, place, content) in &program.contents {
            if matches!(content, Content::Block(_)) != block.is_some() {
                continue;
            }
            let value = |lane: usize| match content {
                Content::Constant(value) => value,
                Content::Thread(i) => u64::from(thread(lane)[i]),
                Content::BlockSize(i) => u64::from(launch.block[i]),
                Content::Block(i) => u64::from(block.expect("asked above")[i]),
                Content::Blocks(i) => u64::from(launch.grid[i]),
                Content::Lane => lane as u64,
                Content::Warp => u64::from(self.index),
                Content::LaneMask(mask) => u64::from(mask(lane as u32)),
                Content::DynamicShared => u64::from(launch.dynamic_shared),
                Content::DynamicStart => u64::from(program.dynamic_offset),
            };
            let values: [u64; LANES] = std::array::from_fn(value);
            match file {
                File::Narrow => self.registers.narrow[place as usize].0 = values.map(|x| x as u32),
                File::Wide => self.registers.wide[place as usize].0 = values,
                File::Predicate => self.registers.predicates[place as usize] = values[0] as u32,
            }
        }
    }

    /// Begins a block.
    pub fn start(
        &mut self,
        (program, launch): (&Program, &Launch),
        index: [u32; 3],
        (clock, random): (Clock, u64),
        unwritten: &[((File, u32), Rc<str>)],
    ) {
        self.fill(program, launch, Some(index));
        self.exited = 0;
        self.clock = clock;
        self.doubt.clear();
        for (register, why) in unwritten {
            self.doubt.set(*register, self.exist, self.exist, why);
        }
        self.copies.clear();
        self.groups = [0; LANES];
        self.wait = None;
        self.random = random | 1;
        self.frames.clear();
        self.frames.push(Frame {
            pc: 0,
            mask: self.exist,
            meet: NONE,
        });
        self.local_written
            .iter_mut()
            .for_each(|lane| lane.fill(false));
    }

    fn coin(&mut self) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 40 & 1 != 0
    }

    /// Lanes part: those of `taken` go to `target`, `others` on to `next`; all meet at `meet`.
    fn part(&mut self, (target, taken): (u32, u32), (next, others): (u32, u32), meet: u32) {
        let top = self.frames.last_mut().expect("a warp that runs has lanes");
        if top.meet == meet {
            self.frames.pop(); // those beneath meet there, too
        } else {
            top.pc = meet;
        }
        let mut ways = [(target, taken), (next, others)];
        if self.coin() {
            ways.swap(0, 1);
        }
        for (pc, mask) in ways {
            if pc != meet {
                self.frames.push(Frame { pc, mask, meet });
            }
        }
    }

    /// Lanes return.
    fn leave(&mut self, lanes: u32) {
        self.exited |= lanes;
        self.frames
            .iter_mut()
            .for_each(|frame| frame.mask &= !lanes);
    }

    /// The lanes that run now: drops frames that have met or are empty.
    fn top(&mut self) -> Option<Frame> {
        while let Some(&frame) = self.frames.last() {
            if frame.mask != 0 && frame.pc != frame.meet {
                return Some(frame);
            }
            self.frames.pop();
        }
        None
    }
}

/// What the processor offers for loops over lanes.
#[derive(Clone, Copy)]
enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Plain,
}

fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            let bits = has!("bmi1") && has!("bmi2") && has!("lzcnt") && has!("popcnt");
            let avx2 = bits && has!("avx2") && has!("fma");
            if avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") {
                return Level::Avx512;
            }
            if avx2 {
                return Level::Avx2;
            }
        }
        Level::Plain
    })
}

impl Turn<'_> {
    /// Runs until the warp waits, ends, or has had its turn of `branches` backward; an error comes
    /// with the instruction.
    pub fn run(&mut self, branches: u32) -> Result<Pause, (Fault, usize)> {
        match level() {
            // SAFETY: the processor has what these are compiled for.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { self.run_avx512(branches) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { self.run_avx2(branches) },
            Level::Plain => self.run_anywhere(branches),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    fn run_avx512(&mut self, branches: u32) -> Result<Pause, (Fault, usize)> {
        self.run_anywhere(branches)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    fn run_avx2(&mut self, branches: u32) -> Result<Pause, (Fault, usize)> {
        self.run_anywhere(branches)
    }

    #[inline(always)]
    fn run_anywhere(&mut self, mut branches: u32) -> Result<Pause, (Fault, usize)> {
        let program = self.program;
        let mut count = 0;
        let result = 'turn: loop {
            let Some(frame) = self.warp.top() else {
                break Ok(Pause::Done);
            };
            let (mut pc, active, meet) = (frame.pc, frame.mask, frame.meet);
            loop {
                if pc == meet {
                    self.warp.frames.last_mut().expect("it runs").pc = pc;
                    break;
                }
                let i = &program.code[pc as usize];
                let lanes = match i.guard {
                    NONE => active,
                    guard => {
                        let value = self.warp.registers.predicates[guard as usize];
                        active & if i.negated { !value } else { value }
                    }
                };
                if !self.warp.doubt.is_empty() {
                    let warp = &mut *self.warp;
                    let passed =
                        warp.doubt
                            .pass(program, pc as usize, (active, lanes), &warp.registers);
                    if let Err(fault) = passed {
                        break 'turn Err((fault, pc as usize));
                    }
                }
                count += 1;
                if self.warp.registers.arithmetic(program, i, lanes) {
                    pc += 1;
                    continue;
                }
                match i.op {
                    Op::Branch { target, meet } => {
                        if lanes == active {
                            let backward = target <= pc;
                            pc = target;
                            if backward {
                                branches = branches.saturating_sub(1);
                                if branches == 0 {
                                    self.warp.frames.last_mut().expect("it runs").pc = pc;
                                    break 'turn Ok(Pause::Turn);
                                }
                            }
                            continue;
                        }
                        if lanes != 0 {
                            self.warp
                                .part((target, lanes), (pc + 1, active & !lanes), meet);
                            break;
                        }
                    }
                    Op::Exit => {
                        self.warp.leave(lanes);
                        if lanes == active {
                            break;
                        }
                        self.warp.frames.last_mut().expect("it runs").pc = pc + 1;
                        break;
                    }
                    Op::Barrier { .. } if lanes != 0 => {
                        if let Err(fault) = self.arrive(pc as usize, lanes) {
                            break 'turn Err((fault, pc as usize));
                        }
                        self.warp.frames.last_mut().expect("it runs").pc = pc + 1;
                        break 'turn Ok(Pause::Barrier);
                    }
                    _ if lanes == 0 => {}
                    _ => {
                        if let Err(fault) = self.step(i, lanes) {
                            break 'turn Err((fault, pc as usize));
                        }
                    }
                }
                pc += 1;
            }
        };
        self.block.counters.warp_instructions += count;
        result
    }

    /// What is neither arithmetic nor control.
    #[inline(always)]
    fn step(&mut self, i: &Instruction, mask: u32) -> Result<(), Fault> {
        match i.op {
            Op::Load(access, width) => self.load(i, access, width, mask),
            Op::Store(access, width) => self.store(i, access, width, mask),
            Op::Atomic {
                access,
                width,
                atomic,
                kind,
                silent,
            } => self.atomic(i, (access, width, atomic, kind, silent), mask),
            Op::Parameter {
                offset,
                bytes,
                sign_to,
                wide,
            } => {
                self.parameter(i, (offset, bytes, sign_to, wide), mask);
                Ok(())
            }
            Op::Convert {
                to_generic,
                space,
                wide,
            } => self.convert(i, (to_generic, space, wide), mask),
            Op::CopyAsync {
                bytes,
                offsets,
                target,
            } => self.copy_async(i, bytes, offsets, target, mask),
            Op::CommitCopies => {
                self.commit_copies(mask);
                Ok(())
            }
            Op::WaitCopies(pending) => {
                self.wait_copies(pending, mask);
                Ok(())
            }
            Op::LoadMatrix {
                count,
                transposed,
                offset,
                width,
            } => self.load_matrix(i, (count, transposed), (offset, width), mask),
            Op::Multiply { element, depth } => self.multiply(i, element, depth, mask),
            Op::Shuffle { how, found } => self.shuffle(i, how, found, mask),
            Op::Vote(vote) => self.vote(i, vote, mask),
            Op::Reduce(atomic, kind) => self.reduce(i, (atomic, kind), mask),
            Op::SyncWarp => self.sync_warp(i, mask),
            Op::ActiveMask => {
                put(
                    &mut self.warp.registers.narrow[i.d as usize],
                    [mask; LANES],
                    mask,
                );
                Ok(())
            }
            Op::Divide { function, wide } => self.divide(i, function, wide, mask),
            // Every store is seen at once here.
            Op::Fence | Op::Nop => Ok(()),
            Op::Trap => Err(Fault::misuse(mask.trailing_zeros(), "trap")),
            Op::Print => self.print(i, mask),
            Op::Assert => self.assert(i, mask),
            _ => unreachable!("arithmetic, branches and barriers are none of these"),
        }
    }

    fn divide(
        &mut self,
        i: &Instruction,
        function: Scalar,
        wide: bool,
        mask: u32,
    ) -> Result<(), Fault> {
        let registers = &mut self.warp.registers;
        let (a, b) = (registers.widest(i.a, wide), registers.widest(i.b, wide));
        let mut out = [0; LANES];
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
            if b[lane] == 0 {
                return Err(Fault {
                    lane: lane as u32,
                    status: Status::ERROR_LAUNCH_FAILED,
                    text: "integer division by zero".to_owned(),
                });
            }
            out[lane] = function(a[lane], b[lane], 0);
        }
        registers.put_widest(i.d, wide, out, mask);
        Ok(())
    }

    /// Lanes come to a barrier.
    fn arrive(&mut self, pc: usize, mask: u32) -> Result<(), Fault> {
        let elsewhere = self.warp.exist & !mask & !self.warp.exited;
        if elsewhere != 0 {
            let text = format!(
                "divergent lanes: {} of warp {} wait at the barrier, {} are elsewhere and can never meet them",
                lanes(mask),
                self.warp.index,
                lanes(elsewhere)
            );
            return Err(Fault::misuse(mask.trailing_zeros(), text));
        }
        self.block.arrive(self.program, self.warp, pc, mask)
    }
}
