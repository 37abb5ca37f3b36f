//! Matrix products of the CPU device.
//!
//! In f32 on x86-64 our own: the right operand is packed once ([`Packed`]) and shared by all
//! threads, which is what a ViT wants, where one weight meets thousands of rows. Elsewhere, in f64,
//! and where operands meet once, the `gemm` crate computes. (One core of a Xeon with AVX-512, 120
//! rows: 185 against 167 GFLOP/s at 384 × 384, 174 against 139 at 384 × 1536.)
//!
//! Each product runs on the calling thread. Operations split their output into tiles by a rule that
//! knows only the shapes, so results do not depend on the number of threads.

use std::cell::Cell;
use std::sync::Mutex;

use rayon::prelude::*;

use super::buffer::Buffer;
use super::micro_kernel::{Layout, MicroKernel, Tile};
use super::real::{Real, simd};

/// A matrix inside a slice: `data[row · row_stride + col · col_stride]`.
#[derive(Clone, Copy)]
pub struct Mat<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

/// A matrix to be written, rows `row_stride` apart.
pub struct MatMut<'a, T> {
    data: &'a mut [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

/// What the product does with what is already there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accumulate {
    Overwrite,
    Add,
}

/// Elements a slice must have to hold the matrix.
fn extent(rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> usize {
    match rows == 0 || cols == 0 {
        true => 0,
        false => (rows - 1) * row_stride + (cols - 1) * col_stride + 1,
    }
}

impl<'a, T> Mat<'a, T> {
    /// Rows one after the other.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Rows `row_stride` apart; panics if the slice is too short.
    pub fn strided(data: &'a [T], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(
            data.len() >= extent(rows, cols, row_stride, 1),
            "matrix past its slice"
        );
        Self {
            data,
            rows,
            cols,
            row_stride,
            col_stride: 1,
        }
    }

    /// The transpose, in place.
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// Rows `first..first + count`.
    pub fn rows(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.rows, "rows past the matrix");
        Self {
            data: &self.data[(first * self.row_stride).min(self.data.len())..],
            rows: count,
            ..self
        }
    }
}

impl<'a, T> MatMut<'a, T> {
    /// Rows one after the other.
    pub fn new(data: &'a mut [T], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Rows `row_stride` apart; panics if the slice is too short.
    pub fn strided(data: &'a mut [T], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(
            data.len() >= extent(rows, cols, row_stride, 1),
            "matrix past its slice"
        );
        Self {
            data,
            rows,
            cols,
            row_stride,
        }
    }
}

/// Steps along the common dimension: a strip of B (192 × 32 × 4 bytes) takes half of a 48 KiB L1.
const DEPTH: usize = 192;

/// A right operand, ready to be multiplied many times.
pub struct Packed<'a, T> {
    mat: Mat<'a, T>,
    kernel: Option<MicroKernel>,
    /// Blocks of [`DEPTH`] rows; in a block, strips of `kernel.cols` columns, row by row. Columns
    /// past the matrix hold anything, for their products are never stored.
    blocks: Buffer<f32>,
}

/// Buffers of operands that are gone: hundreds are packed in a step, and fresh pages cost more than
/// the packing.
static SPARE: Mutex<Vec<Buffer<f32>>> = Mutex::new(Vec::new());

fn spare(len: usize) -> Buffer<f32> {
    let last = SPARE.lock().expect("no panic under the lock").pop();
    last.filter(|buffer| buffer.len() >= len)
        .unwrap_or_else(|| Buffer::zeros(len))
}

impl<T> Drop for Packed<'_, T> {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.blocks);
        if !buffer.is_empty() {
            SPARE.lock().expect("no panic under the lock").push(buffer);
        }
    }
}

/// Steps of a transposing copy: a cache line of the source.
const STEPS: usize = 16;

impl<'a, T: Real> Packed<'a, T> {
    /// Packs `mat` on all threads.
    pub fn new(mat: Mat<'a, T>) -> Self {
        let Some((kernel, data)) = MicroKernel::detect().zip(T::as_f32(mat.data)) else {
            return Self {
                mat,
                kernel: None,
                blocks: Buffer::default(),
            };
        };
        let width = mat.cols.next_multiple_of(kernel.cols);
        let len = mat.rows * width;
        let mut blocks = spare(len);
        blocks[..len]
            .par_chunks_mut((DEPTH * width).max(1))
            .enumerate()
            .for_each(|(i, block)| {
                simd(
                    #[inline(always)]
                    || match mat.col_stride {
                        1 => pack_rows(block, data, mat, i * DEPTH, kernel.cols),
                        _ => pack_columns(block, data, mat, i * DEPTH, kernel.cols),
                    },
                );
            });
        Self {
            mat,
            kernel: Some(kernel),
            blocks,
        }
    }
}

/// Packs a block from row `first` on into strips of `width` columns, of a matrix whose rows lie
/// together.
#[inline(always)]
fn pack_rows<T>(block: &mut [f32], data: &[f32], mat: Mat<T>, first: usize, width: usize) {
    let depth = block.len() / mat.cols.next_multiple_of(width);
    for k in 0..depth {
        let row = &data[(first + k) * mat.row_stride..][..mat.cols];
        let strips = block.chunks_exact_mut(depth * width);
        for (strip, from) in strips.zip(row.chunks(width)) {
            strip[k * width..][..from.len()].copy_from_slice(from);
        }
    }
}

/// The same for a matrix whose columns lie together.
#[inline(always)]
fn pack_columns<T>(block: &mut [f32], data: &[f32], mat: Mat<T>, first: usize, width: usize) {
    assert_eq!(mat.row_stride, 1, "one stride of a matrix is 1");
    let depth = block.len() / mat.cols.next_multiple_of(width);
    for (s, strip) in block.chunks_exact_mut(depth * width).enumerate() {
        let cols = width.min(mat.cols - s * width);
        for (part, lines) in strip.chunks_mut(STEPS * width).enumerate() {
            for j in 0..cols {
                let at = (s * width + j) * mat.col_stride + first + part * STEPS;
                for (k, &v) in data[at..][..lines.len() / width].iter().enumerate() {
                    lines[k * width + j] = v;
                }
            }
        }
    }
}

thread_local! {
    /// This thread's copy of a block of a transposed A.
    static BLOCK: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// `c = scale · a · b`, or `c += scale · a · b`; panics if the shapes do not fit.
pub fn matmul_packed<T: Real>(
    c: MatMut<T>,
    accumulate: Accumulate,
    scale: T,
    a: Mat<T>,
    b: &Packed<T>,
) {
    assert_eq!(
        (c.rows, c.cols, a.cols),
        (a.rows, b.mat.cols, b.mat.rows),
        "matmul shapes"
    );
    let Some(kernel) = b.kernel.filter(|_| a.cols > 0) else {
        return matmul(c, accumulate, scale, a, b.mat);
    };
    let blocks = &*b.blocks;
    let padded = c.cols.next_multiple_of(kernel.cols);
    let a_data = T::as_f32(a.data).expect("packed operands are f32");
    let (c_rows, c_cols, c_stride) = (c.rows, c.cols, c.row_stride);
    let c_data = T::as_f32_mut(c.data).expect("packed operands are f32");
    // Rows of A that lie side by side (a transposed matrix) would put every step on a cache line of
    // its own, most of them in the same few sets: such a block is copied first.
    let transposed = a.col_stride != 1;
    let mut block = BLOCK.take();
    if transposed {
        block.resize(block.len().max(c_rows * DEPTH), 0.0);
    }
    for step in (0..a.cols).step_by(DEPTH) {
        let depth = DEPTH.min(a.cols - step);
        if transposed {
            assert_eq!(a.row_stride, 1, "one stride of a matrix is 1");
            for (k, to) in block.chunks_exact_mut(c_rows).take(depth).enumerate() {
                to.copy_from_slice(&a_data[(step + k) * a.col_stride..][..c_rows]);
            }
        }
        let (a_start, row_at, a_layout) = match transposed {
            true => (block.as_slice(), 1, Layout::Columns { stride: c_rows }),
            false => {
                let stride = a.row_stride;
                (&a_data[step..], stride, Layout::Rows { stride })
            }
        };
        let add = accumulate == Accumulate::Add || step > 0;
        for first in (0..c_cols).step_by(kernel.cols) {
            let strip = &blocks[step * padded + first * depth..][..depth * kernel.cols];
            for row in (0..c_rows).step_by(kernel.rows) {
                let rows = kernel.rows.min(c_rows - row);
                let tile = Tile {
                    a: a_start[row * row_at..].as_ptr(),
                    a_layout,
                    b: strip.as_ptr(),
                    depth,
                    c: c_data[row * c_stride + first..].as_mut_ptr(),
                    c_row: c_stride,
                    cols: kernel.cols.min(c_cols - first),
                    scale: scale.f64() as f32,
                    add,
                };
                // SAFETY: `a` and `c` were checked when they were made: the last value of the tile
                // is that of a row and a column inside them. The strip has `depth` whole steps.
                // `c` is borrowed mutably, so it overlaps nothing.
                unsafe { kernel.run(rows, tile) };
            }
        }
    }
    BLOCK.set(block);
}

/// The same for operands met once, as in attention.
pub fn matmul<T: Real>(c: MatMut<T>, accumulate: Accumulate, scale: T, a: Mat<T>, b: Mat<T>) {
    assert_eq!(
        (c.rows, c.cols, a.cols),
        (a.rows, b.cols, b.rows),
        "matmul shapes"
    );
    let (read, alpha) = match accumulate {
        Accumulate::Overwrite => (false, T::zero()),
        Accumulate::Add => (true, T::one()),
    };
    // SAFETY: the constructors checked that every index a shape and its strides reach lies inside
    // the slice, and `c` is borrowed mutably, so it overlaps neither operand.
    unsafe {
        gemm::gemm(
            c.rows,
            c.cols,
            a.cols,
            c.data.as_mut_ptr(),
            1,
            c.row_stride as isize,
            read,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            alpha,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
