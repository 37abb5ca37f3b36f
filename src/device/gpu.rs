//! A GPU in use: one context, one stream, the compiled kernels.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytemuck::{Pod, Zeroable};
use cudarc::driver::sys::CUdevice_attribute as Attribute;
use cudarc::driver::{CudaContext, result};

use super::cache::Cache;
use super::compiler::Compiler;
use super::element::{Element, ElementType};
use super::kernel::{Arguments, Geometry, Kernel, Specialisation};
use super::memory::{Buffer, Slice};
use super::module::Module;
use super::patch::Patch;
use super::requirements::usable;
use super::stream::Stream;
use super::{cuda, driver_error, nvrtc};
use crate::error::{Error, Result};

/// What the driver says about the GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Properties {
    pub name: String,
    /// Compute capability, (major, minor).
    pub capability: (u32, u32),
    pub multiprocessors: u32,
    /// Most shared memory of a block, in bytes, when it asks for it.
    pub shared_per_block: u32,
    /// Shared memory of a multiprocessor, in bytes.
    pub shared_per_multiprocessor: u32,
    /// Bytes.
    pub l2: u64,
    /// Bytes.
    pub memory: u64,
    /// Newest CUDA version that the driver understands.
    pub driver: (u32, u32),
}

/// A GPU in use. Work runs in the order in which it is issued, on one stream; calls return before
/// it is done, unless they say that they wait.
#[derive(Debug)]
pub struct Gpu {
    ordinal: usize,
    properties: Properties,
    element: ElementType,
    compiler: Compiler,
    modules: Mutex<HashMap<Specialisation, Arc<Module>>>,
    /// What is launched in a [`Gpu::rehearse`].
    pub(super) rehearsal: Mutex<Option<Vec<Specialisation>>>,
    pub(super) main: Stream,
    pub(super) context: Arc<CudaContext>,
}

impl Gpu {
    /// Opens the GPU `ordinal`, in the driver's order, with the `element` type that its 16-bit
    /// values are to have.
    ///
    /// [`Error::Device`] where there is no driver, it is older than [`OLDEST_DRIVER`](super::OLDEST_DRIVER), the GPU does
    /// not exist, is older than [`OLDEST_CAPABILITY`](super::OLDEST_CAPABILITY) or cannot multiply `element`, or where there
    /// is no NVRTC for it.
    pub fn open(ordinal: usize, element: ElementType) -> Result<Self> {
        Self::open_with(ordinal, element, Cache::of_this_user())
    }

    /// [`Gpu::open`] with another place for compiled kernels.
    pub fn open_with(ordinal: usize, element: ElementType, cache: Cache) -> Result<Self> {
        // The probe first: cudarc panics where the library is missing.
        let driver = cuda::probe()?;
        let found = usable(&driver, ordinal, element)?;
        let nvrtc = nvrtc::find(nvrtc::Wanted {
            driver: Some(driver.version),
            capability: Some(found.compute_capability),
        })?;
        let failed = driver_error("the GPU cannot be opened");
        let context = CudaContext::new(ordinal).map_err(&failed)?;
        // SAFETY: one stream at a time writes a buffer, and views are ordered by events of ours;
        // cudarc's tracking would only add events to every buffer.
        unsafe { context.disable_event_tracking() };
        let attribute = |attribute| {
            let value = context.attribute(attribute).map_err(&failed)?;
            Ok::<_, Error>(value.max(0) as u32)
        };
        let properties = Properties {
            name: found.name.clone(),
            capability: found.compute_capability,
            multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            shared_per_block: attribute(
                Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
            )?,
            shared_per_multiprocessor: attribute(
                Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR,
            )?,
            l2: attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?.into(),
            memory: context.total_mem().map_err(&failed)? as u64,
            driver: driver.version,
        };
        let main = Stream::new(&context)?;
        Ok(Self {
            ordinal,
            compiler: Compiler::new(Arc::new(nvrtc), cache, properties.capability, element),
            properties,
            element,
            modules: Mutex::default(),
            rehearsal: Mutex::default(),
            main,
            context,
        })
    }

    /// Its number, in the driver's order.
    pub fn ordinal(&self) -> usize {
        self.ordinal
    }

    /// What the driver says about the GPU.
    pub fn properties(&self) -> &Properties {
        &self.properties
    }

    /// The type of 16-bit values.
    pub fn element(&self) -> ElementType {
        self.element
    }

    /// Whether it is of the ampere family or later: `cp.async`, `mma.m16n8k16`, bf16.
    pub fn is_ampere(&self) -> bool {
        self.properties.capability.0 >= 8
    }

    /// How kernels are compiled.
    pub fn compiler(&self) -> &Compiler {
        &self.compiler
    }

    /// Free and total memory, in bytes.
    pub fn memory_info(&self) -> Result<(u64, u64)> {
        let (free, total) = self
            .context
            .mem_get_info()
            .map_err(driver_error("memory"))?;
        Ok((free as u64, total as u64))
    }

    /// The highest clock of the multiprocessors, in kHz; what a GPU sustains is less.
    pub fn peak_clock_khz(&self) -> Result<u32> {
        let clock = self
            .context
            .attribute(Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE)
            .map_err(driver_error("the GPU's clock"))?;
        Ok(clock.max(0) as u32)
    }

    /// Waits for all work issued so far; reports what went wrong in it.
    pub fn synchronise(&self) -> Result<()> {
        let failed = driver_error("the work on the GPU failed");
        self.main.stream.synchronize().map_err(failed)
    }

    /// Memory for `len` values, holding anything. [`Error::Memory`] where there is not enough.
    pub fn alloc<T: Pod>(&self, len: usize) -> Result<Buffer<T>> {
        Buffer::new(&self.context, len)
    }

    /// Memory with zeros.
    pub fn zeros<T: Pod>(&self, len: usize) -> Result<Buffer<T>> {
        let buffer = self.alloc(len)?;
        self.zero(buffer.all())?;
        Ok(buffer)
    }

    /// Memory with `values`.
    pub fn upload<T: Pod>(&self, values: &[T]) -> Result<Buffer<T>> {
        let buffer = self.alloc(values.len())?;
        self.write(buffer.all(), values)?;
        Ok(buffer)
    }

    /// Memory with `values`, rounded to the element type.
    pub fn upload_elements(&self, values: &[f32]) -> Result<Buffer<Element>> {
        let rounded = values.iter().map(|&value| self.element.from_f32(value));
        self.upload(&rounded.collect::<Vec<_>>())
    }

    /// Sets all bytes to zero.
    pub fn zero<T: Zeroable>(&self, to: Slice<T>) -> Result<()> {
        if to.is_empty() {
            return Ok(());
        }
        self.bind()?;
        // SAFETY: the slice lies in a live buffer, and zero bytes are a `T`.
        unsafe {
            result::memset_d8_async(to.address(), 0, to.bytes(), self.main.stream.cu_stream())
        }
        .map_err(driver_error("setting memory to zero"))
    }

    /// Copies `values`; they may change when the call has returned.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn write<T: Pod>(&self, to: Slice<T>, values: &[T]) -> Result<()> {
        assert_eq!(to.len(), values.len(), "write: length");
        if to.is_empty() {
            return Ok(());
        }
        self.bind()?;
        // SAFETY: the slice lies in a live buffer of as many bytes; the driver has taken pageable
        // memory into a buffer of its own when it returns.
        unsafe { result::memcpy_htod_async(to.address(), values, self.main.stream.cu_stream()) }
            .map_err(driver_error("a copy to the GPU"))
    }

    /// The values, after all work issued so far. Waits.
    pub fn read<T: Pod>(&self, from: Slice<T>) -> Result<Vec<T>> {
        let mut values = vec![T::zeroed(); from.len()];
        if !from.is_empty() {
            self.bind()?;
            // SAFETY: the slice lies in a live buffer of as many bytes; `values` lives until the
            // wait below is over.
            unsafe {
                result::memcpy_dtoh_async(&mut values, from.address(), self.main.stream.cu_stream())
            }
            .map_err(driver_error("a copy from the GPU"))?;
        }
        self.synchronise()?;
        Ok(values)
    }

    /// [`Gpu::read`] of elements, as f32.
    pub fn read_elements(&self, from: Slice<Element>) -> Result<Vec<f32>> {
        let elements = self.read(from)?.into_iter();
        Ok(elements.map(|value| self.element.to_f32(value)).collect())
    }

    /// Copies on the device; the slices do not overlap.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn copy<T: Pod>(&self, to: Slice<T>, from: Slice<T>) -> Result<()> {
        assert_eq!(to.len(), from.len(), "copy: length");
        if to.is_empty() {
            return Ok(());
        }
        self.bind()?;
        // SAFETY: both slices lie in live buffers and have as many bytes.
        unsafe {
            result::memcpy_dtod_async(
                to.address(),
                from.address(),
                to.bytes(),
                self.main.stream.cu_stream(),
            )
        }
        .map_err(driver_error("a copy on the GPU"))
    }

    pub(super) fn bind(&self) -> Result<()> {
        self.context
            .bind_to_thread()
            .map_err(driver_error("the GPU's context"))
    }

    /// Compiles what is not compiled yet, in parallel, and loads it.
    ///
    /// [`Error::Device`] with the compiler's messages where NVRTC refuses a kernel.
    pub fn prepare(&self, specs: &[Specialisation]) -> Result<()> {
        use rayon::prelude::*;
        let mut missing: Vec<&Specialisation> = specs.iter().collect();
        missing.sort();
        missing.dedup();
        missing.retain(|spec| !self.lock_modules().contains_key(spec));
        let compiled: Vec<_> = missing
            .par_iter()
            .map(|spec| self.compiler.compile(spec))
            .collect::<Result<_>>()?;
        for (spec, compiled) in missing.into_iter().zip(compiled) {
            let module =
                Module::load(&self.context, &compiled.cubin).or_else(|_| self.load_anew(spec))?;
            self.lock_modules().insert(spec.clone(), Arc::new(module));
        }
        Ok(())
    }

    /// Kernels that are launched from now on have this fault in their text; `None`: none. Waits.
    pub fn plant(&self, patch: Option<Patch>) -> Result<()> {
        self.synchronise()?;
        let before = self.compiler.plant(patch);
        let changes = [before, patch].into_iter().flatten();
        self.lock_modules().retain(|spec, _| {
            let mut changes = changes.clone();
            !changes.any(|patch| patch.concerns(spec.file))
        });
        Ok(())
    }

    /// A cubin from the cache may be one that the driver does not take; one made now is not.
    fn load_anew(&self, spec: &Specialisation) -> Result<Module> {
        let compiled = self.compiler.compile_anew(spec)?;
        Module::load(&self.context, &compiled.cubin)
    }

    fn lock_modules(&self) -> std::sync::MutexGuard<'_, HashMap<Specialisation, Arc<Module>>> {
        self.modules.lock().expect("no panic while it is held")
    }

    fn module(&self, spec: &Specialisation) -> Result<Arc<Module>> {
        if !self.lock_modules().contains_key(spec) {
            self.prepare(std::slice::from_ref(spec))?;
        }
        Ok(self.lock_modules()[spec].clone())
    }

    /// Runs `kernel`, compiled as `spec` says, on `geometry`.
    ///
    /// [`Error::Device`] where the kernel does not compile or the driver refuses the launch. What
    /// goes wrong while it runs is reported by a later call that waits.
    ///
    /// # Safety
    /// For these arguments, macros and geometry the kernel stays inside the memory that its
    /// pointers lead to, and that memory lives until the kernel is done.
    pub unsafe fn launch<K: Kernel>(
        &self,
        kernel: &K,
        spec: &Specialisation,
        geometry: Geometry,
    ) -> Result<()> {
        assert_eq!(spec.file, K::FILE, "{} is of another file", K::NAME);
        if self.is_rehearsed(spec) {
            return Ok(());
        }
        let module = self.module(spec)?;
        let mut arguments = Arguments::default();
        kernel.arguments(&mut arguments);
        self.bind()?;
        // SAFETY: the caller's promise; the arguments are those of the kernel's own struct.
        unsafe { module.launch(K::NAME, arguments.bytes(), geometry, &self.main.stream) }
    }
}
