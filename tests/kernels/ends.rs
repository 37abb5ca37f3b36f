//! The two ends of a model on emulated GPUs: patches and their gradients, and the loss.

use approx::assert_abs_diff_eq;
use libtest_mimic::Failed;
use vitcuda::device::Gpu;
use vitcuda::device::structs::StepState;
use vitcuda::ops::cross_entropy::gpu::{MicroBatch, Target};
use vitcuda::ops::gemm::Accumulate;
use vitcuda::ops::patch_embed::Shape;
use vitcuda::ops::patch_embed::gpu::{Gradients, Images};
use vitcuda::ops::{Input, cross_entropy, patch_embed};

use super::Test;

pub const TESTS: [(&str, Test); 3] = [
    ("the loss of micro-batches adds up", accumulated_loss),
    ("patches hold the value of each byte", patches),
    (
        "class token and bias follow the positions",
        embedding_gradients,
    ),
];

/// Two micro-batches of one step, and the gradient's scale.
fn accumulated_loss(gpu: &Gpu) -> Result<(), Failed> {
    let (images, classes) = (4, 10);
    let logits = Input::normal("logits", images * classes, 2.0).values(1);
    let labels = [3u32, 0, 9, 3];
    let scale = 256.0;
    let state = gpu.upload(&[StepState::new(scale, 0)])?;
    let device_logits = gpu.upload(&logits)?;
    let (d, losses) = (gpu.alloc(images * classes)?, gpu.alloc(images)?);
    let labels_on_device = gpu.upload(&labels)?;
    let run = |loss| {
        let target = Target {
            labels: labels_on_device.all(),
            weights: None,
            smoothing: 0.1,
        };
        let micro_batch = MicroBatch { share: 0.5, loss };
        let (d, losses, state) = (d.all(), losses.all(), state.all());
        let logits = device_logits.all();
        cross_entropy::gpu::forward_backward(gpu, d, losses, state, logits, target, micro_batch)?;
        gpu.read(state)
    };
    let half = run(Accumulate::Overwrite)?[0].loss;
    let whole = run(Accumulate::Add)?[0].loss;
    assert_eq!(whole, 2.0 * half);
    assert_eq!(run(Accumulate::Overwrite)?[0].loss, half);
    let mut exact = vec![0.0; images * classes];
    let wide: Vec<f64> = logits.iter().map(|&v| v.into()).collect();
    let target = cross_entropy::Target {
        labels: &labels,
        weights: None,
        smoothing: 0.1,
    };
    let factor = f64::from(scale) * 0.5;
    let loss = cross_entropy::forward_backward(&mut exact, &wide, target, factor);
    assert_abs_diff_eq!(f64::from(whole) / loss, 1.0, epsilon = 1e-6);
    let largest = exact.iter().fold(0.0f64, |m, d| m.max(d.abs()));
    let limit = largest * (gpu.element().epsilon() / 2.0 + 1e-6);
    for (found, exact) in gpu.read_elements(d.all())?.into_iter().zip(exact) {
        assert_abs_diff_eq!(f64::from(found), exact, epsilon = limit);
    }
    Ok(())
}

/// Of bytes and of values, at every width that a thread moves at once.
fn patches(gpu: &Gpu) -> Result<(), Failed> {
    for (side, patch) in [(32, 16), (28, 14), (12, 4), (9, 3)] {
        let shape = Shape {
            images: 2,
            channels: 3,
            side,
            patch,
            width: 5,
        };
        let (across, tokens) = (side / patch, shape.tokens());
        let count = shape.images * 3 * side * side;
        let bytes: Vec<u8> = (0..count).map(|i| (i * 37 % 256) as u8).collect();
        let lookup = Input::normal("lookup", 3 * 256, 1.0).values(1);
        let value = |i: usize| lookup[i / (side * side) % 3 * 256 + usize::from(bytes[i])];
        let values: Vec<f32> = (0..count).map(value).collect();
        let (class, position) = ([1.0f32, 2.0, 3.0, 4.0, 5.0], vec![0.25f32; tokens * 5]);
        let (pixels, device_values) = (gpu.upload(&bytes)?, gpu.upload(&values)?);
        let (device_lookup, device_class) = (gpu.upload(&lookup)?, gpu.upload(&class)?);
        let device_position = gpu.upload(&position)?;
        let of_bytes = Images::Bytes {
            pixels: pixels.all(),
            lookup: device_lookup.all(),
        };
        for images in [of_bytes, Images::Values(device_values.all())] {
            let patches = gpu.alloc(count)?;
            let x = gpu.upload(&vec![-1.0f32; shape.images * tokens * 5])?;
            let (class, position) = (device_class.all(), device_position.all());
            patch_embed::gpu::cut(gpu, patches.all(), x.all(), images, class, position, shape)?;
            let found = gpu.read(patches.all())?;
            for (i, found) in found.into_iter().enumerate() {
                let (row, v) = (i / (3 * patch * patch), i % (3 * patch * patch));
                let (image, p) = (row / (across * across), row % (across * across));
                let (channel, line, column) = (v / (patch * patch), v / patch % patch, v % patch);
                let (y, x) = (p / across * patch + line, p % across * patch + column);
                let pixel = ((image * 3 + channel) * side + y) * side + x;
                assert_eq!(found, gpu.element().from_f32(values[pixel]), "{patch}: {i}");
            }
            for (row, x) in gpu.read(x.all())?.chunks(5).enumerate() {
                match row % tokens {
                    0 => assert_eq!(x, [1.25, 2.25, 3.25, 4.25, 5.25]),
                    _ => assert_eq!(x, [-1.0; 5], "rows of patches are left alone"),
                }
            }
        }
    }
    Ok(())
}

/// Over two micro-batches, and with the sums of squares.
fn embedding_gradients(gpu: &Gpu) -> Result<(), Failed> {
    let shape = Shape {
        images: 11,
        channels: 3,
        side: 6,
        patch: 2,
        width: 37,
    };
    let (tokens, width) = (shape.tokens(), shape.width);
    let dx = Input::normal("dx", shape.images * tokens * width, 1.0).values(1);
    let device_dx = gpu.upload(&dx)?;
    let (class, position) = (gpu.alloc(width)?, gpu.alloc(tokens * width)?);
    let (bias, weight) = (gpu.alloc(width)?, gpu.alloc(width * shape.values())?);
    let properties = gpu.properties();
    let squares = gpu.alloc(patch_embed::gpu::squares(properties, shape))?;
    let workspace = gpu.alloc(patch_embed::gpu::workspace(properties, shape))?;
    // The product is the registry's to test: of black images its gradient is zero.
    let patches = gpu.zeros(shape.images * (tokens - 1) * shape.values())?;
    let dx_copy = gpu.upload_elements(&dx)?;
    for accumulate in [Accumulate::Overwrite, Accumulate::Add] {
        let d = Gradients {
            class_token: class.all(),
            position: position.all(),
            weight: weight.all(),
            bias: bias.all(),
        };
        patch_embed::gpu::backward(
            gpu,
            d,
            Some(squares.all()),
            workspace.all(),
            device_dx.all(),
            dx_copy.all(),
            patches.all(),
            accumulate,
            shape,
        )?;
    }
    let found = [&class, &position, &bias].map(|d| gpu.read(d.all()));
    let [class, position, bias] = found.map(|d| d.expect("it was read"));
    let mut exact = vec![0.0; tokens * width];
    let (mut exact_bias, mut size) = (vec![0.0; width], vec![0.0; width]);
    for (i, &dx) in dx.iter().enumerate() {
        exact[i % (tokens * width)] += 2.0 * f64::from(dx);
        if i / width % tokens > 0 {
            exact_bias[i % width] += 2.0 * f64::from(dx);
            size[i % width] += 2.0 * f64::from(dx).abs();
        }
    }
    // Sums of 11, and of 9 of them: each addition rounds a partial sum.
    let rounding = f64::from(f32::EPSILON) / 2.0;
    for (found, exact) in position.iter().zip(&exact) {
        let limit = 11.0 * rounding * 2.0 * 5.0 * 11.0;
        assert_abs_diff_eq!(f64::from(*found), *exact, epsilon = limit);
    }
    assert_eq!(class, position[..width]);
    for ((found, exact), size) in bias.iter().zip(exact_bias).zip(size) {
        assert_abs_diff_eq!(f64::from(*found), exact, epsilon = 20.0 * rounding * size);
    }
    let sum: f64 = gpu.read(squares.all())?.into_iter().map(f64::from).sum();
    let all = class.iter().chain(&position).chain(&bias);
    let exact: f64 = all.map(|&d| f64::from(d).powi(2)).sum();
    assert_abs_diff_eq!(sum / exact, 1.0, epsilon = 1e-6);
    Ok(())
}
