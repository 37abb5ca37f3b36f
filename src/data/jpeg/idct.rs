//! The inverse discrete cosine transform, to the bit as libjpeg's default ("islow").
//!
//! C. Loeffler, A. Ligtenberg, G. Moschytz, "Practical Fast 1-D DCT Algorithms with 11
//! Multiplications", ICASSP 1989, over the columns and then over the rows; constants have 13
//! fractional bits, what goes from the columns to the rows keeps 2, each pass rounds once. Between
//! the roundings all is exact, so the order of additions is free.
//!
//! Coefficients and quantisation multiply to 16 bits, as in libjpeg-turbo's vector code: only
//! damaged files exceed them.

use std::array::from_fn;
use std::ops::{Add, Mul, Sub};

use super::coefficients::Block;

/// Fractional bits of the constants.
const CONSTANT_BITS: u32 = 13;

/// Fractional bits between the passes.
const PASS_BITS: u32 = 2;

/// Eight numbers side by side.
#[derive(Clone, Copy)]
struct Lanes([i32; 8]);

impl Add for Lanes {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i].wrapping_add(other.0[i])))
    }
}

impl Sub for Lanes {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i].wrapping_sub(other.0[i])))
    }
}

impl Mul<i32> for Lanes {
    type Output = Self;
    #[inline(always)]
    fn mul(self, factor: i32) -> Self {
        Self(self.0.map(|v| v.wrapping_mul(factor)))
    }
}

impl Lanes {
    /// Divides by 2^`bits`, rounding halves up.
    #[inline(always)]
    fn descale(self, bits: u32) -> Self {
        Self(self.0.map(|v| v.wrapping_add(1 << (bits - 1)) >> bits))
    }
}

/// Transforms a block to samples, which lie in `samples` in rows `stride` apart.
#[inline(always)]
pub fn transform(block: &Block, quantization: &Block, samples: &mut [u8], stride: usize) {
    let (first_row, lower) = block.split_at(8);
    let is_flat = lower
        .iter()
        .chain(&first_row[1..])
        .fold(0, |any, &c| any | c)
        == 0;
    if is_flat {
        let dc = i32::from(block[0].wrapping_mul(quantization[0]));
        // Both passes at once: the first is exact here.
        let sample = ((dc + 4) >> 3) + 128;
        for row in samples.chunks_mut(stride).take(8) {
            row[..8].fill(sample.clamp(0, 255) as u8);
        }
        return;
    }
    let rows: [Lanes; 8] = from_fn(|row| {
        Lanes(from_fn(|column| {
            let at = 8 * row + column;
            i32::from(block[at].wrapping_mul(quantization[at]))
        }))
    });
    let columns = transpose(pass(rows).map(|v| v.descale(CONSTANT_BITS - PASS_BITS)));
    let columns = pass(columns).map(|v| v.descale(CONSTANT_BITS + PASS_BITS + 3));
    let rows = transpose(columns);
    for (row, values) in samples.chunks_mut(stride).zip(rows) {
        row[..8].copy_from_slice(&values.0.map(|v| (v + 128).clamp(0, 255) as u8));
    }
}

#[inline(always)]
fn transpose(rows: [Lanes; 8]) -> [Lanes; 8] {
    from_fn(|column| Lanes(from_fn(|row| rows[row].0[column])))
}

/// The transform along one axis, in eight lanes, scaled by 2^(3/2) and by the constants' 2^13.
#[inline(always)]
fn pass(x: [Lanes; 8]) -> [Lanes; 8] {
    // Even part: a rotation of 2 and 6, a butterfly of 0 and 4.
    let turned = (x[2] + x[6]) * 4433; // √2 cos(3π/8), 0.541196100
    let low = turned - x[6] * 15137; // 1.847759065
    let high = turned + x[2] * 6270; // 0.765366865
    let sum = (x[0] + x[4]) * (1 << CONSTANT_BITS);
    let difference = (x[0] - x[4]) * (1 << CONSTANT_BITS);
    let even = [sum + high, difference + low, difference - low, sum - high];

    // Odd part: figure 8 of the paper, its last stage first.
    let (a, b) = (x[7] + x[3], x[5] + x[1]);
    let both = (a + b) * 9633; // 1.175875602
    let a = both - a * 16069; // 1.961570560
    let b = both - b * 3196; // 0.390180644
    let outer = (x[7] + x[1]) * 7373; // 0.899976223
    let inner = (x[5] + x[3]) * 20995; // 2.562915447
    let odd = [
        x[1] * 12299 - outer + b, // 1.501321110
        x[3] * 25172 - inner + a, // 3.072711026
        x[5] * 16819 - inner + b, // 2.053119869
        x[7] * 2446 - outer + a,  // 0.298631336
    ];
    from_fn(|i| match i {
        0..4 => even[i] + odd[i],
        _ => even[7 - i] - odd[7 - i],
    })
}
