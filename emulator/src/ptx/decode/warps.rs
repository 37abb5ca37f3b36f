//! Statements of lanes and warps together: barriers, shuffles, votes, reductions.

use super::{Decoder, EMPTY, Result, spell_operand};
use crate::ptx::program::*;
use crate::ptx::syntax::{Operand, Statement};

impl Decoder<'_> {
    pub(super) fn barrier(&mut self, statement: &Statement, parts: &[&str]) -> Result<Instruction> {
        let parts: Vec<&str> = parts
            .iter()
            .copied()
            .filter(|part| *part != "cta")
            .collect();
        let operands = &statement.operands;
        if parts[1..] == ["warp", "sync"] {
            let a = self.source(&operands[0], File::Narrow)?;
            return Ok(Instruction {
                op: Op::SyncWarp,
                a,
                ..EMPTY
            });
        }
        let (vote, arrive) = match parts[1] {
            "sync" => (None, false),
            "arrive" => (None, true),
            "red" => match parts[2] {
                "popc" => (Some(Vote::Count), false),
                "and" => (Some(Vote::All), false),
                "or" => (Some(Vote::Any), false),
                _ => return Err("is not played".to_owned()),
            },
            _ => return Err("is not played".to_owned()),
        };
        let mut made = Instruction {
            op: Op::Barrier { vote, arrive },
            ..EMPTY
        };
        let mut rest = &operands[..];
        if let Some(vote) = vote {
            let file = if vote == Vote::Count {
                File::Narrow
            } else {
                File::Predicate
            };
            made.d = self.target(&rest[0], file)?;
            made.c = self.predicate(&rest[rest.len() - 1])?;
            rest = &rest[1..rest.len() - 1];
        }
        made.a = self.source(
            rest.first().ok_or("a barrier's number is missing")?,
            File::Narrow,
        )?;
        if let Some(count) = rest.get(1) {
            made.b = self.source(count, File::Narrow)?;
        }
        Ok(made)
    }

    /// A predicate operand that may be negated: that one is computed first.
    pub(super) fn predicate(&mut self, operand: &Operand) -> Result<u32> {
        match operand {
            Operand::Name(name) if name.starts_with('!') => {
                let a = self.named(&name[1..], File::Predicate)?;
                let d = self.new_number(File::Predicate, name);
                self.code.push(Instruction {
                    op: Op::NotP,
                    d,
                    a,
                    ..EMPTY
                });
                self.places.push(self.flat.statements[self.current].place);
                Ok(d)
            }
            other => self.source_predicate(other),
        }
    }

    pub(super) fn source_predicate(&mut self, operand: &Operand) -> Result<u32> {
        match operand {
            Operand::Name(name) => self.named(name, File::Predicate),
            Operand::Integer(value) => {
                let all = if *value == 0 { 0 } else { 0xFFFF_FFFF };
                Ok(self.constant(File::Predicate, all))
            }
            other => Err(format!("{} is no predicate", spell_operand(other))),
        }
    }

    pub(super) fn shuffle(&mut self, statement: &Statement, parts: &[&str]) -> Result<Instruction> {
        let how = match parts[1..] {
            ["sync", "idx", "b32"] => Shuffle::Index,
            ["sync", "up", "b32"] => Shuffle::Up,
            ["sync", "down", "b32"] => Shuffle::Down,
            ["sync", "bfly", "b32"] => Shuffle::Butterfly,
            _ => return Err("is not played".to_owned()),
        };
        // d[|p], a, b, c, mask
        let operands = &statement.operands;
        let found = operands.len() == 6;
        if operands.len() != 5 && !found {
            return Err("a shuffle has five operands".to_owned());
        }
        let shift = usize::from(found);
        let d = self.target(&operands[0], File::Narrow)?;
        let mut registers = Vec::new();
        if found {
            registers.push(self.target(&operands[1], File::Predicate)?);
        }
        registers.push(self.source(&operands[4 + shift], File::Narrow)?);
        let a = self.source(&operands[1 + shift], File::Narrow)?;
        let b = self.source(&operands[2 + shift], File::Narrow)?;
        let c = self.source(&operands[3 + shift], File::Narrow)?;
        let list = self.list(&registers);
        Ok(Instruction {
            op: Op::Shuffle { how, found },
            d,
            a,
            b,
            c,
            list,
            ..EMPTY
        })
    }

    pub(super) fn vote(&mut self, statement: &Statement, parts: &[&str]) -> Result<Instruction> {
        let vote = match parts[1..] {
            ["sync", "all", "pred"] => Vote::All,
            ["sync", "any", "pred"] => Vote::Any,
            ["sync", "uni", "pred"] => Vote::Uniform,
            ["sync", "ballot", "b32"] => Vote::Ballot,
            _ => return Err("is not played".to_owned()),
        };
        let file = if vote == Vote::Ballot {
            File::Narrow
        } else {
            File::Predicate
        };
        let d = self.target(&statement.operands[0], file)?;
        let c = self.predicate(&statement.operands[1])?;
        let a = self.source(&statement.operands[2], File::Narrow)?;
        Ok(Instruction {
            op: Op::Vote(vote),
            d,
            a,
            c,
            ..EMPTY
        })
    }

    pub(super) fn reduce(&mut self, statement: &Statement, parts: &[&str]) -> Result<Instruction> {
        let (atomic, kind) = match parts[1..] {
            ["sync", "add", "s32" | "u32"] => (Atomic::Add, Kind::U32),
            ["sync", "min", "s32"] => (Atomic::Min, Kind::S32),
            ["sync", "max", "s32"] => (Atomic::Max, Kind::S32),
            ["sync", "min", "u32"] => (Atomic::Min, Kind::U32),
            ["sync", "max", "u32"] => (Atomic::Max, Kind::U32),
            ["sync", "and", "b32"] => (Atomic::And, Kind::U32),
            ["sync", "or", "b32"] => (Atomic::Or, Kind::U32),
            ["sync", "xor", "b32"] => (Atomic::Xor, Kind::U32),
            _ => return Err("is not played".to_owned()),
        };
        let d = self.target(&statement.operands[0], File::Narrow)?;
        let b = self.source(&statement.operands[1], File::Narrow)?;
        let a = self.source(&statement.operands[2], File::Narrow)?;
        Ok(Instruction {
            op: Op::Reduce(atomic, kind),
            d,
            a,
            b,
            ..EMPTY
        })
    }
}
