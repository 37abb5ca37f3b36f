//! Values that must not be used: read where nothing was written, or where another thread writes at
//! the same time, and registers that were never written.
//!
//! A compiler may load early and throw the value away, so the load alone is no fault. Arithmetic
//! passes doubt on to its result; a choice only from the side it takes. What cannot be undone (a
//! store, an address, a branch, anything between lanes) ends the launch with the reason of the first
//! doubtful value, as memcheck does it (Seward and Nethercote 2005).

use std::collections::HashMap;
use std::rc::Rc;

use super::failure::Fault;
use super::vector::Registers;
use crate::ptx::program::{File, Instruction, Kind, Logic, Op, Program, Test};
use crate::status::Status;

/// Doubtful lanes of registers, and why.
#[derive(Debug, Default)]
pub struct Doubt {
    /// By file and place.
    lanes: [Vec<u32>; 3],
    /// Registers with such lanes.
    count: usize,
    why: HashMap<(File, u32), Rc<str>>,
}

impl Doubt {
    /// For a kernel's registers.
    pub fn new(program: &Program) -> Self {
        let lanes = [program.narrow, program.wide, program.predicates].map(|count| vec![0; count]);
        Self {
            lanes,
            ..Self::default()
        }
    }

    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn clear(&mut self) {
        if self.count > 0 {
            self.lanes.iter_mut().for_each(|file| file.fill(0));
            self.count = 0;
        }
    }

    #[inline(always)]
    fn of(&self, (file, place): (File, u32)) -> u32 {
        self.lanes[file as usize][place as usize]
    }

    /// Forgets what `lanes` of the register held, and notes those that are doubtful now.
    #[inline(always)]
    fn put(&mut self, (file, place): (File, u32), lanes: u32, doubtful: u32) {
        let entry = &mut self.lanes[file as usize][place as usize];
        let next = *entry & !lanes | doubtful;
        self.count = self.count + usize::from(next != 0) - usize::from(*entry != 0);
        *entry = next;
    }

    /// The same, with a reason.
    pub fn set(&mut self, register: (File, u32), lanes: u32, doubtful: u32, why: &Rc<str>) {
        self.put(register, lanes, doubtful);
        if doubtful != 0 {
            self.why.insert(register, why.clone());
        }
    }

    /// Called before an instruction runs for `lanes`, those that its guard lets through; `active`
    /// are all that ask the guard.
    #[inline(always)]
    pub fn pass(
        &mut self,
        program: &Program,
        pc: usize,
        (active, lanes): (u32, u32),
        registers: &Registers,
    ) -> Result<(), Fault> {
        let instruction = &program.code[pc];
        let effects = &program.effects[pc];
        if instruction.guard != crate::ptx::program::NONE {
            self.refuse((File::Predicate, instruction.guard), active)?;
        }
        if !is_pure(instruction.op) {
            effects
                .reads
                .iter()
                .try_for_each(|&one| self.refuse(one, lanes))?;
            effects
                .writes
                .iter()
                .for_each(|&one| self.put(one, lanes, 0));
            return Ok(());
        }
        let doubtful = self.passed_on(instruction, &effects.reads, lanes, registers);
        if doubtful == 0 {
            effects
                .writes
                .iter()
                .for_each(|&one| self.put(one, lanes, 0));
            return Ok(());
        }
        let first = effects.reads.iter().find(|&&one| self.of(one) & lanes != 0);
        let why = first
            .and_then(|one| self.why.get(one))
            .cloned()
            .unwrap_or_else(|| "".into());
        effects
            .writes
            .iter()
            .for_each(|&one| self.set(one, lanes, doubtful, &why));
        Ok(())
    }

    /// Doubtful lanes of what the instruction makes.
    #[inline(always)]
    fn passed_on(
        &self,
        instruction: &Instruction,
        reads: &[(File, u32)],
        lanes: u32,
        registers: &Registers,
    ) -> u32 {
        let all = reads.iter().fold(0, |all, &one| all | self.of(one)) & lanes;
        if all == 0 {
            return 0;
        }
        let predicate = |place: u32| {
            (
                registers.predicates[place as usize],
                self.of((File::Predicate, place)),
            )
        };
        match instruction.op {
            Op::Select | Op::SelectW => {
                let file = if matches!(instruction.op, Op::Select) {
                    File::Narrow
                } else {
                    File::Wide
                };
                let (chosen, doubtful) = predicate(instruction.c);
                let (a, b) = (
                    self.of((file, instruction.a)),
                    self.of((file, instruction.b)),
                );
                (a & chosen | b & !chosen | doubtful) & lanes
            }
            Op::LogicP(logic) => {
                let (a, b) = (predicate(instruction.a), predicate(instruction.b));
                all & !decided(logic, a, b)
            }
            Op::Set {
                test,
                kind,
                with: Some(logic),
            } => {
                let value = compared(registers, instruction, test, kind);
                let of = |place| self.of((kind.file(), place));
                let doubtful = of(instruction.a) | of(instruction.b);
                all & !decided(logic, (value, doubtful), predicate(instruction.c))
            }
            _ => all,
        }
    }

    #[inline(always)]
    fn refuse(&self, register: (File, u32), lanes: u32) -> Result<(), Fault> {
        let doubtful = self.of(register) & lanes;
        if doubtful == 0 {
            return Ok(());
        }
        let why = self.why.get(&register).map_or("", |why| why);
        let (status, text) = match why.strip_prefix(ILLEGAL) {
            Some(text) => (Status::ERROR_ILLEGAL_ADDRESS, text),
            None => (Status::ERROR_LAUNCH_FAILED, why),
        };
        Err(Fault {
            lane: doubtful.trailing_zeros(),
            status,
            text: text.to_owned(),
        })
    }
}

/// Lanes of which one side, each with its doubtful lanes, decides alone: the other one is irrelevant.
fn decided(logic: Logic, (a, in_a): (u32, u32), (b, in_b): (u32, u32)) -> u32 {
    match logic {
        Logic::And => !a & !in_a | !b & !in_b,
        Logic::Or => a & !in_a | b & !in_b,
        Logic::Xor => 0,
    }
}

/// Not inlined: it is large, and doubt is rare.
#[inline(never)]
fn compared(registers: &Registers, instruction: &Instruction, test: Test, kind: Kind) -> u32 {
    registers.compared(instruction, test, kind)
}

/// In front of a reason: the launch ends as after an illegal address.
pub const ILLEGAL: &str = "\u{1}";

/// Whether the instruction does nothing but make its results of its operands, lane by lane.
fn is_pure(op: Op) -> bool {
    !matches!(
        op,
        Op::Load(..)
            | Op::Store(..)
            | Op::Atomic { .. }
            | Op::CopyAsync { .. }
            | Op::LoadMatrix { .. }
            | Op::Multiply { .. }
            | Op::Shuffle { .. }
            | Op::Vote(_)
            | Op::Reduce(..)
            | Op::SyncWarp
            | Op::Barrier { .. }
            | Op::Branch { .. }
            | Op::Divide { .. }
            | Op::Print
            | Op::Assert
    )
}
