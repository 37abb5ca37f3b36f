//! Matrix products of the CPU device, over the `gemm` crate.
//!
//! Each call runs on the calling thread. Operations split their output into tiles by a rule that
//! knows only the shapes, so results do not depend on the number of threads.

use super::real::Real;

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

/// `c = scale · a · b`, or `c += scale · a · b`; panics if the shapes do not fit.
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
