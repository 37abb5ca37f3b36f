//! A loaded cubin and its kernels.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::{Arc, Mutex};

use cudarc::driver::sys::{self, CUfunction_attribute_enum as FunctionAttribute};
use cudarc::driver::{CudaContext, CudaStream, result};

use super::driver_error;
use super::kernel::Geometry;
use crate::error::Result;

/// A loaded cubin. Unloaded when dropped.
#[derive(Debug)]
pub struct Module {
    handle: sys::CUmodule,
    functions: Mutex<HashMap<&'static str, Function>>,
    context: Arc<CudaContext>,
}

#[derive(Debug, Clone, Copy)]
struct Function {
    handle: sys::CUfunction,
    /// Dynamic shared memory that was asked for. Without asking there are 48 KiB less the static
    /// part, which is not known here.
    shared: u32,
}

// SAFETY: the driver's handles are good in every thread that the context is current in.
unsafe impl Send for Module {}
// SAFETY: as above; the driver locks.
unsafe impl Sync for Module {}

impl Module {
    /// Loads `cubin`, which was made for the context's device.
    pub fn load(context: &Arc<CudaContext>, cubin: &[u8]) -> Result<Self> {
        let failed = driver_error("a compiled kernel cannot be loaded");
        context.bind_to_thread().map_err(&failed)?;
        // SAFETY: a whole cubin; the driver reads its length out of it.
        let handle = unsafe { result::module::load_data(cubin.as_ptr().cast()) }.map_err(failed)?;
        Ok(Self {
            handle,
            functions: Mutex::default(),
            context: context.clone(),
        })
    }

    /// Whether [`Module::launch`] finds `name` without asking the driver.
    pub fn is_resolved(&self, name: &'static str, shared: u32) -> bool {
        let functions = self.functions.lock().expect("no panic while it is held");
        let known = functions.get(name);
        known.is_some_and(|function| shared <= function.shared)
    }

    /// Looks the kernel `name` up, and asks for `shared` bytes of dynamic shared memory for it.
    ///
    /// The driver loads a kernel when it is looked up (CUDA's lazy loading, the default from 12.2
    /// on), which it cannot while a stream is being captured.
    pub fn resolve(&self, name: &'static str, shared: u32) -> Result<()> {
        let failed = driver_error(name);
        self.context.bind_to_thread().map_err(failed)?;
        self.function(name, shared).map(drop)
    }

    /// The kernel `name`, allowed `shared` bytes of dynamic shared memory.
    fn function(&self, name: &'static str, shared: u32) -> Result<sys::CUfunction> {
        let failed = driver_error(name);
        let mut functions = self.functions.lock().expect("no panic while it is held");
        let mut function = match functions.get(name) {
            Some(function) => *function,
            None => Function {
                // SAFETY: the module is loaded.
                handle: unsafe {
                    let name = CString::new(name).expect("a kernel's name");
                    result::module::get_function(self.handle, name)
                }
                .map_err(&failed)?,
                shared: 0,
            },
        };
        if shared > function.shared {
            // SAFETY: a function of the loaded module.
            unsafe {
                result::function::set_function_attribute(
                    function.handle,
                    FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                    shared as i32,
                )
            }
            .map_err(&failed)?;
            function.shared = shared;
        }
        functions.insert(name, function);
        Ok(function.handle)
    }

    /// Launches the kernel `name`; the context is current.
    ///
    /// # Safety
    /// As [`Gpu::launch`](super::Gpu::launch); `arguments` are the kernel's, packed.
    pub unsafe fn launch(
        &self,
        name: &'static str,
        arguments: &[u8],
        geometry: Geometry,
        stream: &CudaStream,
    ) -> Result<()> {
        let function = self.function(name, geometry.shared)?;
        // Keys of cuda.h: CU_LAUNCH_PARAM_BUFFER_POINTER, CU_LAUNCH_PARAM_BUFFER_SIZE, …_END.
        let mut size = arguments.len();
        let mut extra: [*mut c_void; 5] = [
            std::ptr::without_provenance_mut(1),
            arguments.as_ptr().cast_mut().cast(),
            std::ptr::without_provenance_mut(2),
            (&raw mut size).cast(),
            std::ptr::null_mut(),
        ];
        let Geometry {
            grid,
            block,
            shared,
            ..
        } = geometry;
        // SAFETY: the caller's promise; the driver copies the arguments before it returns.
        unsafe {
            sys::cuLaunchKernel(
                function,
                grid[0],
                grid[1],
                grid[2],
                block[0],
                block[1],
                block[2],
                shared,
                stream.cu_stream(),
                std::ptr::null_mut(),
                extra.as_mut_ptr(),
            )
        }
        .result()
        .map_err(driver_error(name))
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // Errors are those of earlier work, and reported by the calls that wait for it.
        let _ = self.context.bind_to_thread();
        // SAFETY: loaded once, unloaded once.
        let _ = unsafe { result::module::unload(self.handle) };
    }
}
