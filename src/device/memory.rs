//! Device memory: buffers, typed views into them, and what kernels get of them.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;
use cudarc::driver::{CudaContext, result, sys};

use super::driver_error;
pub use super::element::Element;
use crate::error::{Error, Result};

/// An address on the device, as a kernel's argument; made from a [`Slice`].
pub struct Ptr<T> {
    address: u64,
    target: PhantomData<*const T>,
}

impl<T> Ptr<T> {
    /// For arguments that a kernel can do without.
    pub const NULL: Self = Self {
        address: 0,
        target: PhantomData,
    };

    /// The device's address.
    pub fn address(self) -> u64 {
        self.address
    }
}

impl<T> Clone for Ptr<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Ptr<T> {}

impl<T> std::fmt::Debug for Ptr<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.address)
    }
}

impl<T> From<Option<Slice<'_, T>>> for Ptr<T> {
    /// [`Ptr::NULL`] for `None`.
    fn from(slice: Option<Slice<'_, T>>) -> Self {
        slice.map_or(Self::NULL, Slice::ptr)
    }
}

/// A part of a [`Buffer`], to be read or written.
///
/// Like `&[Cell<T>]`: views of one place may exist side by side, since the host never looks at the
/// memory itself and the device works in the order in which the work was issued.
pub struct Slice<'a, T> {
    address: u64,
    len: usize,
    memory: PhantomData<&'a T>,
}

impl<T> Clone for Slice<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Slice<'_, T> {}

impl<T> std::fmt::Debug for Slice<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} values at {:#x}", self.len, self.address)
    }
}

impl<'a, T> Slice<'a, T> {
    /// Values in the slice.
    pub fn len(self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The address, for a kernel.
    pub fn ptr(self) -> Ptr<T> {
        Ptr {
            address: self.address,
            target: PhantomData,
        }
    }

    /// The address, for the driver.
    pub fn address(self) -> u64 {
        self.address
    }

    /// Bytes in the slice.
    pub fn bytes(self) -> usize {
        self.len * size_of::<T>()
    }

    /// Whether the address is a multiple of `bytes`.
    pub fn is_aligned_to(self, bytes: usize) -> bool {
        self.address.is_multiple_of(bytes as u64)
    }

    /// The values of `range`.
    ///
    /// # Panics
    /// If the slice ends before.
    pub fn range(self, range: Range<usize>) -> Slice<'a, T> {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "{range:?} of {} values",
            self.len
        );
        Slice {
            address: self.address + (range.start * size_of::<T>()) as u64,
            len: range.len(),
            memory: PhantomData,
        }
    }

    /// The same bytes as values of another type.
    ///
    /// # Panics
    /// If the address is not aligned for `U`, or the bytes are no whole number of them.
    pub fn cast<U: Pod>(self) -> Slice<'a, U> {
        assert!(
            self.is_aligned_to(align_of::<U>()) && self.bytes().is_multiple_of(size_of::<U>()),
            "{self:?} as {}",
            std::any::type_name::<U>()
        );
        Slice {
            address: self.address,
            len: self.bytes() / size_of::<U>(),
            memory: PhantomData,
        }
    }
}

/// Device memory of its own. Fresh memory holds anything.
#[derive(Debug)]
pub struct Buffer<T> {
    address: u64,
    len: usize,
    /// None where there is no memory behind the address.
    context: Option<Arc<CudaContext>>,
    values: PhantomData<T>,
}

impl<T> Buffer<T> {
    /// The address of a record.
    pub(super) fn nowhere(address: u64, len: usize) -> Self {
        Self {
            address,
            len,
            context: None,
            values: PhantomData,
        }
    }
}

impl<T: Pod> Buffer<T> {
    /// Room for `len` values, aligned to 256 bytes.
    ///
    /// [`Error::Memory`] where the device has not that much left.
    pub(super) fn new(context: &Arc<CudaContext>, len: usize) -> Result<Self> {
        // The driver refuses zero bytes.
        let bytes = (len * size_of::<T>()).max(1);
        context.bind_to_thread().map_err(driver_error("memory"))?;
        // SAFETY: nobody reads the memory as anything but `T`, of which every bit pattern is one.
        let allocated = unsafe { result::malloc_sync(bytes) };
        let address = allocated.map_err(|error| match error.0 {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => out_of_memory(bytes),
            _ => driver_error("memory")(error),
        })?;
        Ok(Self {
            address,
            len,
            context: Some(context.clone()),
            values: PhantomData,
        })
    }
}

fn out_of_memory(bytes: usize) -> Error {
    let free = match result::mem_get_info() {
        Ok((free, total)) => format!("; {free} of {total} bytes are free"),
        Err(_) => String::new(),
    };
    Error::Memory {
        problem: format!("the GPU has no {bytes} bytes left{free}"),
        help:
            "close other programs that use the GPU (nvidia-smi lists them), or take a smaller batch"
                .into(),
    }
}

impl<T> Buffer<T> {
    /// Values in the buffer.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of it.
    pub fn all(&self) -> Slice<'_, T> {
        Slice {
            address: self.address,
            len: self.len,
            memory: PhantomData,
        }
    }

    /// The values of `range`.
    ///
    /// # Panics
    /// If the buffer ends before.
    pub fn slice(&self, range: Range<usize>) -> Slice<'_, T> {
        self.all().range(range)
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        let Some(context) = &self.context else {
            return;
        };
        // An error is an earlier launch's, and sticky: the next call that can return one does.
        let _ = context.bind_to_thread();
        // SAFETY: allocated by `new`, freed once; the driver waits for the work that uses it.
        let _ = unsafe { result::free_sync(self.address) };
    }
}
