//! Error texts, symbol look-up, and the functions that exist only to say no.

use std::ffi::{c_char, c_int, c_ulonglong, c_void};

use super::{Out, Text, api, refuse, release};
use crate::status::Status;

api! {
    fn cuGetErrorName(code: c_int, out: Out<*const c_char>) {
        let texts = Status(code).texts().ok_or(Status::ERROR_INVALID_VALUE)?;
        out.give(texts.0.as_ptr().cast())
    }

    fn cuGetErrorString(code: c_int, out: Out<*const c_char>) {
        let texts = Status(code).texts().ok_or(Status::ERROR_INVALID_VALUE)?;
        out.give(texts.1.as_ptr().cast())
    }

    // NVRTC asks for tables of functions that nobody documents, and does without them.
    fn cuGetExportTable(table: Out<*const c_void>, _name: *const u8) {
        table.offer(std::ptr::null());
        Err(Status::ERROR_NOT_FOUND)
    }

    fn cuGetProcAddress_v2(symbol: Text, out: Out<*mut c_void>, version: c_int, _flags: c_ulonglong, status: Out<c_int>) {
        // The newest that the program's CUDA version knows.
        let name = symbol.read()?;
        let knows = |symbol: &String| {
            let (major, minor) = release::since(symbol);
            (major * 1000 + minor * 10) as c_int <= version
        };
        let named = ["_v4", "_v3", "_v2", ""].map(|suffix| format!("{name}{suffix}"));
        let found = named.iter().filter(|one| knows(one)).find_map(|one| own_symbol(one));
        status.offer(c_int::from(found.is_none())); // 1: not found
        out.give(found.unwrap_or(std::ptr::null_mut()))?;
        found.map(drop).ok_or(Status::ERROR_NOT_FOUND)
    }
}

/// Address of one of our own exported functions.
fn own_symbol(name: &str) -> Option<*mut c_void> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: looks up in this very library, which stays loaded; the address is not called here.
    unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        if libc::dladdr(own_symbol as *const c_void, &mut info) == 0 {
            return None;
        }
        let library = libc::dlopen(info.dli_fname, libc::RTLD_LAZY | libc::RTLD_NOLOAD);
        let address = libc::dlsym(library, name.as_ptr());
        (!address.is_null()).then_some(address)
    }
}

macro_rules! not_played {
    ($($name:ident)*) => { api! { $(fn $name() {
        refuse(Status::ERROR_NOT_SUPPORTED, concat!(stringify!($name), " is not played"))
    })* } };
}

not_played! {
    cuLaunchCooperativeKernel cuMemAllocManaged cuMemAdvise_v2 cuMemPrefetchAsync_v2 cuMemPoolCreate
    cuMemPoolDestroy cuImportExternalMemory cuDestroyExternalMemory cuExternalMemoryGetMappedBuffer
    cuStreamAttachMemAsync cuOccupancyMaxActiveClusters cuOccupancyMaxPotentialClusterSize
    cuTensorMapEncodeTiled cuPointerGetAttribute cuCtxEnablePeerAccess cuGraphExecUpdate_v2
    cuGraphKernelNodeSetParams_v2 cuModuleLoadFatBinary cuLinkCreate_v2
}
