//! The way of a batch to the GPU.
//!
//! page-locked memory → (side stream) → `staged` → (main stream) → `current`, which graphs read. The
//! copy over the bus runs under the work on the batch before; the one on the device costs as much as
//! reading the images once, and spares a second set of graphs. The rates of an update follow from
//! how the last one went, so they go by themselves.

use crate::device::structs::UpdateRates;
use crate::device::{Buffer, Event, Gpu, Pinned, Slice, Stream, Timing};
use crate::error::Result;
use crate::model::config::VitConfig;
use crate::train::engine::{Batch, Staged};

/// Alignment of labels and images in a block of input.
const ALIGNMENT: usize = 256;
/// Page-locked blocks: a step of two micro-batches and the first of the next one wait for nothing.
const PINNED: usize = 3;

/// Where things are in a block of input: labels, images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputLayout {
    /// Images at most.
    images: usize,
    /// Bytes of an image.
    image: usize,
}

impl InputLayout {
    pub fn new(config: &VitConfig, images: usize) -> Self {
        Self {
            images,
            image: config.num_channels * config.image_size.pow(2),
        }
    }

    /// Where the images begin; the labels begin at 0.
    fn pixels(&self) -> usize {
        (self.images * size_of::<u32>()).next_multiple_of(ALIGNMENT)
    }

    /// Bytes of a block with `images` images.
    fn with(&self, images: usize) -> usize {
        self.pixels() + images * self.image
    }

    /// Bytes of a block.
    pub fn bytes(&self) -> usize {
        self.with(self.images)
    }
}

/// The blocks of input on the device.
#[derive(Debug)]
pub struct InputMemory {
    layout: InputLayout,
    staged: Buffer<u8>,
    current: Buffer<u8>,
    rates: Buffer<UpdateRates>,
}

impl InputMemory {
    pub fn new(gpu: &Gpu, layout: InputLayout) -> Result<Self> {
        let bytes = layout.bytes();
        Ok(Self {
            layout,
            staged: gpu.alloc(bytes)?,
            current: gpu.alloc(bytes)?,
            rates: gpu.zeros(1)?,
        })
    }

    /// The images that kernels read.
    pub fn pixels(&self, images: usize) -> Slice<'_, u8> {
        let start = self.layout.pixels();
        self.current
            .slice(start..start + images * self.layout.image)
    }

    /// Their labels.
    pub fn labels(&self, images: usize) -> Slice<'_, u32> {
        self.current.slice(0..images * size_of::<u32>()).cast()
    }

    /// A schedule of one row: the rates of this update.
    pub fn rates(&self) -> Slice<'_, UpdateRates> {
        self.rates.all()
    }
}

/// The blocks of input, on both sides.
#[derive(Debug)]
pub struct Input {
    pub memory: InputMemory,
    pinned: [Pinned<u8>; PINNED],
    /// Which of them is next.
    next: usize,
    /// What is staged, or on its way there, and not taken over yet.
    waiting: Option<Waiting>,
    copies: Stream,
    /// When `staged` was last taken over by the main stream.
    taken: Option<Event>,
    /// Batches sent so far.
    sent: u64,
    pinned_rates: Pinned<UpdateRates>,
}

/// A batch between host and main stream.
#[derive(Debug)]
struct Waiting {
    batch: Staged,
    bytes: usize,
    /// When it is all there.
    arrived: Event,
}

impl Input {
    pub fn new(gpu: &Gpu, layout: InputLayout) -> Result<Self> {
        let bytes = layout.bytes();
        Ok(Self {
            memory: InputMemory::new(gpu, layout)?,
            pinned: [gpu.pinned(bytes)?, gpu.pinned(bytes)?, gpu.pinned(bytes)?],
            next: 0,
            waiting: None,
            copies: gpu.side_stream()?,
            taken: None,
            sent: 0,
            pinned_rates: gpu.pinned(1)?,
        })
    }

    /// Sends images and labels on their way, beside what the main stream does; without labels they
    /// are left as they are. A batch that was on its way is forgotten.
    ///
    /// Waits only if the block of page-locked memory, last used three calls ago, is still being
    /// copied: the host is then as many batches ahead.
    pub fn stage(&mut self, pixels: &[u8], labels: &[u32]) -> Result<Staged> {
        let layout = self.memory.layout;
        let images = pixels.len() / layout.image;
        assert!(
            images <= layout.images,
            "{images} images in room for {}",
            layout.images
        );
        let bytes = layout.with(images);
        let pinned = &mut self.pinned[self.next];
        self.next = (self.next + 1) % PINNED;
        let values = pinned.values()?;
        let labels: &[u8] = bytemuck::cast_slice(labels);
        values[..labels.len()].copy_from_slice(labels);
        values[layout.pixels()..bytes].copy_from_slice(pixels);
        self.waiting = None;
        if let Some(taken) = self.taken.take() {
            self.copies.wait(&taken)?;
        }
        let staged = self.memory.staged.slice(0..bytes);
        self.copies.upload(staged, pinned)?;
        self.sent += 1;
        let batch = Staged(self.sent);
        self.waiting = Some(Waiting {
            batch,
            bytes,
            arrived: self.copies.record(Timing::Off)?,
        });
        Ok(batch)
    }

    /// What is issued to the GPU from now on finds `batch` in place; `false` if another one was
    /// staged since, or it was taken already.
    pub fn take(&mut self, gpu: &Gpu, batch: Staged) -> Result<bool> {
        let Some(waiting) = self.waiting.take_if(|waiting| waiting.batch == batch) else {
            return Ok(false);
        };
        let all = 0..waiting.bytes;
        gpu.main().wait(&waiting.arrived)?;
        let InputMemory {
            current, staged, ..
        } = &self.memory;
        gpu.copy(current.slice(all.clone()), staged.slice(all))?;
        self.taken = Some(gpu.main().record(Timing::Off)?);
        Ok(true)
    }

    /// Both: [`Input::stage`] and [`Input::take`].
    pub fn send(&mut self, gpu: &Gpu, pixels: &[u8], labels: &[u32]) -> Result<()> {
        let batch = self.stage(pixels, labels)?;
        let taken = self.take(gpu, batch)?;
        assert!(taken, "it was staged just now");
        Ok(())
    }

    /// Sends the rates of an update; the step that used the last ones is finished.
    pub fn send_rates(&mut self, gpu: &Gpu, rates: UpdateRates) -> Result<()> {
        self.pinned_rates.values()?[0] = rates;
        let rates = self.memory.rates();
        gpu.main().upload(rates, &mut self.pinned_rates)
    }
}

/// The images of `batch`, at most `count` at a time.
pub fn chunks<'a>(
    batch: &'a Batch,
    layout: &InputLayout,
    count: usize,
) -> std::slice::Chunks<'a, u8> {
    batch.images.chunks(count * layout.image)
}

impl InputLayout {
    /// Images in so many bytes.
    pub fn count(&self, pixels: &[u8]) -> usize {
        pixels.len() / self.image
    }
}
