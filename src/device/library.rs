//! Which file a function of a loaded library came from.

use std::ffi::c_void;
use std::path::PathBuf;

/// The file that the loader took `function` from, where it says so.
#[cfg(unix)]
pub fn file_of(function: *const c_void) -> Option<PathBuf> {
    // SAFETY: an all-zero Dl_info is one; dladdr fills it for any address, or returns 0.
    let info = unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        (libc::dladdr(function, &mut info) != 0).then_some(info)?
    };
    // SAFETY: a C string of the loader's, which lives as long as the library.
    let name = unsafe { std::ffi::CStr::from_ptr(info.dli_fname) };
    Some(PathBuf::from(name.to_str().ok()?))
}

#[cfg(not(unix))]
pub fn file_of(_function: *const c_void) -> Option<PathBuf> {
    None
}
