//! Operands cut into tiles of bf16 pieces; see the parent module for the layout.

use std::arch::x86_64::*;

use super::super::Mat;
use super::{BLOCK, DEPTH, LINES, PIECES, TILE, TILE_WORDS, Tiles};

/// One operand: `lines` rows of A or columns of B, `depth` steps each.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    pub data: &'a [f32],
    pub lines: usize,
    pub depth: usize,
    /// From one line to the next; this or `step_stride` is 1.
    pub line_stride: usize,
    /// From one step of a line to the next.
    pub step_stride: usize,
}

/// Which operand is packed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
}

impl<'a> Operand<'a> {
    /// The left operand `a` of a product.
    pub fn left(a: Mat<'a, f32>) -> Self {
        Self {
            data: a.data,
            lines: a.rows,
            depth: a.cols,
            line_stride: a.row_stride,
            step_stride: a.col_stride,
        }
    }

    /// The right operand `b`.
    pub fn right(b: Mat<'a, f32>) -> Self {
        Self::left(b.t())
    }

    /// Words of the packed form.
    pub fn words(&self) -> usize {
        self.lines.div_ceil(LINES) * self.strip_words()
    }

    /// Words of a packed strip.
    pub fn strip_words(&self) -> usize {
        self.depth.div_ceil(DEPTH) * BLOCK
    }

    /// Packs strip `strip` from block `first` on, as many blocks as `to` holds; what lies outside the
    /// operand is zero.
    pub fn pack(&self, _: Tiles, side: Side, strip: usize, first: usize, to: &mut [u32]) {
        let by_line = self.step_stride == 1;
        assert!(by_line || self.line_stride == 1, "one stride is 1");
        let pack_tile = match (by_line, side) {
            (true, Side::Left) => pack_tile::<TILE, false>,
            (true, Side::Right) => pack_tile::<TILE, true>,
            (false, Side::Left) => pack_tile::<1, true>,
            (false, Side::Right) => pack_tile::<1, false>,
        };
        for (block, to) in (first..).zip(to.chunks_exact_mut(BLOCK)) {
            for half in 0..2 {
                let (line, step) = (strip * LINES + half * TILE, block * DEPTH);
                let to = &mut to[half * TILE_WORDS..];
                let lines = self.lines.saturating_sub(line).min(TILE);
                let steps = (self.depth - step).min(DEPTH);
                let (vector, stride) = if by_line {
                    (line * self.line_stride + step, self.line_stride)
                } else {
                    (step * self.step_stride + line, self.step_stride)
                };
                if (lines, steps) == (TILE, DEPTH) {
                    // SAFETY: `Tiles` is the proof of the instructions.
                    unsafe { pack_tile(&self.data[vector..], stride, to) };
                    continue;
                }
                let mut padded = [0.0; DEPTH * TILE];
                let (vectors, width, apart) = if by_line {
                    (lines, steps, DEPTH)
                } else if lines == 0 {
                    (0, 0, TILE)
                } else {
                    (steps, lines, TILE)
                };
                for (i, to) in padded.chunks_exact_mut(apart).take(vectors).enumerate() {
                    to[..width].copy_from_slice(&self.data[vector + i * stride..][..width]);
                }
                // SAFETY: as above.
                unsafe { pack_tile(&padded, apart, to) };
            }
        }
    }
}

/// Packs 16 lines of 32 steps into one tile of each piece, `2 · TILE_WORDS` apart. `from` holds
/// vectors of consecutive values, `stride` apart: with `APART` = 16 each is a line, whose second half is
/// 16 values on; with `APART` = 1 each is a step of 16 lines, whose partner is 16 vectors on.
///
/// # Safety
///
/// Needs AVX-512 F, BW and BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pack_tile<const APART: usize, const TRANSPOSED: bool>(
    from: &[f32],
    stride: usize,
    to: &mut [u32],
) {
    let partner = if APART == 1 { TILE * stride } else { TILE };
    assert!(from.len() >= (TILE - 1) * stride + partner + TILE);
    assert!(to.len() >= (PIECES - 1) * 2 * TILE_WORDS + TILE_WORDS);
    let mut store = |piece: usize, line: usize, words: __m512i| {
        let at = piece * 2 * TILE_WORDS + line * TILE;
        // SAFETY: inside `to`, as asserted.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().add(at).cast(), words) }
    };
    let pieces = |i: usize| {
        // SAFETY: the last value read is the one of the assertion.
        let (low, high) = unsafe {
            let at = from.as_ptr().add(i * stride);
            (_mm512_loadu_ps(at), _mm512_loadu_ps(at.add(partner)))
        };
        split(low, high)
    };
    if !TRANSPOSED {
        for i in 0..TILE {
            for (piece, words) in pieces(i).into_iter().enumerate() {
                store(piece, i, words);
            }
        }
        return;
    }
    let mut tiles = [[_mm512_setzero_si512(); TILE]; PIECES];
    for i in 0..TILE {
        for (tile, words) in tiles.iter_mut().zip(pieces(i)) {
            tile[i] = words;
        }
    }
    for (piece, tile) in tiles.into_iter().enumerate() {
        for (line, words) in transpose(tile).into_iter().enumerate() {
            store(piece, line, words);
        }
    }
}

/// The pieces of two vectors, largest first: each word holds the piece of `low[i]` in its low half
/// and that of `high[i]` in the other.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn split(mut low: __m512, mut high: __m512) -> [__m512i; PIECES] {
    let mut order = [0_u16; 2 * TILE];
    for (i, word) in order.iter_mut().enumerate() {
        *word = (i / 2 + i % 2 * TILE) as u16;
    }
    // SAFETY: plain data of the same size.
    let order: __m512i = unsafe { std::mem::transmute(order) };
    [(); PIECES].map(|()| {
        // SAFETY: as above; the elements of `low` come first.
        let rounded: __m512i = unsafe { std::mem::transmute(_mm512_cvtne2ps_pbh(high, low)) };
        let pairs = _mm512_permutexvar_epi16(order, rounded);
        low = _mm512_sub_ps(low, _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)));
        let upper = _mm512_and_si512(pairs, _mm512_set1_epi32(!0xffff));
        high = _mm512_sub_ps(high, _mm512_castsi512_ps(upper));
        pairs
    })
}

/// The transpose of 16 × 16 words.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(m: [__m512i; TILE]) -> [__m512i; TILE] {
    let zero = [_mm512_setzero_si512(); TILE];
    // Words of neighbouring rows, then pairs of words, alternate within each 128-bit quarter …
    let mut pairs = zero;
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_epi32(m[2 * i], m[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_epi32(m[2 * i], m[2 * i + 1]);
    }
    let mut quads = zero;
    for i in 0..4 {
        for j in 0..2 {
            quads[4 * i + 2 * j] = _mm512_unpacklo_epi64(pairs[4 * i + j], pairs[4 * i + 2 + j]);
            quads[4 * i + 2 * j + 1] =
                _mm512_unpackhi_epi64(pairs[4 * i + j], pairs[4 * i + 2 + j]);
        }
    }
    // … so quads[4i + c] holds, in quarter q, rows 4i … 4i + 3 of column 4q + c; quarters follow.
    let mut columns = zero;
    for c in 0..4 {
        let (a, b) = (quads[c], quads[4 + c]);
        let (d, e) = (quads[8 + c], quads[12 + c]);
        let (low, high) = (
            _mm512_shuffle_i32x4::<0x44>(a, b),
            _mm512_shuffle_i32x4::<0xee>(a, b),
        );
        let (low2, high2) = (
            _mm512_shuffle_i32x4::<0x44>(d, e),
            _mm512_shuffle_i32x4::<0xee>(d, e),
        );
        columns[c] = _mm512_shuffle_i32x4::<0x88>(low, low2);
        columns[4 + c] = _mm512_shuffle_i32x4::<0xdd>(low, low2);
        columns[8 + c] = _mm512_shuffle_i32x4::<0x88>(high, high2);
        columns[12 + c] = _mm512_shuffle_i32x4::<0xdd>(high, high2);
    }
    columns
}
