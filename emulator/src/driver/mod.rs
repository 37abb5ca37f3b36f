//! The C ABI of `libcuda`, and the state behind its handles.
//!
//! # Pointers
//!
//! A program promises the driver of each pointer what the driver API says of it, and the driver takes
//! its word: all functions here are `unsafe extern "C"`, whose one contract this is.
//!
//! * [`Out`] and [`Text`] are the pointers to one value, and to a C string. Only a call through the
//!   ABI makes one, so what they do with it rests on that contract, and is said once, there. Null is
//!   refused as an invalid value, except where the API allows it ([`Out::offer`]).
//! * Handles and device addresses are numbers here: looked up, and refused if they are none.
//! * Host ranges of copies, images of modules and arrays of arguments stay raw; the blocks that follow
//!   them say what the API promises of them.

mod absent;
mod capture;
mod context;
mod copies;
mod event;
mod graph;
mod kernels;
mod launch;
mod occupancy;
mod queue;
pub mod release;
mod state;
mod stream;
mod symbols;

use std::ffi::{CStr, c_char, c_int};

use crate::status::{Result, Status};

/// Defines functions of the C ABI whose bodies return [`Result`].
macro_rules! api {
    ($($(#[$meta:meta])* fn $name:ident($($argument:ident: $ty:ty),* $(,)?) $body:block)*) => {
        $(
            $(#[$meta])*
            /// # Safety
            /// Pointers are what the driver API says of them, see [`crate::driver`].
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name($($argument: $ty),*) -> std::os::raw::c_int {
                let run = || -> $crate::status::Result<()> { $body };
                $crate::driver::code(run())
            }
        )*
    };
}
use api;

fn code(result: Result<()>) -> c_int {
    result.map_or_else(|status| status.0, |()| Status::SUCCESS.0)
}

fn from_code(code: c_int) -> Result<()> {
    match Status(code) {
        Status::SUCCESS => Ok(()),
        status => Err(status),
    }
}

/// Where a call leaves a result.
#[repr(transparent)]
pub struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Writes the result; null is an invalid value.
    fn give(&self, value: T) -> Result<()> {
        if self.0.is_null() {
            return Err(Status::ERROR_INVALID_VALUE);
        }
        // SAFETY: the driver API's contract: not null, so it leads to room for a `T`.
        unsafe { self.0.write(value) };
        Ok(())
    }

    /// Writes the result unless nobody asks for it: null is allowed.
    fn offer(&self, value: T) {
        // A null pointer is the only thing that `give` refuses.
        let _ = self.give(value);
    }

    /// What is there; null is an invalid value.
    fn read(&self) -> Result<T>
    where
        T: Copy,
    {
        if self.0.is_null() {
            return Err(Status::ERROR_INVALID_VALUE);
        }
        // SAFETY: the driver API's contract: not null, so it leads to a `T` of the caller's.
        Ok(unsafe { self.0.read() })
    }
}

/// A C string that a call brings.
#[repr(transparent)]
pub struct Text(*const c_char);

impl Text {
    /// Its text; null is an invalid value.
    fn read(&self) -> Result<String> {
        if self.0.is_null() {
            return Err(Status::ERROR_INVALID_VALUE);
        }
        // SAFETY: the driver API's contract: not null, so it leads to bytes with a zero at the end.
        let text = unsafe { CStr::from_ptr(self.0) };
        Ok(text.to_string_lossy().into_owned())
    }
}

/// Reports why a call is refused, and refuses it.
fn refuse<T>(status: Status, text: impl AsRef<str>) -> Result<T> {
    crate::report::say(text.as_ref());
    Err(status)
}
