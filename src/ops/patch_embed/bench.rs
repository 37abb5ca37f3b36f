//! What the benchmark times of the patch embedding, of images in bytes.

use super::{Images, Params, PatchEmbed, Shape, backward, forward, gpu};
use crate::device::Gpu;
use crate::error::Result;
use crate::ops::bench::{Bench, Sizes, Stopwatch, Work, elements, f32s, random, random_bytes};
use crate::ops::gemm::Accumulate;

fn shape(sizes: &Sizes) -> Shape {
    let dims = sizes.dims;
    Shape {
        images: dims.batch,
        channels: dims.channels,
        side: dims.image,
        patch: dims.patch,
        width: dims.width,
    }
}

/// The tokens have four bytes a value, patches and weight `bytes`.
fn work(shape: Shape, bytes: usize) -> [Work; 2] {
    let rows = shape.images * (shape.tokens() - 1);
    let patches = bytes * rows * shape.values();
    let weights = shape.width * shape.values();
    let tokens = 4 * shape.width * shape.images * shape.tokens();
    let position = 4 * shape.width * shape.tokens();
    let work = |call: &str, bytes| Work {
        op: "patch_embed",
        call: call.into(),
        bytes,
        flops: 2 * rows * weights,
    };
    let pixels = shape.images * shape.pixels();
    [
        work(
            "forward",
            pixels + 2 * patches + bytes * weights + position + tokens,
        ),
        work("backward", tokens + patches + 4 * weights + position),
    ]
}

impl Bench for PatchEmbed {
    fn bench_cpu(&self, sizes: &Sizes, watch: &mut dyn Stopwatch) -> Result<()> {
        let shape = shape(sizes);
        let (tokens, v, c) = (shape.tokens(), shape.values(), shape.width);
        let pixels = random_bytes(shape.images * shape.pixels());
        let lookup: Vec<[f32; 256]> = random(256 * shape.channels)
            .chunks_exact(256)
            .map(|values| values.try_into().expect("256 values"))
            .collect();
        let (class, position, weight, bias) =
            (random(c), random(tokens * c), random(c * v), random(c));
        let params = Params {
            class: class.as_slice(),
            position: position.as_slice(),
            weight: weight.as_slice(),
            bias: bias.as_slice(),
        };
        let mut x = random(shape.images * tokens * c);
        let mut patches = random(shape.images * tokens * v);
        let [there, back] = work(shape, 4);
        watch.time(there, &mut || {
            let (pixels, lookup) = (pixels.as_slice(), lookup.as_slice());
            let images = Images::Bytes { pixels, lookup };
            forward(&mut x, &mut patches, images, &params, shape);
            Ok(())
        })?;
        let (mut class, mut position, mut weight, mut bias) = (
            class.clone(),
            position.clone(),
            weight.clone(),
            bias.clone(),
        );
        watch.time(back, &mut || {
            let d = Params {
                class: class.as_mut_slice(),
                position: position.as_mut_slice(),
                weight: weight.as_mut_slice(),
                bias: bias.as_mut_slice(),
            };
            backward(d, &x, &patches, Accumulate::Overwrite, shape);
            Ok(())
        })
    }

    fn bench_gpu(&self, gpu: &Gpu, sizes: &Sizes, watch: &mut dyn Stopwatch) -> Result<()> {
        let shape = shape(sizes);
        let (tokens, v, c) = (shape.tokens(), shape.values(), shape.width);
        let values = shape.images * tokens * c;
        let pixels = gpu.upload(&random_bytes(shape.images * shape.pixels()))?;
        let lookup = f32s(gpu, 256 * shape.channels)?;
        let (class_token, position) = (f32s(gpu, c)?, f32s(gpu, tokens * c)?);
        let (weight, bias) = (elements(gpu, c * v)?, f32s(gpu, c)?);
        let x = gpu.alloc(values)?;
        let patches = gpu.alloc(shape.images * (tokens - 1) * v)?;
        let [there, back] = work(shape, 2);
        watch.time(there, &mut || {
            let images = gpu::Images::Bytes {
                pixels: pixels.all(),
                lookup: lookup.all(),
            };
            let params = gpu::Params {
                class_token: class_token.all(),
                position: position.all(),
                weight: weight.all(),
                bias: bias.all(),
            };
            gpu::forward(gpu, x.all(), patches.all(), images, params, shape)
        })?;
        let (dx, dx_copy) = (f32s(gpu, values)?, elements(gpu, values)?);
        let (d_class_token, d_position) = (gpu.alloc(c)?, gpu.alloc(tokens * c)?);
        let (d_weight, d_bias) = (gpu.alloc(c * v)?, gpu.alloc(c)?);
        let properties = gpu.properties();
        let workspace = gpu.alloc(gpu::workspace(properties, shape))?;
        let squares = gpu.alloc(gpu::squares(properties, shape))?;
        // The element copy is what the product reads.
        let back = Work {
            bytes: back.bytes + 2 * values,
            ..back
        };
        watch.time(back, &mut || {
            let d = gpu::Gradients {
                class_token: d_class_token.all(),
                position: d_position.all(),
                weight: d_weight.all(),
                bias: d_bias.all(),
            };
            let (squares, room) = (Some(squares.all()), workspace.all());
            let (dx, dx_copy, patches) = (dx.all(), dx_copy.all(), patches.all());
            let accumulate = Accumulate::Overwrite;
            gpu::backward(
                gpu, d, squares, room, dx, dx_copy, patches, accumulate, shape,
            )
        })
    }
}
