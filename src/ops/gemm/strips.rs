//! Products by vector instructions: Goto's loops around a [`MicroKernel`].

use rayon::prelude::*;

use super::micro_kernel::{Layout, MicroKernel, Tile};
use super::{Accumulate, Mat, MatMut};
use crate::ops::buffer::Scratch;
use crate::ops::real::simd;

/// Steps along the common dimension: a strip of B (192 × 32 × 4 bytes) takes half of a 48 KiB L1.
const DEPTH: usize = 192;

/// Steps of a transposing copy: a cache line of the source.
const STEPS: usize = 16;

/// Packs the right operand `mat` on all threads: blocks of [`DEPTH`] rows; in a block, strips of
/// `kernel.cols` columns, row by row. Columns past the matrix hold anything, for their products are
/// never stored.
pub fn pack(blocks: &mut [f32], kernel: MicroKernel, mat: Mat<f32>) {
    let width = mat.cols.next_multiple_of(kernel.cols);
    blocks[..mat.rows * width]
        .par_chunks_mut((DEPTH * width).max(1))
        .enumerate()
        .for_each(|(i, block)| {
            simd(
                #[inline(always)]
                || match mat.col_stride {
                    1 => pack_rows(block, mat, i * DEPTH, kernel.cols),
                    _ => pack_columns(block, mat, i * DEPTH, kernel.cols),
                },
            );
        });
}

/// Packs a block from row `first` on into strips of `width` columns, of a matrix whose rows lie
/// together.
#[inline(always)]
fn pack_rows(block: &mut [f32], mat: Mat<f32>, first: usize, width: usize) {
    let depth = block.len() / mat.cols.next_multiple_of(width);
    for k in 0..depth {
        let row = &mat.data[(first + k) * mat.row_stride..][..mat.cols];
        let strips = block.chunks_exact_mut(depth * width);
        for (strip, from) in strips.zip(row.chunks(width)) {
            strip[k * width..][..from.len()].copy_from_slice(from);
        }
    }
}

/// The same for a matrix whose columns lie together.
#[inline(always)]
fn pack_columns(block: &mut [f32], mat: Mat<f32>, first: usize, width: usize) {
    assert_eq!(mat.row_stride, 1, "one stride of a matrix is 1");
    let depth = block.len() / mat.cols.next_multiple_of(width);
    for (s, strip) in block.chunks_exact_mut(depth * width).enumerate() {
        let cols = width.min(mat.cols - s * width);
        for (part, lines) in strip.chunks_mut(STEPS * width).enumerate() {
            for j in 0..cols {
                let at = (s * width + j) * mat.col_stride + first + part * STEPS;
                for (k, &v) in mat.data[at..][..lines.len() / width].iter().enumerate() {
                    lines[k * width + j] = v;
                }
            }
        }
    }
}

/// `c` becomes, or grows by, the product of `a` with the operand packed in `blocks`.
pub fn matmul(
    kernel: MicroKernel,
    c: MatMut<f32>,
    accumulate: Accumulate,
    a: Mat<f32>,
    blocks: &[f32],
) {
    let padded = c.cols.next_multiple_of(kernel.cols);
    // Rows of A that lie side by side (a transposed matrix) would put every step on a cache line of
    // its own, most of them in the same few sets: such a block is copied first.
    let transposed = a.col_stride != 1;
    let mut block = Scratch::new(if transposed { c.rows * DEPTH } else { 0 });
    for step in (0..a.cols).step_by(DEPTH) {
        let depth = DEPTH.min(a.cols - step);
        if transposed {
            assert_eq!(a.row_stride, 1, "one stride of a matrix is 1");
            for (k, to) in block.chunks_exact_mut(c.rows).take(depth).enumerate() {
                to.copy_from_slice(&a.data[(step + k) * a.col_stride..][..c.rows]);
            }
        }
        let (a_start, row_at, a_layout) = if transposed {
            (&*block, 1, Layout::Columns { stride: c.rows })
        } else {
            let stride = a.row_stride;
            (&a.data[step..], stride, Layout::Rows { stride })
        };
        let accumulate = match step {
            0 => accumulate,
            _ => Accumulate::Add,
        };
        for first in (0..c.cols).step_by(kernel.cols) {
            let strip = &blocks[step * padded + first * depth..][..depth * kernel.cols];
            for row in (0..c.rows).step_by(kernel.rows) {
                let rows = kernel.rows.min(c.rows - row);
                let tile = Tile {
                    a: a_start[row * row_at..].as_ptr(),
                    a_layout,
                    b: strip.as_ptr(),
                    depth,
                    c: c.data[row * c.row_stride + first..].as_mut_ptr(),
                    c_row: c.row_stride,
                    cols: kernel.cols.min(c.cols - first),
                    accumulate,
                };
                // SAFETY: `a` and `c` were checked when they were made: the last value of the tile
                // is that of a row and a column inside them. The strip has `depth` whole steps.
                // `c` is borrowed mutably, so it overlaps nothing.
                unsafe { kernel.run(rows, tile) };
            }
        }
    }
}
