//! Patch embedding on a GPU: `kernels/patch_embed.cu`, and a product of `kernels/linear.cu`.

use super::Shape;
use crate::device::kernels::{PatchEmbedForwardBytes, PatchEmbedForwardValues};
use crate::device::{Element, Geometry, Gpu, Kernel, Slice, Specialisation};
use crate::error::Result;
use crate::ops::column_sum::{self, Partials};
use crate::ops::gemm::Accumulate;

const THREADS: u32 = 256;

impl Shape {
    fn across(&self) -> usize {
        self.side / self.patch
    }

    /// Rows of `patches`: B·P.
    fn patches(&self) -> usize {
        self.images * self.across().pow(2)
    }
}

/// Pictures, (B, channels, side, side), on the device.
#[derive(Debug, Clone, Copy)]
pub enum Images<'a> {
    /// Bytes, and the value of each byte in each channel (channels, 256): rescaling and
    /// normalisation in one.
    Bytes {
        pixels: Slice<'a, u8>,
        lookup: Slice<'a, f32>,
    },
    /// Normalised already.
    Values(Slice<'a, f32>),
}

/// Cuts `images` into `patches` (B·P, V), and writes the class rows of `x` (B, T, C): its class
/// token and position. The other rows of `x` come of the product of patches and weight.
///
/// # Panics
/// If lengths disagree, or images or patches are not aligned to 16 bytes.
pub fn cut(
    gpu: &Gpu,
    patches: Slice<Element>,
    x: Slice<f32>,
    images: Images,
    class_token: Slice<f32>,
    position: Slice<f32>,
    shape: Shape,
) -> Result<()> {
    let (tokens, width) = (shape.tokens(), shape.width);
    let pixels = shape.images * shape.pixels();
    assert_eq!(
        patches.len(),
        shape.patches() * shape.values(),
        "patch_embed: patches"
    );
    assert_eq!(x.len(), shape.images * tokens * width, "patch_embed: x");
    assert_eq!(class_token.len(), width, "patch_embed: class token");
    assert_eq!(position.len(), tokens * width, "patch_embed: position");
    assert!(patches.is_aligned_to(16), "patch_embed: {patches:?}");
    let spec = specialise(shape);
    let geometry = Geometry::line(shape.images * shape.across(), THREADS);
    match images {
        Images::Bytes {
            pixels: bytes,
            lookup,
        } => {
            assert_eq!(bytes.len(), pixels, "patch_embed: images");
            assert_eq!(lookup.len(), shape.channels * 256, "patch_embed: lookup");
            assert!(bytes.is_aligned_to(8), "patch_embed: {bytes:?}");
            let kernel = PatchEmbedForwardBytes {
                patches: patches.ptr(),
                x: x.ptr(),
                images: bytes.ptr(),
                lookup: lookup.ptr(),
                class_token: class_token.ptr(),
                position: position.ptr(),
                width: width as i32,
            };
            // SAFETY: the lengths are those of the shape that the kernel is compiled for.
            unsafe { gpu.launch(&kernel, &spec, geometry) }
        }
        Images::Values(values) => {
            assert_eq!(values.len(), pixels, "patch_embed: images");
            assert!(values.is_aligned_to(32), "patch_embed: {values:?}");
            let kernel = PatchEmbedForwardValues {
                patches: patches.ptr(),
                x: x.ptr(),
                images: values.ptr(),
                class_token: class_token.ptr(),
                position: position.ptr(),
                width: width as i32,
            };
            // SAFETY: as above.
            unsafe { gpu.launch(&kernel, &spec, geometry) }
        }
    }
}

fn specialise(shape: Shape) -> Specialisation {
    PatchEmbedForwardBytes::specialise(&[
        ("SIDE", shape.side as i64),
        ("PATCH", shape.patch as i64),
        ("CHANNELS", shape.channels as i64),
    ])
}

/// Gradients of what is added to the patches' products.
#[derive(Debug, Clone, Copy)]
pub struct Gradients<'a> {
    /// (C).
    pub class_token: Slice<'a, f32>,
    /// (T, C).
    pub position: Slice<'a, f32>,
    /// (C).
    pub bias: Slice<'a, f32>,
}

/// Floats that [`backward`] leaves in `squares`.
pub fn squares(shape: Shape) -> usize {
    column_sum::squares(shape.tokens() * shape.width) + 2 * column_sum::squares(shape.width)
}

/// Gradients of class token, positions and bias for `dx` (B, T, C); `squares`, where given, gets the
/// sums of their squares in parts, [`squares`] of them.
///
/// `accumulate` must be the same for the three: class token and bias follow from the positions'
/// gradient as it is after this micro-batch.
///
/// # Panics
/// If lengths disagree.
pub fn backward(
    gpu: &Gpu,
    d: Gradients,
    squares: Option<Slice<f32>>,
    dx: Slice<f32>,
    accumulate: Accumulate,
    shape: Shape,
) -> Result<()> {
    let (tokens, width) = (shape.tokens(), shape.width);
    let image = tokens * width;
    assert_eq!(dx.len(), shape.images * image, "patch_embed: dx");
    let (first, second) = (column_sum::squares(image), column_sum::squares(width));
    let part = |from: usize, len: usize| squares.map(|squares| squares.range(from..from + len));
    let images = Partials::new(dx, shape.images, image);
    column_sum::finish(gpu, d.position, part(0, first), images, accumulate)?;
    let class = Partials::new(d.position.range(0..width), 1, width);
    let others = Partials::new(d.position.range(width..image), tokens - 1, width);
    let (class_squares, bias_squares) = (part(first, second), part(first + second, second));
    column_sum::finish(
        gpu,
        d.class_token,
        class_squares,
        class,
        Accumulate::Overwrite,
    )?;
    column_sum::finish(gpu, d.bias, bias_squares, others, Accumulate::Overwrite)
}
