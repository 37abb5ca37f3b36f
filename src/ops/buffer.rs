//! Memory for tensors, on cache-line boundaries.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

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

/// Memory that operations gave back: fresh pages cost more than much of what is done with them.
static POOL: Mutex<Vec<Buffer<u64>>> = Mutex::new(Vec::new());

/// Borrowed memory for the time of an operation. What it holds at first is arbitrary.
pub struct Scratch<T> {
    /// Always there until dropped.
    memory: Option<Buffer<u64>>,
    len: usize,
    of: PhantomData<T>,
}

impl<T: Pod> Scratch<T> {
    /// `len` elements, from a cache line on.
    pub fn new(len: usize) -> Self {
        let words = (len * size_of::<T>()).div_ceil(size_of::<u64>());
        let mut pool = POOL.lock().expect("no panic under the lock");
        // Not one far too large either, which the next large request would miss.
        let fits = |&i: &usize| (words..=2 * words).contains(&pool[i].len());
        let smallest = (0..pool.len()).filter(fits).min_by_key(|&i| pool[i].len());
        let memory = smallest.map(|i| pool.swap_remove(i));
        drop(pool);
        Self {
            memory: Some(memory.unwrap_or_else(|| Buffer::zeros(words))),
            len,
            of: PhantomData,
        }
    }
}

impl<T> Drop for Scratch<T> {
    fn drop(&mut self) {
        let mut pool = POOL.lock().expect("no panic under the lock");
        pool.extend(self.memory.take());
    }
}

impl<T: Pod> Deref for Scratch<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let memory = self.memory.as_deref().expect("there until dropped");
        &bytemuck::cast_slice(memory)[..self.len]
    }
}

impl<T: Pod> DerefMut for Scratch<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        let memory = self.memory.as_deref_mut().expect("there until dropped");
        &mut bytemuck::cast_slice_mut(memory)[..self.len]
    }
}
