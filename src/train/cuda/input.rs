//! The way of a batch to the GPU.
//!
//! page-locked memory → (side stream) → `staged` → (main stream) → `current`, which graphs read. The
//! copy over the bus runs under the work on the batch before; the one on the device costs as much as
//! reading the images once, and spares a second set of graphs.

use bytemuck::bytes_of;

use crate::device::structs::UpdateRates;
use crate::device::{Buffer, Event, Gpu, Pinned, Slice, Stream, Timing};
use crate::error::Result;
use crate::model::config::VitConfig;
use crate::train::engine::Batch;

/// Alignment of labels, rates and images in a block of input.
const ALIGNMENT: usize = 256;
/// Page-locked blocks: one is filled while another is copied.
const PINNED: usize = 2;

/// Where things are in a block of input: rates of the update, labels, images.
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

    fn labels(&self) -> usize {
        size_of::<UpdateRates>().next_multiple_of(ALIGNMENT)
    }

    fn pixels(&self) -> usize {
        (self.labels() + self.images * size_of::<u32>()).next_multiple_of(ALIGNMENT)
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

/// The blocks of input, on both sides.
#[derive(Debug)]
pub struct Input {
    layout: InputLayout,
    pinned: [Pinned<u8>; PINNED],
    /// Which of them is next.
    next: usize,
    staged: Buffer<u8>,
    current: Buffer<u8>,
    copies: Stream,
    /// When `staged` was last taken over by the main stream.
    taken: Option<Event>,
}

impl Input {
    pub fn new(gpu: &Gpu, layout: InputLayout) -> Result<Self> {
        let bytes = layout.bytes();
        Ok(Self {
            layout,
            pinned: [gpu.pinned(bytes)?, gpu.pinned(bytes)?],
            next: 0,
            staged: gpu.alloc(bytes)?,
            current: gpu.alloc(bytes)?,
            copies: gpu.side_stream()?,
            taken: None,
        })
    }

    /// Sends images and labels on their way; what is issued to the GPU from now on finds them in
    /// place. Without labels, `rates`, the labels are zeros.
    ///
    /// Waits only if the block of page-locked memory, last used two calls ago, is still being
    /// copied: the host is then two batches ahead.
    pub fn send(
        &mut self,
        gpu: &Gpu,
        pixels: &[u8],
        labels: &[u32],
        rates: Option<UpdateRates>,
    ) -> Result<()> {
        let layout = self.layout;
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
        if let Some(rates) = rates {
            values[..size_of::<UpdateRates>()].copy_from_slice(bytes_of(&rates));
        }
        let labels: &[u8] = bytemuck::cast_slice(labels);
        values[layout.labels()..][..labels.len()].copy_from_slice(labels);
        values[layout.pixels()..bytes].copy_from_slice(pixels);
        if let Some(taken) = self.taken.take() {
            self.copies.wait(&taken)?;
        }
        self.copies.upload(self.staged.slice(0..bytes), pinned)?;
        gpu.main().wait(&self.copies.record(Timing::Off)?)?;
        gpu.copy(self.current.slice(0..bytes), self.staged.slice(0..bytes))?;
        self.taken = Some(gpu.main().record(Timing::Off)?);
        Ok(())
    }

    /// The images that kernels read.
    pub fn pixels(&self, images: usize) -> Slice<'_, u8> {
        let start = self.layout.pixels();
        self.current
            .slice(start..start + images * self.layout.image)
    }

    /// Their labels.
    pub fn labels(&self, images: usize) -> Slice<'_, u32> {
        let start = self.layout.labels();
        let bytes = images * size_of::<u32>();
        self.current.slice(start..start + bytes).cast()
    }

    /// A schedule of one row: the rates of this update.
    pub fn rates(&self) -> Slice<'_, UpdateRates> {
        self.current.slice(0..size_of::<UpdateRates>()).cast()
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
