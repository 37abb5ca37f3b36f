//! What the benchmark times: an operation as a model calls it, its memory allocated and filled with
//! random values before the clock starts. The passes of [`GpuOp`](super::gpu::GpuOp), host values in
//! and out, are for checks; here a run is nothing but the launches of a step.

use crate::device::{Buffer, Element, Gpu};
use crate::error::Result;
use crate::rng::{Philox, Purpose};

/// One row of the benchmark.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    /// The registry's name.
    pub op: &'static str,
    /// Which of a model's calls, and which pass: `fc1 forward`.
    pub call: String,
    /// Bytes of the tensors that go in and out, each touched once, scratch memory left out.
    pub bytes: usize,
    /// Multiplications and additions of matrix products; 0 where there is none.
    pub flops: usize,
}

/// Times a run, or refuses to.
pub trait Stopwatch {
    /// Calls `run` as often as it likes, each time with the same memory.
    fn time(&mut self, work: Work, run: &mut dyn FnMut() -> Result<()>) -> Result<()>;
}

/// What of a model decides the shapes of its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelDims {
    /// Images in a step.
    pub batch: usize,
    /// Side of an image.
    pub image: usize,
    /// Side of a patch.
    pub patch: usize,
    /// Colours.
    pub channels: usize,
    /// T, the class token included.
    pub tokens: usize,
    /// C.
    pub width: usize,
    /// NH.
    pub heads: usize,
    /// F.
    pub mlp: usize,
    /// K.
    pub classes: usize,
}

/// The model whose calls are timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    pub dims: ModelDims,
    /// Parameters, all of them trained.
    pub parameters: usize,
}

impl Sizes {
    /// N = B·T.
    pub fn rows(&self) -> usize {
        self.dims.batch * self.dims.tokens
    }
}

/// An operation's rows of the benchmark. The work of a row is the same on every device; what a
/// device fuses differently makes other rows.
pub trait Bench {
    /// On the CPU device, in f32.
    fn bench_cpu(&self, sizes: &Sizes, watch: &mut dyn Stopwatch) -> Result<()>;

    /// Launches on `gpu`.
    fn bench_gpu(&self, gpu: &Gpu, sizes: &Sizes, watch: &mut dyn Stopwatch) -> Result<()>;
}

/// Random values that are drawn; longer tensors repeat them.
const DRAWN: usize = 1 << 20;

/// `len` values between −1 and 1.
pub fn random(len: usize) -> Vec<f32> {
    let mut stream = Philox::new(0, Purpose::Test, len as u64);
    let mut uniform = || (f64::from(stream.next_u32()) / f64::from(1u32 << 31) - 1.0) as f32;
    let drawn: Vec<f32> = (0..len.min(DRAWN)).map(|_| uniform()).collect();
    drawn.iter().copied().cycle().take(len).collect()
}

/// `len` whole numbers below `below`.
pub fn random_labels(len: usize, below: usize) -> Vec<u32> {
    let mut stream = Philox::new(0, Purpose::Test, len as u64);
    (0..len).map(|_| stream.next_u32() % below as u32).collect()
}

/// `len` bytes.
pub fn random_bytes(len: usize) -> Vec<u8> {
    let mut stream = Philox::new(0, Purpose::Test, len as u64);
    let drawn: Vec<u8> = (0..len.min(DRAWN))
        .map(|_| stream.next_u32() as u8)
        .collect();
    drawn.iter().copied().cycle().take(len).collect()
}

/// [`random`], on the device.
pub fn f32s(gpu: &Gpu, len: usize) -> Result<Buffer<f32>> {
    gpu.upload(&random(len))
}

/// [`random`], rounded and on the device.
pub fn elements(gpu: &Gpu, len: usize) -> Result<Buffer<Element>> {
    gpu.upload_elements(&random(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_random_and_in_range() {
        let values = random(DRAWN + 5);
        assert_eq!(values.len(), DRAWN + 5);
        assert!(values.iter().all(|v| (-1.0..=1.0).contains(v)));
        assert_eq!(values[..5], values[DRAWN..]);
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        // Six standard deviations: 6 / √(3 · 2²⁰).
        assert!(mean.abs() < 3.4e-3, "{mean}");
        assert!(random_labels(100, 7).iter().all(|&label| label < 7));
    }
}
