//! The C ABI of `libcuda`, and the state behind its handles.

mod capture;
mod context;
mod copies;
mod event;
mod graph;
mod kernels;
mod launch;
mod occupancy;
mod queue;
mod state;
mod stream;
mod symbols;

use std::os::raw::c_int;

use crate::status::{Result, Status};

/// Defines functions of the C ABI whose bodies return [`Result`]. Their pointers are trusted as
/// the CUDA driver trusts them.
macro_rules! api {
    ($($(#[$meta:meta])* fn $name:ident($($argument:ident: $ty:ty),* $(,)?) $body:block)*) => {
        $(
            $(#[$meta])*
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

/// Writes a result through a pointer of the caller; null is an invalid value.
///
/// # Safety
/// `to` is null or valid for a write.
unsafe fn give<T>(to: *mut T, value: T) -> Result<()> {
    if to.is_null() {
        return Err(Status::ERROR_INVALID_VALUE);
    }
    // SAFETY: says the caller.
    unsafe { to.write(value) };
    Ok(())
}

/// Reports why a call is refused, and refuses it.
fn refuse<T>(status: Status, text: impl AsRef<str>) -> Result<T> {
    crate::report::say(text.as_ref());
    Err(status)
}
