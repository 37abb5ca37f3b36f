//! Memory for tensors, on cache-line boundaries.

use std::ops::{Deref, DerefMut};

use bytemuck::Pod;

/// Bytes of a cache line, and of an AVX-512 register: a vector that straddles two lines costs two
/// accesses.
const LINE: usize = 64;

/// A slice of fixed length that starts on a cache line.
#[derive(Debug)]
pub struct Buffer<T> {
    data: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Pod> Buffer<T> {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let data = vec![T::zeroed(); len + LINE / size_of::<T>()];
        // The vector is never resized, so it stays where it is.
        let start = data.as_ptr().align_offset(LINE).min(data.len() - len);
        Self { data, start, len }
    }
}

impl<T> Default for Buffer<T> {
    fn default() -> Self {
        Self {
            data: Vec::new(),
            start: 0,
            len: 0,
        }
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.data[self.start..][..self.len]
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.data[self.start..][..self.len]
    }
}
