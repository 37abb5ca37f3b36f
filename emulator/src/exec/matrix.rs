//! `ldmatrix` and `mma.sync`, with the rounding of tensor cores.
//!
//! A tensor core multiplies exactly and adds a block of products and the accumulator at once: all are
//! aligned to the largest exponent among them, what falls below is cut off, and the sum is rounded
//! toward zero (Fasi, Higham, Mikaitis and Pranesh 2021, "Numerical behavior of NVIDIA tensor cores").
//! The block is 4 products wide on sm_75, 8 on sm_80 to sm_89, 16 from sm_90 on. Here nothing is kept
//! below 2^-23 of the largest: real ones keep up to two bits more.
//!
//! A register of a fragment, 32 lanes of two 16-bit elements, is an 8 × 8 matrix, row after row; so
//! fragments are matrices of such, and lane 4 g + t of a C register has row g and columns 2t, 2t + 1.

use super::failure::{Fault, lanes};
use super::shared::bank_conflicts;
use super::vector::{ALL, LANES, Lanes};
use super::warp::Turn;
use crate::ptx::program::*;
use crate::ptx::scalar;

/// Products that are added at once.
pub fn block_width(arch: u32) -> usize {
    match arch {
        ..80 => 4,
        80..90 => 8,
        _ => 16,
    }
}

impl Turn<'_> {
    /// `.aligned`: all lanes of the warp must be there.
    pub fn whole_warp(&self, mask: u32) -> Result<(), Fault> {
        if mask == ALL {
            return Ok(());
        }
        let missing = !self.warp.exist;
        if missing != 0 {
            return Err(Fault::misuse(
                0,
                format!("wants a whole warp: {} do not exist", lanes(missing)),
            ));
        }
        let gone = !mask & self.warp.exited;
        let note = if gone == 0 { "" } else { " (returned)" };
        let text = format!(
            "divergent lanes: {} are here; never arrive: {}{note}",
            lanes(mask),
            lanes(!mask)
        );
        Err(Fault::misuse(mask.trailing_zeros(), text))
    }

    #[inline(always)]
    pub fn load_matrix(
        &mut self,
        i: &Instruction,
        (count, transposed): (u32, bool),
        (offset, width): (i64, Width),
        mask: u32,
    ) -> Result<(), Fault> {
        self.whole_warp(mask)?;
        let addresses = self.addresses(i.a, width, offset);
        let rows = 8 * count as usize;
        // "For .target sm_75, all threads must contain valid addresses."
        let judged = if self.launch.arch < 80 { LANES } else { rows };
        for lane in 0..judged {
            let address = addresses[lane];
            if !address.is_multiple_of(16) {
                let text =
                    format!("the row {address:#x} of lane {lane} is not aligned to 16 bytes");
                return Err(Fault::misaligned(lane as u32, text));
            }
            if let Some(text) = self.block.shared.outside(address, 16) {
                return Err(Fault::address(lane as u32, format!("reads {text}")));
            }
        }
        let block = &mut *self.block;
        for lane in 0..rows {
            if let Some(text) = block
                .shared
                .read(addresses[lane], 16, &self.warp.clock, None)
            {
                return Err(Fault::misuse(lane as u32, text));
            }
        }
        block.counters.ldmatrix += 1;
        for (matrix, &register) in self.program.list(i).iter().enumerate() {
            block.counters.ldmatrix_bank_conflicts +=
                bank_conflicts(&addresses, 0xFF << (8 * matrix), 16);
            // Lane 4 g + t gets bytes 4 t … 4 t + 3 of row g: the rows, one after another.
            let mut rows = Lanes([0u32; LANES]);
            for row in 0..8 {
                let address = addresses[8 * matrix + row];
                let bytes = &block.shared.bytes[address..address + 16];
                for (t, word) in bytes.chunks_exact(4).enumerate() {
                    rows.0[4 * row + t] = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
                }
            }
            self.warp.registers.narrow[register as usize] =
                if transposed { transpose(&rows) } else { rows };
        }
        Ok(())
    }

    #[inline(always)]
    pub fn multiply(
        &mut self,
        i: &Instruction,
        element: Element,
        depth: u32,
        mask: u32,
    ) -> Result<(), Fault> {
        self.whole_warp(mask)?;
        let list = self.program.list(i);
        let (d, rest) = list.split_at(4);
        let (a, rest) = rest.split_at(depth as usize / 4);
        let (b, c) = rest.split_at(depth as usize / 8);
        let file = &mut self.warp.registers.narrow;
        let of = |one: u32| &file[one as usize];
        let fragments = Fragments {
            a: [of(a[0]), of(a[1]), of(a[2 % a.len()]), of(a[3 % a.len()])],
            b: [of(b[0]), of(b[b.len() - 1])],
            element,
            depth: depth as usize,
            width: block_width(self.launch.arch),
        };
        let mut sums = [*of(c[0]), *of(c[1]), *of(c[2]), *of(c[3])];
        fragments.multiply(&mut sums, &mut self.block.spread, b[0]);
        for (register, sum) in d.iter().zip(&sums) {
            file[*register as usize] = *sum;
        }
        self.block.counters.mma += 1;
        self.block.counters.mma_flops += 2 * 16 * 8 * u64::from(depth);
        Ok(())
    }
}

/// Operands of one `mma`: registers of A (rows 0-7 and 8-15, then the same of columns 8-15), of B.
struct Fragments<'a> {
    a: [&'a Lanes<u32>; 4],
    b: [&'a Lanes<u32>; 2],
    element: Element,
    depth: usize,
    width: usize,
}

/// Operands as the sums want them, kept from one `mma` to the next: in a row of them A or B is the same.
#[derive(Default)]
pub struct Spread {
    a: SpreadA,
    /// Those of the last few registers.
    b: [SpreadB; 8],
    next: usize,
}

/// 16 lanes of f32.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
struct Sixteen([f32; 16]);

/// By half of the rows, half of the lanes, and k.
#[derive(Default)]
struct SpreadA {
    of: Option<([Lanes<u32>; 4], Element, usize)>,
    values: [[[Sixteen; 16]; 2]; 2],
}

/// By odd and even columns, and k.
#[derive(Default)]
struct SpreadB {
    register: u32,
    of: Option<([Lanes<u32>; 2], Element, usize)>,
    values: [[Sixteen; 16]; 2],
}

impl Fragments<'_> {
    /// `register`: the first of B's.
    fn multiply(&self, c: &mut [Lanes<u32>; 4], spread: &mut Spread, register: u32) {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512dq")
        {
            // SAFETY: the processor has what the functions are compiled for.
            unsafe {
                self.spread_a(&mut spread.a);
                let known = spread.b.iter().position(|one| one.register == register);
                let at = known.unwrap_or_else(|| {
                    spread.next = (spread.next + 1) % spread.b.len();
                    spread.next
                });
                let (a, b) = (&spread.a, &mut spread.b[at]);
                b.register = register;
                self.spread_b(b);
                match self.width.min(self.depth) {
                    4 => add_products::<4>(&a.values, &b.values, c, self.depth),
                    8 => add_products::<8>(&a.values, &b.values, c, self.depth),
                    _ => add_products::<16>(&a.values, &b.values, c, self.depth),
                }
            }
            return;
        }
        let _ = (spread, register);
        self.multiply_plainly(c);
    }

    fn value(&self, register: &Lanes<u32>, row: usize, column: usize) -> f32 {
        let at = 8 * row + column;
        let bits = register.0[at / 2] >> (at % 2 * 16) & 0xFFFF;
        match self.element {
            Element::F16 => scalar::f16_value(bits),
            Element::Bf16 => f32::from_bits(bits << 16),
        }
    }

    fn multiply_plainly(&self, c: &mut [Lanes<u32>; 4]) {
        for (register, sums) in c.iter_mut().enumerate() {
            let (half, odd) = (register / 2, register % 2);
            for lane in 0..LANES {
                let (row, column) = (lane / 4, lane % 4 * 2 + odd);
                let product = |k: usize| {
                    let a = self.value(self.a[k / 8 * 2 + half], row, k % 8);
                    a * self.value(self.b[k / 8], column, k % 8)
                };
                let mut sum = f32::from_bits(sums.0[lane]);
                for first in (0..self.depth).step_by(self.width) {
                    let mut products = [0.0; 16];
                    let count = self.width.min(self.depth - first);
                    (0..count).for_each(|k| products[k] = product(first + k));
                    sum = block_sum(sum, &products[..count]);
                }
                sums.0[lane] = sum.to_bits();
            }
        }
    }

    /// A register's elements, a quarter of its 8 × 8 matrix at a time.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn widen(&self, register: &Lanes<u32>) -> [std::arch::x86_64::__m512; 4] {
        use std::arch::x86_64::*;
        std::array::from_fn(|quarter| {
            // SAFETY: a quarter of the register's 128 bytes.
            let half = unsafe { _mm256_loadu_si256(register.0.as_ptr().add(8 * quarter).cast()) };
            match self.element {
                Element::F16 => _mm512_cvtph_ps(half),
                Element::Bf16 => {
                    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)))
                }
            }
        })
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    fn spread_a(&self, to: &mut SpreadA) {
        use std::arch::x86_64::*;
        let raw = self.a.map(|one| *one);
        if to.of.as_ref().is_some_and(|(of, element, depth)| {
            (*element, *depth) == (self.element, self.depth) && same(of, &raw)
        }) {
            return;
        }
        let lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        // Lane 4 g + t wants row g: of four rows in two registers, eight columns each.
        let rows = _mm512_slli_epi32::<3>(_mm512_srli_epi32::<2>(lane));
        for eighth in 0..self.depth / 8 {
            for half in 0..2 {
                let quarters = self.widen(self.a[2 * eighth + half]);
                for k in 0..8 {
                    let index = _mm512_add_epi32(rows, _mm512_set1_epi32(k as i32));
                    for part in 0..2 {
                        let value = _mm512_permutex2var_ps(
                            quarters[2 * part],
                            index,
                            quarters[2 * part + 1],
                        );
                        // SAFETY: a Sixteen is 16 f32.
                        unsafe {
                            _mm512_storeu_ps(
                                to.values[half][part][8 * eighth + k].0.as_mut_ptr(),
                                value,
                            )
                        };
                    }
                }
            }
        }
        to.of = Some((raw, self.element, self.depth));
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    fn spread_b(&self, to: &mut SpreadB) {
        use std::arch::x86_64::*;
        let raw = self.b.map(|one| *one);
        if to.of.as_ref().is_some_and(|(of, element, depth)| {
            (*element, *depth) == (self.element, self.depth) && same(of, &raw)
        }) {
            return;
        }
        let lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        let t = _mm512_and_si512(lane, _mm512_set1_epi32(3));
        // Columns 2t, which are rows of the register: t = 0, 1 in the first two quarters, 2, 3 behind.
        let columns = _mm512_slli_epi32::<4>(_mm512_and_si512(t, _mm512_set1_epi32(1)));
        let behind = _mm512_cmpge_epi32_mask(t, _mm512_set1_epi32(2));
        for eighth in 0..self.depth / 8 {
            let quarters = self.widen(self.b[eighth]);
            for k in 0..8 {
                for odd in 0..2 {
                    let step = _mm512_set1_epi32((k + 8 * odd) as i32);
                    let index = _mm512_add_epi32(columns, step);
                    let front = _mm512_permutex2var_ps(quarters[0], index, quarters[1]);
                    let back = _mm512_permutex2var_ps(quarters[2], index, quarters[3]);
                    let value = _mm512_mask_blend_ps(behind, front, back);
                    // SAFETY: a Sixteen is 16 f32.
                    unsafe {
                        _mm512_storeu_ps(to.values[odd][8 * eighth + k].0.as_mut_ptr(), value)
                    };
                }
            }
        }
        to.of = Some((raw, self.element, self.depth));
    }
}

/// Whether registers hold the same bits.
#[inline(always)]
fn same<const COUNT: usize>(a: &[Lanes<u32>; COUNT], b: &[Lanes<u32>; COUNT]) -> bool {
    let mut different = [0u32; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            different[lane] |= a.0[lane] ^ b.0[lane];
        }
    }
    different == [0; LANES]
}

/// Adds blocks of `WIDTH` products to the sums of all lanes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq")]
fn add_products<const WIDTH: usize>(
    a: &[[[Sixteen; 16]; 2]; 2],
    b: &[[Sixteen; 16]; 2],
    c: &mut [Lanes<u32>; 4],
    depth: usize,
) {
    use std::arch::x86_64::*;
    for (register, sums) in c.iter_mut().enumerate() {
        let (half, odd) = (register / 2, register % 2);
        for part in 0..2 {
            // SAFETY: 16 of the 32 lanes.
            let at: *mut f32 = unsafe { sums.0.as_mut_ptr().add(16 * part).cast() };
            // SAFETY: as above.
            let mut sum = unsafe { _mm512_loadu_ps(at) };
            for first in (0..depth).step_by(WIDTH) {
                let (a, b) = (
                    &a[half][part][first..first + WIDTH],
                    &b[odd][first..first + WIDTH],
                );
                // SAFETY: a Sixteen is 16 f32.
                let load = |one: &Sixteen| unsafe { _mm512_load_ps(one.0.as_ptr()) };
                let products: [__m512; WIDTH] =
                    std::array::from_fn(|k| _mm512_mul_ps(load(&a[k]), load(&b[k])));
                sum = block_sum_avx512(sum, &products);
            }
            // SAFETY: as above.
            unsafe { _mm512_storeu_ps(at, sum) };
        }
    }
}

/// An 8 × 8 matrix of 16-bit elements, two in a lane, turned round.
#[inline(always)]
fn transpose(rows: &Lanes<u32>) -> Lanes<u32> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512bw") {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { transpose_avx512(rows) };
    }
    transpose_plainly(rows)
}

fn transpose_plainly(rows: &Lanes<u32>) -> Lanes<u32> {
    let element =
        |row: usize, column: usize| rows.0[4 * row + column / 2] >> (column % 2 * 16) & 0xFFFF;
    Lanes(std::array::from_fn(|lane| {
        let (g, t) = (lane / 4, lane % 4);
        element(2 * t, g) | element(2 * t + 1, g) << 16
    }))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
fn transpose_avx512(rows: &Lanes<u32>) -> Lanes<u32> {
    use std::arch::x86_64::*;
    // Element 8 g + r of the result is element 8 r + g: of 64, in two registers.
    const ORDER: [[u16; 32]; 2] = {
        let mut order = [[0; 32]; 2];
        let mut i = 0;
        while i < 64 {
            order[i / 32][i % 32] = (i % 8 * 8 + i / 8) as u16;
            i += 1;
        }
        order
    };
    let mut out = Lanes([0; LANES]);
    // SAFETY: both registers are 128 bytes, and so is an order's row twice.
    unsafe {
        let front = _mm512_loadu_si512(rows.0.as_ptr().cast());
        let back = _mm512_loadu_si512(rows.0.as_ptr().add(16).cast());
        for (half, order) in ORDER.iter().enumerate() {
            let index = _mm512_loadu_si512(order.as_ptr().cast());
            let value = _mm512_permutex2var_epi16(front, index, back);
            _mm512_storeu_si512(out.0.as_mut_ptr().add(16 * half).cast(), value);
        }
    }
    out
}

/// Exponents below are not told apart: their bits are zeros in any sum that matters.
const LEAST_EXPONENT: u32 = 24;

/// What a tensor core makes of an accumulator and a block of products.
fn block_sum(sum: f32, products: &[f32]) -> f32 {
    let all = products.iter().chain([&sum]);
    let largest = all
        .clone()
        .map(|x| x.to_bits() & 0x7FFF_FFFF)
        .max()
        .unwrap_or(0);
    let exponent = (largest >> 23).max(LEAST_EXPONENT);
    if exponent == 255 {
        return products.iter().fold(sum, |sum, x| sum + x);
    }
    // Whole numbers below 2^24, which truncation makes.
    let scale = f32::from_bits((277 - exponent) << 23);
    let total: i32 = all.map(|x| (x * scale) as i32).sum();
    let kept = 32 - total.unsigned_abs().leading_zeros();
    let cut = kept.saturating_sub(24);
    let toward_zero = total / (1 << cut) * (1 << cut);
    toward_zero as f32 * f32::from_bits((exponent - 23) << 23)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
fn block_sum_avx512<const WIDTH: usize>(
    sum: std::arch::x86_64::__m512,
    products: &[std::arch::x86_64::__m512; WIDTH],
) -> std::arch::x86_64::__m512 {
    use std::arch::x86_64::*;
    let size = |x: __m512| _mm512_castps_si512(_mm512_abs_ps(x));
    let largest = products
        .iter()
        .fold(size(sum), |largest, &x| _mm512_max_epu32(largest, size(x)));
    let exponent = _mm512_srli_epi32::<23>(largest);
    let exponent = _mm512_max_epu32(exponent, _mm512_set1_epi32(LEAST_EXPONENT as i32));
    let scale = _mm512_slli_epi32::<23>(_mm512_sub_epi32(_mm512_set1_epi32(277), exponent));
    let scale = _mm512_castsi512_ps(scale);
    let mut total = _mm512_cvttps_epi32(_mm512_mul_ps(sum, scale));
    for &product in products {
        total = _mm512_add_epi32(total, _mm512_cvttps_epi32(_mm512_mul_ps(product, scale)));
    }
    let back = _mm512_slli_epi32::<23>(_mm512_sub_epi32(exponent, _mm512_set1_epi32(23)));
    let value = _mm512_cvt_roundepi32_ps::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(total);
    let value = _mm512_mul_ps(value, _mm512_castsi512_ps(back));
    let special = _mm512_cmpeq_epi32_mask(exponent, _mm512_set1_epi32(255));
    if special == 0 {
        return value;
    }
    let plain = products.iter().fold(sum, |sum, &x| _mm512_add_ps(sum, x));
    _mm512_mask_blend_ps(special, value, plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_cut_off_as_the_paper_measured() {
        let tiny = f32::from_bits(1); // below everything
        assert_eq!(
            block_sum(1.0, &[f32::EPSILON / 2.0; 4]),
            1.0,
            "each product is cut off by itself"
        );
        assert_eq!(block_sum(0.0, &[f32::EPSILON / 2.0; 4]), 2.0 * f32::EPSILON);
        assert_eq!(
            block_sum(-1.0, &[-f32::EPSILON / 2.0; 4]),
            -1.0,
            "toward zero"
        );
        assert_eq!(
            block_sum(1.0, &[1.0, f32::EPSILON]),
            2.0,
            "the last bit goes when the sum carries"
        );
        assert_eq!(
            block_sum(16_777_216.0, &[1.0, -16_777_216.0]),
            0.0,
            "before the sum is known"
        );
        assert_eq!(block_sum(tiny, &[tiny]), 0.0);
        assert!(block_sum(f32::INFINITY, &[1.0]).is_infinite());
        assert!(block_sum(f32::NAN, &[1.0]).is_nan());
    }

    #[test]
    fn matrices_are_turned_round() {
        let rows = Lanes(std::array::from_fn(|lane| {
            ((2 * lane) | ((2 * lane + 1) << 16)) as u32
        }));
        let turned = transpose(&rows);
        assert_eq!(turned.0[0], 8 << 16, "elements (0, 0) and (1, 0)");
        assert_eq!(turned.0[4], 1 | 9 << 16, "elements (0, 1) and (1, 1)");
        assert_eq!(turned.0, transpose_plainly(&rows).0);
    }

    #[test]
    fn both_ways_give_the_same_bits() {
        let mut state = 1u32;
        let mut draw = || {
            state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            state >> 8 ^ state << 11
        };
        let mut spread = Spread::default();
        for round in 0..400 {
            let element = if round % 2 == 0 {
                Element::F16
            } else {
                Element::Bf16
            };
            let mut half = || match (element, draw() % 50) {
                (_, 0) => draw() & 0xFFFF, // anything, infinities among them
                (Element::F16, _) => draw() & 0x83FF | (0x3000 + ((draw() % 12) << 10)),
                (Element::Bf16, _) => draw() & 0x807F | (0x3F00 + ((draw() % 20) << 7)),
            };
            let mut register = || Lanes(std::array::from_fn(|_| half() | half() << 16));
            let depth = if round % 3 == 0 { 8 } else { 16 };
            let operands: [Lanes<u32>; 6] = std::array::from_fn(|_| register());
            let [a0, a1, a2, a3, b0, b1] = &operands;
            let fragments = Fragments {
                a: [a0, a1, a2, a3],
                b: [b0, b1],
                element,
                depth,
                width: [4, 8, 16][round % 3].min(depth),
            };
            let start = std::array::from_fn(|n| {
                Lanes(std::array::from_fn(|lane| {
                    (n as f32 - lane as f32 * 0.37).to_bits()
                }))
            });
            let (mut plain, mut vector): ([Lanes<u32>; 4], _) = (start, start);
            fragments.multiply_plainly(&mut plain);
            // The same registers again and again: what was kept of them must not be taken for these.
            fragments.multiply(&mut vector, &mut spread, round as u32 % 3);
            for (plain, vector) in plain.iter().zip(&vector) {
                for (a, b) in plain.0.iter().zip(vector.0) {
                    let [a, b] = [*a, b].map(f32::from_bits);
                    assert!(
                        a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
                        "{a:e} {b:e}"
                    );
                }
            }
        }
    }
}
