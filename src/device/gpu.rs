//! A GPU in use: one context, one stream, the compiled kernels.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard};

use bytemuck::{Pod, Zeroable};
use cudarc::driver::sys::CUdevice_attribute as Attribute;
use cudarc::driver::{CudaContext, result};

use super::cache::Cache;
use super::compiler::Compiler;
use super::element::{Element, ElementType};
use super::kernel::Specialisation;
use super::memory::{Buffer, Slice};
use super::module::Module;
use super::record::Record;
use super::requirements::usable;
use super::stream::{Stream, Timing};
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

impl Properties {
    /// Whether it is a small Turing card: of its architecture, and without its tensor cores, whose
    /// instructions run on slower units.
    pub fn lacks_tensor_cores(&self) -> bool {
        let small = [
            "MX450", "MX550", "T400", "T500", "T550", "T600", "T1000", "T1200", "T2000",
        ];
        let mut words = self.name.split_whitespace();
        self.capability == (7, 5)
            && (self.name.contains("GTX 16") || words.any(|word| small.contains(&word)))
    }
}

/// A GPU in use. Work runs in the order in which it is issued, on one stream; calls return before
/// it is done, unless they say that they wait.
///
/// Or the record of one ([`Gpu::record`]), which notes what is issued to it and runs nothing.
#[derive(Debug)]
pub struct Gpu {
    properties: Properties,
    element: ElementType,
    backend: Backend,
}

#[derive(Debug)]
enum Backend {
    Driver(Box<Driver>),
    Record(Mutex<Record>),
}

/// What a GPU in use is made of.
#[derive(Debug)]
pub(super) struct Driver {
    ordinal: usize,
    pub(super) compiler: Compiler,
    pub(super) modules: Mutex<HashMap<Specialisation, Arc<Module>>>,
    /// Whether a [`Gpu::capture`] is on.
    pub(super) capturing: AtomicBool,
    graphs: bool,
    pub(super) main: Stream,
    pub(super) context: Arc<CudaContext>,
}

impl Gpu {
    /// Opens the GPU `ordinal`, in the driver's order, with the `element` type that its 16-bit
    /// values are to have.
    ///
    /// [`Error::Device`] where there is no driver, it is older than [`OLDEST_DRIVER`](super::OLDEST_DRIVER), the GPU does
    /// not exist, is older than [`OLDEST_CAPABILITY`](super::OLDEST_CAPABILITY) or cannot multiply `element`, or where there
    /// is no NVRTC for it. [`Error::Usage`] where `VITCUDA_GRAPH` is neither 0 nor 1.
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
        let driver = Driver {
            ordinal,
            compiler: Compiler::new(Arc::new(nvrtc), cache, properties.capability, element),
            modules: Mutex::default(),
            capturing: AtomicBool::new(false),
            graphs: wants_graphs()?,
            main,
            context,
        };
        Ok(Self {
            properties,
            element,
            backend: Backend::Driver(Box::new(driver)),
        })
    }

    /// What `work` issues to a GPU with these `properties`: the same launches that one in use would
    /// get, since nothing that launchers decide by is asked of the driver. None is needed; nothing
    /// runs, and memory is addresses without anything behind them.
    ///
    /// # Panics
    /// If `work` reads memory, or asks for what only a driver has: streams, events, graphs.
    pub fn record(
        properties: Properties,
        element: ElementType,
        work: impl FnOnce(&Self) -> Result<()>,
    ) -> Result<Record> {
        let gpu = Self {
            properties,
            element,
            backend: Backend::Record(Mutex::default()),
        };
        work(&gpu)?;
        match gpu.backend {
            Backend::Record(record) => Ok(record.into_inner().expect("no panic while it is held")),
            Backend::Driver(_) => unreachable!("made above"),
        }
    }

    /// # Panics
    /// If it is a record.
    pub(super) fn driver(&self) -> &Driver {
        match &self.backend {
            Backend::Driver(driver) => driver,
            Backend::Record(_) => panic!("the record of a GPU has no driver"),
        }
    }

    /// The record that is being made, if this is one.
    pub(super) fn recording(&self) -> Option<MutexGuard<'_, Record>> {
        match &self.backend {
            Backend::Record(record) => Some(record.lock().expect("no panic while it is held")),
            Backend::Driver(_) => None,
        }
    }

    /// Its number, in the driver's order.
    pub fn ordinal(&self) -> usize {
        self.driver().ordinal
    }

    /// What the driver says about the GPU.
    pub fn properties(&self) -> &Properties {
        &self.properties
    }

    /// The type of 16-bit values.
    pub fn element(&self) -> ElementType {
        self.element
    }

    /// Whether steps are to be issued as CUDA graphs: with `VITCUDA_GRAPH=0` each kernel is launched
    /// by itself, so that a driver's error names the launch at fault.
    pub fn takes_graphs(&self) -> bool {
        self.driver().graphs
    }

    /// How kernels are compiled.
    pub fn compiler(&self) -> &Compiler {
        &self.driver().compiler
    }

    /// Free and total memory, in bytes.
    pub fn memory_info(&self) -> Result<(u64, u64)> {
        let (free, total) = self
            .driver()
            .context
            .mem_get_info()
            .map_err(driver_error("memory"))?;
        Ok((free as u64, total as u64))
    }

    /// The highest clock of the multiprocessors, in kHz; what a GPU sustains is less.
    pub fn peak_clock_khz(&self) -> Result<u32> {
        let clock = self
            .driver()
            .context
            .attribute(Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE)
            .map_err(driver_error("the GPU's clock"))?;
        Ok(clock.max(0) as u32)
    }

    /// Waits for all work issued so far; reports what went wrong in it.
    ///
    /// For an event, asleep: a wait for a stream spins, and takes a core from those who decode images.
    pub fn synchronise(&self) -> Result<()> {
        let failed = driver_error("the work on the GPU failed");
        self.bind()?;
        let now = self.driver().main.mark(Timing::Off).map_err(failed)?;
        now.synchronise()
    }

    /// Memory for `len` values, holding anything. [`Error::Memory`] where there is not enough.
    pub fn alloc<T: Pod>(&self, len: usize) -> Result<Buffer<T>> {
        match &self.backend {
            Backend::Driver(driver) => Buffer::new(&driver.context, len),
            Backend::Record(_) => Ok(Buffer::nowhere(self.note_allocation::<T>(len), len)),
        }
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
        if to.is_empty() || self.recording().is_some() {
            return Ok(());
        }
        self.bind()?;
        // SAFETY: the slice lies in a live buffer, and zero bytes are a `T`.
        unsafe {
            result::memset_d8_async(
                to.address(),
                0,
                to.bytes(),
                self.driver().main.stream.cu_stream(),
            )
        }
        .map_err(driver_error("setting memory to zero"))
    }

    /// Copies `values`; they may change when the call has returned. Waits for all work issued so
    /// far: for what changes while training, there is [`Stream::upload`].
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn write<T: Pod>(&self, to: Slice<T>, values: &[T]) -> Result<()> {
        assert_eq!(to.len(), values.len(), "write: length");
        if to.is_empty() || self.recording().is_some() {
            return Ok(());
        }
        self.bind()?;
        // SAFETY: the slice lies in a live buffer of as many bytes; `values` lives until the wait
        // below is over. Whether the driver still reads pageable memory after it has returned is its
        // own affair: where GPU and CPU share page tables, it does.
        unsafe {
            result::memcpy_htod_async(to.address(), values, self.driver().main.stream.cu_stream())
        }
        .map_err(driver_error("a copy to the GPU"))?;
        self.synchronise()
    }

    /// The values, after all work issued so far. Waits.
    pub fn read<T: Pod>(&self, from: Slice<T>) -> Result<Vec<T>> {
        let mut values = vec![T::zeroed(); from.len()];
        if !from.is_empty() {
            // Asleep: a copy to pageable memory waits for the work before it, and spins.
            self.synchronise()?;
            // SAFETY: the slice lies in a live buffer of as many bytes; `values` lives until the
            // wait below is over.
            unsafe {
                result::memcpy_dtoh_async(
                    &mut values,
                    from.address(),
                    self.driver().main.stream.cu_stream(),
                )
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
        if to.is_empty() || self.recording().is_some() {
            return Ok(());
        }
        self.bind()?;
        // SAFETY: both slices lie in live buffers and have as many bytes.
        unsafe {
            result::memcpy_dtod_async(
                to.address(),
                from.address(),
                to.bytes(),
                self.driver().main.stream.cu_stream(),
            )
        }
        .map_err(driver_error("a copy on the GPU"))
    }

    pub(super) fn bind(&self) -> Result<()> {
        self.driver()
            .context
            .bind_to_thread()
            .map_err(driver_error("the GPU's context"))
    }
}

fn wants_graphs() -> Result<bool> {
    let set = std::env::var_os("VITCUDA_GRAPH").unwrap_or_default();
    match set.to_str() {
        Some("" | "1") => Ok(true),
        Some("0") => Ok(false),
        _ => Err(Error::usage(
            format!("VITCUDA_GRAPH is `{}`", set.display()),
            "set it to 0 to launch each kernel by itself, or to 1, as it is without",
        )),
    }
}

#[cfg(test)]
mod tests {
    use crate::device::architecture::Architecture;

    #[test]
    fn turing_cards_without_tensor_cores_are_known_by_name() {
        let [turing, ampere, ..] = Architecture::ALL.map(|architecture| architecture.properties());
        for (gpu, name, lacks) in [
            (&turing, "NVIDIA GeForce GTX 1660 SUPER", true),
            (&turing, "GeForce GTX 1650", true),
            (&turing, "Quadro T1000", true),
            (&turing, "Tesla T4", false),
            (&turing, "NVIDIA GeForce RTX 2060", false),
            (&ampere, "NVIDIA A100 GTX 16", false),
        ] {
            let mut gpu = gpu.clone();
            gpu.name = name.into();
            assert_eq!(gpu.lacks_tensor_cores(), lacks, "{name}");
        }
    }
}
