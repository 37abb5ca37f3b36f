//! Patch embedding on a GPU: `kernels/patch_embed.cu`, and a product of `kernels/linear.cu`.

mod check;

use super::Shape;
use crate::device::kernels::{PatchEmbedForwardBytes, PatchEmbedForwardValues};
use crate::device::{Element, Geometry, Gpu, Kernel, Properties, Slice, Specialisation};
use crate::error::Result;
use crate::ops::column_sum::{self, Partials};
use crate::ops::gemm::Accumulate;
use crate::ops::linear::{self, gpu::Layer, gpu::WeightPlan};
use crate::ops::rows::Rows;

const THREADS: u32 = 256;

impl Shape {
    fn across(&self) -> usize {
        self.side / self.patch
    }

    /// Rows of `patches`: B·P.
    fn patches(&self) -> usize {
        self.images * self.across().pow(2)
    }

    /// Patches times weight.
    fn product(&self) -> linear::Shape {
        linear::Shape {
            rows: self.patches(),
            inputs: self.values(),
            outputs: self.width,
        }
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

/// The parameters, as the device's forward pass reads them.
#[derive(Debug, Clone, Copy)]
pub struct Params<'a> {
    /// (C).
    pub class_token: Slice<'a, f32>,
    /// (T, C).
    pub position: Slice<'a, f32>,
    /// (C, V).
    pub weight: Slice<'a, Element>,
    /// (C).
    pub bias: Slice<'a, f32>,
}

/// Tokens `x` (B, T, C) of `images`; `patches` (B·P, V) are kept for [`backward`].
///
/// # Panics
/// If lengths disagree, or images or patches are not aligned to 32 bytes.
pub fn forward(
    gpu: &Gpu,
    x: Slice<f32>,
    patches: Slice<Element>,
    images: Images,
    params: Params,
    shape: Shape,
) -> Result<()> {
    let Params {
        class_token,
        position,
        weight,
        bias,
    } = params;
    cut(gpu, patches, x, images, class_token, position, shape)?;
    let layer = Layer {
        weight: Rows::packed(weight, shape.values()),
        bias: Some(bias),
    };
    linear::gpu::forward_patches(gpu, x, patches, layer, position, shape.product())
}

/// Cuts `images` into `patches` (B·P, V), and writes the class rows of `x` (B, T, C): its class
/// token and position. The other rows of `x` come of the product of patches and weight.
///
/// # Panics
/// As [`forward`].
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
    assert!(patches.is_aligned_to(32), "patch_embed: {patches:?}");
    let spec = specialise(shape);
    let geometry = Geometry::line(shape.images * shape.across(), THREADS);
    match images {
        Images::Bytes {
            pixels: bytes,
            lookup,
        } => {
            assert_eq!(bytes.len(), pixels, "patch_embed: images");
            assert_eq!(lookup.len(), shape.channels * 256, "patch_embed: lookup");
            assert!(bytes.is_aligned_to(32), "patch_embed: {bytes:?}");
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

/// Gradients of the parameters.
#[derive(Debug, Clone, Copy)]
pub struct Gradients<'a> {
    /// (C).
    pub class_token: Slice<'a, f32>,
    /// (T, C).
    pub position: Slice<'a, f32>,
    /// (C, V).
    pub weight: Slice<'a, f32>,
    /// (C).
    pub bias: Slice<'a, f32>,
}

/// Floats of scratch memory that [`backward`] needs.
pub fn workspace(gpu: &Properties, shape: Shape) -> usize {
    WeightPlan::new(gpu, shape.product()).workspace()
}

/// Sums of squares that [`backward`] leaves.
pub fn squares(gpu: &Properties, shape: Shape) -> usize {
    let weight = WeightPlan::new(gpu, shape.product()).squares();
    let vector = column_sum::squares(shape.width);
    column_sum::squares(shape.tokens() * shape.width) + 2 * vector + weight
}

/// Gradients for `dx` (B, T, C) and its copy in elements; `patches` are those of [`forward`].
/// `squares`, where given, gets the sums of squares of what the gradients become, in [`squares`]
/// parts; `workspace` has at least [`workspace`] values.
///
/// `accumulate` must be the same for all micro-batches' calls of all four: class token and bias
/// follow from the positions' gradient as it is after this micro-batch.
///
/// # Panics
/// If lengths disagree.
pub fn backward(
    gpu: &Gpu,
    d: Gradients,
    squares: Option<Slice<f32>>,
    workspace: Slice<f32>,
    dx: Slice<f32>,
    dx_copy: Slice<Element>,
    patches: Slice<Element>,
    accumulate: Accumulate,
    shape: Shape,
) -> Result<()> {
    let (tokens, width) = (shape.tokens(), shape.width);
    let image = tokens * width;
    assert_eq!(dx.len(), shape.images * image, "patch_embed: dx");
    assert_eq!(d.position.len(), image, "patch_embed: dposition");
    let mut rest = squares;
    let mut next = |count: usize| {
        let all = rest?;
        rest = Some(all.range(count..all.len()));
        Some(all.range(0..count))
    };
    let (vector, sums) = (column_sum::squares(width), column_sum::finish);
    let images = Partials::new(dx, shape.images, image);
    sums(
        gpu,
        d.position,
        next(column_sum::squares(image)),
        images,
        accumulate,
    )?;
    // What the positions' gradient holds of earlier micro-batches, these two get with it.
    let class = Partials::new(d.position.range(0..width), 1, width);
    sums(
        gpu,
        d.class_token,
        next(vector),
        class,
        Accumulate::Overwrite,
    )?;
    let others = Partials::new(d.position.range(width..image), tokens - 1, width);
    sums(gpu, d.bias, next(vector), others, Accumulate::Overwrite)?;
    let product = shape.product();
    let squares = next(WeightPlan::new(gpu.properties(), product).squares());
    linear::gpu::backward_weight_of_patches(
        gpu,
        d.weight,
        squares,
        workspace,
        dx_copy,
        patches,
        tokens - 1,
        accumulate,
        product,
    )
}
