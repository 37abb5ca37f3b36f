//! Pillow's resize, to the bit.
//!
//! Antialiased convolution in two passes. The weights of each output pixel are computed in f64,
//! rounded to 22-bit fixed point, and each pass rounds to u8. Pillow goes horizontally first, and
//! since version 13 vertically first where that saves much work. (Resizers that go vertically
//! first throughout, or in f32, differ from it by up to 18 levels.)
//!
//! Source: `src/libImaging/Resample.c` of Pillow 13.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use vitcuda_picture::Rgb;

/// Fixed-point bits of a weight: 32, less 8 for the value, less 2 for sums beyond [0, 1].
const PRECISION: u32 = 32 - 8 - 2;

/// Half a level, so that the final shift rounds.
const HALF: i32 = 1 << (PRECISION - 1);

/// How output pixels weigh input pixels. The numbers are Pillow's, and those of `resample` in a
/// `preprocessor_config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Filter {
    Lanczos = 1,
    Bilinear = 2,
    Bicubic = 3,
    Box = 4,
    Hamming = 5,
}

impl Filter {
    pub const ALL: [Self; 5] = [
        Self::Lanczos,
        Self::Bilinear,
        Self::Bicubic,
        Self::Box,
        Self::Hamming,
    ];

    /// Distance at which the weight becomes zero, in output pixels.
    fn support(self) -> f64 {
        match self {
            Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        let sinc = |x: f64| match x {
            0.0 => 1.0,
            _ => (x * std::f64::consts::PI).sin() / (x * std::f64::consts::PI),
        };
        let distance = x.abs();
        match self {
            Self::Box if x > -0.5 && x <= 0.5 => 1.0,
            Self::Bilinear if distance < 1.0 => 1.0 - distance,
            Self::Hamming if distance == 0.0 => 1.0,
            // The constants are single precision in Pillow.
            Self::Hamming if distance < 1.0 => {
                let cosine = (distance * std::f64::consts::PI).cos();
                sinc(distance) * (f64::from(0.54_f32) + f64::from(0.46_f32) * cosine)
            }
            Self::Bicubic if distance < 1.0 => (1.5 * distance - 2.5) * distance * distance + 1.0,
            Self::Bicubic if distance < 2.0 => {
                (((distance - 5.0) * distance + 8.0) * distance - 4.0) * -0.5
            }
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            _ => 0.0,
        }
    }
}

/// One axis of a resize: the length it gets, and the part of that which is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    pub length: usize,
    pub part: Range<usize>,
}

impl Axis {
    /// All of `length`.
    pub fn whole(length: usize) -> Self {
        Self {
            length,
            part: 0..length,
        }
    }

    /// The middle `part` of `length`; an odd rest is cut from the end, as transformers'
    /// `center_crop` does.
    pub fn middle(length: usize, part: usize) -> Self {
        let start = (length - part) / 2;
        Self {
            length,
            part: start..start + part,
        }
    }
}

/// Resizes to `columns.length` × `rows.length`, keeping no aspect ratio, and gives the wanted part
/// of it as planes, (3, H, W). Panics if a part is empty or reaches beyond its axis.
///
/// What is not wanted costs nothing, however long one side of the whole may be.
pub fn resize(image: &Rgb, columns: &Axis, rows: &Axis, filter: Filter) -> Vec<u8> {
    let shrinks = |from: usize, to: usize| from as i64 - to as i64;
    let vertically = shrinks(image.height, rows.length);
    let vertical_first = vertically > 0 && vertically > 2 * shrinks(image.width, columns.length);
    let (width, height) = (columns.part.len(), rows.part.len());
    // Pillow skips a pass that changes nothing; its weights would be 1, so it changes nothing.
    let columns = Taps::new(image.width, columns, filter);
    let rows = Taps::new(image.height, rows, filter);
    let stride = 3 * image.width;
    let resized = if vertical_first {
        horizontal(&vertical(&image.pixels, stride, 0, &rows), stride, &columns)
    } else {
        let used = rows.used();
        let input = &image.pixels[used.start * stride..used.end * stride];
        let narrow = horizontal(input, stride, &columns);
        vertical(&narrow, 3 * width, used.start, &rows)
    };
    planes(&resized, width, height)
}

/// (H, 3, W) to (3, H, W).
fn planes(rows: &[u8], width: usize, height: usize) -> Vec<u8> {
    let mut planes = vec![0; rows.len()];
    for (y, row) in rows.chunks_exact(3 * width).enumerate() {
        for (channel, line) in row.chunks_exact(width).enumerate() {
            planes[(channel * height + y) * width..][..width].copy_from_slice(line);
        }
    }
    planes
}

/// The weights of a range of output positions along one axis.
struct Taps {
    /// First input position of each output position, and where its weights lie.
    windows: Vec<(usize, Range<usize>)>,
    weights: Vec<i32>,
}

impl Taps {
    fn new(input: usize, output: &Axis, filter: Filter) -> Self {
        let Axis { length, part } = output.clone();
        assert!(
            part.start < part.end && part.end <= length,
            "{part:?} of {length}"
        );
        let scale = input as f64 / length as f64;
        let stretch = scale.max(1.0);
        let support = filter.support() * stretch;
        let inverse = 1.0 / stretch;
        let mut taps = Self {
            windows: Vec::with_capacity(part.len()),
            weights: Vec::new(),
        };
        let mut exact = Vec::new();
        for position in part {
            let center = (position as f64 + 0.5) * scale;
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(input);
            exact.clear();
            exact.extend((first..end).map(|x| filter.weight((x as f64 - center + 0.5) * inverse)));
            let sum: f64 = exact.iter().sum();
            if sum != 0.0 {
                exact.iter_mut().for_each(|weight| *weight /= sum);
            }
            let start = taps.weights.len();
            taps.weights.extend(exact.iter().map(|&weight| {
                // Halves go away from zero; the cast cuts towards it.
                let half = if weight < 0.0 { -0.5 } else { 0.5 };
                (half + weight * f64::from(1 << PRECISION)) as i32
            }));
            taps.windows.push((first, start..taps.weights.len()));
        }
        taps
    }

    fn iter(&self) -> impl ExactSizeIterator<Item = (usize, &[i32])> {
        let weights =
            |(first, range): &(usize, Range<usize>)| (*first, &self.weights[range.clone()]);
        self.windows.iter().map(weights)
    }

    /// The input positions that any output position looks at.
    fn used(&self) -> Range<usize> {
        let (first, _) = self.windows[0];
        let (last, range) = &self.windows[self.windows.len() - 1];
        first..last + range.len()
    }
}

/// Rows handled side by side in the horizontal pass: the lanes of its inner loop.
const LANES: usize = 16;

/// Rows of interleaved pixels, (N, W, 3) with 3 · W bytes each, to rows of planes, (N, 3, width).
fn horizontal(rows: &[u8], stride: usize, taps: &Taps) -> Vec<u8> {
    Arch::new().dispatch(Horizontal { rows, stride, taps })
}

// A type, not a closure: only what is inlined into `with_simd` is compiled for the wide vectors,
// and the way into a closure is not.
struct Horizontal<'a> {
    rows: &'a [u8],
    stride: usize,
    taps: &'a Taps,
}

impl WithSimd for Horizontal<'_> {
    type Output = Vec<u8>;

    /// Sixteen rows at a time are turned on their side, so that the inner loop runs over rows,
    /// which share their weights, and vectorises.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<u8> {
        let Self { rows, stride, taps } = self;
        let width = taps.windows.len();
        let mut output = vec![0; rows.len() / stride * 3 * width];
        let mut turned = vec![[0; LANES]; stride];
        let mut summed = vec![[0; LANES]; 3 * width];
        let outputs = output.chunks_mut(LANES * 3 * width);
        for (rows, output) in rows.chunks(LANES * stride).zip(outputs) {
            turn(rows, &mut turned);
            horizontal_block(&turned, &mut summed, taps);
            turn_back(&summed, output);
        }
        output
    }
}

/// Up to sixteen rows of values to lanes; lanes beyond the last row keep what they held.
#[inline(always)]
fn turn(rows: &[u8], lanes: &mut [[u8; LANES]]) {
    let stride = lanes.len();
    for (eight, rows) in rows.chunks(8 * stride).enumerate() {
        let squares = if rows.len() == 8 * stride {
            stride / 8
        } else {
            0
        };
        for square in 0..squares {
            let bytes = |row: usize| rows[row * stride + 8 * square..].first_chunk::<8>();
            let values = std::array::from_fn(|row| {
                u64::from_le_bytes(*bytes(row).expect("the square lies within the row"))
            });
            let columns = &mut lanes[8 * square..8 * square + 8];
            for (column, value) in columns.iter_mut().zip(transpose(values)) {
                column[8 * eight..8 * eight + 8].copy_from_slice(&value.to_le_bytes());
            }
        }
        for (row, values) in rows.chunks_exact(stride).enumerate() {
            for (column, &value) in lanes.iter_mut().zip(values).skip(8 * squares) {
                column[8 * eight + row] = value;
            }
        }
    }
}

/// The inverse of [`turn`], for as many rows as `rows` has.
#[inline(always)]
fn turn_back(lanes: &[[u8; LANES]], rows: &mut [u8]) {
    let stride = lanes.len();
    for (eight, rows) in rows.chunks_mut(8 * stride).enumerate() {
        let squares = if rows.len() == 8 * stride {
            stride / 8
        } else {
            0
        };
        for square in 0..squares {
            let columns = &lanes[8 * square..8 * square + 8];
            let values = std::array::from_fn(|column| {
                let lanes = columns[column][8 * eight..].first_chunk::<8>();
                u64::from_le_bytes(*lanes.expect("eight lanes or sixteen"))
            });
            for (row, value) in transpose(values).into_iter().enumerate() {
                let start = row * stride + 8 * square;
                rows[start..start + 8].copy_from_slice(&value.to_le_bytes());
            }
        }
        for (row, values) in rows.chunks_exact_mut(stride).enumerate() {
            for (value, column) in values.iter_mut().zip(lanes).skip(8 * squares) {
                *value = column[8 * eight + row];
            }
        }
    }
}

/// Transposes 8 × 8 bytes: swaps the off-diagonal quarters, then theirs, then theirs (Warren,
/// "Hacker's Delight", 7-3).
#[inline(always)]
fn transpose(mut rows: [u64; 8]) -> [u64; 8] {
    const STEPS: [(usize, u64); 3] = [
        (4, 0x0000_0000_ffff_ffff),
        (2, 0x0000_ffff_0000_ffff),
        (1, 0x00ff_00ff_00ff_00ff),
    ];
    for (distance, mask) in STEPS {
        for upper in (0..8).filter(|row| row & distance == 0) {
            let lower = upper + distance;
            let swapped = ((rows[upper] >> (8 * distance)) ^ rows[lower]) & mask;
            rows[lower] ^= swapped;
            rows[upper] ^= swapped << (8 * distance);
        }
    }
    rows
}

/// Lanes of (W, 3) to lanes of (3, width).
#[inline(always)]
fn horizontal_block(turned: &[[u8; LANES]], summed: &mut [[u8; LANES]], taps: &Taps) {
    let width = taps.windows.len();
    let (pixels, _) = turned.as_chunks::<3>();
    for (position, (first, weights)) in taps.iter().enumerate() {
        let mut sums = [[HALF; LANES]; 3];
        for (pixel, &weight) in pixels[first..].iter().zip(weights) {
            for (sum, values) in sums.iter_mut().zip(pixel) {
                for (s, &v) in sum.iter_mut().zip(values) {
                    *s += i32::from(v) * weight;
                }
            }
        }
        for (channel, sum) in sums.into_iter().enumerate() {
            summed[channel * width + position] = sum.map(round);
        }
    }
}

/// Rows of `stride` bytes, resampled from top to bottom; the first is row `offset` of the input
/// that `taps` speak of.
fn vertical(rows: &[u8], stride: usize, offset: usize, taps: &Taps) -> Vec<u8> {
    Arch::new().dispatch(Vertical {
        rows,
        stride,
        offset,
        taps,
    })
}

struct Vertical<'a> {
    rows: &'a [u8],
    stride: usize,
    offset: usize,
    taps: &'a Taps,
}

impl WithSimd for Vertical<'_> {
    type Output = Vec<u8>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<u8> {
        let mut output = vec![0; self.stride * self.taps.windows.len()];
        let outputs = output.chunks_exact_mut(self.stride);
        for ((first, weights), row) in self.taps.iter().zip(outputs) {
            let input = &self.rows[(first - self.offset) * self.stride..];
            vertical_row(input, row, weights);
        }
        output
    }
}

/// One output row, a stretch of columns at a time, whose sums stay in registers.
#[inline(always)]
fn vertical_row(input: &[u8], output: &mut [u8], weights: &[i32]) {
    const STRETCH: usize = 64;
    let stride = output.len();
    let (stretches, rest) = output.as_chunks_mut::<STRETCH>();
    let done = stride - rest.len();
    for (index, stretch) in stretches.iter_mut().enumerate() {
        let mut sums = [HALF; STRETCH];
        for (row, &weight) in input.chunks_exact(stride).zip(weights) {
            let values = &row[index * STRETCH..][..STRETCH];
            for (sum, &v) in sums.iter_mut().zip(values) {
                *sum += i32::from(v) * weight;
            }
        }
        *stretch = sums.map(round);
    }
    for (column, out) in rest.iter_mut().enumerate() {
        let rows = input.chunks_exact(stride).zip(weights);
        let products = rows.map(|(row, &weight)| i32::from(row[done + column]) * weight);
        *out = round(HALF + products.sum::<i32>());
    }
}

#[inline(always)]
fn round(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}
