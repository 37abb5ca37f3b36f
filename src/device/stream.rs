//! Streams beside the main one, events between them, graphs of captured work, page-locked memory.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytemuck::Pod;
use cudarc::driver::sys::{self, CUevent_flags, CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{CudaContext, CudaGraph, CudaStream, DriverError, result};

use super::memory::Slice;
use super::{Gpu, driver_error};
use crate::error::{Error, Result};

/// Work in the order in which it is issued, independent of other streams.
#[derive(Debug, Clone)]
pub struct Stream {
    pub(super) stream: Arc<CudaStream>,
}

/// Whether an [`Event`] knows when it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// Cheaper.
    Off,
    On,
}

impl Stream {
    pub(super) fn new(context: &Arc<CudaContext>) -> Result<Self> {
        // Never the default stream: that one cannot be captured, and waits for all others.
        let stream = context.new_stream().map_err(driver_error("a stream"))?;
        Ok(Self { stream })
    }

    /// An event that happens when all work issued to this stream so far is done.
    pub fn record(&self, timing: Timing) -> Result<Event> {
        self.bind()?;
        self.mark(timing).map_err(driver_error("an event"))
    }

    /// [`Stream::record`], with the driver's own error; the context is current.
    pub(super) fn mark(&self, timing: Timing) -> Result<Event, DriverError> {
        let event = Event::new(self.stream.context(), timing)?;
        // SAFETY: a live event and a live stream of one context.
        unsafe { result::event::record(event.handle, self.stream.cu_stream()) }?;
        Ok(event)
    }

    /// Later work of this stream starts after `event`; the host does not wait.
    pub fn wait(&self, event: &Event) -> Result<()> {
        self.bind()?;
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: a live event and a live stream.
        unsafe { result::stream::wait_event(self.stream.cu_stream(), event.handle, flags) }
            .map_err(driver_error("a wait between streams"))
    }

    /// Copies the first values of page-locked memory to the device, as many as `to` has; returns
    /// before the copy has been made.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn upload<T: Pod>(&self, to: Slice<T>, from: &mut Pinned<T>) -> Result<()> {
        assert!(to.len() <= from.len, "upload: length");
        self.bind()?;
        // SAFETY: the slice lies in a live buffer of as many bytes; nobody writes `from` before the
        // event that is recorded below.
        unsafe {
            let values = std::slice::from_raw_parts(from.pointer, to.len());
            result::memcpy_htod_async(to.address(), values, self.stream.cu_stream())
        }
        .map_err(driver_error("a copy to the GPU"))?;
        from.busy = Some(self.record(Timing::Off)?);
        Ok(())
    }

    /// Copies device memory to the values `at` of page-locked memory; returns before the copy has
    /// been made.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn download<T: Pod>(
        &self,
        to: &mut Pinned<T>,
        at: Range<usize>,
        from: Slice<T>,
    ) -> Result<()> {
        assert!(
            at.end <= to.len && at.len() == from.len(),
            "download: length"
        );
        self.bind()?;
        // SAFETY: the slice lies in a live buffer of as many bytes; nobody looks at `to` before the
        // event that is recorded below.
        unsafe {
            let values = std::slice::from_raw_parts_mut(to.pointer.add(at.start), at.len());
            result::memcpy_dtoh_async(values, from.address(), self.stream.cu_stream())
        }
        .map_err(driver_error("a copy from the GPU"))?;
        to.busy = Some(self.record(Timing::Off)?);
        Ok(())
    }

    fn bind(&self) -> Result<()> {
        let context = self.stream.context();
        context
            .bind_to_thread()
            .map_err(driver_error("the GPU's context"))
    }
}

/// A moment in a stream.
#[derive(Debug)]
pub struct Event {
    handle: sys::CUevent,
    context: Arc<CudaContext>,
}

// SAFETY: the driver's handles are good in every thread that the context is current in.
unsafe impl Send for Event {}
// SAFETY: as above; the driver locks.
unsafe impl Sync for Event {}

impl Event {
    /// One that is waited for asleep: without `CU_EVENT_BLOCKING_SYNC` the driver spins, on a core
    /// that decodes images otherwise.
    fn new(context: &Arc<CudaContext>, timing: Timing) -> Result<Self, DriverError> {
        let timing = match timing {
            Timing::Off => CUevent_flags::CU_EVENT_DISABLE_TIMING,
            Timing::On => CUevent_flags::CU_EVENT_DEFAULT,
        };
        let flags = CUevent_flags::CU_EVENT_BLOCKING_SYNC as u32 | timing as u32;
        let mut handle = std::ptr::null_mut();
        // SAFETY: the function writes one handle.
        unsafe { sys::cuEventCreate(&mut handle, flags) }.result()?;
        Ok(Self {
            handle,
            context: context.clone(),
        })
    }

    /// Whether it has happened; does not wait.
    pub fn has_happened(&self) -> Result<bool> {
        // SAFETY: a live event.
        match unsafe { result::event::query(self.handle) } {
            Ok(()) => Ok(true),
            Err(error) if error.0 == sys::CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            Err(error) => Err(driver_error("the work on the GPU failed")(error)),
        }
    }

    /// Waits for it.
    pub fn synchronise(&self) -> Result<()> {
        let failed = driver_error("the work on the GPU failed");
        // SAFETY: a live event.
        unsafe { result::event::synchronize(self.handle) }.map_err(failed)
    }

    /// Milliseconds from `start` to this event, both recorded with [`Timing::On`]. Waits for both.
    pub fn milliseconds_since(&self, start: &Event) -> Result<f32> {
        start.synchronise()?;
        self.synchronise()?;
        let failed = driver_error("the time between two events");
        // SAFETY: two live events of one context.
        unsafe { result::event::elapsed(start.handle, self.handle) }.map_err(failed)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // Errors are those of earlier work, and reported by the calls that wait for it.
        let _ = self.context.bind_to_thread();
        // SAFETY: created by `new`, destroyed once; the driver keeps what streams still wait for.
        let _ = unsafe { result::event::destroy(self.handle) };
    }
}

/// Host memory that the device copies from and to by itself, while the host goes on.
#[derive(Debug)]
pub struct Pinned<T> {
    pointer: *mut T,
    len: usize,
    /// The last copy that uses it.
    busy: Option<Event>,
    context: Arc<CudaContext>,
    values: PhantomData<T>,
}

// SAFETY: it owns its memory; a copy under way is waited for before anyone looks.
unsafe impl<T: Send> Send for Pinned<T> {}

impl<T: Pod> Pinned<T> {
    fn new(context: &Arc<CudaContext>, len: usize) -> Result<Self> {
        let bytes = (len * size_of::<T>()).max(1);
        let failed = driver_error("page-locked memory");
        context.bind_to_thread().map_err(&failed)?;
        // SAFETY: set to zero, which is a `T`, before anyone reads it.
        let pointer = unsafe {
            let pointer = result::malloc_host(bytes, 0).map_err(failed)?;
            std::ptr::write_bytes(pointer.cast::<u8>(), 0, bytes);
            pointer.cast()
        };
        Ok(Self {
            pointer,
            len,
            busy: None,
            context: context.clone(),
            values: PhantomData,
        })
    }

    /// The values. Waits for the last copy that uses them, if it is not done.
    pub fn values(&mut self) -> Result<&mut [T]> {
        if let Some(event) = self.busy.take()
            && !event.has_happened()?
        {
            event.synchronise()?;
        }
        // SAFETY: `len` initialised values, and no copy uses them.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.pointer, self.len) })
    }

    /// Whether a copy uses the values at this moment; does not wait.
    pub fn is_busy(&self) -> Result<bool> {
        match &self.busy {
            Some(event) => Ok(!event.has_happened()?),
            None => Ok(false),
        }
    }
}

impl<T> Drop for Pinned<T> {
    fn drop(&mut self) {
        // Errors are those of earlier work, and reported by the calls that wait for it.
        let _ = self.context.bind_to_thread();
        if let Some(event) = self.busy.take() {
            let _ = event.synchronise();
        }
        // SAFETY: allocated by `new`, freed once, no copy under way.
        let _ = unsafe { result::free_host(self.pointer.cast()) };
    }
}

/// Captured work, to be issued again as a whole.
pub struct Graph {
    graph: CudaGraph,
}

// SAFETY: the driver's handles are good in every thread; a graph is not shared between them.
unsafe impl Send for Graph {}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph").finish_non_exhaustive()
    }
}

impl Graph {
    /// Issues the work to the GPU's main stream.
    ///
    /// # Safety
    /// The memory that the captured work uses is still there.
    pub unsafe fn launch(&self) -> Result<()> {
        self.graph.launch().map_err(driver_error("a CUDA graph"))
    }
}

impl Gpu {
    /// The stream of everything that is issued through the [`Gpu`].
    pub fn main(&self) -> &Stream {
        &self.driver().main
    }

    /// A stream beside the main one, for copies that are to run under it.
    pub fn side_stream(&self) -> Result<Stream> {
        Stream::new(&self.driver().context)
    }

    /// Page-locked memory for `len` values, zeros at first.
    pub fn pinned<T: Pod>(&self, len: usize) -> Result<Pinned<T>> {
        Pinned::new(&self.driver().context, len)
    }

    /// Collects what `work` issues to the main stream, without running it.
    ///
    /// Kernels must be ready ([`Gpu::prepare`], or a first run), and nothing may wait or allocate:
    /// that is refused in a capture, and the error is returned from here.
    pub fn capture(&self, work: impl FnOnce() -> Result<()>) -> Result<Graph> {
        let failed = driver_error("a CUDA graph cannot be captured");
        let driver = self.driver();
        let stream = &driver.main.stream;
        stream
            .begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .map_err(&failed)?;
        driver.capturing.store(true, Ordering::Relaxed);
        let worked = work();
        driver.capturing.store(false, Ordering::Relaxed);
        // Also when the work has failed: the stream must leave the capture.
        let captured = stream.end_capture(CUgraphInstantiate_flags(0));
        worked?;
        let graph = captured.map_err(&failed)?.ok_or_else(|| {
            Error::device("a CUDA graph cannot be captured: there was no work", "")
        })?;
        graph.upload().map_err(&failed)?;
        Ok(Graph { graph })
    }
}
