//! Matrix products of the CPU device.
//!
//! In f32 on x86-64 our own, on the tile registers of recent Xeons (`tiles`) or with AVX-512 or
//! AVX2 (`strips`): the right operand is packed once ([`Packed`]) and shared by all threads, which
//! is what a ViT wants, where one weight meets thousands of rows. Elsewhere, and where operands meet
//! once, the `gemm` crate computes; in f64, which judges, a loop does.
//!
//! Each product runs on the calling thread. Operations split their output into tiles by a rule that
//! knows only the shapes, so results do not depend on the number of threads.

mod micro_kernel;
mod strips;
#[cfg(target_arch = "x86_64")]
mod tiles;

use std::array::from_fn;

use rayon::prelude::*;

use self::micro_kernel::MicroKernel;
#[cfg(target_arch = "x86_64")]
use self::tiles::{Operand, Side, Tiles};
use super::buffer::Scratch;
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

impl Accumulate {
    /// For part `index` of a sum that is made in parts: the first overwrites, later ones add.
    pub fn part(index: usize) -> Self {
        match index {
            0 => Self::Overwrite,
            _ => Self::Add,
        }
    }

    /// As kernels take it.
    pub fn flag(self) -> i32 {
        match self {
            Self::Overwrite => 0,
            Self::Add => 1,
        }
    }
}

/// Elements a slice must have to hold the matrix.
fn extent(rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> usize {
    if rows == 0 || cols == 0 {
        0
    } else {
        (rows - 1) * row_stride + (cols - 1) * col_stride + 1
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

impl<T> Mat<'_, T> {
    /// The same matrix over `data`, the same slice as another type.
    fn with<'b, U>(&self, data: &'b [U]) -> Mat<'b, U> {
        Mat {
            data,
            rows: self.rows,
            cols: self.cols,
            row_stride: self.row_stride,
            col_stride: self.col_stride,
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

impl<'a, T: Real> Mat<'a, T> {
    /// The same matrix; panics if it is not of f32.
    fn into_f32(self) -> Mat<'a, f32> {
        self.with(T::as_f32(self.data).expect("its values are f32"))
    }
}

impl<'a, T: Real> MatMut<'a, T> {
    /// The same matrix; panics if it is not of f32.
    fn into_f32(self) -> MatMut<'a, f32> {
        MatMut {
            data: T::as_f32_mut(self.data).expect("its values are f32"),
            rows: self.rows,
            cols: self.cols,
            row_stride: self.row_stride,
        }
    }
}

/// How a product is computed.
#[derive(Clone, Copy)]
enum Method {
    /// By [`matmul`], from the operand itself.
    Unpacked,
    Strips(MicroKernel),
    #[cfg(target_arch = "x86_64")]
    Tiles(Tiles),
}

impl Method {
    /// Those this processor has, the fastest first.
    fn available() -> impl Iterator<Item = Self> {
        let strips = MicroKernel::available().map(Self::Strips);
        #[cfg(target_arch = "x86_64")]
        let strips = Tiles::detect().map(Self::Tiles).into_iter().chain(strips);
        strips.chain([Self::Unpacked])
    }
}

/// Whether f32 products run on tile registers (AMX) here.
#[cfg(target_arch = "x86_64")]
pub fn has_tiles() -> bool {
    Tiles::detect().is_some()
}

/// A right operand, ready to be multiplied many times.
pub struct Packed<'a, T> {
    mat: Mat<'a, T>,
    method: Method,
    words: Scratch<u32>,
}

impl<'a, T: Real> Packed<'a, T> {
    /// Packs `mat` on all threads.
    pub fn new(mat: Mat<'a, T>) -> Self {
        let method = Method::available().next().expect("one is always there");
        Self::by(method, mat)
    }

    fn by(method: Method, mat: Mat<'a, T>) -> Self {
        let mut packed = Self {
            mat,
            method: Method::Unpacked,
            words: Scratch::new(0),
        };
        // The methods of our own need a common dimension, and f32.
        let Some(data) = T::as_f32(mat.data).filter(|_| mat.rows > 0) else {
            return packed;
        };
        match method {
            Method::Unpacked => {}
            Method::Strips(kernel) => {
                packed.words = Scratch::new(mat.rows * mat.cols.next_multiple_of(kernel.cols));
                let blocks = bytemuck::cast_slice_mut(&mut packed.words);
                strips::pack(blocks, kernel, mat.with(data));
            }
            #[cfg(target_arch = "x86_64")]
            Method::Tiles(tiles) => {
                let operand = Operand::right(mat.with(data));
                packed.words = Scratch::new(operand.words());
                packed
                    .words
                    .par_chunks_mut(operand.strip_words())
                    .enumerate()
                    .for_each(|(i, to)| operand.pack(tiles, Side::Right, i, 0, to));
            }
        }
        packed.method = method;
        packed
    }
}

/// `c = a · b`, or `c += a · b`; panics if the shapes do not fit.
pub fn matmul_packed<T: Real>(c: MatMut<T>, accumulate: Accumulate, a: Mat<T>, b: &Packed<T>) {
    assert_eq!(
        (c.rows, c.cols, a.cols),
        (a.rows, b.mat.cols, b.mat.rows),
        "matmul shapes"
    );
    if c.rows == 0 || c.cols == 0 {
        return;
    }
    match b.method {
        Method::Unpacked => matmul(c, accumulate, a, b.mat),
        Method::Strips(kernel) => {
            let (c, a) = (c.into_f32(), a.into_f32());
            strips::matmul(kernel, c, accumulate, a, bytemuck::cast_slice(&b.words));
        }
        #[cfg(target_arch = "x86_64")]
        Method::Tiles(tiles) => {
            let (c, a) = (c.into_f32(), a.into_f32());
            tiles::matmul(tiles, c, accumulate, Operand::left(a), &b.words);
        }
    }
}

/// The same for operands met once, as in attention, on the calling thread. (Packing them for the
/// tile registers cost more than it gained: a training step of a ViT-S took 6 % longer.)
pub fn matmul<T: Real>(c: MatMut<T>, accumulate: Accumulate, a: Mat<T>, b: Mat<T>) {
    assert_eq!(
        (c.rows, c.cols, a.cols),
        (a.rows, b.cols, b.rows),
        "matmul shapes"
    );
    match T::as_f32(a.data) {
        Some(_) => by_crate(c.into_f32(), accumulate, a.into_f32(), b.into_f32()),
        None => blocked(c, accumulate, a, b),
    }
}

fn by_crate(c: MatMut<f32>, accumulate: Accumulate, a: Mat<f32>, b: Mat<f32>) {
    let (read, alpha) = match accumulate {
        Accumulate::Overwrite => (false, 0.0),
        Accumulate::Add => (true, 1.0),
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
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// The judge's products, in f64: four rows and eight columns at a time. (The crate's kernels for f64
/// were 264 kB of the program.)
fn blocked<T: Real>(c: MatMut<T>, accumulate: Accumulate, a: Mat<T>, b: Mat<T>) {
    const ROWS: usize = 4;
    const COLS: usize = 8;
    let mut panel = vec![[T::zero(); COLS]; b.rows];
    for first in (0..b.cols).step_by(COLS) {
        let cols = COLS.min(b.cols - first);
        for (k, to) in panel.iter_mut().enumerate() {
            for (j, to) in to[..cols].iter_mut().enumerate() {
                *to = b.data[k * b.row_stride + (first + j) * b.col_stride];
            }
        }
        for top in (0..a.rows).step_by(ROWS) {
            let rows = ROWS.min(a.rows - top);
            // Of rows that are not there, the last one again.
            let starts: [usize; ROWS] = from_fn(|i| (top + i.min(rows - 1)) * a.row_stride);
            let sums = simd(
                #[inline(always)]
                || {
                    let mut sums = [[T::zero(); COLS]; ROWS];
                    for (k, b) in panel.iter().enumerate() {
                        for (sums, start) in sums.iter_mut().zip(starts) {
                            let a = a.data[start + k * a.col_stride];
                            for (sum, &b) in sums.iter_mut().zip(b) {
                                *sum = a.mul_add(b, *sum);
                            }
                        }
                    }
                    sums
                },
            );
            for (i, sums) in sums[..rows].iter().enumerate() {
                let row = &mut c.data[(top + i) * c.row_stride + first..][..cols];
                for (c, &sum) in row.iter_mut().zip(sums) {
                    *c = match accumulate {
                        Accumulate::Overwrite => sum,
                        Accumulate::Add => *c + sum,
                    };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Philox, Purpose};

    fn normal(len: usize, index: u64) -> Vec<f32> {
        let mut stream = Philox::new(7, Purpose::Test, index);
        (0..len).map(|_| stream.normal() as f32).collect()
    }

    /// Largest error against f64, as a share of Σ |a| |b|.
    fn error(c: &[f32], a: Mat<f32>, b: Mat<f32>, start: &[f32]) -> f64 {
        let at = |m: Mat<f32>, i, j| f64::from(m.data[i * m.row_stride + j * m.col_stride]);
        let mut worst = 0.0_f64;
        for i in 0..a.rows {
            for j in 0..b.cols {
                let start = f64::from(start[i * b.cols + j]);
                let terms = (0..a.cols).map(|k| at(a, i, k) * at(b, k, j));
                let exact = start + terms.clone().sum::<f64>();
                let size = start.abs() + terms.map(f64::abs).sum::<f64>();
                let error = (f64::from(c[i * b.cols + j]) - exact).abs() / size;
                assert!(!error.is_nan(), "({i}, {j}) is {}", c[i * b.cols + j]);
                worst = worst.max(error);
            }
        }
        worst
    }

    /// Every method this machine has, in every layout, at most twice as wrong as a plain f32 loop.
    #[test]
    fn each_method_is_as_exact_as_f32() {
        let mut methods = 0;
        for (m, n, k) in [
            (1, 1, 1),
            (3, 33, 65),
            (16, 32, 32),
            (48, 70, 200),
            (129, 96, 588),
        ] {
            let (a, b, start) = (normal(m * k, 1), normal(k * n, 2), normal(m * n, 3));
            let lefts = [Mat::new(&a, m, k), Mat::new(&a, k, m).t()];
            let rights = [Mat::new(&b, k, n), Mat::new(&b, n, k).t()];
            for (a, b) in lefts.into_iter().flat_map(|a| rights.map(|b| (a, b))) {
                for accumulate in [Accumulate::Overwrite, Accumulate::Add] {
                    let start = match accumulate {
                        Accumulate::Overwrite => vec![0.0; m * n],
                        Accumulate::Add => start.clone(),
                    };
                    let mut plain = start.clone();
                    for (i, c) in plain.iter_mut().enumerate() {
                        for k in 0..k {
                            *c += a.data[i / n * a.row_stride + k * a.col_stride]
                                * b.data[k * b.row_stride + i % n * b.col_stride];
                        }
                    }
                    let budget = 2.0 * error(&plain, a, b, &start) + f64::from(f32::EPSILON) / 2.0;
                    for method in Method::available() {
                        methods += 1;
                        let mut c = start.clone();
                        if accumulate == Accumulate::Overwrite {
                            c.fill(f32::NAN);
                        }
                        let packed = Packed::by(method, b);
                        matmul_packed(MatMut::new(&mut c, m, n), accumulate, a, &packed);
                        let found = error(&c, a, b, &start);
                        assert!(found <= budget, "{m} × {n} × {k}: {found:e} > {budget:e}");
                    }
                }
            }
        }
        assert!(methods > 0);
    }
}
