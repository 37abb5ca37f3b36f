//! The inverse discrete cosine transform, to the bit as libjpeg's default ("islow").
//!
//! C. Loeffler, A. Ligtenberg, G. Moschytz, "Practical Fast 1-D DCT Algorithms with 11
//! Multiplications", ICASSP 1989, over the columns and then over the rows; constants have 13
//! fractional bits, what goes from the columns to the rows keeps 2, each pass rounds once. Between
//! the roundings all is exact, so the order of additions is free, and zeros may be left out.
//!
//! Some sums are cut to 16 bits, as in libjpeg-turbo's vector code for x86-64: only damaged files
//! and freak ones exceed them, but these, too, look as in Pillow.

use super::coefficients::Block;
use super::lanes::Lanes;

/// Fractional bits of the constants.
const CONSTANT_BITS: i32 = 13;

/// Fractional bits between the passes.
const PASS_BITS: i32 = 2;

/// Which coefficients may be other than zero.
enum Extent {
    /// The first alone.
    One,
    /// Those of the first row.
    Row,
    /// Those of the first four rows and columns.
    Quarter,
    /// Those of the first four rows.
    Upper,
    All,
}

impl Extent {
    #[inline(always)]
    fn of(block: &Block) -> Self {
        let (halves, _) = block.as_chunks::<4>();
        let any = |halves: &[[i16; 4]]| halves.as_flattened().iter().fold(0, |any, c| any | c);
        let (upper, lower) = halves.split_at(8);
        if any(lower) != 0 {
            return Self::All;
        }
        let [l0, r0, l1, r1, l2, r2, l3, r3] = *upper else {
            unreachable!("four rows have eight halves");
        };
        match (any(&[l1, r1, l2, r2, l3, r3]), any(&[r0, r1, r2, r3])) {
            (0, _) if any(&[r0, [0, l0[1], l0[2], l0[3]]]) == 0 => Self::One,
            (0, _) => Self::Row,
            (_, 0) => Self::Quarter,
            _ => Self::Upper,
        }
    }
}

/// Transforms a block to samples, which lie in `samples` in rows `stride` apart.
#[inline(always)]
pub fn transform<L: Lanes>(
    token: L::Token,
    block: &Block,
    quantization: &Block,
    samples: &mut [u8],
    stride: usize,
) {
    let zero = L::zero(token);
    let row = |row| L::product(token, block, quantization, row);
    let columns = match Extent::of(block) {
        Extent::One => {
            let dc = block[0].wrapping_mul(quantization[0]) << PASS_BITS;
            let sample = ((i32::from(dc) + 16) >> 5) + 128;
            let sample = [sample.clamp(0, 255) as u8; 8];
            for row in samples.chunks_mut(stride).take(8) {
                row[..8].copy_from_slice(&sample);
            }
            return;
        }
        Extent::Row => {
            // The pass over the columns would give each row this, but saturate where this wraps.
            let row = (row(0) * (1 << PASS_BITS)).wrapped();
            pass(L::transpose([row; 8]))
        }
        Extent::Quarter => {
            let rows = pass([row(0), row(1), row(2), row(3), zero, zero, zero, zero]);
            let [a, b, c, d, ..] = turn(rows);
            pass([a, b, c, d, zero, zero, zero, zero])
        }
        Extent::Upper => {
            let rows = pass([row(0), row(1), row(2), row(3), zero, zero, zero, zero]);
            pass(turn(rows))
        }
        Extent::All => {
            let rows = [
                row(0),
                row(1),
                row(2),
                row(3),
                row(4),
                row(5),
                row(6),
                row(7),
            ];
            pass(turn(pass(rows)))
        }
    };
    // The scale of a pass is √8, so both together shift by three more.
    let columns = descale::<L, { CONSTANT_BITS + PASS_BITS + 3 }>(columns);
    let rows = L::samples(columns);
    for (row, values) in samples.chunks_mut(stride).zip(rows) {
        row[..8].copy_from_slice(&values);
    }
}

// Arrays are not mapped here: a closure goes without the instructions of its surroundings.
#[inline(always)]
fn descale<L: Lanes, const BITS: i32>(mut numbers: [L; 8]) -> [L; 8] {
    for lanes in &mut numbers {
        *lanes = lanes.descale::<BITS>();
    }
    numbers
}

/// Between the passes.
#[inline(always)]
fn turn<L: Lanes>(rows: [L; 8]) -> [L; 8] {
    L::transpose(descale::<L, { CONSTANT_BITS - PASS_BITS }>(rows))
}

/// The transform along one axis, in eight lanes, scaled by √8 and by the constants' 2^13.
#[inline(always)]
fn pass<L: Lanes>(x: [L; 8]) -> [L; 8] {
    // Even part: a rotation of 2 and 6, a butterfly of 0 and 4.
    let turned = (x[2] + x[6]) * 4433; // 0.541196100 = √2 cos(3π/8)
    let low = turned - x[6] * 15137; // 1.847759065
    let high = turned + x[2] * 6270; // 0.765366865
    let sum = (x[0] + x[4]).wrapped() * (1 << CONSTANT_BITS);
    let difference = (x[0] - x[4]).wrapped() * (1 << CONSTANT_BITS);
    let [e0, e1, e2, e3] = [sum + high, difference + low, difference - low, sum - high];

    // Odd part: figure 8 of the paper, its last stage first.
    let (a, b) = ((x[7] + x[3]).wrapped(), (x[5] + x[1]).wrapped());
    let both = (a + b) * 9633; // 1.175875602
    let a = both - a * 16069; // 1.961570560
    let b = both - b * 3196; // 0.390180644
    let outer = (x[7] + x[1]) * 7373; // 0.899976223
    let inner = (x[5] + x[3]) * 20995; // 2.562915447
    let o0 = x[1] * 12299 - outer + b; // 1.501321110
    let o1 = x[3] * 25172 - inner + a; // 3.072711026
    let o2 = x[5] * 16819 - inner + b; // 2.053119869
    let o3 = x[7] * 2446 - outer + a; // 0.298631336
    [
        e0 + o0,
        e1 + o1,
        e2 + o2,
        e3 + o3,
        e3 - o3,
        e2 - o2,
        e1 - o1,
        e0 - o0,
    ]
}
