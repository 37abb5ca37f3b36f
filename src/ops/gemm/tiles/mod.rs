//! f32 products on the tile registers of recent Xeons (AMX), which multiply bf16 and add in f32.
//!
//! An f32 is the sum of three bf16 of eight significant bits each, x = x₁ + x₂ + x₃, so a product of
//! two is nine products of pieces. The three smallest are below 2⁻²⁴ of it and left out; six
//! remain, each exact, and the sums are those of f32 (Henry, Tang, Heinecke, "Leveraging the
//! bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations", 2019). The result
//! is as exact as FMA's, at more than twice its rate.
//!
//! Both operands are packed: strips of [`LINES`] rows of A, or columns of B, cut into blocks of
//! [`DEPTH`] steps. A block holds for each piece two tiles of 16 lines: in a tile of A a line is a
//! row and its 16 words are pairs of steps, in a tile of B a line is a pair of steps and its words
//! are columns. A pair is steps p and p + 16 of the block, which saves a shuffle; the order of
//! steps is free as long as both operands agree.
//!
//! Subnormal values count as zero, and values that round to infinity in bf16 (above 3.39e38) give NaN.

mod pack;

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

pub use self::pack::{Operand, Side};

use super::{Accumulate, MatMut};
use crate::ops::buffer::Scratch;

/// Rows, or columns, of a strip: two tiles.
pub const LINES: usize = 32;
/// Steps along the common dimension in a block.
const DEPTH: usize = 32;
/// Lines of a tile, and words of a line.
const TILE: usize = 16;
/// Words of a tile.
const TILE_WORDS: usize = TILE * TILE;
/// bf16 pieces of a value.
const PIECES: usize = 3;
/// Words (pairs of bf16) of a block.
const BLOCK: usize = PIECES * 2 * TILE_WORDS;
/// Blocks between two visits of C. (With 3, a strip of B stays in the first cache, yet products of
/// a ViT-S took 10 % longer on a Xeon with 2 MiB of second cache: loading C stalls the tiles.)
const RUN: usize = 24;

/// Proof that the processor has the tile registers and the system lets this process use them.
#[derive(Clone, Copy)]
pub struct Tiles(());

impl Tiles {
    pub fn detect() -> Option<Self> {
        static FOUND: OnceLock<bool> = OnceLock::new();
        FOUND
            .get_or_init(|| has_instructions() && permitted())
            .then_some(Self(()))
    }
}

/// AMX-BF16 and AMX-TILE (CPUID leaf 7), and the AVX-512 instructions that pack.
fn has_instructions() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    // SAFETY: every x86-64 processor has the instruction. (A safe function in newer Rust.)
    #[allow(unused_unsafe)]
    let leaf = unsafe { __cpuid_count(7, 0) };
    leaf.edx & AMX_BF16 != 0
        && leaf.edx & AMX_TILE != 0
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16")
}

/// Asks Linux for the tile registers' state, which it saves only for processes that asked
/// (Documentation/arch/x86/xstate.rst); permission covers every thread.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and touches no memory of ours.
    let status = unsafe {
        libc::syscall(
            libc::SYS_arch_prctl,
            ARCH_REQ_XCOMP_PERM,
            XFEATURE_XTILEDATA,
        )
    };
    status == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// The layout of the tile registers (Intel SDM, LDTILECFG): all 16 lines of 64 bytes.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    line_bytes: [u16; 16],
    lines: [u8; 16],
}

static CONFIG: Config = Config {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    line_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    lines: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Assembly that adds the products of the tiles of A in tmm4 and tmm5 with those of B in tmm6 and
/// tmm7 to the accumulators tmm0 … tmm3.
macro_rules! multiply {
    (two) => {
        concat!(
            multiply!(one),
            "tdpbf16ps tmm2, tmm5, tmm6\n",
            "tdpbf16ps tmm3, tmm5, tmm7\n"
        )
    };
    (one) => {
        concat!(
            "tdpbf16ps tmm0, tmm4, tmm6\n",
            "tdpbf16ps tmm1, tmm4, tmm7\n"
        )
    };
}

/// Assembly that loads a piece of A, one tile of rows or two.
macro_rules! load_a {
    (two $first:literal $second:literal) => {
        concat!(load_a!(one $first $second), "tileloadd tmm5, [{a} + {line} + ", $second, "]\n")
    };
    (one $first:literal $second:literal) => {
        concat!("tileloadd tmm4, [{a} + {line} + ", $first, "]\n")
    };
}

/// Assembly that loads a piece of B.
macro_rules! load_b {
    ($first:literal $second:literal) => {
        concat!(
            "tileloadd tmm6, [{b} + {line} + ",
            $first,
            "]\n",
            "tileloadd tmm7, [{b} + {line} + ",
            $second,
            "]\n"
        )
    };
}

/// Assembly that zeroes, loads or stores the accumulators of one tile of rows of C, or of two.
macro_rules! accumulators {
    (zero one) => {
        "tilezero tmm0\n tilezero tmm1\n"
    };
    (zero two) => {
        concat!(accumulators!(zero one), "tilezero tmm2\n tilezero tmm3\n")
    };
    (load one) => {
        "tileloadd tmm0, [{c} + {stride}]\n tileloadd tmm1, [{c} + {stride} + 64]\n"
    };
    (load two) => {
        concat!(
            accumulators!(load one),
            "tileloadd tmm2, [{below} + {stride}]\n tileloadd tmm3, [{below} + {stride} + 64]\n"
        )
    };
    (store one) => {
        "tilestored [{c} + {stride}], tmm0\n tilestored [{c} + {stride} + 64], tmm1\n"
    };
    (store two) => {
        concat!(
            accumulators!(store one),
            "tilestored [{below} + {stride}], tmm2\n tilestored [{below} + {stride} + 64], tmm3\n"
        )
    };
}

/// Sums over the blocks of a [`Product`], from what `$start` (zero or load) makes of the
/// accumulators, into C. Each tile of A is loaded once a block.
macro_rules! sum_blocks {
    ($start:ident $rows:ident: $p:ident $(, $operand:ident = $value:expr)?) => {
        asm!(
            accumulators!($start $rows),
            "2:",
            load_a!($rows "0" "1024"),
            load_b!("4096" "5120"),
            multiply!($rows),
            load_b!("2048" "3072"),
            multiply!($rows),
            load_b!("0" "1024"),
            multiply!($rows),
            load_a!($rows "2048" "3072"),
            multiply!($rows),
            load_b!("2048" "3072"),
            multiply!($rows),
            load_a!($rows "4096" "5120"),
            load_b!("0" "1024"),
            multiply!($rows),
            "add {a}, {block}",
            "add {b}, {block}",
            "dec {blocks}",
            "jnz 2b",
            accumulators!(store $rows),
            a = inout(reg) $p.a => _,
            b = inout(reg) $p.b => _,
            blocks = inout(reg) $p.blocks => _,
            line = in(reg) 4 * TILE,
            block = const 4 * BLOCK,
            c = in(reg) $p.c,
            stride = in(reg) 4 * $p.c_stride,
            $($operand = in(reg) $value,)?
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

/// One strip of A with one of B: 16 or 32 rows of 32 columns of C.
struct Product {
    c: *mut f32,
    /// Elements from row to row.
    c_stride: usize,
    a: *const u32,
    b: *const u32,
    /// At least 1.
    blocks: usize,
}

/// Rows of C that a [`Product`] computes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rows {
    /// 16.
    One,
    /// 32.
    Two,
}

impl Product {
    /// # Safety
    ///
    /// Needs the tile registers, configured with [`CONFIG`]; `a` and `b` hold `blocks` blocks, and all
    /// of C may be written.
    unsafe fn run(self, rows: Rows, accumulate: Accumulate) {
        let below = self.c.wrapping_add(TILE * self.c_stride);
        // SAFETY: the caller's promise.
        unsafe {
            match (rows, accumulate) {
                (Rows::One, Accumulate::Overwrite) => sum_blocks!(zero one: self),
                (Rows::One, Accumulate::Add) => sum_blocks!(load one: self),
                (Rows::Two, Accumulate::Overwrite) => sum_blocks!(zero two: self, below = below),
                (Rows::Two, Accumulate::Add) => sum_blocks!(load two: self, below = below),
            }
        }
    }
}

/// The tile registers, configured; given back when dropped, so that the system need not save them.
struct Configured;

impl Configured {
    fn new(_: Tiles) -> Self {
        // SAFETY: `Tiles` is the proof that the registers may be used; CONFIG is a valid layout.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, readonly)) };
        Self
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        // SAFETY: no tile is in use any more.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// `c` becomes, or grows by, the product of `a` with the operand packed in `b` ([`Operand::pack`],
/// all its strips).
pub fn matmul(tiles: Tiles, c: MatMut<f32>, accumulate: Accumulate, a: Operand, b: &[u32]) {
    let blocks = a.depth.div_ceil(DEPTH);
    let strip_words = a.strip_words();
    let row_strips = c.rows.div_ceil(LINES);
    assert_eq!(a.lines, c.rows, "rows of A and C");
    assert!(
        b.len() >= c.cols.div_ceil(LINES) * strip_words,
        "strips of B"
    );
    let mut rows = Scratch::<u32>::new(row_strips * RUN.min(blocks) * BLOCK);
    let configured = Configured::new(tiles);
    let mut edge = [0.0_f32; LINES * LINES];
    for first in (0..blocks).step_by(RUN) {
        let run = RUN.min(blocks - first);
        let packed_strips = rows.chunks_exact_mut(run * BLOCK).take(row_strips);
        for (strip, to) in packed_strips.enumerate() {
            a.pack(tiles, Side::Left, strip, first, to);
        }
        let accumulate = match first {
            0 => accumulate,
            _ => Accumulate::Add,
        };
        for col in (0..c.cols).step_by(LINES) {
            let b = &b[col / LINES * strip_words..][first * BLOCK..][..run * BLOCK];
            for (strip, a_strip) in rows.chunks_exact(run * BLOCK).take(row_strips).enumerate() {
                let row = strip * LINES;
                let height = LINES.min(c.rows - row);
                let width = LINES.min(c.cols - col);
                let shape = if height > TILE { Rows::Two } else { Rows::One };
                let at = &mut c.data[row * c.row_stride + col..];
                let whole = width == LINES && height.is_multiple_of(TILE);
                let (c_start, c_stride) = if whole {
                    (at.as_mut_ptr(), c.row_stride)
                } else {
                    (edge.as_mut_ptr(), LINES)
                };
                let product = Product {
                    c: c_start,
                    c_stride,
                    a: a_strip.as_ptr(),
                    b: b.as_ptr(),
                    blocks: run,
                };
                if whole {
                    // SAFETY: `height` rows of 32 columns lie within `c` (checked when it was made),
                    // which is borrowed mutably; both strips have `run` blocks.
                    unsafe { product.run(shape, accumulate) };
                } else {
                    // SAFETY: as above; `edge` has 32 rows of 32 columns.
                    unsafe { product.run(shape, Accumulate::Overwrite) };
                    let lines = at.chunks_mut(c.row_stride).zip(edge.chunks(LINES));
                    for (c, edge) in lines.take(height) {
                        for (c, &edge) in c[..width].iter_mut().zip(edge) {
                            match accumulate {
                                Accumulate::Overwrite => *c = edge,
                                Accumulate::Add => *c += edge,
                            }
                        }
                    }
                }
            }
        }
    }
    drop(configured);
}
