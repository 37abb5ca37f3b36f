//! The second stage of gradients that are sums over rows, on a GPU: gradient = Σ_parts partials.
//!
//! The first stage is the kernel that has the rows at hand anyway; it leaves one row of partial
//! sums a block. Both stages add in a fixed order, so equal inputs give equal bits.

use std::ops::Range;

use super::gemm::Accumulate;
use crate::device::kernels::ColumnSum;
use crate::device::{Geometry, Gpu, Kernel, Ptr, Slice, Specialisation};
use crate::error::Result;

/// Columns of a block; its threads take them in 8 runs of the parts.
const COLUMNS: usize = 32;
pub(super) const THREADS: u32 = 256;

/// Partial sums, `parts` rows of `stride` values.
#[derive(Debug, Clone, Copy)]
pub struct Partials<'a> {
    values: Slice<'a, f32>,
    parts: usize,
    stride: usize,
    /// First of the columns, and their number.
    first: usize,
    columns: usize,
}

impl<'a> Partials<'a> {
    /// All columns of `values` (parts, stride).
    ///
    /// # Panics
    /// If there are fewer values.
    pub fn new(values: Slice<'a, f32>, parts: usize, stride: usize) -> Self {
        Self {
            values: values.range(0..parts * stride),
            parts,
            stride,
            first: 0,
            columns: stride,
        }
    }

    /// These columns of it.
    ///
    /// # Panics
    /// If it has fewer.
    pub fn columns(self, columns: Range<usize>) -> Self {
        assert!(columns.end <= self.stride, "column_sum: {columns:?}");
        Self {
            first: columns.start,
            columns: columns.len(),
            ..self
        }
    }

    /// The first part, for the kernel that makes the sums.
    pub fn ptr(&self) -> Ptr<f32> {
        self.values.ptr()
    }
}

/// Floats that [`finish`] leaves in `squares` for a gradient of `columns` values.
pub fn squares(columns: usize) -> usize {
    columns.div_ceil(COLUMNS)
}

/// Macros: none.
pub fn specialisation() -> Specialisation {
    ColumnSum::specialise(&[])
}

/// Writes the sums of `partials` into `gradient`, or adds them to it. `squares`, where given, gets
/// the sums of squares of the result in parts, [`squares`] of them.
///
/// # Panics
/// If lengths disagree.
pub fn finish(
    gpu: &Gpu,
    gradient: Slice<f32>,
    squares: Option<Slice<f32>>,
    partials: Partials,
    accumulate: Accumulate,
) -> Result<()> {
    let columns = partials.columns;
    assert_eq!(gradient.len(), columns, "column_sum: gradient");
    let blocks = self::squares(columns);
    if let Some(squares) = squares {
        assert_eq!(squares.len(), blocks, "column_sum: squares");
    }
    if columns == 0 {
        return Ok(());
    }
    let kernel = ColumnSum {
        gradient: gradient.ptr(),
        squares: Ptr::from(squares),
        partials: partials
            .values
            .range(partials.first..partials.values.len())
            .ptr(),
        parts: partials.parts as i32,
        stride: partials.stride as i32,
        columns: columns as i32,
        accumulate: accumulate.flag(),
    };
    // SAFETY: the last part's last column is inside `partials`, and the lengths of the others were
    // compared with the columns.
    unsafe { gpu.launch(&kernel, &specialisation(), Geometry::line(blocks, THREADS)) }
}
