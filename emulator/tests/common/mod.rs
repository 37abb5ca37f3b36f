//! What the emulator's tests share: standing first on the library path, compiling, counters.
#![allow(dead_code)] // each test binary uses its own part

use std::ffi::{CString, c_char, c_int};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaFunction};
use cudarc::nvrtc::{Ptx, sys as nvrtc};

const READY: &str = "VITCUDA_EMULATOR_FIRST";

/// Starts this process again with the emulator first on the library path, unless it is already.
pub fn stand_first() {
    if std::env::var_os(READY).is_some() {
        return;
    }
    let folder = links();
    let mut path = folder.into_os_string();
    if let Some(rest) = std::env::var_os("LD_LIBRARY_PATH").filter(|rest| !rest.is_empty()) {
        path.push(":");
        path.push(rest);
    }
    let own = std::env::current_exe().expect("a running test has a path");
    let error = Command::new(own)
        .args(std::env::args_os().skip(1))
        .env("LD_LIBRARY_PATH", path)
        .env(READY, "1")
        .exec();
    panic!("cannot start again: {error}");
}

/// A folder in which the driver's and NVRTC's names lead to the emulator.
fn links() -> PathBuf {
    let own = std::env::current_exe().expect("a running test has a path");
    let deps = own.parent().expect("a test lies in a folder");
    let name = "libvitcuda_emulator.so";
    let library = [deps.join(name), deps.with_file_name(name)];
    let built = library
        .iter()
        .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)));
    let (_, library) = built
        .max()
        .expect("cargo builds the library before its tests");
    let folder = deps.with_file_name("emulator");
    std::fs::create_dir_all(&folder).expect("the target folder is writable");
    for link in [
        "libcuda.so",
        "libcuda.so.1",
        "libnvrtc.so",
        "libnvrtc.so.13",
        "libnvrtc.so.12",
    ] {
        let partial = folder.join(format!("{link}.{}", std::process::id()));
        std::os::unix::fs::symlink(library, &partial).expect("the target folder is writable");
        std::fs::rename(&partial, folder.join(link)).expect("the target folder is writable");
    }
    folder
}

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

/// Mirror of the emulator's counters.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub struct Counters {
    pub launches: u64,
    pub global_read: u64,
    pub global_written: u64,
    pub global_read_distinct: u64,
    pub global_written_distinct: u64,
    pub mma: u64,
    pub mma_flops: u64,
    pub ldmatrix: u64,
    pub ldmatrix_bank_conflicts: u64,
    pub cp_async: u64,
    pub cp_async_bank_conflicts: u64,
    pub barriers: u64,
    pub warp_collectives: u64,
    pub atomics: u64,
    pub float_atomics: u64,
    pub nanoseconds: u64,
}

fn driver() -> libloading::Library {
    unsafe { libloading::Library::new("libcuda.so") }.expect("the emulator stands first")
}

/// What the kernel `name` did since the last reset.
pub fn counters(name: &str) -> Counters {
    let mut counters = Counters::default();
    let name = CString::new(name).expect("a kernel's name");
    unsafe {
        let driver = driver();
        let get: libloading::Symbol<unsafe extern "C" fn(*const c_char, *mut Counters) -> c_int> =
            driver.get(b"vitcudaEmulatorCounters").expect("exported");
        assert_eq!(get(name.as_ptr(), &mut counters), 0, "the kernel has run");
    }
    counters
}

/// How often the host waited since the last reset.
pub fn host_synchronisations() -> u64 {
    unsafe {
        let driver = driver();
        let get: libloading::Symbol<unsafe extern "C" fn() -> u64> = driver
            .get(b"vitcudaEmulatorHostSynchronisations")
            .expect("exported");
        get()
    }
}

/// Whether kernels are compiled to report every load and store (the default).
pub fn sees_every_access() -> bool {
    !matches!(
        std::env::var("VITCUDA_EMULATOR_CHECKS").as_deref(),
        Ok("off" | "address")
    )
}

/// Sets the counters to zero.
pub fn reset_counters() {
    unsafe {
        let driver = driver();
        let reset: libloading::Symbol<unsafe extern "C" fn()> = driver
            .get(b"vitcudaEmulatorResetCounters")
            .expect("exported");
        reset();
    }
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
