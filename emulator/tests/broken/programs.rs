//! What the wrong programs do.

use std::sync::Arc;

use cudarc::driver::sys::{
    self, CUfunction_attribute, CUgraphInstantiate_flags, CUstreamCaptureMode,
};
use cudarc::driver::{
    CudaContext, CudaFunction, CudaSlice, CudaStream, DriverError, LaunchConfig, PushKernelArg,
};
use cudarc::nvrtc::Ptx;

use crate::common::{compile, function};

/// Kernels with one mistake each.
pub const KERNELS: &str = include_str!("../kernels/broken.cu");

pub type Outcome = Result<(), DriverError>;

/// The device a program runs on, and a stream of its own.
pub struct Device {
    pub context: Arc<CudaContext>,
    pub stream: Arc<CudaStream>,
}

/// Launches a kernel of [`KERNELS`] in the device's stream and waits for it.
macro_rules! run {
    ($device:expr, $name:expr, $geometry:expr $(, $argument:expr)*) => {{
        let kernel = $device.kernel($name);
        // SAFETY: none: what is wrong with the program is the emulator's to find.
        unsafe { $device.stream.launch_builder(&kernel)$(.arg($argument))*.launch($geometry) }?;
        $device.stream.synchronize()
    }};
}

pub fn geometry(grid: u32, block: u32, shared: u32) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (grid, 1, 1),
        block_dim: (block, 1, 1),
        shared_mem_bytes: shared,
    }
}

impl Device {
    pub fn kernel(&self, name: &str) -> CudaFunction {
        function(&self.context, KERNELS, name)
    }

    pub fn zeros(&self, count: usize) -> CudaSlice<f32> {
        self.stream.alloc_zeros(count).expect("memory")
    }

    /// Runs `name(float* out)` on `threads` threads and waits for it.
    pub fn run(&self, name: &str, threads: u32) -> Outcome {
        self.run_shared(name, threads, 0)
    }

    pub fn run_shared(&self, name: &str, threads: u32, shared: u32) -> Outcome {
        let mut out = self.zeros(1024);
        run!(self, name, geometry(1, threads, shared), &mut out)
    }

    /// Runs `name(float* out)` on `blocks` blocks of 64 threads.
    pub fn run_blocks(&self, name: &str, blocks: u32) -> Outcome {
        let mut out = self.zeros(2048);
        run!(self, name, geometry(blocks, 64, 0), &mut out)
    }

    /// Runs `name(float* out, const float* in, int n)`.
    pub fn run_on(
        &self,
        name: &str,
        out: &mut CudaSlice<f32>,
        x: &CudaSlice<f32>,
        n: i32,
    ) -> Outcome {
        run!(self, name, geometry(1, 64, 0), out, x, &n)
    }

    pub fn capture(&self) {
        self.stream
            .begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .expect("a capture");
    }
}

pub fn load(device: &Device, arch: u32) -> Result<Arc<cudarc::driver::CudaModule>, DriverError> {
    device.context.load_module(Ptx::from_binary(
        compile(KERNELS, arch, &[]).expect("it compiles"),
    ))
}

/// Kernels `name(float* out, const float* in)` that copy 1024 bytes to shared memory.
pub fn copy(device: &Device, name: &str) -> Outcome {
    let (mut out, x) = (device.zeros(1024), device.zeros(256));
    run!(device, name, geometry(1, 64, 2048), &mut out, &x)
}

pub fn misaligned_pack(device: &Device) -> Outcome {
    let (mut out, x) = (device.zeros(64), device.zeros(64));
    let between = x.slice(1..);
    run!(device, "copy_pack", geometry(1, 1, 0), &mut out, &between)
}

/// Loads `kernel` of a text of its own: the whole module is refused.
fn refused(device: &Device, text: &str, kernel: &str) -> Outcome {
    let cubin = compile(text, 80, &[]).expect("it compiles");
    let module = device.context.load_module(Ptx::from_binary(cubin))?;
    module.load_function(kernel).map(drop)
}

pub fn recursion(device: &Device) -> Outcome {
    let text = r#"
__device__ __noinline__ float deeper(float* out, int depth) {
  float local[64];
  for (int i = 0; i < 64; i++) local[i] = out[i] + depth;
  return depth == 0 ? local[0] : deeper(out, depth - 1) + local[depth % 64];
}
extern "C" __global__ void recursion(float* out) { out[threadIdx.x] = deeper(out, 1 << 20); }
"#;
    refused(device, text, "recursion")
}

pub fn variable_without_room(device: &Device) -> Outcome {
    let text = r#"
__device__ float large[1 << 21];
extern "C" __global__ void use(float* out) { out[threadIdx.x] = large[threadIdx.x]; }
"#;
    refused(device, text, "use")
}

pub fn unknown_instruction(device: &Device) -> Outcome {
    let text = r#"
extern "C" __global__ void unknown(unsigned* out) {
  unsigned x = out[0];
  asm volatile("vadd.u32.u32.u32 %0, %0, %0;" : "+r"(x));
  out[0] = x;
}
"#;
    refused(device, text, "unknown")
}

pub fn speculated_and_used(device: &Device) -> Outcome {
    let kernel = function(
        &device.context,
        include_str!("../kernels/accesses.cu"),
        "speculated_and_used",
    );
    let (mut out, x) = (device.zeros(32), device.zeros(32));
    let mut launch = device.stream.launch_builder(&kernel);
    launch.arg(&mut out).arg(&x);
    // SAFETY: as in `run!`.
    unsafe { launch.launch(geometry(1, 32, 0)) }?;
    device.stream.synchronize()
}

pub fn made_up_pointer(device: &Device) -> Outcome {
    let mut out = device.zeros(4);
    let host = [1.0f32; 4];
    let address = host.as_ptr() as u64;
    run!(device, "follow", geometry(1, 1, 0), &mut out, &address)
}

pub fn raw(slice: &CudaSlice<f32>, stream: &CudaStream) -> u64 {
    use cudarc::driver::DevicePtr;
    // The stream only notes the read, for event tracking, which is off.
    let stream = stream as *const CudaStream;
    let (pointer, _sync) = slice.device_ptr(unsafe { &*stream });
    pointer
}

pub fn sum_of(device: &Device, pointer: u64) -> Outcome {
    let mut out = device.zeros(64);
    run!(
        device,
        "sum_of",
        geometry(1, 64, 0),
        &mut out,
        &pointer,
        &100i32
    )
}

pub fn use_after_free(device: &Device) -> Outcome {
    let x = device.zeros(100);
    let pointer = raw(&x, &device.stream);
    drop(x);
    device.stream.synchronize()?;
    sum_of(device, pointer)
}

/// The kernel is on its way when another stream frees what it reads.
pub fn free_in_other_stream(device: &Device) -> Outcome {
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

pub fn double_free(_: &Device) -> Outcome {
    unsafe {
        let pointer = cudarc::driver::result::malloc_sync(100)?;
        cudarc::driver::result::free_sync(pointer)?;
        cudarc::driver::result::free_sync(pointer)
    }
}

pub fn copy_beyond(device: &Device) -> Outcome {
    let x = device.zeros(100);
    let mut host = [0.0f32; 101];
    unsafe { cudarc::driver::result::memcpy_dtoh_sync(&mut host, raw(&x, &device.stream)) }
}

pub fn launch_raw(
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

/// cudarc's form: an array of pointers to the arguments, of which the driver is told no length.
pub fn missing_argument(device: &Device) -> Outcome {
    launch_array(device, [1, 1, 0])
}

/// What nobody asks for, nobody reads: this one passes.
pub fn surplus_argument_in_an_array(device: &Device) -> Outcome {
    launch_array(device, [1, 1, 1, 1])
}

/// `sum_of` with out, in, 100 and 100, those whose `there` is 0 missing.
fn launch_array<const N: usize>(device: &Device, there: [u8; N]) -> Outcome {
    let (out, x) = (device.zeros(64), device.zeros(100));
    let pointers = [&out, &x].map(|slice| raw(slice, &device.stream));
    let mut values = [pointers[0], pointers[1], 100, 100];
    let mut arguments: [*mut std::ffi::c_void; N] = std::array::from_fn(|i| match there[i] {
        0 => std::ptr::null_mut(),
        _ => (&raw mut values[i]).cast(),
    });
    let array = arguments.as_mut_ptr();
    launch_raw(device, "sum_of", array, std::ptr::null_mut())?;
    device.stream.synchronize()
}

/// The form of vitcuda's own launches: `sum_of` with the first `words` of out, in, 100 and 100 packed
/// as eight bytes each, where the last parameter has four.
fn launch_packed(device: &Device, words: usize) -> Outcome {
    let (out, x) = (device.zeros(64), device.zeros(100));
    let pointers = [&out, &x].map(|slice| raw(slice, &device.stream));
    let mut packed = [pointers[0], pointers[1], 100, 100];
    let mut size = 8 * words;
    let mut extra = [
        std::ptr::dangling_mut::<std::ffi::c_void>(),
        packed.as_mut_ptr().cast(),
        2 as *mut _,
        (&raw mut size).cast(),
        std::ptr::null_mut(),
    ];
    launch_raw(device, "sum_of", std::ptr::null_mut(), extra.as_mut_ptr())
}

pub fn packed_argument_too_few(device: &Device) -> Outcome {
    launch_packed(device, 2)
}

/// `size_t` where the kernel says `int`.
pub fn packed_argument_of_another_type(device: &Device) -> Outcome {
    launch_packed(device, 3)
}

pub fn packed_argument_too_many(device: &Device) -> Outcome {
    launch_packed(device, 4)
}

pub fn number_for_pointer(device: &Device) -> Outcome {
    sum_of(device, 100)
}

pub fn no_bool(device: &Device) -> Outcome {
    let mut out = device.zeros(64);
    run!(device, "choose", geometry(1, 64, 0), &mut out, &7u8)
}

pub fn opt_in(device: &Device, bytes: i32) -> Outcome {
    let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    device
        .kernel("shared_beyond")
        .set_attribute(attribute, bytes)
}

pub fn unjoined(device: &Device) -> Outcome {
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
