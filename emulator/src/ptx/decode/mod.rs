//! Statements to instructions. Every spelling that is not listed here is refused by name.

mod memory;
mod warps;

use std::collections::HashMap;
use std::sync::Arc;

use crate::ptx::arithmetic::arithmetic;
use crate::ptx::flow;
use crate::ptx::inline::{Flat, flatten};
use crate::ptx::program::*;
use crate::ptx::syntax::{Function, Module, Operand, Statement, Variable, type_bytes};

type Result<T, E = String> = std::result::Result<T, E>;

/// The kernels of a module. `address_of` gives a variable of the module its place in memory.
pub fn kernels(
    module: &Arc<Module>,
    address_of: &mut dyn FnMut(&Variable) -> u64,
) -> Result<Vec<Program>> {
    let entries = module.functions.iter().filter(|function| function.entry);
    entries
        .map(|kernel| {
            kernel_program(module, kernel, address_of)
                .map_err(|what| format!("kernel `{}`: {what}", kernel.name))
        })
        .collect()
}

/// Between static variables of shared memory, so that leaving one is seen. Banks stay as they are.
const SHARED_GAP: u32 = 128;

fn kernel_program(
    module: &Arc<Module>,
    kernel: &Function,
    address_of: &mut dyn FnMut(&Variable) -> u64,
) -> Result<Program> {
    let flat = flatten(module, kernel)?;
    let mut decoder = Decoder::new(module, kernel, &flat, address_of);
    decoder.layout_local();
    for (index, statement) in flat.statements.iter().enumerate() {
        decoder.current = index;
        decoder.statement(statement).map_err(|what| {
            format!(
                "{}: `{}`: {what}",
                module.place(statement.place),
                spell(statement)
            )
        })?;
    }
    // Falling off the end is returning.
    decoder.code.push(Instruction {
        op: Op::Exit,
        ..EMPTY
    });
    decoder
        .places
        .push(flat.statements.last().map_or(0, |last| last.place));
    decoder.finish(&flat)
}

/// An instruction without registers.
const EMPTY: Instruction = Instruction {
    op: Op::Nop,
    guard: NONE,
    negated: false,
    d: NONE,
    a: NONE,
    b: NONE,
    c: NONE,
    list: (0, 0),
};

fn spell(statement: &Statement) -> String {
    let operand = |one: &Operand| -> String { spell_operand(one) };
    let operands: Vec<String> = statement.operands.iter().map(operand).collect();
    format!("{} {}", statement.opcode, operands.join(", "))
}

fn spell_operand(operand: &Operand) -> String {
    match operand {
        Operand::Name(name) => name.clone(),
        Operand::Integer(value) => (*value as i64).to_string(),
        Operand::Float(bits) => format!("{:?}", f32::from_bits(*bits)),
        Operand::Double(bits) => format!("{:?}", f64::from_bits(*bits)),
        Operand::Address { base, offset } => format!("[{base}+{offset}]"),
        Operand::List(list) => {
            let parts: Vec<String> = list.iter().map(spell_operand).collect();
            format!("{{{}}}", parts.join(", "))
        }
    }
}

struct Decoder<'a> {
    module: &'a Arc<Module>,
    kernel: &'a Function,
    flat: &'a Flat,
    address_of: &'a mut dyn FnMut(&Variable) -> u64,
    /// Registers, constants and special registers share one numbering.
    numbers: HashMap<String, u32>,
    constants: HashMap<(File, u64), u32>,
    files: Vec<File>,
    names: Vec<String>,
    contents: Vec<(u32, Content)>,
    code: Vec<Instruction>,
    places: Vec<u32>,
    lists: Vec<u32>,
    shared: Vec<SharedVariable>,
    /// Their offsets, by the names in the list of statements.
    shared_offsets: HashMap<String, u32>,
    shared_end: u32,
    static_shared: u32,
    local: HashMap<String, u32>,
    local_bytes: u32,
    parameters: Vec<Parameter>,
    current: usize,
    /// First instruction of each statement.
    starts: Vec<usize>,
}

fn file_of(kind: &str) -> File {
    match kind {
        "pred" => File::Predicate,
        "b64" | "u64" | "s64" | "f64" => File::Wide,
        _ => File::Narrow,
    }
}

impl<'a> Decoder<'a> {
    fn new(
        module: &'a Arc<Module>,
        kernel: &'a Function,
        flat: &'a Flat,
        address_of: &'a mut dyn FnMut(&Variable) -> u64,
    ) -> Self {
        let mut end = 0;
        let parameters = kernel.parameters.iter().map(|one| {
            let offset = u32::next_multiple_of(end, one.align.max(1));
            end = offset + one.bytes;
            Parameter {
                offset,
                bytes: one.bytes,
                align: one.align,
                pointer: false,
                truth: false,
            }
        });
        Self {
            parameters: parameters.collect(),
            module,
            kernel,
            flat,
            address_of,
            numbers: HashMap::new(),
            constants: HashMap::new(),
            files: Vec::new(),
            names: Vec::new(),
            contents: Vec::new(),
            code: Vec::new(),
            places: Vec::new(),
            lists: Vec::new(),
            shared: Vec::new(),
            shared_offsets: HashMap::new(),
            shared_end: 0,
            static_shared: 0,
            local: HashMap::new(),
            local_bytes: 0,
            current: 0,
            starts: Vec::new(),
        }
    }

    fn layout_local(&mut self) {
        for variable in self
            .flat
            .variables
            .iter()
            .filter(|one| one.space == "local")
        {
            let offset = self.local_bytes.next_multiple_of(variable.align.max(1));
            self.local.insert(variable.name.clone(), offset);
            self.local_bytes = offset + variable.bytes;
        }
    }

    // ------------------------------------------------------------------------------ registers

    fn new_number(&mut self, file: File, name: &str) -> u32 {
        self.files.push(file);
        self.names.push(name.to_owned());
        self.files.len() as u32 - 1
    }

    fn constant(&mut self, file: File, value: u64) -> u32 {
        let value = if file == File::Wide {
            value
        } else {
            value & 0xFFFF_FFFF
        };
        if let Some(&found) = self.constants.get(&(file, value)) {
            return found;
        }
        let number = self.new_number(file, "a constant");
        self.contents.push((number, Content::Constant(value)));
        self.constants.insert((file, value), number);
        number
    }

    fn special(&mut self, name: &str) -> Option<u32> {
        let dimension = |text: &str| ["x", "y", "z"].iter().position(|one| *one == text);
        let (base, part) = name.split_once('.').unwrap_or((name, ""));
        let content = match (base, dimension(part)) {
            ("%tid", Some(i)) => Content::Thread(i),
            ("%ntid", Some(i)) => Content::BlockSize(i),
            ("%ctaid", Some(i)) => Content::Block(i),
            ("%nctaid", Some(i)) => Content::Blocks(i),
            ("%laneid", None) => Content::Lane,
            ("%warpid", None) => Content::Warp,
            ("%lanemask_eq", None) => Content::LaneMask(|lane| 1 << lane),
            ("%lanemask_lt", None) => Content::LaneMask(|lane| (1 << lane) - 1),
            ("%lanemask_le", None) => Content::LaneMask(|lane| u32::MAX >> (31 - lane)),
            ("%lanemask_gt", None) => Content::LaneMask(|lane| !(u32::MAX >> (31 - lane))),
            ("%lanemask_ge", None) => Content::LaneMask(|lane| u32::MAX << lane),
            ("%dynamic_smem_size", None) => Content::DynamicShared,
            ("WARP_SZ", None) => Content::Constant(32),
            _ => return None,
        };
        let number = self.new_number(File::Narrow, name);
        self.numbers.insert(name.to_owned(), number);
        self.contents.push((number, content));
        Some(number)
    }

    /// The register, special register or address that a name stands for.
    fn named(&mut self, name: &str, file: File) -> Result<u32> {
        if let Some(&number) = self.numbers.get(name) {
            return self.of_file(number, file, name);
        }
        if let Some(kind) = self.flat.registers.get(name) {
            let number = self.new_number(file_of(kind), name);
            self.numbers.insert(name.to_owned(), number);
            return self.of_file(number, file, name);
        }
        if let Some(number) = self.special(name) {
            return self.of_file(number, file, name);
        }
        let (content, _) = self.symbol(name)?;
        Ok(self.content(file, content))
    }

    /// A place for an address.
    fn content(&mut self, file: File, content: Content) -> u32 {
        let Content::Constant(value) = content else {
            let number = self.new_number(file, "the start of dynamic shared memory");
            self.contents.push((number, content));
            return number;
        };
        self.constant(file, value)
    }

    fn of_file(&self, number: u32, file: File, name: &str) -> Result<u32> {
        if self.files[number as usize] == file {
            return Ok(number);
        }
        Err(format!("`{name}` is no register of this width"))
    }

    /// Address of a variable in its own space.
    fn symbol(&mut self, name: &str) -> Result<(Content, Space)> {
        if let Some(&offset) = self.local.get(name) {
            return Ok((Content::Constant(u64::from(offset)), Space::Local));
        }
        let own = self.flat.variables.iter().find(|one| one.name == name);
        let variable = own.or_else(|| self.module.variables.iter().find(|one| one.name == name));
        let variable = variable.ok_or_else(|| format!("`{name}` is not declared"))?;
        if variable.space == "shared" {
            return Ok((self.shared_variable(variable), Space::Shared));
        }
        Ok((
            Content::Constant((self.address_of)(variable)),
            Space::Global,
        ))
    }

    fn shared_variable(&mut self, variable: &Variable) -> Content {
        if variable.external {
            return Content::DynamicStart;
        }
        if let Some(&offset) = self.shared_offsets.get(&variable.name) {
            return Content::Constant(u64::from(offset));
        }
        let align = variable.align.max(1);
        self.static_shared = self.static_shared.next_multiple_of(align) + variable.bytes;
        let offset = self.shared_end.next_multiple_of(align.max(SHARED_GAP));
        self.shared_end = offset + variable.bytes.next_multiple_of(SHARED_GAP) + SHARED_GAP;
        self.shared_offsets.insert(variable.name.clone(), offset);
        self.shared.push(SharedVariable {
            name: demangled(&variable.name),
            offset,
            bytes: variable.bytes,
        });
        Content::Constant(u64::from(offset))
    }

    fn source(&mut self, operand: &Operand, file: File) -> Result<u32> {
        match operand {
            Operand::Name(name) => self.named(name, file),
            Operand::Integer(value) => Ok(self.constant(file, self.fitting(*value))),
            Operand::Float(bits) if file == File::Narrow => {
                Ok(self.constant(file, u64::from(*bits)))
            }
            Operand::Double(bits) if file == File::Wide => Ok(self.constant(file, *bits)),
            other => Err(format!("{} cannot be read here", spell_operand(other))),
        }
    }

    /// What of a constant the statement's type has room for.
    fn fitting(&self, value: u64) -> u64 {
        let opcode = &self.flat.statements[self.current].opcode;
        let bytes = opcode.rsplit('.').next().and_then(type_bytes);
        bytes
            .filter(|&bytes| bytes < 4)
            .map_or(value, |bytes| value & ((1 << (8 * bytes)) - 1))
    }

    /// Bytes of the register that the operand names.
    fn register_bytes(&self, operand: &Operand) -> Option<u32> {
        let Operand::Name(name) = operand else {
            return None;
        };
        type_bytes(self.flat.registers.get(name)?)
    }

    fn target(&mut self, operand: &Operand, file: File) -> Result<u32> {
        match operand {
            Operand::Name(name) if self.flat.registers.contains_key(name.as_str()) => {
                self.named(name, file)
            }
            Operand::Name(name) if name == "_" => Ok(self.new_number(file, "_")),
            other => Err(format!("{} cannot be written", spell_operand(other))),
        }
    }

    fn elements(&self, operand: &Operand) -> Vec<Operand> {
        match operand {
            Operand::List(list) => list.clone(),
            one => vec![one.clone()],
        }
    }

    fn list(&mut self, registers: &[u32]) -> (u32, u32) {
        let start = self.lists.len() as u32;
        self.lists.extend_from_slice(registers);
        (start, registers.len() as u32)
    }

    fn push(&mut self, statement: &Statement, mut instruction: Instruction) -> Result<()> {
        if let Some((name, negated)) = &statement.guard {
            instruction.guard = self.named(name, File::Predicate)?;
            instruction.negated = *negated;
        }
        self.code.push(instruction);
        self.places.push(statement.place);
        Ok(())
    }

    // ----------------------------------------------------------------------------- statements

    fn statement(&mut self, statement: &Statement) -> Result<()> {
        self.starts.push(self.code.len());
        let parts: Vec<&str> = statement
            .opcode
            .split('.')
            .filter(|part| !part.is_empty())
            .collect();
        let made = match parts[0] {
            "bra" => self.branch(statement)?,
            "ret" | "exit" => Instruction {
                op: Op::Exit,
                ..EMPTY
            },
            "trap" => Instruction {
                op: Op::Trap,
                ..EMPTY
            },
            "membar" | "fence" => self.fence(&parts)?,
            "nanosleep" | "prefetch" | "prefetchu" => EMPTY,
            "vprintf" | "__assertfail" => self.system(statement)?,
            "mov" => self.mov(statement, &parts)?,
            "ld" | "ldu" | "st" => self.access(statement, &parts)?,
            "cvta" => self.convert_address(statement, &parts)?,
            "setp" => self.set(statement, &parts)?,
            "selp" => self.select(statement, &parts)?,
            "atom" | "red" => self.atomic(statement, &parts)?,
            "bar" | "barrier" => self.barrier(statement, &parts)?,
            "shfl" => self.shuffle(statement, &parts)?,
            "vote" => self.vote(statement, &parts)?,
            "redux" => self.reduce(statement, &parts)?,
            "activemask" => {
                let d = self.target(&statement.operands[0], File::Narrow)?;
                Instruction {
                    op: Op::ActiveMask,
                    d,
                    ..EMPTY
                }
            }
            "cp" => self.copy_async(statement)?,
            "ldmatrix" => self.load_matrix(statement)?,
            "mma" => self.multiply(statement)?,
            "bfi" => self.bit_insert(statement)?,
            "cvt" if parts[1..] == ["u32", "u16"] || parts[1..] == ["s32", "u16"] => {
                self.low_half(statement)?
            }
            "div" | "rem" if !parts.last().is_some_and(|kind| kind.starts_with('f')) => {
                self.divide(statement, &parts)?
            }
            "and" | "or" | "xor" | "not" if parts[1] == "pred" => {
                self.logic(statement, parts[0])?
            }
            _ => self.arithmetic(statement)?,
        };
        self.push(statement, made)
    }

    fn branch(&mut self, statement: &Statement) -> Result<Instruction> {
        let [Operand::Name(label)] = &statement.operands[..] else {
            return Err("a branch wants one label".to_owned());
        };
        let target = self.flat.labels.get(label);
        let target = *target.ok_or_else(|| format!("no label `{label}`"))?;
        // A statement's number for now; `finish` makes an instruction's of it.
        Ok(Instruction {
            op: Op::Branch {
                target: target as u32,
                meet: NONE,
            },
            ..EMPTY
        })
    }

    fn fence(&mut self, parts: &[&str]) -> Result<Instruction> {
        if parts.contains(&"proxy") || parts.contains(&"mbarrier_init") {
            return Err("is not played".to_owned());
        }
        Ok(Instruction {
            op: Op::Fence,
            ..EMPTY
        })
    }

    fn system(&mut self, statement: &Statement) -> Result<Instruction> {
        let mut registers = Vec::new();
        for operand in &statement.operands {
            let Operand::Name(name) = operand else {
                return Err("an argument that is no register".to_owned());
            };
            let kind = self.flat.registers.get(name).map_or("b64", String::as_str);
            registers.push(self.named(name, file_of(kind))?);
        }
        let op = if statement.opcode == "vprintf" {
            Op::Print
        } else {
            Op::Assert
        };
        Ok(Instruction {
            op,
            list: self.list(&registers),
            ..EMPTY
        })
    }

    fn mov(&mut self, statement: &Statement, parts: &[&str]) -> Result<Instruction> {
        let [to, from] = &statement.operands[..] else {
            return Err("mov has two operands".to_owned());
        };
        let kind = *parts.last().expect("a type");
        if parts.len() != 2 || (type_bytes(kind).is_none() && kind != "pred") {
            return Err("is not played".to_owned());
        }
        let file = file_of(kind);
        if let Operand::List(halves) = from {
            let d = self.target(to, file)?;
            return self.halves(halves, (d, NONE), file, true);
        }
        if let Operand::List(halves) = to {
            let a = self.source(from, file)?;
            return self.halves(halves, (NONE, a), file, false);
        }
        let d = self.target(to, file)?;
        let a = self.source(from, file)?;
        let op = match file {
            File::Narrow => Op::Mov,
            File::Wide => Op::MovW,
            File::Predicate => Op::MovP,
        };
        Ok(Instruction { op, d, a, ..EMPTY })
    }

    fn halves(
        &mut self,
        halves: &[Operand],
        (d, a): (u32, u32),
        file: File,
        pack: bool,
    ) -> Result<Instruction> {
        if halves.len() != 2 || file == File::Predicate {
            return Err("a register of two halves is played, no other".to_owned());
        }
        let mut registers = Vec::new();
        for half in halves {
            registers.push(if pack {
                self.source(half, File::Narrow)?
            } else {
                self.target(half, File::Narrow)?
            });
        }
        let op = match (file, pack) {
            (File::Wide, true) => Op::Pack32,
            (File::Wide, false) => Op::Unpack32,
            (_, true) => Op::Pack16,
            (_, false) => Op::Unpack16,
        };
        Ok(Instruction {
            op,
            d,
            a,
            list: self.list(&registers),
            ..EMPTY
        })
    }

    // ------------------------------------------------------------------ predicates and choices

    fn set(&mut self, statement: &Statement, parts: &[&str]) -> Result<Instruction> {
        let test = test(parts[1]).ok_or("an unknown comparison")?;
        let kind = match *parts.last().expect("a type") {
            "s16" => Kind::S16,
            "u16" | "b16" => Kind::U16,
            "s32" => Kind::S32,
            "u32" | "b32" => Kind::U32,
            "f32" => Kind::F32,
            "s64" => Kind::S64,
            "u64" | "b64" => Kind::U64,
            "f64" => Kind::F64,
            other => return Err(format!("`{other}` is not compared")),
        };
        let is_unsigned = matches!(kind, Kind::U16 | Kind::U32 | Kind::U64);
        let is_float = matches!(kind, Kind::F32 | Kind::F64);
        let of_integers = matches!(
            test,
            Test::Eq | Test::Ne | Test::Lt | Test::Le | Test::Gt | Test::Ge
        );
        let of_unsigned = ["lo", "ls", "hi", "hs"].contains(&parts[1]);
        if !(is_float || of_integers) || of_unsigned && !is_unsigned {
            return Err("is no comparison of this type".to_owned());
        }
        let file = kind.file();
        let logic = match parts.get(2) {
            Some(&"and") => Some(Logic::And),
            Some(&"or") => Some(Logic::Or),
            Some(&"xor") => Some(Logic::Xor),
            _ => None,
        };
        let expected = 2 + usize::from(logic.is_some()) + 1;
        let operands = &statement.operands;
        if parts.len() != expected || operands.len() != expected {
            return Err("is not played".to_owned());
        }
        let d = self.target(&operands[0], File::Predicate)?;
        let a = self.source(&operands[1], file)?;
        let b = self.source(&operands[2], file)?;
        let mut made = Instruction {
            op: Op::Nop,
            d,
            a,
            b,
            ..EMPTY
        };
        let mut with = None;
        if let Some(logic) = logic {
            made.c = self.predicate(&operands[3])?;
            with = Some(logic);
        }
        made.op = Op::Set { test, kind, with };
        Ok(made)
    }

    fn select(&mut self, statement: &Statement, parts: &[&str]) -> Result<Instruction> {
        let kind = parts[1];
        let file = file_of(kind);
        if parts.len() != 2 || type_bytes(kind).is_none() {
            return Err("is not played".to_owned());
        }
        let operands = &statement.operands;
        let d = self.target(&operands[0], file)?;
        let a = self.source(&operands[1], file)?;
        let b = self.source(&operands[2], file)?;
        let c = self.predicate(&operands[3])?;
        let op = if file == File::Wide {
            Op::SelectW
        } else {
            Op::Select
        };
        Ok(Instruction {
            op,
            d,
            a,
            b,
            c,
            ..EMPTY
        })
    }

    fn logic(&mut self, statement: &Statement, name: &str) -> Result<Instruction> {
        let operands = &statement.operands;
        let d = self.target(&operands[0], File::Predicate)?;
        let a = self.source_predicate(&operands[1])?;
        let op = match name {
            "not" => {
                return Ok(Instruction {
                    op: Op::NotP,
                    d,
                    a,
                    ..EMPTY
                });
            }
            "and" => Op::LogicP(Logic::And),
            "or" => Op::LogicP(Logic::Or),
            _ => Op::LogicP(Logic::Xor),
        };
        let b = self.source_predicate(&operands[2])?;
        Ok(Instruction {
            op,
            d,
            a,
            b,
            ..EMPTY
        })
    }

    /// Sixteen bits of a register, which may have more.
    fn low_half(&mut self, statement: &Statement) -> Result<Instruction> {
        let [to, from] = &statement.operands[..] else {
            return Err("cvt has two operands".to_owned());
        };
        let d = self.target(to, File::Narrow)?;
        let a = self.source(from, File::Narrow)?;
        let b = self.constant(File::Narrow, 0xFFFF);
        Ok(Instruction {
            op: Op::And,
            d,
            a,
            b,
            ..EMPTY
        })
    }

    fn bit_insert(&mut self, statement: &Statement) -> Result<Instruction> {
        if statement.opcode != "bfi.b32" {
            return Err("is not played".to_owned());
        }
        let operands = &statement.operands;
        let d = self.target(&operands[0], File::Narrow)?;
        let mut sources = [0; 4];
        for (to, operand) in sources.iter_mut().zip(&operands[1..]) {
            *to = self.source(operand, File::Narrow)?;
        }
        let [a, b, c, length] = sources;
        Ok(Instruction {
            op: Op::Bfi,
            d,
            a,
            b,
            c,
            list: self.list(&[length]),
            ..EMPTY
        })
    }

    fn divide(&mut self, statement: &Statement, parts: &[&str]) -> Result<Instruction> {
        let remainder = parts[0] == "rem";
        let (function, wide): (Scalar, bool) = match (parts[1], remainder) {
            ("s32", false) => (
                |x, y, _| (x as i32).wrapping_div(y as i32) as u32 as u64,
                false,
            ),
            ("s32", true) => (
                |x, y, _| (x as i32).wrapping_rem(y as i32) as u32 as u64,
                false,
            ),
            ("u32" | "u16", false) => (|x, y, _| x / y, false),
            ("u32" | "u16", true) => (|x, y, _| x % y, false),
            ("s64", false) => (|x, y, _| (x as i64).wrapping_div(y as i64) as u64, true),
            ("s64", true) => (|x, y, _| (x as i64).wrapping_rem(y as i64) as u64, true),
            ("u64", false) => (|x, y, _| x / y, true),
            ("u64", true) => (|x, y, _| x % y, true),
            _ => return Err("is not played".to_owned()),
        };
        let file = if wide { File::Wide } else { File::Narrow };
        let d = self.target(&statement.operands[0], file)?;
        let a = self.source(&statement.operands[1], file)?;
        let b = self.source(&statement.operands[2], file)?;
        let op = Op::Divide { function, wide };
        Ok(Instruction {
            op,
            d,
            a,
            b,
            ..EMPTY
        })
    }

    // ----------------------------------------------------------------------------- arithmetic

    fn arithmetic(&mut self, statement: &Statement) -> Result<Instruction> {
        let (op, files) = arithmetic(&statement.opcode).ok_or("is not played")?;
        if statement.operands.len() != files.len() {
            let (wanted, given) = (files.len(), statement.operands.len());
            return Err(format!("{given} operands, {wanted} are expected"));
        }
        let to = &statement.operands[0];
        if let ["cvt", .., kind, _] = statement.opcode.split('.').collect::<Vec<_>>()[..]
            && kind.starts_with('s')
            && self.register_bytes(to) > type_bytes(kind)
        {
            return Err("with a sign into a wider register is not played".to_owned());
        }
        let mut made = Instruction { op, ..EMPTY };
        made.d = self.target(to, files[0])?;
        for (i, operand) in statement.operands.iter().enumerate().skip(1) {
            let number = self.source(operand, files[i])?;
            match i {
                1 => made.a = number,
                2 => made.b = number,
                _ => made.c = number,
            }
        }
        Ok(made)
    }

    // --------------------------------------------------------------------------------- the end

    fn finish(mut self, flat: &Flat) -> Result<Program> {
        self.starts.push(self.code.len() - 1);
        for instruction in &mut self.code {
            if let Op::Branch { target, .. } = &mut instruction.op {
                *target = self.starts[*target as usize] as u32;
            }
        }
        // A statement may be two instructions.
        let mut spellings = vec![String::new(); self.code.len()];
        for (statement, bounds) in flat.statements.iter().zip(self.starts.windows(2)) {
            spellings[bounds[0]..bounds[1]].fill(statement.opcode.clone());
        }
        self.note_parameters();
        let registers = flow::Registers {
            files: self.files,
            names: self.names,
            contents: self.contents,
        };
        let allocated = flow::allocate(&mut self.code, &mut self.lists, &registers)?;
        Ok(Program {
            name: self.kernel.name.clone(),
            code: self.code,
            lists: self.lists,
            places: self.places,
            effects: allocated.effects,
            spellings,
            narrow: allocated.counts[0],
            wide: allocated.counts[1],
            predicates: allocated.counts[2],
            contents: allocated.contents,
            unwritten: allocated.unwritten,
            parameter_bytes: self
                .parameters
                .last()
                .map_or(0, |last| last.offset + last.bytes),
            parameters: self.parameters,
            max_threads: self.kernel.max_threads,
            min_blocks: self.kernel.min_blocks,
            dynamic_offset: self.shared_end,
            shared: self.shared,
            static_shared: self.static_shared,
            local_bytes: self.local_bytes,
            module: self.module.clone(),
        })
    }

    /// Which parameters become global addresses, and which bytes are truth values: those that are
    /// only compared with zero.
    fn note_parameters(&mut self) {
        let constants: HashMap<u32, u64> = self
            .constants
            .iter()
            .map(|(&(_, value), &number)| (number, value))
            .collect();
        for index in 0..self.parameters.len() {
            let parameter = &self.parameters[index];
            let loads = self.code.iter().filter(|one| match one.op {
                Op::Parameter { offset, .. } => offset == parameter.offset,
                _ => false,
            });
            let loaded: Vec<u32> = loads.map(|one| one.d).collect();
            let uses = |one: &&Instruction| loaded.contains(&one.a);
            let pointer = self.code.iter().filter(uses).any(|one| match one.op {
                Op::Convert {
                    to_generic: false,
                    space: Space::Global,
                    ..
                } => true,
                Op::Load(access, _) | Op::Store(access, _) => access.space != Space::Shared,
                _ => false,
            });
            let mut uses = self.code.iter().filter(uses);
            let truth = parameter.bytes == 1
                && !loaded.is_empty()
                && uses.all(|one| match one.op {
                    Op::Set {
                        test: Test::Eq | Test::Ne,
                        ..
                    } => constants.get(&one.b) == Some(&0),
                    _ => false,
                });
            self.parameters[index].pointer = pointer && parameter.bytes == 8;
            self.parameters[index].truth = truth;
        }
    }
}

fn test(name: &str) -> Option<Test> {
    Some(match name {
        "eq" => Test::Eq,
        "ne" => Test::Ne,
        "lt" | "lo" => Test::Lt,
        "le" | "ls" => Test::Le,
        "gt" | "hi" => Test::Gt,
        "ge" | "hs" => Test::Ge,
        "equ" => Test::Equ,
        "neu" => Test::Neu,
        "ltu" => Test::Ltu,
        "leu" => Test::Leu,
        "gtu" => Test::Gtu,
        "geu" => Test::Geu,
        "num" => Test::Num,
        "nan" => Test::Nan,
        _ => return None,
    })
}

/// The variable's own name in one that C++ has mangled: `_ZZ4namevE4tile` is `tile`.
fn demangled(name: &str) -> String {
    if !name.starts_with("_ZZ") {
        return name.split('@').next().unwrap_or(name).to_owned();
    }
    let plain = name.split('@').next().unwrap_or(name);
    let is_digit = |c: char| c.is_ascii_digit();
    let starts = plain
        .char_indices()
        .filter(|&(i, c)| is_digit(c) && !plain[..i].ends_with(is_digit));
    let mut found = starts.filter_map(|(i, _)| {
        let digits: String = plain[i..].chars().take_while(|&c| is_digit(c)).collect();
        let rest = &plain[i + digits.len()..];
        (digits.parse() == Ok(rest.len()) && !rest.is_empty()).then(|| rest.to_owned())
    });
    found.next_back().unwrap_or_else(|| plain.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_variables_lose_what_cxx_added() {
        assert_eq!(demangled("_ZZ22static_shared_beyondE4tile"), "tile");
        assert_eq!(
            demangled("_ZZN6detail18sum_through_sharedILi64EiEET0_S1_E6values"),
            "values"
        );
        assert_eq!(demangled("shared@3"), "shared");
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        let text = ".version 9.5\n.target sm_80\n.address_size 64\n.visible .entry k() {\n.reg .b32 %r<3>;\nvadd.u32.u32.u32 %r1, %r2, %r2;\nret;\n}\n";
        let module = Arc::new(Module::parse(text).unwrap());
        let error = kernels(&module, &mut |_| 0).unwrap_err();
        assert!(
            error.contains("kernel `k`")
                && error.contains("vadd.u32.u32.u32")
                && error.contains("is not played"),
            "{error}"
        );
    }
}
