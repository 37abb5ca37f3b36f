//! Values that must not be used: read where nothing was written, or where another thread writes at
//! the same time, and registers that were never written.
//!
//! A compiler may load early and throw the value away, so the load alone is no fault. Arithmetic
//! passes doubt on to its result; a choice only from the side it takes. What cannot be undone (a
//! store, an address, a branch, anything between lanes) ends the launch with the reason of the first
//! doubtful value, as memcheck does it (Seward and Nethercote 2005).

use std::rc::Rc;

use super::failure::Fault;
use crate::ptx::program::{File, Instruction, Logic, Op, Program};

/// Doubtful lanes of registers, and why.
#[derive(Debug, Default)]
pub struct Doubt {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    register: (File, u32),
    lanes: u32,
    why: Rc<str>,
}

impl Doubt {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }

    fn of(&self, register: (File, u32)) -> Option<&Entry> {
        self.entries.iter().find(|one| one.register == register)
    }

    fn lanes(&self, register: (File, u32)) -> u32 {
        self.of(register).map_or(0, |one| one.lanes)
    }

    /// Forgets what `lanes` of the register held, and notes those that are doubtful now.
    pub fn set(&mut self, register: (File, u32), lanes: u32, doubtful: u32, why: &Rc<str>) {
        match self.entries.iter_mut().position(|one| one.register == register) {
            Some(at) => {
                let entry = &mut self.entries[at];
                entry.lanes = entry.lanes & !lanes | doubtful;
                if doubtful != 0 {
                    entry.why = why.clone();
                }
                if entry.lanes == 0 {
                    self.entries.swap_remove(at);
                }
            }
            None if doubtful != 0 => self.entries.push(Entry {
                register,
                lanes: doubtful,
                why: why.clone(),
            }),
            None => {}
        }
    }

    /// Called before an instruction runs for `lanes`, those that its guard lets through; `active`
    /// are all that ask the guard.
    pub fn pass(
        &mut self,
        program: &Program,
        pc: usize,
        (active, lanes): (u32, u32),
        predicates: &[u32],
    ) -> Result<(), Fault> {
        let instruction = &program.code[pc];
        let effects = &program.effects[pc];
        if instruction.guard != crate::ptx::program::NONE {
            self.refuse((File::Predicate, instruction.guard), active)?;
        }
        let doubtful = if is_pure(instruction.op) {
            self.passed_on(instruction, &effects.reads, lanes, predicates)
        } else {
            effects.reads.iter().try_for_each(|&one| self.refuse(one, lanes))?;
            (0, None)
        };
        if lanes != 0 {
            let why = doubtful.1.unwrap_or_else(|| "".into());
            effects.writes.iter().for_each(|&one| self.set(one, lanes, doubtful.0, &why));
        }
        Ok(())
    }

    fn passed_on(
        &self,
        instruction: &Instruction,
        reads: &[(File, u32)],
        lanes: u32,
        predicates: &[u32],
    ) -> (u32, Option<Rc<str>>) {
        let file = match instruction.op {
            Op::Select => Some(File::Narrow),
            Op::SelectW => Some(File::Wide),
            _ => None,
        };
        if let Some(file) = file {
            let chosen = predicates[instruction.c as usize];
            let sides = [
                ((file, instruction.a), chosen),
                ((file, instruction.b), !chosen),
                ((File::Predicate, instruction.c), u32::MAX),
            ];
            let found = sides.map(|(register, taken)| self.lanes(register) & taken & lanes);
            let first = sides.iter().zip(found).find(|(_, lanes)| *lanes != 0);
            let why = first.and_then(|((register, _), _)| self.of(*register)).map(|one| one.why.clone());
            return (found[0] | found[1] | found[2], why);
        }
        // A side that decides alone makes the other one irrelevant.
        let decides = |register: u32| {
            let known = !self.lanes((File::Predicate, register));
            match instruction.op {
                Op::LogicP(Logic::And) => known & !predicates[register as usize],
                Op::LogicP(Logic::Or) => known & predicates[register as usize],
                _ => 0,
            }
        };
        let lanes = match instruction.op {
            Op::LogicP(_) => lanes & !decides(instruction.a) & !decides(instruction.b),
            _ => lanes,
        };
        let mut all = (0, None);
        for &register in reads {
            if let Some(entry) = self.of(register).filter(|one| one.lanes & lanes != 0) {
                all.0 |= entry.lanes & lanes;
                all.1.get_or_insert_with(|| entry.why.clone());
            }
        }
        all
    }

    fn refuse(&self, register: (File, u32), lanes: u32) -> Result<(), Fault> {
        match self.of(register).filter(|one| one.lanes & lanes != 0) {
            None => Ok(()),
            Some(entry) => {
                let lane = (entry.lanes & lanes).trailing_zeros();
                let (status, text) = match entry.why.strip_prefix(ILLEGAL) {
                    Some(text) => (crate::status::Status::ERROR_ILLEGAL_ADDRESS, text),
                    None => (crate::status::Status::ERROR_LAUNCH_FAILED, &*entry.why),
                };
                Err(Fault { lane, status, text: text.to_owned() })
            }
        }
    }
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
