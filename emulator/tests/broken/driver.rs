//! Programs that a driver refuses: too new for it, or wrong in a capture, or wrong about memory.

use std::ffi::{CString, c_int, c_uint, c_void};

use cudarc::driver::sys::{self, CUresult, CUstreamCaptureMode};
use cudarc::driver::{CudaContext, DriverError, result};
use cudarc::nvrtc::Ptx;

use crate::Case;
use crate::common::compile;
use crate::programs::{Device, KERNELS, Outcome, geometry, load, raw, variable_without_room};

macro_rules! case {
    ($name:literal, [$($setting:literal = $value:literal),*], $arch:literal, $status:ident, [$($message:literal),*], $run:expr) => {
        Case { name: $name, arch: $arch, status: stringify!($status), message: &[$($message),*], settings: &[$(($setting, $value)),*], run: $run }
    };
}

#[rustfmt::skip] // a table: one line a case
pub const CASES: &[Case] = &[
    // Too new for the driver
    case!("a driver that nobody has", ["VITCUDA_EMULATOR_DRIVER" = "999"], 80, CUDA_ERROR_INVALID_VALUE, ["`999` is none of 525, 535, "], |_| Ok(())),
    case!("drivers are known by their CUDA version", ["VITCUDA_EMULATOR_DRIVER" = "535"], 80, CUDA_SUCCESS, [], |_| says_version(12020)),
    case!("the newest driver is played by default", [], 80, CUDA_SUCCESS, [], |_| says_version(13000)),
    case!("a GPU that the driver does not know", ["VITCUDA_EMULATOR_DRIVER" = "565"], 120, CUDA_ERROR_NO_DEVICE, ["sm_120 wants a driver from 570 on"], |_| Ok(())),
    case!("a cubin of CUDA 13 on a driver of CUDA 12", ["VITCUDA_EMULATOR_DRIVER" = "575"], 80, CUDA_ERROR_INVALID_IMAGE, ["the cubin was made by NVRTC 13.", "driver 575 (CUDA 12.9) takes cubins of CUDA 12.x and older"], |d| load(d, 80).map(drop)),
    case!("PTX newer than the driver", ["VITCUDA_EMULATOR_DRIVER" = "560"], 80, CUDA_ERROR_UNSUPPORTED_PTX_VERSION, ["the module is PTX 8.6; driver 560 (CUDA 12.6) takes PTX up to 8.5"], |d| d.context.load_module(Ptx::from_src("//\n.version 8.6\n.target sm_80\n")).map(drop)),
    case!("a function that came after the driver", ["VITCUDA_EMULATOR_DRIVER" = "570"], 80, CUDA_SUCCESS, [], |_| { assert!(exported("cuEventElapsedTime_v2"), "CUDA 12.8 has it"); Ok(()) }),
    case!("a function that came after an older driver", ["VITCUDA_EMULATOR_DRIVER" = "565"], 80, CUDA_ERROR_NOT_FOUND, [], |_| { assert!(!exported("cuEventElapsedTime_v2"), "CUDA 12.7 has it not"); assert!(exported("cuEventElapsedTime") && exported("cuFuncLoad")); entry_point("cuEventElapsedTime", 13000)?; entry_point("cuFuncGetName", 13000)?; entry_point("cuCtxSetNothing", 13000) }),
    case!("a function that came after the oldest driver", ["VITCUDA_EMULATOR_DRIVER" = "525"], 80, CUDA_ERROR_NOT_FOUND, [], |_| { assert!(!exported("cuFuncLoad") && exported("cuFuncGetAttribute")); entry_point("cuFuncLoad", 13000) }),
    case!("a function that came after the program's CUDA version", [], 80, CUDA_ERROR_NOT_FOUND, [], |_| { entry_point("cuFuncLoad", 12040)?; entry_point("cuFuncLoad", 12030) }),
    // Loading in a capture
    case!("a module loaded in a capture", [], 80, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, ["cuModuleLoadData while a stream is captured"], |d| { d.capture(); load(d, 80).map(drop) }),
    case!("a function looked up in a capture", [], 80, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, ["kernel `float_atomics` is loaded at its first use (lazy loading) while a stream is captured"], |d| { let module = load(d, 80)?; d.capture(); module.load_function("float_atomics").map(drop) }),
    case!("a function looked up in a capture where loading was made lazy", ["CUDA_MODULE_LOADING" = "LAZY"], 80, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, ["(lazy loading)"], |d| { let module = load(d, 80)?; d.capture(); module.load_function("float_atomics").map(drop) }),
    case!("a function looked up in a capture where loading is eager", ["CUDA_MODULE_LOADING" = "EAGER"], 80, CUDA_SUCCESS, [], |d| { let module = load(d, 80)?; d.capture(); module.load_function("float_atomics").map(drop) }),
    case!("a function's attribute set in a capture before it was loaded", [], 80, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, ["(lazy loading) while a stream is captured"], |d| { let function = not_loaded()?; d.capture(); allow_shared(function) }),
    case!("a function launched in a capture before it was loaded", [], 80, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, ["(lazy loading) while a stream is captured"], |d| { let function = not_loaded()?; d.capture(); launch(d, function) }),
    case!("a loaded function's attribute set in a capture", [], 80, CUDA_SUCCESS, [], |d| { let function = not_loaded()?; allow_shared(function)?; d.capture(); allow_shared(function) }),
    // Questions and memory in a capture
    case!("cuMemGetInfo in a capture", [], 80, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, ["cuMemGetInfo while a stream is captured"], |d| { d.capture(); d.context.mem_get_info().map(drop) }),
    case!("cuMemAlloc in a capture", [], 80, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, ["cuMemAlloc while a stream is captured"], |d| { d.capture(); unsafe { result::malloc_sync(4) }.map(drop) }),
    case!("a captured stream asked whether it is done", [], 80, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, ["cuStreamQuery waits for a stream that is being captured"], |d| { d.capture(); unsafe { sys::cuStreamQuery(d.stream.cu_stream()).result() } }),
    case!("another stream asked in a capture whether it is done", [], 80, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, ["cuStreamQuery while a stream is captured"], |d| { let other = d.context.new_stream()?; d.capture(); unsafe { sys::cuStreamQuery(other.cu_stream()).result() } }),
    case!("an event asked in a capture whether it has happened", [], 80, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, ["cuEventQuery while a stream is captured"], |d| { let event = d.stream.record_event(None)?; d.capture(); unsafe { result::event::query(event.cu_event()) } }),
    case!("a captured event asked whether it has happened", [], 80, CUDA_ERROR_CAPTURED_EVENT, ["last recorded in a capture"], |d| { d.capture(); let event = d.stream.record_event(None)?; unsafe { result::event::query(event.cu_event()) } }),
    case!("the null stream while a blocking stream is captured", [], 80, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, ["null stream while a blocking stream is captured"], null_stream),
    case!("another thread allocates during a global capture", [], 80, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, ["cuMemAlloc while a stream is captured"], |d| elsewhere(d, CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_GLOBAL, CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_GLOBAL)),
    case!("another thread that heeds its own captures allocates during a global one", [], 80, CUDA_SUCCESS, [], |d| elsewhere(d, CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_GLOBAL, CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)),
    case!("another thread allocates during a thread's capture", [], 80, CUDA_SUCCESS, [], |d| elsewhere(d, CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_GLOBAL)),
    case!("allocation during a relaxed capture", [], 80, CUDA_SUCCESS, [], |d| { d.stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED)?; unsafe { result::malloc_sync(4) }.map(drop) }),
    // Memory
    case!("bytes added up where granules count", ["VITCUDA_EMULATOR_MEMORY" = "4194304"], 80, CUDA_ERROR_OUT_OF_MEMORY, [], |_| (0..3).try_for_each(|_| unsafe { result::malloc_sync(5 << 18) }.map(drop))),
    case!("a module's variable without room", ["VITCUDA_EMULATOR_MEMORY" = "4194304"], 80, CUDA_ERROR_OUT_OF_MEMORY, ["cuModuleLoadData: no room for `large` of 8388608 bytes"], variable_without_room),
    case!("pageable memory freed before its copy was made", ["VITCUDA_EMULATOR_PAGEABLE" = "late"], 80, CUDA_ERROR_ILLEGAL_ADDRESS, ["1048576 bytes of pageable memory", "are gone before the copy was made"], |d| pageable(d, 1 << 20, |memory| memory.unmap())),
    case!("pageable memory changed before its copy was made", ["VITCUDA_EMULATOR_PAGEABLE" = "late"], 80, CUDA_ERROR_LAUNCH_FAILED, ["1048576 bytes of pageable memory", "were changed before the copy was made, the first of them byte 77"], |d| pageable(d, 1 << 20, |memory| memory.change(77))),
    case!("a small copy of pageable memory is made at the call", ["VITCUDA_EMULATOR_PAGEABLE" = "late"], 80, CUDA_SUCCESS, [], |d| pageable(d, 64 << 10, |memory| memory.unmap())),
    case!("pageable memory kept until its copy was made", ["VITCUDA_EMULATOR_PAGEABLE" = "late"], 80, CUDA_SUCCESS, [], |d| pageable(d, 1 << 20, |_| ())),
    case!("pageable memory is staged by default", [], 80, CUDA_SUCCESS, [], |d| pageable(d, 1 << 20, |memory| memory.unmap())),
];

fn says_version(wanted: c_int) -> Outcome {
    let mut version = 0;
    unsafe { sys::cuDriverGetVersion(&mut version) }.result()?;
    assert_eq!(version, wanted);
    Ok(())
}

/// Whether the driver's library has the function.
fn exported(name: &str) -> bool {
    let driver = unsafe { libloading::Library::new("libcuda.so.1") }.expect("it stands first");
    unsafe { driver.get::<unsafe extern "C" fn()>(name) }.is_ok()
}

/// Asks the driver for a function as a program made for CUDA `version` does.
fn entry_point(name: &str, version: c_int) -> Outcome {
    let name = CString::new(name).expect("no zero bytes");
    let mut function = std::ptr::null_mut();
    let mut found = sys::CUdriverProcAddressQueryResult::CU_GET_PROC_ADDRESS_SUCCESS;
    unsafe { sys::cuGetProcAddress_v2(name.as_ptr(), &mut function, version, 0, &mut found) }
        .result()
}

/// A function of [`KERNELS`] that was listed and not looked up.
fn not_loaded() -> Result<sys::CUfunction, DriverError> {
    type Enumerate = unsafe extern "C" fn(*mut sys::CUfunction, c_uint, sys::CUmodule) -> CUresult;
    let cubin = compile(KERNELS, 80, &[]).expect("it compiles");
    let module = unsafe { result::module::load_data(cubin.as_ptr().cast()) }?;
    let driver = unsafe { libloading::Library::new("libcuda.so.1") }.expect("it stands first");
    let mut function = std::ptr::null_mut();
    unsafe {
        let list: libloading::Symbol<Enumerate> = driver
            .get("cuModuleEnumerateFunctions")
            .expect("CUDA 12.4 has it");
        list(&mut function, 1, module).result()?;
    }
    Ok(function)
}

fn allow_shared(function: sys::CUfunction) -> Outcome {
    use sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as SHARED;
    unsafe { result::function::set_function_attribute(function, SHARED, 60_000) }
}

/// One thread; what it would do does not matter in a capture.
fn launch(device: &Device, function: sys::CUfunction) -> Outcome {
    let one = geometry(1, 1, 0);
    let mut arguments = [std::ptr::null_mut::<c_void>(); 8];
    let stream = device.stream.cu_stream();
    unsafe {
        result::launch_kernel(
            function,
            one.grid_dim,
            one.block_dim,
            0,
            stream,
            &mut arguments,
        )
    }
}

fn null_stream(device: &Device) -> Outcome {
    let blocking = result::stream::create(result::stream::StreamKind::Default)?;
    unsafe {
        result::stream::begin_capture(
            blocking,
            CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED,
        )?;
    }
    device.context.default_stream().synchronize()
}

/// Allocates in another thread, which heeds `heeds`, while this one captures.
fn elsewhere(device: &Device, mode: CUstreamCaptureMode, heeds: CUstreamCaptureMode) -> Outcome {
    device.stream.begin_capture(mode)?;
    let allocate = |context: &CudaContext| {
        context.bind_to_thread()?;
        let mut mode = heeds;
        unsafe {
            sys::cuThreadExchangeStreamCaptureMode(&mut mode).result()?;
            result::malloc_sync(4).map(drop)
        }
    };
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| allocate(&device.context));
        thread.join().expect("it does not panic")
    })
}

/// Memory of the host that the driver was told nothing of.
struct Pages {
    start: *mut u8,
    bytes: usize,
}

impl Pages {
    fn change(&self, at: usize) {
        // SAFETY: mapped below, not unmapped before.
        unsafe { self.start.add(at).write(1) };
    }

    fn unmap(&self) {
        // SAFETY: mapped below, and touched no more.
        unsafe { libc::munmap(self.start.cast(), self.bytes) };
    }
}

/// Copies `bytes` zeros to the device, does `meanwhile` and waits.
fn pageable(device: &Device, bytes: usize, meanwhile: fn(&Pages)) -> Outcome {
    let target = device.zeros(bytes / 4);
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(start, libc::MAP_FAILED, "pages");
    let pages = Pages {
        start: start.cast(),
        bytes,
    };
    let address = raw(&target, &device.stream);
    unsafe {
        let values = std::slice::from_raw_parts(pages.start, bytes);
        result::memcpy_htod_async(address, values, device.stream.cu_stream())?;
    }
    meanwhile(&pages);
    device.stream.synchronize()
}
