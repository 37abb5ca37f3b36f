//! Statements that move bytes or address them: loads, stores, atomics, copies, matrices.

use super::{Decoder, EMPTY, Result, file_of};
use crate::ptx::program::*;
use crate::ptx::syntax::{Operand, Statement, type_bytes};

/// Modifiers of loads and stores that change no value: caches, and orders that all hold here.
const PASSED_OVER: [&str; 18] = [
    "nc",
    "ca",
    "cg",
    "cs",
    "lu",
    "cv",
    "wb",
    "wt",
    "weak",
    "volatile",
    "cta",
    "L1::evict_last",
    "L1::no_allocate",
    "L1::evict_first",
    "L2::64B",
    "L2::128B",
    "L2::256B",
    "relaxed",
];

impl Decoder<'_> {
    /// Address register, its width and the constant part.
    pub(super) fn address(&mut self, operand: &Operand, space: Space) -> Result<(u32, Width, i64)> {
        let Operand::Address { base, offset } = operand else {
            return Err("an address is expected in brackets".to_owned());
        };
        if let Some(kind) = self.flat.registers.get(base) {
            let file = file_of(kind);
            let width = match file {
                File::Narrow => Width::Narrow,
                File::Wide => Width::Wide,
                File::Predicate => return Err("a predicate as an address".to_owned()),
            };
            return Ok((self.named(base, file)?, width, *offset));
        }
        let (start, found) = if base.is_empty() {
            (Content::Constant(0), space)
        } else {
            self.symbol(base)?
        };
        if found != space {
            return Err(format!("`{base}` lies in another space"));
        }
        Ok((self.content(File::Wide, start), Width::Wide, *offset))
    }

    pub(super) fn access(&mut self, statement: &Statement, parts: &[&str]) -> Result<Instruction> {
        let store = parts[0] == "st";
        let kind = *parts.last().expect("a type");
        let bytes = type_bytes(kind)
            .filter(|&bytes| bytes <= 8)
            .ok_or("an unknown type")?;
        let (mut space, mut count, mut constant) = (Space::Generic, 1, false);
        for part in &parts[1..parts.len() - 1] {
            match *part {
                "global" => space = Space::Global,
                "const" => (space, constant) = (Space::Global, true),
                "shared" | "shared::cta" => space = Space::Shared,
                "local" => space = Space::Local,
                "param" => return self.parameter(statement, kind),
                "v2" => count = 2,
                "v4" => count = 4,
                other if PASSED_OVER.contains(&other) => {}
                other => return Err(format!("`.{other}` is not played")),
            }
        }
        if store && constant {
            return Err("constants cannot be written".to_owned());
        }
        let (values, address) = if store {
            (&statement.operands[1], &statement.operands[0])
        } else {
            (&statement.operands[0], &statement.operands[1])
        };
        let (a, width, offset) = self.address(address, space)?;
        let (registers, wide) = self.moved(values, kind, count, store)?;
        let access = Access {
            space,
            bytes,
            count,
            sign_to: self.sign_to(&self.elements(values)[0], kind),
            wide,
            offset,
        };
        let list = self.list(&registers);
        let op = if store {
            Op::Store(access, width)
        } else {
            Op::Load(access, width)
        };
        Ok(Instruction {
            op,
            a,
            list,
            ..EMPTY
        })
    }

    /// Registers that a load writes or a store reads, and whether they are wide: they may be wider than
    /// what is moved.
    fn moved(
        &mut self,
        values: &Operand,
        kind: &str,
        count: u32,
        store: bool,
    ) -> Result<(Vec<u32>, bool)> {
        let values = self.elements(values);
        if values.len() != count as usize {
            return Err(format!("{} registers for {count} elements", values.len()));
        }
        let mut registers = Vec::new();
        let mut wide = false;
        for value in &values {
            let own = match value {
                Operand::Name(name) => self.flat.registers.get(name),
                _ => None,
            };
            let file = file_of(own.map_or(kind, String::as_str));
            wide = file == File::Wide;
            registers.push(if store {
                self.source(value, file)?
            } else {
                self.target(value, file)?
            });
        }
        Ok((registers, wide))
    }

    /// Bytes of the register that the sign of a `kind` fills, if it has one and leaves room.
    fn sign_to(&self, register: &Operand, kind: &str) -> u32 {
        let room = self.register_bytes(register).unwrap_or(0);
        if kind.starts_with('s') && Some(room) > type_bytes(kind) {
            room
        } else {
            0
        }
    }

    /// `ld.param` of the kernel's own.
    pub(super) fn parameter(&mut self, statement: &Statement, kind: &str) -> Result<Instruction> {
        let [to, Operand::Address { base, offset }] = &statement.operands[..] else {
            return Err("a parameter's address is expected".to_owned());
        };
        if matches!(to, Operand::List(_)) {
            return Err("vectors of parameters are not played".to_owned());
        }
        let index = self
            .kernel
            .parameters
            .iter()
            .position(|one| one.name == *base);
        let index = index.ok_or_else(|| format!("no parameter `{base}`"))?;
        let bytes = type_bytes(kind).ok_or("an unknown type")?;
        let file = self.flat.registers.get(match to {
            Operand::Name(name) => name.as_str(),
            _ => "",
        });
        let file = file_of(file.ok_or("a parameter goes to a register")?);
        let d = self.target(to, file)?;
        let op = Op::Parameter {
            offset: self.parameters[index].offset + *offset as u32,
            bytes,
            sign_to: self.sign_to(to, kind),
            wide: file == File::Wide,
        };
        Ok(Instruction { op, d, ..EMPTY })
    }

    pub(super) fn convert_address(
        &mut self,
        statement: &Statement,
        parts: &[&str],
    ) -> Result<Instruction> {
        let to_generic = parts[1] != "to";
        let space = match parts[parts.len() - 2] {
            "global" | "const" => Space::Global,
            "shared" | "shared::cta" => Space::Shared,
            "local" => Space::Local,
            other => return Err(format!("the space `.{other}` is not played")),
        };
        let wide = *parts.last().expect("a type") == "u64";
        let file = if wide { File::Wide } else { File::Narrow };
        let d = self.target(&statement.operands[0], file)?;
        let a = self.source(&statement.operands[1], file)?;
        Ok(Instruction {
            op: Op::Convert {
                to_generic,
                space,
                wide,
            },
            d,
            a,
            ..EMPTY
        })
    }

    pub(super) fn atomic(&mut self, statement: &Statement, parts: &[&str]) -> Result<Instruction> {
        const ORDERS: [&str; 8] = [
            "relaxed", "acquire", "release", "acq_rel", "gpu", "cta", "sys", "noftz",
        ];
        let silent = parts[0] == "red";
        let kind_name = *parts.last().expect("a type");
        let (mut space, mut atomic) = (Space::Generic, None);
        for part in &parts[1..parts.len() - 1] {
            match *part {
                "global" => space = Space::Global,
                "shared" | "shared::cta" => space = Space::Shared,
                "add" => atomic = Some(Atomic::Add),
                "and" => atomic = Some(Atomic::And),
                "or" => atomic = Some(Atomic::Or),
                "xor" => atomic = Some(Atomic::Xor),
                "min" => atomic = Some(Atomic::Min),
                "max" => atomic = Some(Atomic::Max),
                "exch" => atomic = Some(Atomic::Exchange),
                "cas" => atomic = Some(Atomic::CompareExchange),
                "inc" => atomic = Some(Atomic::Increment),
                "dec" => atomic = Some(Atomic::Decrement),
                other if ORDERS.contains(&other) => {}
                other => return Err(format!("`.{other}` is not played")),
            }
        }
        let kind = match kind_name {
            "u32" | "b32" => Kind::U32,
            "s32" => Kind::S32,
            "u64" | "b64" => Kind::U64,
            "s64" => Kind::S64,
            "f32" => Kind::F32,
            other => return Err(format!("atomics of `{other}` are not played")),
        };
        let file = file_of(kind_name);
        let mut operands = statement.operands.iter();
        let d = if silent {
            NONE
        } else {
            self.target(operands.next().ok_or("a target is missing")?, file)?
        };
        let (a, width, offset) =
            self.address(operands.next().ok_or("an address is missing")?, space)?;
        let b = self.source(operands.next().ok_or("a value is missing")?, file)?;
        let c = match operands.next() {
            Some(operand) => self.source(operand, file)?,
            None => NONE,
        };
        let wide = file == File::Wide;
        let bytes = if wide { 8 } else { 4 };
        let access = Access {
            space,
            bytes,
            count: 1,
            sign_to: 0,
            wide,
            offset,
        };
        let atomic = atomic.ok_or("an operation is missing")?;
        Ok(Instruction {
            op: Op::Atomic {
                access,
                width,
                atomic,
                kind,
                silent,
            },
            d,
            a,
            b,
            c,
            ..EMPTY
        })
    }

    pub(super) fn copy_async(&mut self, statement: &Statement) -> Result<Instruction> {
        let operands = &statement.operands;
        let bytes = |index: usize| match operands.get(index) {
            Some(Operand::Integer(value)) => Ok(*value as u32),
            _ => Err("a size must be a number".to_owned()),
        };
        match statement.opcode.as_str() {
            "cp.async.commit_group" => {
                return Ok(Instruction {
                    op: Op::CommitCopies,
                    ..EMPTY
                });
            }
            "cp.async.wait_group" => {
                return Ok(Instruction {
                    op: Op::WaitCopies(bytes(0)?),
                    ..EMPTY
                });
            }
            "cp.async.wait_all" => {
                return Ok(Instruction {
                    op: Op::WaitCopies(NONE),
                    ..EMPTY
                });
            }
            "cp.async.cg.shared.global" | "cp.async.ca.shared.global" => {}
            "cp.async.cg.shared.global.L2::128B" | "cp.async.ca.shared.global.L2::128B" => {}
            _ => return Err("is not played".to_owned()),
        }
        let size = bytes(2)?;
        let allowed: &[u32] = if statement.opcode.contains(".cg.") {
            &[16]
        } else {
            &[4, 8, 16]
        };
        if !allowed.contains(&size) {
            return Err(format!("{size} bytes cannot be copied by it"));
        }
        let (d, target, to) = self.address(&operands[0], Space::Shared)?;
        let (a, width, from) = self.address(&operands[1], Space::Global)?;
        if width != Width::Wide {
            return Err("a global address has 64 bits".to_owned());
        }
        let b = match operands.get(3) {
            Some(operand) => self.source(operand, File::Narrow)?,
            None => self.constant(File::Narrow, u64::from(size)),
        };
        // The target address is read: it is `c`.
        Ok(Instruction {
            op: Op::CopyAsync {
                bytes: size,
                offsets: (from, to),
                target,
            },
            a,
            b,
            c: d,
            ..EMPTY
        })
    }

    pub(super) fn load_matrix(&mut self, statement: &Statement) -> Result<Instruction> {
        let (count, transposed) = match statement.opcode.as_str() {
            "ldmatrix.sync.aligned.m8n8.x1.shared.b16" => (1, false),
            "ldmatrix.sync.aligned.m8n8.x2.shared.b16" => (2, false),
            "ldmatrix.sync.aligned.m8n8.x4.shared.b16" => (4, false),
            "ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16" => (1, true),
            "ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16" => (2, true),
            "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16" => (4, true),
            _ => return Err("is not played".to_owned()),
        };
        let registers = self.elements(&statement.operands[0]);
        if registers.len() != count {
            return Err(format!(
                "{} registers for {count} matrices",
                registers.len()
            ));
        }
        let registers = registers.iter().map(|one| self.target(one, File::Narrow));
        let registers = registers.collect::<Result<Vec<_>>>()?;
        let (a, width, offset) = self.address(&statement.operands[1], Space::Shared)?;
        let op = Op::LoadMatrix {
            count: count as u32,
            transposed,
            offset,
            width,
        };
        Ok(Instruction {
            op,
            a,
            list: self.list(&registers),
            ..EMPTY
        })
    }

    pub(super) fn multiply(&mut self, statement: &Statement) -> Result<Instruction> {
        let (element, depth) = match statement.opcode.as_str() {
            "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32" => (Element::F16, 8),
            "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32" => (Element::F16, 16),
            "mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32" => (Element::Bf16, 8),
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32" => (Element::Bf16, 16),
            _ => return Err("is not played".to_owned()),
        };
        let target = &self.module.target;
        let number: u32 = target
            .trim_start_matches("sm_")
            .trim_end_matches(['a', 'f'])
            .parse()
            .unwrap_or(0);
        if number < 80 && (element, depth) != (Element::F16, 8) {
            return Err(format!("needs sm_80, this is {target}"));
        }
        // d, a, b, c one after another.
        let mut registers = Vec::new();
        let counts = [4, depth as usize / 4, depth as usize / 8, 4];
        for (index, (operand, count)) in statement.operands.iter().zip(counts).enumerate() {
            let elements = self.elements(operand);
            if elements.len() != count {
                return Err(format!(
                    "{} registers in operand {index}, {count} are expected",
                    elements.len()
                ));
            }
            for one in &elements {
                registers.push(match index {
                    0 => self.target(one, File::Narrow)?,
                    _ => self.source(one, File::Narrow)?,
                });
            }
        }
        if statement.operands.len() != 4 {
            return Err("mma has four operands".to_owned());
        }
        Ok(Instruction {
            op: Op::Multiply { element, depth },
            list: self.list(&registers),
            ..EMPTY
        })
    }
}
