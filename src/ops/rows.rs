//! A matrix in device memory whose rows may lie apart.

use crate::device::Slice;

/// Rows of a tensor in memory.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a, T> {
    /// From the first value of the first row to the last value of the last row, at least.
    pub values: Slice<'a, T>,
    /// Values from a row's start to the next one's.
    pub stride: usize,
}

impl<'a, T> Rows<'a, T> {
    /// Rows of `width` values with nothing between.
    pub fn packed(values: Slice<'a, T>, width: usize) -> Self {
        Self {
            values,
            stride: width,
        }
    }

    /// # Panics
    /// Unless it holds `rows` rows of `width` values, less than 2²⁴ apart, as the kernels want them;
    /// `what` names it.
    pub(super) fn check(&self, what: &str, rows: usize, width: usize) {
        assert!(rows > 0 && width > 0, "{what}: {rows} rows of {width}");
        let needed = (rows - 1) * self.stride + width;
        assert!(
            self.stride >= width && self.values.len() >= needed && self.stride < 1 << 24,
            "{what}: {rows} rows of {width}, {} apart, in {} values",
            self.stride,
            self.values.len()
        );
    }
}
