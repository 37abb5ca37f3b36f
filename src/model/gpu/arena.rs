//! One allocation for many tensors: places are given out before there is any memory, so that its
//! size is known first.

use std::marker::PhantomData;

use bytemuck::Pod;

use crate::device::{Buffer, Gpu, Slice};
use crate::error::Result;

/// Every tensor starts at a multiple of so many bytes: what the widest copies of the kernels need,
/// and a whole number of memory transactions.
const ALIGNMENT: usize = 256;

/// Where a tensor lies in an [`Arena`].
#[derive(Debug)]
pub struct Place<T> {
    /// Byte.
    start: usize,
    len: usize,
    values: PhantomData<fn() -> T>,
}

impl<T> Clone for Place<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Place<T> {}

impl<T> Place<T> {
    /// Values of the tensor.
    pub fn len(self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// Gives out places, one behind the other.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    bytes: usize,
}

impl Layout {
    /// Room for `len` values.
    pub fn place<T>(&mut self, len: usize) -> Place<T> {
        let start = self.bytes;
        self.bytes += (len * size_of::<T>()).next_multiple_of(ALIGNMENT);
        Place {
            start,
            len,
            values: PhantomData,
        }
    }

    /// Bytes given out so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The memory of a [`Layout`]; several layouts may take turns in it.
#[derive(Debug)]
pub struct Arena {
    memory: Buffer<u8>,
}

impl Arena {
    /// Memory for layouts of up to `bytes`; it never grows.
    pub fn new(gpu: &Gpu, bytes: usize) -> Result<Self> {
        Ok(Self {
            memory: gpu.alloc(bytes)?,
        })
    }

    /// The tensor at `place`.
    ///
    /// # Panics
    /// If the place is of a larger layout.
    pub fn at<T: Pod>(&self, place: Place<T>) -> Slice<'_, T> {
        self.first(place, place.len)
    }

    /// The first `len` values of the tensor at `place`.
    ///
    /// # Panics
    /// If it has fewer.
    pub fn first<T: Pod>(&self, place: Place<T>, len: usize) -> Slice<'_, T> {
        assert!(len <= place.len, "{len} values in room for {}", place.len);
        let end = place.start + len * size_of::<T>();
        self.memory.slice(place.start..end).cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_aligned_and_do_not_overlap() {
        let mut layout = Layout::default();
        let first = layout.place::<u8>(257);
        let second = layout.place::<f32>(3);
        let none = layout.place::<f32>(0);
        assert_eq!((first.start, second.start), (0, 512));
        assert!(none.is_empty());
        assert_eq!(layout.bytes(), 768);
    }
}
