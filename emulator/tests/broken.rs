//! Kernels and calls that are wrong on purpose: each must be caught, with a message that says what
//! and where. Every case runs in a process of its own, for a caught kernel ends its context.

mod common;

use std::process::Command;
use std::sync::Arc;

use common::{compile, function, function_with};
use cudarc::driver::sys::{
    self, CUfunction_attribute, CUgraphInstantiate_flags, CUstreamCaptureMode,
};
use cudarc::driver::{
    CudaContext, CudaFunction, CudaSlice, CudaStream, DriverError, LaunchConfig, PushKernelArg,
};
use cudarc::nvrtc::Ptx;
use libtest_mimic::{Arguments, Failed, Trial};

const KERNELS: &str = include_str!("kernels/broken.cu");
const CASE: &str = "VITCUDA_BROKEN_CASE";

type Outcome = Result<(), DriverError>;

/// A wrong program, and how it must end.
struct Case {
    name: &'static str,
    arch: u32,
    /// Result code that the API must give.
    status: &'static str,
    /// What the message must contain.
    message: &'static [&'static str],
    run: fn(&Device) -> Outcome,
}

struct Device {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
}

fn main() {
    common::stand_first();
    if let Ok(name) = std::env::var(CASE) {
        return act(&name);
    }
    let tests = CASES
        .iter()
        .map(|case| Trial::test(case.name, move || judge(case)));
    let mut tests: Vec<Trial> = tests.collect();
    tests.push(Trial::test(
        "a result that depends on thread order differs between seeds",
        seeds_differ,
    ));
    tests.push(Trial::test(
        "a wrong fragment layout gives wrong numbers",
        wrong_fragments,
    ));
    tests.push(Trial::test(
        "uninitialised global memory is NaN",
        fresh_memory_is_nan,
    ));
    tests.push(Trial::test(
        "without checks a guard page catches out of bounds",
        guard_pages,
    ));
    tests.push(Trial::test(
        "compiler errors carry the line of the source",
        compiler_errors,
    ));
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}

/// In the child: runs the case and prints the status it ended with.
fn act(name: &str) {
    let case = CASES
        .iter()
        .find(|case| case.name == name)
        .expect("the parent knows the cases");
    println!("{}", status_of(case.run));
}

fn status_of(run: fn(&Device) -> Outcome) -> String {
    let context = CudaContext::new(0).expect("a device is played");
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream().expect("a stream");
    let device = Device { context, stream };
    let status = match run(&device) {
        Ok(()) => "CUDA_SUCCESS".to_owned(),
        Err(DriverError(code)) => format!("{code:?}"),
    };
    std::mem::forget(device); // its drop would stumble over the lost context
    status
}

fn child(case: &str, arch: u32, checks: &str) -> (String, String) {
    let own = std::env::current_exe().expect("a running test has a path");
    let output = Command::new(own)
        .env(CASE, case)
        .env("VITCUDA_EMULATE", format!("sm_{arch}"))
        .env("VITCUDA_EMULATOR_CHECKS", checks)
        .output()
        .expect("the test can start itself");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn judge(case: &Case) -> Result<(), Failed> {
    let (status, stderr) = child(case.name, case.arch, "on");
    if status != case.status {
        return Err(format!(
            "ended with `{status}` instead of `{}`:\n{stderr}",
            case.status
        )
        .into());
    }
    match case.message.iter().find(|part| !stderr.contains(**part)) {
        Some(part) => Err(format!("`{part}` is not in the message:\n{stderr}").into()),
        None => Ok(()),
    }
}

fn geometry(grid: u32, block: u32, shared: u32) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (grid, 1, 1),
        block_dim: (block, 1, 1),
        shared_mem_bytes: shared,
    }
}

impl Device {
    fn kernel(&self, name: &str) -> CudaFunction {
        function(&self.context, KERNELS, name)
    }

    fn zeros(&self, count: usize) -> CudaSlice<f32> {
        self.stream.alloc_zeros(count).expect("memory")
    }

    /// Runs `name(float* out)` on `threads` threads and waits for it.
    fn run(&self, name: &str, threads: u32) -> Outcome {
        self.run_shared(name, threads, 0)
    }

    fn run_shared(&self, name: &str, threads: u32, shared: u32) -> Outcome {
        let mut out = self.zeros(1024);
        let kernel = self.kernel(name);
        unsafe {
            self.stream
                .launch_builder(&kernel)
                .arg(&mut out)
                .launch(geometry(2, threads, shared))
        }?;
        self.stream.synchronize()
    }

    /// Runs `name(float* out, const float* in, int n)`.
    fn run_on(&self, name: &str, out: &mut CudaSlice<f32>, x: &CudaSlice<f32>, n: i32) -> Outcome {
        let kernel = self.kernel(name);
        unsafe {
            self.stream
                .launch_builder(&kernel)
                .arg(out)
                .arg(x)
                .arg(&n)
                .launch(geometry(1, 64, 0))
        }?;
        self.stream.synchronize()
    }

    fn capture(&self) {
        self.stream
            .begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .expect("a capture");
    }
}

macro_rules! case {
    ($name:literal, $arch:literal, $status:ident, [$($message:literal),*], $run:expr) => {
        Case { name: $name, arch: $arch, status: stringify!($status), message: &[$($message),*], run: $run }
    };
}

const CASES: &[Case] = &[
    // Barriers and races: where a thread reads too early, its order decides between "race" and
    // "uninitialised".
    case!(
        "missing __syncthreads",
        80,
        CUDA_ERROR_LAUNCH_FAILED,
        ["kernel `missing_barrier`", "of `x`", "thread (", "test.cu:"],
        |d| d.run("missing_barrier", 64)
    ),
    case!(
        "missing __syncthreads before shared memory is used again",
        80,
        CUDA_ERROR_LAUNCH_FAILED,
        ["kernel `missing_second_barrier`", "(race)"],
        |d| d.run("missing_second_barrier", 64)
    ),
    case!(
        "missing __syncwarp",
        80,
        CUDA_ERROR_LAUNCH_FAILED,
        ["kernel `missing_syncwarp`", "(race)"],
        |d| d.run("missing_syncwarp", 32)
    ),
    case!(
        "ldmatrix without a barrier after the stores",
        75,
        CUDA_ERROR_LAUNCH_FAILED,
        [
            "kernel `ldmatrix_too_early`",
            "ldmatrix at test.cu:",
            "(race)"
        ],
        |d| d.run("ldmatrix_too_early", 32)
    ),
    case!(
        "a barrier some threads never reach",
        80,
        CUDA_ERROR_LAUNCH_FAILED,
        [
            "kernel `partial_barrier`",
            "block (",
            "40 of 64 threads wait at the barrier at test.cu:",
            "warp 1 lanes 8-31 (returned)"
        ],
        |d| d.run("partial_barrier", 64)
    ),
    case!(
        "two barriers that cannot meet",
        80,
        CUDA_ERROR_LAUNCH_FAILED,
        ["kernel `different_barriers`", "can never meet"],
        |d| d.run("different_barriers", 64)
    ),
    // Divergence
    case!(
        "divergent lanes at a shuffle",
        80,
        CUDA_ERROR_LAUNCH_FAILED,
        [
            "kernel `divergent_shuffle`",
            "__shfl_xor_sync",
            "lanes 16-31 (returned)"
        ],
        |d| d.run("divergent_shuffle", 32)
    ),
    case!(
        "divergent lanes at two shuffles",
        80,
        CUDA_ERROR_LAUNCH_FAILED,
        [
            "kernel `divergent_shuffles`",
            "divergent lanes",
            "can never meet"
        ],
        |d| d.run("divergent_shuffles", 32)
    ),
    case!(
        "a shuffle from a lane outside the mask",
        80,
        CUDA_ERROR_LAUNCH_FAILED,
        ["kernel `shuffle_from_outside`", "which is not in the mask"],
        |d| d.run("shuffle_from_outside", 32)
    ),
    case!(
        "divergent lanes at a vote",
        80,
        CUDA_ERROR_LAUNCH_FAILED,
        [
            "kernel `divergent_vote`",
            "__ballot_sync",
            "never arrive: lane 3 (returned)"
        ],
        |d| d.run("divergent_vote", 32)
    ),
    case!(
        "divergent lanes at ldmatrix",
        75,
        CUDA_ERROR_LAUNCH_FAILED,
        [
            "kernel `divergent_ldmatrix`",
            "ldmatrix",
            "never arrive: lanes 0-7"
        ],
        |d| d.run("divergent_ldmatrix", 32)
    ),
    case!(
        "divergent lanes at mma",
        80,
        CUDA_ERROR_LAUNCH_FAILED,
        [
            "kernel `divergent_mma`",
            "mma.m16n8k16 f16",
            "never arrive: lane 31"
        ],
        |d| d.run("divergent_mma", 32)
    ),
    case!(
        "mma in a warp of 16 threads",
        80,
        CUDA_ERROR_LAUNCH_FAILED,
        ["kernel `whole_mma`", "lanes 16-31 do not exist"],
        |d| d.run("whole_mma", 16)
    ),
    // Asynchronous copies
    case!(
        "cp.async read before its wait",
        80,
        CUDA_ERROR_LAUNCH_FAILED,
        [
            "kernel `copy_not_waited`",
            "before that thread waited for it"
        ],
        |d| copy(d, "copy_not_waited")
    ),
    case!(
        "cp.async waited for one group too few",
        80,
        CUDA_ERROR_LAUNCH_FAILED,
        [
            "kernel `copy_waited_too_little`",
            "before that thread waited for it"
        ],
        |d| copy(d, "copy_waited_too_little")
    ),
    case!(
        "cp.async of another thread without a barrier",
        80,
        CUDA_ERROR_LAUNCH_FAILED,
        ["kernel `copy_without_barrier`", "of dynamic shared memory"],
        |d| copy(d, "copy_without_barrier")
    ),
    case!(
        "cp.async into a buffer still being read",
        80,
        CUDA_ERROR_LAUNCH_FAILED,
        [
            "kernel `copy_over_readers`",
            "cp.async at test.cu:",
            "(race)"
        ],
        |d| copy(d, "copy_over_readers")
    ),
    case!(
        "misaligned cp.async",
        80,
        CUDA_ERROR_MISALIGNED_ADDRESS,
        ["kernel `copy_misaligned`", "not aligned to 16 bytes"],
        |d| copy(d, "copy_misaligned")
    ),
    case!(
        "cp.async past the end of its source",
        80,
        CUDA_ERROR_ILLEGAL_ADDRESS,
        [
            "kernel `copy_out_of_bounds`",
            "cp.async at test.cu:",
            "past the end of a live allocation of 1024 bytes"
        ],
        |d| copy(d, "copy_out_of_bounds")
    ),
    // Memory
    case!(
        "global read out of bounds",
        80,
        CUDA_ERROR_ILLEGAL_ADDRESS,
        [
            "kernel `read_beyond`",
            "thread (0, 0, 0)",
            "reads 4 bytes out of bounds",
            "0 bytes past the end of a live allocation of 400 bytes",
            "test.cu:"
        ],
        |d| d.run_on("read_beyond", &mut d.zeros(100), &d.zeros(100), 100)
    ),
    case!(
        "global write out of bounds",
        80,
        CUDA_ERROR_ILLEGAL_ADDRESS,
        [
            "kernel `write_before`",
            "writes 4 bytes out of bounds",
            "4 bytes before a live allocation"
        ],
        |d| d.run_on("write_before", &mut d.zeros(100), &d.zeros(100), 100)
    ),
    case!(
        "global write past the end",
        80,
        CUDA_ERROR_ILLEGAL_ADDRESS,
        [
            "kernel `write_beyond`",
            "thread (5, 0, 0)",
            "writes 4 bytes out of bounds",
            "0 bytes past the end of a live allocation of 512 bytes"
        ],
        |d| d.run_on("write_beyond", &mut d.zeros(128), &d.zeros(128), 128)
    ),
    case!(
        "misaligned global access",
        80,
        CUDA_ERROR_MISALIGNED_ADDRESS,
        ["argument 1", "aligned to 16 bytes"],
        misaligned_pack
    ),
    case!(
        "misaligned global access inside a kernel",
        80,
        CUDA_ERROR_MISALIGNED_ADDRESS,
        [
            "kernel `read_between`",
            "reads 4 bytes at a misaligned address"
        ],
        |d| d.run_on("read_between", &mut d.zeros(100), &d.zeros(100), 2)
    ),
    case!(
        "shared access out of bounds",
        80,
        CUDA_ERROR_ILLEGAL_ADDRESS,
        [
            "kernel `shared_beyond`",
            "writes 4 bytes at offset 256 of dynamic shared memory, which has 256 bytes"
        ],
        |d| d.run_shared("shared_beyond", 64, 256)
    ),
    case!(
        "static shared access out of bounds",
        80,
        CUDA_ERROR_ILLEGAL_ADDRESS,
        [
            "kernel `static_shared_beyond`",
            "offset 128 of `tile`, which has 128 bytes"
        ],
        |d| d.run("static_shared_beyond", 33)
    ),
    case!(
        "uninitialised shared memory",
        80,
        CUDA_ERROR_LAUNCH_FAILED,
        [
            "kernel `shared_uninitialised`",
            "reads uninitialised shared memory"
        ],
        |d| d.run("shared_uninitialised", 32)
    ),
    case!(
        "uninitialised global memory",
        80,
        CUDA_ERROR_ILLEGAL_ADDRESS,
        [
            "kernel `sum_of`",
            "reads uninitialised global memory: ",
            "byte 0 of a live allocation of 400 bytes"
        ],
        |d| {
            let fresh = unsafe { d.stream.alloc::<f32>(100) }?;
            d.run_on("sum_of", &mut d.zeros(100), &fresh, 100)
        }
    ),
    case!(
        "a pointer the host made up",
        80,
        CUDA_ERROR_ILLEGAL_ADDRESS,
        ["kernel `follow`", "no device memory"],
        made_up_pointer
    ),
    case!(
        "a local array out of bounds",
        80,
        CUDA_ERROR_ILLEGAL_ADDRESS,
        ["kernel `recursion`"],
        |d| d.run("recursion", 32)
    ),
    case!(
        "integer division by zero",
        80,
        CUDA_ERROR_LAUNCH_FAILED,
        ["kernel `divide`", "integer division by zero"],
        |d| d.run_on("divide", &mut d.zeros(64), &d.zeros(64), 0)
    ),
    case!(
        "use after free",
        80,
        CUDA_ERROR_ILLEGAL_ADDRESS,
        [
            "kernel `sum_of`",
            "argument 1",
            "byte 0 of a freed allocation of 400 bytes"
        ],
        use_after_free
    ),
    case!(
        "free while work is queued",
        80,
        CUDA_ERROR_ILLEGAL_ADDRESS,
        ["kernel `sum_of`", "a freed allocation"],
        free_in_other_stream
    ),
    case!(
        "double free",
        80,
        CUDA_ERROR_INVALID_VALUE,
        ["is freed a second time"],
        double_free
    ),
    case!(
        "copy past the end of an allocation",
        80,
        CUDA_ERROR_INVALID_VALUE,
        ["cuMemcpyDtoH", "404 bytes"],
        copy_beyond
    ),
    // Launches
    case!(
        "a missing argument",
        80,
        CUDA_ERROR_INVALID_VALUE,
        ["kernel `sum_of` has 3 parameters", "argument 2 is missing"],
        missing_argument
    ),
    case!(
        "packed arguments of the wrong size",
        80,
        CUDA_ERROR_INVALID_VALUE,
        ["kernel `sum_of` takes 20 bytes of arguments (3 parameters); the launch brings 24 bytes"],
        packed_arguments
    ),
    case!(
        "a number where a pointer belongs",
        80,
        CUDA_ERROR_ILLEGAL_ADDRESS,
        ["kernel `sum_of`: argument 1 should be a device pointer"],
        number_for_pointer
    ),
    case!(
        "a bool that is none",
        80,
        CUDA_ERROR_INVALID_VALUE,
        ["argument 1 should be a bool and is 7"],
        no_bool
    ),
    case!(
        "too many threads",
        80,
        CUDA_ERROR_INVALID_VALUE,
        ["2048 threads; 1 to 1024 are possible"],
        |d| d.run("whole_mma", 2048)
    ),
    case!(
        "more threads than __launch_bounds__",
        80,
        CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
        ["its __launch_bounds__ are 64"],
        |d| d.run("bounded", 128)
    ),
    case!(
        "dynamic shared memory without opting in",
        80,
        CUDA_ERROR_INVALID_VALUE,
        ["65536 bytes of dynamic shared memory; 49152 are allowed"],
        |d| d.run_shared("shared_beyond", 64, 65536)
    ),
    case!(
        "dynamic shared memory over the limit of sm_75",
        75,
        CUDA_ERROR_INVALID_VALUE,
        ["100000 bytes of dynamic shared memory; this device has 65536"],
        |d| opt_in(d, 100_000)
    ),
    case!(
        "dynamic shared memory over the limit of sm_86",
        86,
        CUDA_ERROR_INVALID_VALUE,
        ["this device has 101376"],
        |d| opt_in(d, 100 << 10)
    ),
    case!(
        "static and dynamic shared memory together over the limit",
        80,
        CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
        ["static and dynamic shared memory come to 49280 bytes; 49152 are allowed"],
        |d| d.run_shared("static_shared_beyond", 32, 49152)
    ),
    case!(
        "an unknown kernel",
        80,
        CUDA_ERROR_NOT_FOUND,
        ["no extern \"C\" kernel `nothing`"],
        |d| load(d, 80)?.load_function("nothing").map(drop)
    ),
    case!(
        "a cubin for another architecture",
        75,
        CUDA_ERROR_NO_BINARY_FOR_GPU,
        ["the cubin is for sm_80, this device is sm_75"],
        |d| load(d, 80).map(drop)
    ),
    case!(
        "a cubin that is none",
        80,
        CUDA_ERROR_INVALID_IMAGE,
        ["no cubin"],
        |d| d
            .context
            .load_module(Ptx::from_binary(vec![7; 1000]))
            .map(drop)
    ),
    // Captures
    case!(
        "synchronisation inside a capture",
        80,
        CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
        ["cuStreamSynchronize waits for a stream that is being captured"],
        |d| {
            d.capture();
            d.stream.synchronize()
        }
    ),
    case!(
        "a broken capture gives no graph",
        80,
        CUDA_ERROR_STREAM_CAPTURE_INVALIDATED,
        ["the capture was broken by an earlier call"],
        |d| {
            d.capture();
            let refused = d.context.synchronize();
            assert!(
                refused.is_err(),
                "the whole context cannot be waited for, either"
            );
            d.stream.end_capture(CUgraphInstantiate_flags(0)).map(drop)
        }
    ),
    case!(
        "allocation inside a capture",
        80,
        CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
        ["memory is allocated while its stream is captured"],
        |d| {
            d.capture();
            unsafe { d.stream.alloc::<f32>(4) }.map(drop)
        }
    ),
    case!(
        "a blocking copy inside a capture",
        80,
        CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
        ["cuMemcpyHtoD while a stream is captured"],
        |d| {
            let x = d.zeros(4);
            let (pointer, _sync) = cudarc::driver::DevicePtr::device_ptr(&x, &d.stream);
            d.capture();
            unsafe { cudarc::driver::result::memcpy_htod_sync(pointer, &[1.0f32; 4]) }
        }
    ),
    case!(
        "a capture that depends on work outside",
        80,
        CUDA_ERROR_STREAM_CAPTURE_ISOLATION,
        ["recorded outside the capture"],
        |d| {
            let outside = d.context.new_stream()?.record_event(None)?;
            d.capture();
            d.stream.wait(&outside)
        }
    ),
    case!(
        "a forked stream that never joins",
        80,
        CUDA_ERROR_STREAM_CAPTURE_UNJOINED,
        ["a forked stream was not waited for"],
        unjoined
    ),
    // Handles
    case!(
        "a stream of nobody",
        80,
        CUDA_ERROR_INVALID_HANDLE,
        ["is no stream of this context"],
        |_| unsafe { sys::cuStreamSynchronize(0x1234_5670 as sys::CUstream).result() }
    ),
    case!(
        "a destroyed event",
        80,
        CUDA_ERROR_INVALID_HANDLE,
        ["is no event"],
        |d| {
            let event = d.stream.record_event(None)?;
            unsafe {
                sys::cuEventDestroy_v2(event.cu_event()).result()?;
                sys::cuEventSynchronize(event.cu_event()).result()
            }
        }
    ),
    // Notes
    case!(
        "float atomics are noted",
        80,
        CUDA_SUCCESS,
        ["kernel `float_atomics`: 64 float atomics"],
        |d| d.run("float_atomics", 32)
    ),
];

fn load(device: &Device, arch: u32) -> Result<Arc<cudarc::driver::CudaModule>, DriverError> {
    device.context.load_module(Ptx::from_binary(
        compile(KERNELS, arch, &[]).expect("it compiles"),
    ))
}

/// Kernels `name(float* out, const float* in)` that copy 1024 bytes to shared memory.
fn copy(device: &Device, name: &str) -> Outcome {
    let (mut out, x) = (device.zeros(1024), device.zeros(256));
    let kernel = device.kernel(name);
    unsafe {
        device
            .stream
            .launch_builder(&kernel)
            .arg(&mut out)
            .arg(&x)
            .launch(geometry(1, 64, 2048))
    }?;
    device.stream.synchronize()
}

fn misaligned_pack(device: &Device) -> Outcome {
    let (mut out, x) = (device.zeros(64), device.zeros(64));
    let kernel = device.kernel("sum_of_packs");
    unsafe {
        device
            .stream
            .launch_builder(&kernel)
            .arg(&mut out)
            .arg(&x.slice(1..))
            .launch(geometry(1, 1, 0))
    }?;
    device.stream.synchronize()
}

fn made_up_pointer(device: &Device) -> Outcome {
    let mut out = device.zeros(4);
    let kernel = device.kernel("follow");
    let host = [1.0f32; 4];
    unsafe {
        device
            .stream
            .launch_builder(&kernel)
            .arg(&mut out)
            .arg(&(host.as_ptr() as u64))
            .launch(geometry(1, 1, 0))
    }?;
    device.stream.synchronize()
}

fn raw(slice: &CudaSlice<f32>, stream: &CudaStream) -> u64 {
    use cudarc::driver::DevicePtr;
    // The stream only notes the read, for event tracking, which is off.
    let stream = stream as *const CudaStream;
    let (pointer, _sync) = slice.device_ptr(unsafe { &*stream });
    pointer
}

fn sum_of(device: &Device, pointer: u64) -> Outcome {
    let mut out = device.zeros(64);
    let kernel = device.kernel("sum_of");
    unsafe {
        device
            .stream
            .launch_builder(&kernel)
            .arg(&mut out)
            .arg(&pointer)
            .arg(&100i32)
            .launch(geometry(1, 64, 0))
    }?;
    device.stream.synchronize()
}

fn use_after_free(device: &Device) -> Outcome {
    let x = device.zeros(100);
    let pointer = raw(&x, &device.stream);
    drop(x);
    device.stream.synchronize()?;
    sum_of(device, pointer)
}

/// The kernel is on its way when another stream frees what it reads.
fn free_in_other_stream(device: &Device) -> Outcome {
    let (mut out, x) = (device.zeros(64), device.zeros(100));
    let kernel = device.kernel("sum_of");
    device.stream.synchronize()?;
    let pointer = raw(&x, &device.stream);
    unsafe {
        device
            .stream
            .launch_builder(&kernel)
            .arg(&mut out)
            .arg(&pointer)
            .arg(&100i32)
            .launch(geometry(1, 64, 0))
    }?;
    let other = device.context.new_stream()?;
    unsafe { cudarc::driver::result::free_async(x.leak(), other.cu_stream()) }?;
    other.synchronize()?;
    device.stream.synchronize()
}

fn double_free(_: &Device) -> Outcome {
    unsafe {
        let pointer = cudarc::driver::result::malloc_sync(100)?;
        cudarc::driver::result::free_sync(pointer)?;
        cudarc::driver::result::free_sync(pointer)
    }
}

fn copy_beyond(device: &Device) -> Outcome {
    let x = device.zeros(100);
    let mut host = [0.0f32; 101];
    unsafe { cudarc::driver::result::memcpy_dtoh_sync(&mut host, raw(&x, &device.stream)) }
}

fn launch_raw(
    device: &Device,
    name: &str,
    arguments: *mut *mut std::ffi::c_void,
    extra: *mut *mut std::ffi::c_void,
) -> Outcome {
    let kernel = device.kernel(name);
    unsafe {
        sys::cuLaunchKernel(
            kernel.cu_function(),
            1,
            1,
            1,
            64,
            1,
            1,
            0,
            device.stream.cu_stream(),
            arguments,
            extra,
        )
        .result()
    }
}

fn missing_argument(device: &Device) -> Outcome {
    let (out, x) = (device.zeros(64), device.zeros(100));
    let (mut out, mut x) = (raw(&out, &device.stream), raw(&x, &device.stream));
    let mut arguments = [
        (&raw mut out).cast(),
        (&raw mut x).cast(),
        std::ptr::null_mut(),
    ];
    launch_raw(
        device,
        "sum_of",
        arguments.as_mut_ptr(),
        std::ptr::null_mut(),
    )
}

/// `size_t` where the kernel says `int`.
fn packed_arguments(device: &Device) -> Outcome {
    let (out, x) = (device.zeros(64), device.zeros(100));
    let mut packed = [raw(&out, &device.stream), raw(&x, &device.stream), 100];
    let mut size = size_of_val(&packed);
    let mut extra = [
        std::ptr::dangling_mut::<std::ffi::c_void>(),
        packed.as_mut_ptr().cast(),
        2 as *mut _,
        (&raw mut size).cast(),
        std::ptr::null_mut(),
    ];
    launch_raw(device, "sum_of", std::ptr::null_mut(), extra.as_mut_ptr())
}

fn number_for_pointer(device: &Device) -> Outcome {
    let mut out = device.zeros(64);
    let kernel = device.kernel("sum_of");
    unsafe {
        device
            .stream
            .launch_builder(&kernel)
            .arg(&mut out)
            .arg(&100u64)
            .arg(&100i32)
            .launch(geometry(1, 64, 0))
    }?;
    device.stream.synchronize()
}

fn no_bool(device: &Device) -> Outcome {
    let mut out = device.zeros(64);
    let kernel = device.kernel("choose");
    unsafe {
        device
            .stream
            .launch_builder(&kernel)
            .arg(&mut out)
            .arg(&7u8)
            .launch(geometry(1, 64, 0))
    }?;
    device.stream.synchronize()
}

fn opt_in(device: &Device, bytes: i32) -> Outcome {
    let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    device
        .kernel("shared_beyond")
        .set_attribute(attribute, bytes)
}

fn unjoined(device: &Device) -> Outcome {
    let side = device.context.new_stream()?;
    let mut x = device.zeros(64);
    let kernel = device.kernel("bounded");
    device.stream.synchronize()?;
    device.capture();
    side.wait(&device.stream.record_event(None)?)?;
    unsafe {
        side.launch_builder(&kernel)
            .arg(&mut x)
            .launch(geometry(1, 32, 0))
    }?;
    device
        .stream
        .end_capture(CUgraphInstantiate_flags(0))
        .map(drop)
}

/// The last of the threads that write one number.
fn seeds_differ() -> Result<(), Failed> {
    let device = CudaContext::new(0).expect("a device is played");
    let stream = device.default_stream();
    let kernel = function_with(&device, KERNELS, "order_dependent", &[]);
    let run = |seed: u32| {
        // SAFETY: the other threads read the environment only while a launch starts.
        unsafe { std::env::set_var("VITCUDA_EMULATOR_SEED", seed.to_string()) };
        let mut state = stream.alloc_zeros::<f32>(2).expect("memory");
        unsafe {
            stream
                .launch_builder(&kernel)
                .arg(&mut state)
                .launch(geometry(1, 256, 0))
        }
        .expect("a launch");
        stream.clone_dtoh(&state).expect("a copy")[0].to_bits()
    };
    let results: Vec<u32> = (0..4).map(run).collect();
    if results.iter().all(|&one| one == results[0]) {
        return Err(format!("four seeds, one result: {results:x?}").into());
    }
    assert_eq!(run(3), results[3], "a seed repeats itself");
    Ok(())
}

/// Exchanging two registers of a fragment must show: the twin of mma does not forgive it.
fn wrong_fragments() -> Result<(), Failed> {
    let device = CudaContext::new(0).expect("a device is played");
    let stream = device.default_stream();
    let multiply = |name: &str| {
        let kernel = function_with(&device, KERNELS, name, &[]);
        let a: Vec<u16> = common::noise(256, 1)
            .into_iter()
            .map(|x| half::f16::from_f32(x).to_bits())
            .collect();
        let a = stream.clone_htod(&a).expect("a copy");
        let mut c = stream.alloc_zeros::<f32>(128).expect("memory");
        unsafe {
            stream
                .launch_builder(&kernel)
                .arg(&mut c)
                .arg(&a)
                .launch(geometry(1, 32, 0))
        }
        .expect("a launch");
        stream.clone_dtoh(&c).expect("a copy")
    };
    let right = multiply("right_fragments");
    for name in [
        "exchanged_a_registers",
        "exchanged_b_registers",
        "transposed_a",
    ] {
        let wrong = multiply(name);
        let different = right
            .iter()
            .zip(&wrong)
            .filter(|(r, w)| (*r - *w).abs() > 0.01)
            .count();
        assert!(
            different > 64,
            "{name}: only {different} of 128 numbers differ"
        );
    }
    Ok(())
}

fn fresh_memory_is_nan() -> Result<(), Failed> {
    let stream = CudaContext::new(0)
        .expect("a device is played")
        .default_stream();
    let fresh = unsafe { stream.alloc::<f32>(33) }.expect("memory");
    let values = stream.clone_dtoh(&fresh).expect("a copy");
    assert!(values.iter().all(|value| value.is_nan()));
    Ok(())
}

fn guard_pages() -> Result<(), Failed> {
    let (status, stderr) = child("a local array out of bounds", 80, "off");
    assert_eq!(status, "CUDA_ERROR_ILLEGAL_ADDRESS", "{stderr}");
    let (status, stderr) = child("global write past the end", 80, "off");
    assert_eq!(status, "CUDA_ERROR_ILLEGAL_ADDRESS", "{stderr}");
    assert!(
        stderr.contains("accesses global memory out of bounds"),
        "{stderr}"
    );
    assert!(
        stderr.contains("kernel `write_beyond`, block (0, 0, 0), thread (5, 0, 0)"),
        "{stderr}"
    );
    Ok(())
}

fn compiler_errors() -> Result<(), Failed> {
    let log = compile("#include \"common.cuh\"\n\nextern \"C\" __global__ void f(float* x) {\n  x[0] = nothing;\n}\n", 80, &[]).unwrap_err();
    assert!(
        log.contains("test.cu:4:") && log.contains("error") && log.contains("nothing"),
        "{log}"
    );
    let log = compile("__global__ void f() {}", 80, &["--no-such-option"]).unwrap_err();
    assert!(
        log.contains("unrecognized option --no-such-option"),
        "{log}"
    );
    let log = compile("#include <stdint.h>\n", 80, &[]).unwrap_err();
    assert!(log.contains("stdint.h"), "NVRTC brings no headers: {log}");
    let log = compile("__shared__ float x[4];\n", 80, &[]).unwrap_err();
    assert!(log.contains("test.cu:1: error:"), "{log}");
    Ok(())
}
