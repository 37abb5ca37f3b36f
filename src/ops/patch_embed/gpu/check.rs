//! The registry's entry on a GPU.

use super::{Gradients, Images, Params, backward, cut, forward, workspace};
use crate::device::{Buffer, Element, ElementType, Gpu, Properties};
use crate::error::Result;
use crate::ops::gemm::Accumulate;
use crate::ops::gpu::{Allowance, GpuOp, Storage, Stored};
use crate::ops::gpu_rounding::TensorCore;
use crate::ops::linear::gpu::{WeightPlan, allowance};
use crate::ops::patch_embed::{PatchEmbed, Shape};
use crate::ops::plain;
use crate::ops::registry::{self, Case, Pass};

/// A case's tensors on the device.
struct Tensors {
    bytes: Buffer<u8>,
    lookup: Buffer<f32>,
    values: Buffer<f32>,
    class_token: Buffer<f32>,
    position: Buffer<f32>,
    weight: Buffer<Element>,
    bias: Buffer<f32>,
    x: Buffer<f32>,
    patches: Buffer<Element>,
    shape: Shape,
}

impl Tensors {
    fn new(gpu: &Gpu, case: &Case, inputs: &[Vec<f32>]) -> Result<Self> {
        let shape = PatchEmbed::shape(case);
        let bytes: Vec<u8> = inputs[0].iter().map(|&v| v as u8).collect();
        let rows = shape.images * shape.tokens();
        Ok(Self {
            bytes: gpu.upload(&bytes)?,
            lookup: gpu.upload(&PatchEmbed::lookup().concat())?,
            values: gpu.upload(&inputs[0])?,
            class_token: gpu.upload(&inputs[1])?,
            position: gpu.upload(&inputs[2])?,
            weight: gpu.upload_elements(&inputs[3])?,
            bias: gpu.upload(&inputs[4])?,
            x: gpu.alloc(rows * shape.width)?,
            patches: gpu.alloc(shape.patches() * shape.values())?,
            shape,
        })
    }

    fn images(&self, case: &Case) -> Images<'_> {
        match case.variant {
            "bytes" => Images::Bytes {
                pixels: self.bytes.all(),
                lookup: self.lookup.all(),
            },
            _ => Images::Values(self.values.all()),
        }
    }
}

impl PatchEmbed {
    /// The images as the product reads them.
    pub(in crate::ops) fn rounded_pixels(
        element: ElementType,
        case: &Case,
        inputs: &[Vec<f32>],
    ) -> Vec<f32> {
        Storage::Element.round(element, &Self::plain_pixels(case, inputs))
    }

    /// The patches as the product reads them.
    pub(in crate::ops) fn patches(
        element: ElementType,
        case: &Case,
        inputs: &[Vec<f64>],
    ) -> Vec<f64> {
        let shape = Self::shape(case);
        let pixels = allowance::as_elements(element, &Self::plain_pixels(case, inputs));
        let mut patches = Vec::with_capacity(shape.patches() * shape.values());
        for image in pixels.chunks_exact(shape.pixels()) {
            for t in 0..shape.tokens() - 1 {
                patches.extend((0..shape.values()).map(|v| image[plain::pixel(shape, t, v)]));
            }
        }
        patches
    }
}

impl GpuOp for PatchEmbed {
    fn stored(&self, _: &Case) -> Stored {
        use Storage::{Element, F32};
        Stored {
            inputs: &[F32, F32, F32, Element, F32],
            outputs: &[F32],
            output_gradients: &[Element],
            input_gradients: &[F32; 5],
        }
    }

    fn gpu_forward(&self, gpu: &Gpu, case: &Case, inputs: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let t = Tensors::new(gpu, case, inputs)?;
        let params = Params {
            class_token: t.class_token.all(),
            position: t.position.all(),
            weight: t.weight.all(),
            bias: t.bias.all(),
        };
        let (x, patches) = (t.x.all(), t.patches.all());
        forward(gpu, x, patches, t.images(case), params, t.shape)?;
        Ok(vec![gpu.read(x)?])
    }

    fn gpu_backward(
        &self,
        gpu: &Gpu,
        case: &Case,
        inputs: &[Vec<f32>],
        dy: &[Vec<f32>],
        micro_batches: usize,
    ) -> Result<registry::Gradients<f32>> {
        let t = Tensors::new(gpu, case, inputs)?;
        let (class_token, position) = (t.class_token.all(), t.position.all());
        let (images, patches) = (t.images(case), t.patches.all());
        cut(
            gpu,
            patches,
            t.x.all(),
            images,
            class_token,
            position,
            t.shape,
        )?;
        let (dx, dx_copy) = (gpu.upload(&dy[0])?, gpu.upload_elements(&dy[0])?);
        let scratch = gpu.alloc(workspace(gpu.properties(), t.shape))?;
        let [class_token, position, weight, bias] =
            [1, 2, 3, 4].map(|input: usize| gpu.alloc(inputs[input].len()));
        let (class_token, position) = (class_token?, position?);
        let (weight, bias) = (weight?, bias?);
        let gradients = Gradients {
            class_token: class_token.all(),
            position: position.all(),
            weight: weight.all(),
            bias: bias.all(),
        };
        for micro_batch in 0..micro_batches {
            let accumulate = Accumulate::part(micro_batch);
            let (scratch, dx, dx_copy) = (scratch.all(), dx.all(), dx_copy.all());
            backward(
                gpu, gradients, None, scratch, dx, dx_copy, patches, accumulate, t.shape,
            )?;
        }
        let found = [class_token, position, weight, bias].map(|d| gpu.read(d.all()));
        let found = found.into_iter().map(|d| d.map(Some));
        std::iter::once(Ok(None)).chain(found).collect()
    }

    fn gpu_bytes(&self, gpu: &Properties, case: &Case, pass: Pass) -> u64 {
        let s = Self::shape(case);
        let (c, v, images) = (s.width, s.values(), s.images);
        let (rows, per_image) = (s.patches(), s.tokens() - 1);
        let read = match case.variant {
            "bytes" => images * s.pixels() + 4 * 256 * s.channels,
            _ => 4 * images * s.pixels(),
        };
        // Class token and its position for the class rows.
        let cut = read + 2 * rows * v + 4 * c * (2 + images);
        let rest = match pass {
            Pass::Forward => 2 * (rows * v + c * v) + 4 * c * (1 + per_image + rows),
            Pass::Backward => {
                let position = 4 * c * (images + 1) * s.tokens();
                let class_and_bias = 4 * c * (2 + per_image + 1);
                let parts = 4 * 2 * WeightPlan::new(gpu, s.product()).workspace();
                let weight = 2 * rows * (v + c) + 4 * c * v + parts;
                position + class_and_bias + weight
            }
        };
        (cut + rest) as u64
    }

    fn rounded_forward(
        &self,
        element: ElementType,
        case: &Case,
        inputs: &[Vec<f32>],
    ) -> Vec<Vec<f32>> {
        let pixels = Self::rounded_pixels(element, case, inputs);
        vec![plain::patch_embed(
            &pixels,
            &Self::params(inputs),
            Self::shape(case),
        )]
    }

    fn rounded_backward(
        &self,
        element: ElementType,
        case: &Case,
        inputs: &[Vec<f32>],
        dy: &[Vec<f32>],
    ) -> registry::Gradients<f32> {
        let pixels = Self::rounded_pixels(element, case, inputs);
        let d = plain::patch_embed_backward(&dy[0], &pixels, Self::shape(case));
        std::iter::once(None).chain(d.map(Some)).collect()
    }

    fn allowance(&self) -> Option<&dyn Allowance> {
        Some(self)
    }
}

impl Allowance for PatchEmbed {
    fn forward(
        &self,
        gpu: &Properties,
        element: ElementType,
        case: &Case,
        inputs: &[Vec<f64>],
    ) -> Vec<Vec<f64>> {
        let core = TensorCore::of(gpu.capability, element);
        let (shape, patches) = (Self::shape(case), Self::patches(element, case, inputs));
        let losses = allowance::product(core, &patches, &inputs[3], shape.values());
        // The class rows are no product.
        let class = vec![0.0; shape.width];
        let images = losses.chunks_exact((shape.tokens() - 1) * shape.width);
        let x = images.map(|image| [&class, image].concat());
        vec![x.collect::<Vec<_>>().concat()]
    }

    fn backward(
        &self,
        gpu: &Properties,
        element: ElementType,
        case: &Case,
        inputs: &[Vec<f64>],
        dy: &[Vec<f64>],
    ) -> registry::Gradients<f64> {
        let core = TensorCore::of(gpu.capability, element);
        let (shape, patches) = (Self::shape(case), Self::patches(element, case, inputs));
        let image = shape.tokens() * shape.width;
        let rows = dy[0].chunks_exact(image).map(|image| &image[shape.width..]);
        let dy = rows.collect::<Vec<_>>().concat();
        let weight = allowance::weight_gradient(core, gpu, &dy, &patches, shape.product());
        let sums = |input: usize| Some(vec![0.0; inputs[input].len()]);
        vec![None, sums(1), sums(2), Some(weight), sums(4)]
    }
}
