//! Memory in sizes that come from outside: asked for so that the answer may be no.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io;

use bytemuck::Zeroable;

use crate::host_memory;

/// The system refused, or would have to end some process to give so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not enough memory: {bytes} more bytes are not to be had")]
pub struct OutOfMemory {
    pub bytes: u64,
}

impl From<OutOfMemory> for io::Error {
    fn from(refused: OutOfMemory) -> Self {
        Self::new(io::ErrorKind::OutOfMemory, refused)
    }
}

/// From here on the system is asked what it has left: many promise more, and end the process that
/// takes it.
const LARGE: u64 = 64 << 20;

/// `length` zeros.
pub fn zeroed<T: Zeroable>(length: usize) -> Result<Vec<T>, OutOfMemory> {
    let refused = check(length as u64 * size_of::<T>() as u64)?;
    may_fail(|| bytemuck::allocation::try_zeroed_vec(length)).map_err(|()| refused)
}

/// Room for so many bytes.
pub fn with_capacity(bytes: u64) -> Result<Vec<u8>, OutOfMemory> {
    let refused = check(bytes)?;
    let length = usize::try_from(bytes).map_err(|_| refused)?;
    let mut room = Vec::new();
    may_fail(|| room.try_reserve_exact(length)).map_err(|_| refused)?;
    Ok(room)
}

/// What to say where `bytes` are refused; an error where they cannot be had anyway.
fn check(bytes: u64) -> Result<OutOfMemory, OutOfMemory> {
    let refused = OutOfMemory { bytes };
    let is_short = || host_memory::available().is_some_and(|left| bytes > left);
    if bytes >= LARGE && is_short() {
        Err(refused)
    } else {
        Ok(refused)
    }
}

thread_local! {
    static MAY_FAIL: Cell<bool> = const { Cell::new(false) };
}

fn may_fail<T>(allocate: impl FnOnce() -> T) -> T {
    MAY_FAIL.set(true);
    let result = allocate();
    MAY_FAIL.set(false);
    result
}

/// The system's allocator, for the binary. Where the system refuses what this program cannot do
/// without, the process ends with the exit code of [`Error::Memory`](crate::Error::Memory) and a
/// line that says so, instead of an abort: Rust's collections know no third way.
pub struct Allocator;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that the system's allocator wants.
        given(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        given(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        given(unsafe { System.realloc(memory, layout, size) }, size)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

fn given(memory: *mut u8, size: usize) -> *mut u8 {
    if memory.is_null() && !MAY_FAIL.try_with(Cell::get).unwrap_or(false) {
        end(size);
    }
    memory
}

/// Ends the process without taking any more memory.
#[cfg(unix)]
fn end(size: usize) {
    use std::io::Write;
    let mut line = [0_u8; 256];
    let mut rest = &mut line[..];
    let _ = writeln!(
        rest,
        "error: not enough memory: the system refused {size} more bytes\n\
         help: close other programs, or ask for a smaller --batch-size or fewer --threads"
    );
    let length = 256 - rest.len();
    // SAFETY: the buffer lives, and `_exit` runs no code of ours.
    unsafe {
        libc::write(2, line.as_ptr().cast(), length);
        libc::_exit(6);
    }
}

#[cfg(not(unix))]
fn end(_size: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_has_is_refused() {
        assert_eq!(zeroed::<u8>(3), Ok(vec![0; 3]));
        assert_eq!(zeroed::<[i16; 64]>(2), Ok(vec![[0; 64]; 2]));
        let bytes = 1 << 46;
        assert_eq!(zeroed::<u8>(1 << 46), Err(OutOfMemory { bytes }));
        assert_eq!(with_capacity(bytes), Err(OutOfMemory { bytes }));
        assert!(with_capacity(u64::MAX).is_err());
    }
}
