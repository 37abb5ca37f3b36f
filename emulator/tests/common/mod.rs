//! What the emulator's tests share: standing first on the library path, compiling, counters.
#![allow(dead_code, unused_imports)] // each test binary uses its own part

use std::ffi::{CString, c_int};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaFunction};
use cudarc::nvrtc::{Ptx, sys as nvrtc};

mod counters;
mod first;

pub use counters::{Counters, counters, host_synchronisations, reset_counters};
pub use first::{stand_first, trial};

/// Texts of the project's headers, as in-memory headers.
const HEADERS: [(&str, &str); 2] = [
    ("common.cuh", include_str!("../../../kernels/common.cuh")),
    ("mma.cuh", include_str!("../../../kernels/mma.cuh")),
];

/// Compiles to a cubin, or returns the log.
pub fn compile(source: &str, arch: u32, options: &[&str]) -> Result<Vec<u8>, String> {
    let text = |text: &str| CString::new(text).expect("no zero bytes in sources");
    let (names, headers): (Vec<_>, Vec<_>) = HEADERS
        .map(|(name, header)| (text(name), text(header)))
        .into_iter()
        .unzip();
    let pointers = |strings: &[CString]| strings.iter().map(|one| one.as_ptr()).collect::<Vec<_>>();
    let mut options: Vec<CString> = options.iter().map(|one| text(one)).collect();
    options.push(text(&format!("--gpu-architecture=sm_{arch}")));
    let (source, file) = (text(source), text("test.cu"));
    unsafe {
        let mut program = std::ptr::null_mut();
        nvrtc::nvrtcCreateProgram(
            &mut program,
            source.as_ptr(),
            file.as_ptr(),
            2,
            pointers(&headers).as_ptr(),
            pointers(&names).as_ptr(),
        )
        .result()
        .expect("a program");
        let compiled = nvrtc::nvrtcCompileProgram(
            program,
            options.len() as c_int,
            pointers(&options).as_ptr(),
        )
        .result();
        let mut size = 0;
        nvrtc::nvrtcGetProgramLogSize(program, &mut size)
            .result()
            .expect("a log");
        let mut log = vec![0u8; size];
        nvrtc::nvrtcGetProgramLog(program, log.as_mut_ptr().cast())
            .result()
            .expect("a log");
        log.pop();
        let log = String::from_utf8(log).expect("a log is text");
        let cubin = compiled.map(|()| {
            nvrtc::nvrtcGetCUBINSize(program, &mut size)
                .result()
                .expect("a cubin");
            let mut cubin = vec![0u8; size];
            nvrtc::nvrtcGetCUBIN(program, cubin.as_mut_ptr().cast())
                .result()
                .expect("a cubin");
            cubin
        });
        nvrtc::nvrtcDestroyProgram(&mut program)
            .result()
            .expect("destroyed once");
        cubin.map_err(|_| log)
    }
}

/// Compiles for the device at hand and loads the function `name`.
pub fn function(context: &Arc<CudaContext>, source: &str, name: &str) -> CudaFunction {
    function_with(context, source, name, &[])
}

/// [`function`] with options.
pub fn function_with(
    context: &Arc<CudaContext>,
    source: &str,
    name: &str,
    options: &[&str],
) -> CudaFunction {
    let (major, minor) = context.compute_capability().expect("a device has one");
    let cubin =
        compile(source, (major * 10 + minor) as u32, options).unwrap_or_else(|log| panic!("{log}"));
    let module = context
        .load_module(Ptx::from_binary(cubin))
        .expect("it was made for this device");
    module
        .load_function(name)
        .expect("the kernel is in the file")
}

/// Whether kernels are compiled to report every load and store (the default).
pub fn sees_every_access() -> bool {
    !matches!(
        std::env::var("VITCUDA_EMULATOR_CHECKS").as_deref(),
        Ok("off" | "address")
    )
}

/// Uniform numbers in [-1, 1), the same every time.
pub fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| draw()).collect()
}

/// The path of a kernel file of the tests.
pub fn kernel_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/kernels")
        .join(name)
}
