//! Modules and functions.

use std::ffi::{CStr, c_char, c_int};

use super::state::{Function, State, working};
use super::{Out, Text, api, refuse, release};
use crate::device::{self, Device};
use crate::module::{self, Kernel};
use crate::status::{Result, Status};

/// # Safety
/// `image` is null or a whole image.
unsafe fn load(out: Out<usize>, image: *const u8) -> Result<()> {
    let (mut state, context) = working()?;
    if image.is_null() {
        return Err(Status::ERROR_INVALID_VALUE);
    }
    state.refuse_in_capture("cuModuleLoadData")?;
    // SAFETY: not null: a whole image, says the caller.
    if let Some((major, minor)) = unsafe { ptx_version(image) } {
        let judged = release::accepts_ptx(major, minor);
        release::refuse_newer(judged, Status::ERROR_UNSUPPORTED_PTX_VERSION)?;
    }
    // SAFETY: as above.
    if let Some((major, minor)) = unsafe { module::made_by(image) } {
        release::refuse_newer(
            release::accepts_nvrtc(major, minor),
            Status::ERROR_INVALID_IMAGE,
        )?;
    }
    // SAFETY: not null: a whole image, says the caller.
    let kernels = unsafe {
        module::load(
            image,
            state.device(context).arch,
            state.contexts[&context].device,
        )?
    };
    let mut functions = std::collections::HashMap::new();
    for kernel in kernels {
        let handle = state.handle();
        functions.insert(kernel.program.name.clone(), handle);
        let max_dynamic_shared = device::SHARED_DEFAULT;
        state.functions.insert(
            handle,
            Function {
                kernel,
                context,
                max_dynamic_shared,
                loaded: !release::loads_lazily(),
            },
        );
    }
    let handle = state.handle();
    state.modules.insert(handle, functions);
    // SAFETY: the driver API's contract.
    out.give(handle)
}

/// The version that an image of PTX text says it is; `None` for other images.
///
/// # Safety
/// `image` is a whole image, which ends in a zero byte if it is text.
unsafe fn ptx_version(image: *const u8) -> Option<(u32, u32)> {
    // SAFETY: an image has a first byte. PTX starts with a comment or a directive.
    if !matches!(unsafe { *image }, b'/' | b'.') {
        return None;
    }
    // SAFETY: text, so a zero byte ends it.
    let text = unsafe { CStr::from_ptr(image.cast()) }.to_string_lossy();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(".version"))?;
    let (major, minor) = line.trim().split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

impl State {
    /// For a call that uses the function: one that is not loaded yet is loaded now, which a capture
    /// does not allow.
    pub fn load_function(&mut self, function: usize) -> Result<()> {
        let found = self.functions.get(&function);
        let found = found.ok_or(Status::ERROR_INVALID_HANDLE)?;
        if found.loaded {
            return Ok(());
        }
        let call = format!(
            "kernel `{}` is loaded at its first use (lazy loading)",
            found.kernel.program.name
        );
        self.refuse_in_capture(&call)?;
        self.functions
            .entry(function)
            .and_modify(|one| one.loaded = true);
        Ok(())
    }
}

/// Registers of a thread: unknown here, so what the launch bounds force, or 64.
pub fn registers(kernel: &Kernel) -> u32 {
    let threads = kernel.program.max_threads * kernel.program.min_blocks.max(1);
    let share = device::REGISTERS.checked_div(threads);
    share.map_or(64, |share| (share / 8 * 8).min(255))
}

/// The most threads a block of the kernel can have.
pub fn max_threads(kernel: &Kernel) -> u32 {
    if kernel.program.max_threads == 0 {
        device::MAX_THREADS
    } else {
        kernel.program.max_threads
    }
}

fn attribute(function: &Function, device: &Device, number: c_int) -> Option<u32> {
    Some(match number {
        0 => max_threads(&function.kernel),
        1 => function.kernel.program.static_shared,
        2 | 7 => 0, // constants are global memory here, and nothing is preferred
        3 => function.kernel.program.local_bytes,
        4 => registers(&function.kernel),
        5 | 6 => device.arch,
        8 => function.max_dynamic_shared,
        9 => u32::MAX, // no preferred carve-out
        10..=15 => 0,  // clusters
        _ => return None,
    })
}

api! {
    fn cuModuleLoadData(out: Out<usize>, image: *const u8) {
        // SAFETY: the driver API's contract.
        unsafe { load(out, image) }
    }

    fn cuModuleLoadDataEx(out: Out<usize>, image: *const u8, _count: u32, _options: *mut c_int, _values: *mut usize) {
        // SAFETY: the driver API's contract.
        unsafe { load(out, image) }
    }

    fn cuModuleLoad(out: Out<usize>, path: Text) {
        let image = std::fs::read(path.read()?).map_err(|_| Status::ERROR_FILE_NOT_FOUND)?;
        if !module::is_whole(&image) {
            return refuse(Status::ERROR_INVALID_IMAGE, "cuModuleLoad: the file holds no whole cubin of the emulator's NVRTC");
        }
        // SAFETY: just checked.
        unsafe { load(out, image.as_ptr()) }
    }

    fn cuModuleUnload(module: usize) {
        let (mut state, context) = working()?;
        state.refuse_in_capture("cuModuleUnload")?;
        state.finish_all(context)?;
        let functions = state.modules.remove(&module).ok_or(Status::ERROR_INVALID_HANDLE)?;
        functions.values().for_each(|function| drop(state.functions.remove(function)));
        Ok(())
    }

    fn cuModuleGetFunction(out: Out<usize>, module: usize, name: Text) {
        let (mut state, _) = working()?;
        let functions = state.modules.get(&module).ok_or(Status::ERROR_INVALID_HANDLE)?;
        let name = name.read()?;
        match functions.get(&name).copied() {
            Some(function) => {
                state.load_function(function)?;
                out.give(function)
            }
            None => refuse(Status::ERROR_NOT_FOUND, format!("no extern \"C\" kernel `{name}` in this module")),
        }
    }

    fn cuModuleGetFunctionCount(out: Out<u32>, module: usize) {
        let (state, _) = working()?;
        let functions = state.modules.get(&module).ok_or(Status::ERROR_INVALID_HANDLE)?;
        out.give(functions.len() as u32)
    }

    fn cuModuleEnumerateFunctions(functions: *mut usize, count: u32, module: usize) {
        let (state, _) = working()?;
        let found = state.modules.get(&module).ok_or(Status::ERROR_INVALID_HANDLE)?;
        if functions.is_null() {
            return Err(Status::ERROR_INVALID_VALUE);
        }
        for (i, &function) in found.values().take(count as usize).enumerate() {
            // SAFETY: the driver API's contract: room for `count` functions.
            unsafe { *functions.add(i) = function };
        }
        Ok(())
    }

    fn cuFuncIsLoaded(loaded: Out<c_int>, function: usize) {
        let (state, _) = working()?;
        let found = state.functions.get(&function).ok_or(Status::ERROR_INVALID_HANDLE)?;
        loaded.give(c_int::from(found.loaded))
    }

    fn cuFuncLoad(function: usize) { working()?.0.load_function(function) }

    fn cuModuleGetGlobal_v2(_out: *mut usize, _bytes: *mut usize, _module: usize, name: Text) {
        let name = name.read()?;
        refuse(Status::ERROR_NOT_FOUND, format!("`{name}`: the emulator does not offer module globals to the host"))
    }

    fn cuFuncGetAttribute(value: Out<c_int>, number: c_int, function: usize) {
        let (mut state, context) = working()?;
        state.load_function(function)?;
        let found = &state.functions[&function];
        let number = attribute(found, state.device(context), number).ok_or(Status::ERROR_INVALID_VALUE)?;
        value.give(number as c_int)
    }

    fn cuFuncSetAttribute(function: usize, number: c_int, value: c_int) {
        let (mut state, context) = working()?;
        state.load_function(function)?;
        let optin = state.device(context).shared_optin;
        let found = state.functions.get_mut(&function).ok_or(Status::ERROR_INVALID_HANDLE)?;
        match number {
            8 => match u32::try_from(value) {
                Ok(bytes) if bytes <= optin => {
                    found.max_dynamic_shared = bytes;
                    Ok(())
                }
                _ => refuse(Status::ERROR_INVALID_VALUE, format!("kernel `{}`: {value} bytes of dynamic shared memory; this device has {optin}", found.kernel.program.name)),
            },
            9 | 13 | 14 | 15 => Ok(()),
            _ => Err(Status::ERROR_INVALID_VALUE),
        }
    }

    fn cuFuncSetCacheConfig(function: usize, _config: c_int) {
        let (state, _) = working()?;
        state.functions.get(&function).map(drop).ok_or(Status::ERROR_INVALID_HANDLE)
    }

    fn cuFuncGetParamInfo(function: usize, index: usize, offset: Out<usize>, bytes: Out<usize>) {
        let (state, _) = working()?;
        let found = state.functions.get(&function).ok_or(Status::ERROR_INVALID_HANDLE)?;
        let parameter = found.kernel.program.parameters.get(index).ok_or(Status::ERROR_INVALID_VALUE)?;
        offset.give(parameter.offset as usize)?;
        bytes.offer(parameter.bytes as usize);
        Ok(())
    }

    fn cuFuncGetName(out: Out<*const c_char>, function: usize) {
        let (state, _) = working()?;
        let found = state.functions.get(&function).ok_or(Status::ERROR_INVALID_HANDLE)?;
        // Leaked: the driver's strings live as long as the module, and this is asked in messages only.
        let name = std::ffi::CString::new(found.kernel.program.name.clone()).unwrap_or_default().into_raw();
        out.give(name.cast_const())
    }
}
