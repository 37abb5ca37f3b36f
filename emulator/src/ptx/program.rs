//! A kernel as the executor runs it.
//!
//! Registers live in three files of a warp: 32 bits and less (*narrow*), 64 bits (*wide*), predicates.
//! Constants, special registers and addresses of variables have places there, too, filled when a warp
//! starts, so that every operand is a place.

use std::sync::Arc;

use super::syntax::Module;

/// No register, no guard, no place where branches meet.
pub const NONE: u32 = u32::MAX;

/// State spaces, "State Spaces".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Space {
    Generic,
    Global,
    Shared,
    Local,
}

/// A comparison, "Comparison and Selection Instructions". Of a NaN only the `u` forms and `Nan` hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Test {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Equ,
    Neu,
    Ltu,
    Leu,
    Gtu,
    Geu,
    Num,
    Nan,
}

/// Types that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    S16,
    U16,
    S32,
    U32,
    F32,
    S64,
    U64,
    F64,
}

impl Kind {
    /// Where such operands lie.
    pub fn file(self) -> File {
        match self {
            Self::S64 | Self::U64 | Self::F64 => File::Wide,
            _ => File::Narrow,
        }
    }
}

/// Logic of predicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Logic {
    And,
    Or,
    Xor,
}

/// An access of [`Instruction::list`]'s registers to memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Access {
    pub space: Space,
    /// Of an element: 1, 2, 4 or 8.
    pub bytes: u32,
    /// Elements a lane moves, 1, 2 or 4.
    pub count: u32,
    /// Bytes of the register that the sign of what is loaded fills; 0: there are zeros above.
    pub sign_to: u32,
    /// Whether the elements are 64 bits wide registers.
    pub wide: bool,
    pub offset: i64,
}

/// What an atomic does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Atomic {
    Add,
    And,
    Or,
    Xor,
    Min,
    Max,
    Exchange,
    CompareExchange,
    Increment,
    Decrement,
}

/// Where a shuffle's lane looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shuffle {
    Index,
    Up,
    Down,
    Butterfly,
}

/// What a vote, or a barrier with one, gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Vote {
    All,
    Any,
    Uniform,
    Ballot,
    Count,
}

/// Operands of `mma.sync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Element {
    F16,
    Bf16,
}

/// A function of up to three 64-bit values, for instructions that are rare. Narrow operands come
/// with zeros above.
pub type Scalar = fn(u64, u64, u64) -> u64;

/// What an instruction does to its registers `d`, `a`, `b`, `c` and `list`.
#[derive(Debug, Clone, Copy)]
pub enum Op {
    // Narrow integers.
    Mov,
    Add,
    Sub,
    Mul,
    Mad,
    And,
    Or,
    Xor,
    Not,
    MinS,
    MaxS,
    Shl,
    ShrU,
    ShrS,
    // f32.
    AddF,
    SubF,
    MulF,
    FmaF,
    NegF,
    AbsF,
    MinF,
    MaxF,
    DivF,
    SqrtF,
    /// `ex2.approx.ftz` and `rcp.approx.ftz`.
    Ex2F,
    RcpF,
    // Wide integers.
    MovW,
    AddW,
    SubW,
    MulW,
    ShlW,
    MulWideU,
    MulWideS,
    MadWideU,
    MadWideS,
    // Between them.
    WidenU,
    WidenS,
    Narrow,
    // Conversions of 16-bit floats.
    F32FromF16,
    F16FromF32,
    F16x2FromF32,
    Bf16x2FromF32,
    F32FromS32,
    /// Any other function: which operands are wide.
    Scalar {
        function: Scalar,
        wide_d: bool,
        wide: [bool; 3],
    },
    /// `d = f(a, b, c, list[0])`, all narrow: `bfi`.
    Bfi,
    /// Integer division; by zero it is an error.
    Divide {
        function: Scalar,
        wide: bool,
    },
    // Predicates.
    Set {
        test: Test,
        kind: Kind,
        /// With the predicate `c`.
        with: Option<Logic>,
    },
    Select,
    SelectW,
    MovP,
    NotP,
    LogicP(Logic),
    // Registers of two halves: `list` are the halves.
    Pack16,
    Unpack16,
    Pack32,
    Unpack32,
    // Memory. The address is `a`, a register of the width that is given, or a wide one.
    Parameter {
        offset: u32,
        bytes: u32,
        sign_to: u32,
        wide: bool,
    },
    Load(Access, Width),
    Store(Access, Width),
    Atomic {
        access: Access,
        width: Width,
        atomic: Atomic,
        kind: Kind,
        /// `red`: nothing comes back.
        silent: bool,
    },
    /// `d`, `a` and what to add: generic address to or from that of a space.
    Convert {
        to_generic: bool,
        space: Space,
        wide: bool,
    },
    CopyAsync {
        bytes: u32,
        /// Of the source address, and of the target address.
        offsets: (i64, i64),
        target: Width,
    },
    CommitCopies,
    /// Groups that may be under way; `NONE` stands for `wait_all`.
    WaitCopies(u32),
    LoadMatrix {
        count: u32,
        transposed: bool,
        offset: i64,
        width: Width,
    },
    Multiply {
        element: Element,
        depth: u32,
    },
    // Warps.
    Shuffle {
        how: Shuffle,
        /// A predicate comes back in `list[0]`.
        found: bool,
    },
    Vote(Vote),
    /// `redux.sync`.
    Reduce(Atomic, Kind),
    ActiveMask,
    SyncWarp,
    // Blocks.
    Barrier {
        vote: Option<Vote>,
        arrive: bool,
    },
    Fence,
    // Control.
    Branch {
        target: u32,
        /// Where the lanes meet again; `NONE`: at the end.
        meet: u32,
    },
    Exit,
    Trap,
    // What the system offers: `list` are the arguments.
    Print,
    Assert,
    Nop,
}

/// Width of an address register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Width {
    Narrow,
    Wide,
}

/// One instruction.
#[derive(Debug, Clone, Copy)]
pub struct Instruction {
    pub op: Op,
    /// Predicate, or [`NONE`].
    pub guard: u32,
    pub negated: bool,
    pub d: u32,
    pub a: u32,
    pub b: u32,
    pub c: u32,
    /// Further registers: a piece of [`Program::lists`].
    pub list: (u32, u32),
}

/// A register file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum File {
    /// A register of 16 bits has zeros above them: whatever writes one sees to it.
    Narrow,
    Wide,
    Predicate,
}

/// What a place holds when a warp starts.
#[derive(Debug, Clone, Copy)]
pub enum Content {
    Constant(u64),
    /// `%tid`, by dimension.
    Thread(usize),
    BlockSize(usize),
    Block(usize),
    Blocks(usize),
    Lane,
    Warp,
    /// `%lanemask_lt` and so on: bits that a lane's number gives.
    LaneMask(fn(u32) -> u32),
    /// `%dynamic_smem_size`.
    DynamicShared,
    /// Where dynamic shared memory starts.
    DynamicStart,
}

/// A kernel's parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    pub offset: u32,
    pub bytes: u32,
    pub align: u32,
    /// Becomes a global address.
    pub pointer: bool,
    /// A byte that is only asked whether it is zero.
    pub truth: bool,
}

/// A variable in shared memory.
#[derive(Debug, Clone, PartialEq)]
pub struct SharedVariable {
    /// As the source has it: several may have one.
    pub name: String,
    pub offset: u32,
    pub bytes: u32,
}

/// Registers that an instruction reads and writes, by file.
#[derive(Debug, Clone, Default)]
pub struct Effects {
    pub reads: Vec<(File, u32)>,
    pub writes: Vec<(File, u32)>,
}

/// A kernel.
#[derive(Debug)]
pub struct Program {
    pub name: String,
    pub code: Vec<Instruction>,
    pub lists: Vec<u32>,
    /// By instruction.
    pub places: Vec<u32>,
    pub effects: Vec<Effects>,
    /// Its PTX, for messages.
    pub spellings: Vec<String>,
    /// Places of each file.
    pub narrow: usize,
    pub wide: usize,
    pub predicates: usize,
    pub contents: Vec<(File, u32, Content)>,
    /// Places that may be read before they were written, and their registers' names.
    pub unwritten: Vec<(File, u32, String)>,
    pub parameters: Vec<Parameter>,
    pub parameter_bytes: u32,
    /// Of `__launch_bounds__`, 0 where not given.
    pub max_threads: u32,
    pub min_blocks: u32,
    pub shared: Vec<SharedVariable>,
    /// Bytes of all static variables, as the compiler would lay them out.
    pub static_shared: u32,
    /// Where dynamic shared memory starts here, behind the gaps between them.
    pub dynamic_offset: u32,
    pub local_bytes: u32,
    pub module: Arc<Module>,
}

impl Program {
    /// Further registers of an instruction.
    pub fn list(&self, instruction: &Instruction) -> &[u32] {
        let (start, count) = instruction.list;
        &self.lists[start as usize..(start + count) as usize]
    }

    /// Where an instruction comes from, in words.
    pub fn place(&self, pc: usize) -> String {
        self.module.place(self.places[pc])
    }
}
