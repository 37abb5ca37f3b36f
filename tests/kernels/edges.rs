//! Numbers at the edge, and ways that no case of the registry takes: a slip there would change nothing
//! else. `emulator/mutations.txt` has the slips.

use libtest_mimic::Failed;
use vitcuda::device::structs::StepState;
use vitcuda::device::{Element, Gpu};
use vitcuda::ops::adamw::gpu::{Arenas, Decay, Tiles};
use vitcuda::ops::adamw::{self, Constants};
use vitcuda::ops::attention::Shape as Heads;
use vitcuda::ops::attention::gpu::{self as attention, Queries};
use vitcuda::ops::cross_entropy::gpu::{self as cross_entropy, MicroBatch, Target};
use vitcuda::ops::gemm::Accumulate;
use vitcuda::ops::grad_norm::gpu::{self as grad_norm, LossScaling};
use vitcuda::ops::layer_norm::gpu::{self as layer_norm, Residual};
use vitcuda::ops::linear::Shape as LayerShape;
use vitcuda::ops::linear::gpu::{self as linear, Layer};
use vitcuda::ops::patch_embed::{self, Shape as Cut};
use vitcuda::ops::rows::Rows;
use vitcuda::rng::{Philox, Purpose};

use super::Test;

pub const TESTS: [(&str, Test); 10] = [
    ("elements are rounded as the host rounds", rounding),
    (
        "loss and gradient do not depend on what all logits share",
        shifted_logits,
    ),
    ("scores a thousand apart from zero", shifted_scores),
    ("a largest score that comes first", largest_score_first),
    ("a row of equal values is its bias", equal_values),
    (
        "a stream's class rows alone are normalised",
        class_rows_alone,
    ),
    ("gelu without a backward pass keeps no h", gelu_alone),
    (
        "AdamW's epsilon stands beside the corrected root",
        tiny_moments,
    ),
    ("the norm is of all sums, however many", many_sums),
    ("clipping is to the norm and a millionth, or none", clipping),
];

fn normal(len: usize, index: u64) -> Vec<f32> {
    let mut stream = Philox::new(11, Purpose::Test, index);
    (0..len).map(|_| stream.normal() as f32).collect()
}

/// Eighths: few enough bits that their products and sums are exact.
fn eighths(len: usize, index: u64) -> Vec<f32> {
    let eighth = |v: f32| (v * 8.0).round() / 8.0;
    normal(len, index).into_iter().map(eighth).collect()
}

// ---------------------------------------------------------------------------------------- rounding

/// 256 numbers: halfway between two elements, too large, too small, not finite, and every exponent.
fn awkward() -> Vec<f32> {
    let ulps = [0.5, 1.5, 2.5, 0.49, 0.51, -0.5, -1.5];
    let halfway = [-10, -7].map(|bits| ulps.map(|ulps| 1.0 + ulps * 2f32.powi(bits)));
    let nan = [0x7f80_0001, 0x7fff_ffff, 0xffff_ffff].map(f32::from_bits);
    let small = [1, 2, 3, 5].map(|halves| halves as f32 * 2f32.powi(-25));
    let mut values = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MAX].to_vec();
    values.extend([65_504.0, 65_519.99, 65_520.0, -65_520.0, 3.4e38]);
    values.extend(halfway.concat());
    values.extend(nan);
    values.extend(small);
    let exponents = (-126..=127).cycle();
    let more = normal(256 - values.len(), 1).into_iter().zip(exponents);
    values.extend(more.map(|(v, exponent)| v * 2f32.powi(exponent)));
    values
}

fn same_element(gpu: &Gpu, value: f32, found: Element) {
    let (bits, found_value) = (value.to_bits(), gpu.element().to_f32(found));
    if value.is_nan() {
        assert!(found_value.is_nan(), "{bits:#x} becomes {found_value}")
    } else {
        assert_eq!(found, gpu.element().from_f32(value), "of {bits:#x}")
    }
}

/// One by one, as an image of one patch, and in pairs, as parameters that a step leaves alone.
fn rounding(gpu: &Gpu) -> Result<(), Failed> {
    let values = awkward();
    let shape = Cut {
        images: 1,
        channels: 1,
        side: 16,
        patch: 16,
        width: 1,
    };
    let device = gpu.upload(&values)?;
    let (cut, x) = (gpu.alloc(values.len())?, gpu.alloc(shape.tokens())?);
    let (class, positions) = (gpu.zeros(1)?, gpu.zeros(shape.tokens())?);
    let images = patch_embed::gpu::Images::Values(device.all());
    let (class, positions) = (class.all(), positions.all());
    patch_embed::gpu::cut(gpu, cut.all(), x.all(), images, class, positions, shape)?;
    let copy = adamw_step(gpu, &values, [0.0; 2], StepState::new(1.0, 0))?.1;
    for found in [gpu.read(cut.all())?, copy] {
        for (&value, found) in values.iter().zip(found) {
            same_element(gpu, value, found);
        }
    }
    Ok(())
}

// -------------------------------------------------------------------------------------- the largest

/// Exact differences from the largest logit, so equal bits; one in each image stands out so far that
/// its exponential overflows unless it is the largest that was found.
fn shifted_logits(gpu: &Gpu) -> Result<(), Failed> {
    const PEAKS: [usize; 8] = [3, 20, 37, 60, 75, 101, 127, 199];
    let (images, classes) = (PEAKS.len(), 200);
    let mut logits = eighths(images * classes, 2);
    for (image, peak) in PEAKS.into_iter().enumerate() {
        logits[image * classes + peak] = 200.0;
    }
    let labels: Vec<u32> = (0..images as u32).map(|image| image * 24).collect();
    let labels = gpu.upload(&labels)?;
    let run = |shift: f32| -> Result<(Vec<f32>, Vec<Element>), Failed> {
        let shifted: Vec<f32> = logits.iter().map(|v| v + shift).collect();
        let (shifted, d) = (gpu.upload(&shifted)?, gpu.alloc(logits.len())?);
        let (losses, state) = (gpu.alloc(images)?, gpu.upload(&[StepState::new(1.0, 0)])?);
        let target = Target {
            labels: labels.all(),
            weights: None,
            smoothing: 0.1,
        };
        let whole = MicroBatch {
            share: 1.0,
            loss: Accumulate::Overwrite,
        };
        let (to, losses) = (d.all(), losses.all());
        cross_entropy::forward_backward(
            gpu,
            to,
            losses,
            state.all(),
            shifted.all(),
            target,
            whole,
        )?;
        Ok((gpu.read(losses)?, gpu.read(to)?))
    };
    let (losses, d) = run(0.0)?;
    assert!(losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
    for shift in [-1000.0, 1000.0] {
        let (shifted_losses, shifted_d) = run(shift)?;
        assert_eq!(shifted_losses, losses, "{shift}");
        assert!(shifted_d == d, "the gradient of logits {shift} off");
    }
    Ok(())
}

/// Scores are exact, so each probability differs by what all have in common and its own rounding. In
/// the second head one key, an odd one, stands out by more than f16 has room for.
fn shifted_scores(gpu: &Gpu) -> Result<(), Failed> {
    const SHAPE: Heads = Heads {
        images: 1,
        tokens: 40,
        heads: 2,
        head_size: 16,
    };
    let (size, row) = (SHAPE.head_size, SHAPE.heads * SHAPE.head_size);
    let values = eighths(SHAPE.tokens * 3 * row, 3);
    // The last value of each query times that of each key is what all scores share, before the 1 / 4.
    let run = |shared: f32| -> Result<(Vec<f32>, Vec<f32>), Failed> {
        let mut qkv = values.clone();
        for (token, qkv) in qkv.chunks_mut(3 * row).enumerate() {
            for head in 0..SHAPE.heads {
                qkv[head * size + size - 1] = 32.0;
                let stands_out = if head == 1 && token == 7 { 8.0 } else { 0.0 };
                qkv[row + head * size + size - 1] = shared + stands_out;
            }
        }
        let qkv = gpu.upload_elements(&qkv)?;
        let rows = SHAPE.tokens * SHAPE.heads;
        let (o, lse) = (gpu.alloc(rows * size)?, gpu.alloc(rows)?);
        let (o, lse) = (o.all(), lse.all());
        attention::forward(gpu, o, lse, qkv.all(), SHAPE, Queries::EveryToken)?;
        Ok((gpu.read_elements(o)?, gpu.read(lse)?))
    };
    let (o, lse) = run(0.0)?;
    let largest = values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    // Two roundings of a probability and two of the result, half an epsilon each.
    let limit = 2.0 * gpu.element().epsilon() as f32 * largest;
    for shared in [-96.0, 96.0] {
        let shift = 32.0 * shared / 4.0;
        let (shifted_o, shifted_lse) = run(shared)?;
        for (i, (found, expected)) in shifted_o.iter().zip(&o).enumerate() {
            let near = (found - expected).abs() <= limit;
            assert!(near, "{shift}: o[{i}] is {found}, should be {expected}");
        }
        for (i, (found, lse)) in shifted_lse.iter().zip(&lse).enumerate() {
            let expected = lse + shift;
            // Rounded are the largest exponent times ln 2, ln 2 itself, and the sum.
            let near = (found - expected).abs() <= 2.0 * f32::EPSILON * expected.abs();
            assert!(near, "{shift}: lse[{i}] is {found}, should be {expected}");
        }
    }
    Ok(())
}

// ---------------------------------------------------------------------------------------- layer norm

/// Without variance only eps keeps 1 / σ finite.
/// Keys in several blocks, of which the first has a score five hundred above all others: no later block
/// may take what it has for the largest.
fn largest_score_first(gpu: &Gpu) -> Result<(), Failed> {
    const SHAPE: Heads = Heads {
        images: 1,
        tokens: 577,
        heads: 1,
        head_size: 16,
    };
    let size = SHAPE.head_size;
    let mut qkv = eighths(SHAPE.tokens * 3 * size, 4);
    for (token, qkv) in qkv.chunks_mut(3 * size).enumerate() {
        qkv[size - 1] = 32.0;
        qkv[2 * size - 1] = if token == 0 { 64.0 } else { 0.0 };
    }
    let value = qkv[2 * size..3 * size].to_vec();
    let qkv = gpu.upload_elements(&qkv)?;
    let (o, lse) = (gpu.alloc(SHAPE.tokens * size)?, gpu.alloc(SHAPE.tokens)?);
    let (o, lse) = (o.all(), lse.all());
    attention::forward(gpu, o, lse, qkv.all(), SHAPE, Queries::EveryToken)?;
    for (row, o) in gpu.read_elements(o)?.chunks(size).enumerate() {
        // Its probability is 1 but for e^-500: the value comes back as it was stored.
        assert_eq!(o, value, "row {row}");
    }
    Ok(())
}

fn equal_values(gpu: &Gpu) -> Result<(), Failed> {
    let (rows, width) = (5, 64);
    let x = gpu.upload(&vec![3.5f32; rows * width])?;
    let bias = eighths(width, 4);
    let (w, b) = (gpu.upload(&normal(width, 5))?, gpu.upload(&bias)?);
    let (y, mean, rstd) = (gpu.alloc(rows * width)?, gpu.alloc(rows)?, gpu.alloc(rows)?);
    let (y, mean, rstd) = (y.all(), mean.all(), rstd.all());
    let x = Rows::packed(x.all(), width);
    layer_norm::forward(gpu, y, mean, rstd, x, w.all(), b.all(), 1e-4)?;
    for row in gpu.read_elements(y)?.chunks(width) {
        assert_eq!(row, bias);
    }
    assert_eq!(gpu.read(mean)?, vec![3.5; rows]);
    for rstd in gpu.read(rstd)? {
        assert!((rstd / 100.0 - 1.0).abs() <= 2.0 * f32::EPSILON, "{rstd}");
    }
    Ok(())
}

/// Rows apart have the gradients that the same rows have side by side, and nobody wants a copy.
fn class_rows_alone(gpu: &Gpu) -> Result<(), Failed> {
    let (images, tokens, width) = (6, 3, 40);
    let stream = normal(images * tokens * width, 6);
    let alone: Vec<f32> = stream
        .chunks(tokens * width)
        .flat_map(|image| image[..width].to_vec())
        .collect();
    let (stream, alone) = (gpu.upload(&stream)?, gpu.upload(&alone)?);
    let (w, b) = (
        gpu.upload(&normal(width, 7))?,
        gpu.upload(&normal(width, 8))?,
    );
    let dy = gpu.upload_elements(&normal(images * width, 9))?;
    let parts = layer_norm::parts(gpu.properties(), images, width);
    let run = |x: Rows<f32>, with_copy: bool| -> Result<[Vec<f32>; 2], Failed> {
        let y = gpu.alloc(images * width)?;
        let (mean, rstd) = (gpu.alloc(images)?, gpu.alloc(images)?);
        let (mean, rstd, w) = (mean.all(), rstd.all(), w.all());
        layer_norm::forward(gpu, y.all(), mean, rstd, x, w, b.all(), 1e-6)?;
        let (dx, copy) = (gpu.alloc(images * width)?, gpu.alloc(images * width)?);
        let (dx, copy) = (dx.all(), with_copy.then_some(copy.all()));
        let sums = gpu.alloc(parts * 3 * width)?;
        let to = sums.all();
        layer_norm::backward(
            gpu,
            dx,
            copy,
            to,
            dy.all(),
            x,
            w,
            mean,
            rstd,
            Residual::None,
        )?;
        Ok([gpu.read(dx)?, gpu.read(to)?])
    };
    let apart = Rows {
        values: stream.all(),
        stride: tokens * width,
    };
    let expected = run(Rows::packed(alone.all(), width), true)?;
    assert!(run(apart, false)? == expected);
    Ok(())
}

// -------------------------------------------------------------------------------------------- gelu

fn gelu_alone(gpu: &Gpu) -> Result<(), Failed> {
    let shape = LayerShape {
        rows: 9,
        inputs: 16,
        outputs: 24,
    };
    let x = gpu.upload_elements(&normal(shape.rows * shape.inputs, 10))?;
    let w = gpu.upload_elements(&normal(shape.outputs * shape.inputs, 11))?;
    let layer = Layer {
        weight: Rows::packed(w.all(), shape.inputs),
        bias: None,
    };
    let x = Rows::packed(x.all(), shape.inputs);
    let len = shape.rows * shape.outputs;
    let (with_h, alone, h) = (gpu.alloc(len)?, gpu.alloc(len)?, gpu.alloc(len)?);
    linear::forward_gelu(gpu, with_h.all(), Some(h.all()), x, layer, shape)?;
    linear::forward_gelu(gpu, alone.all(), None, x, layer, shape)?;
    assert!(gpu.read(alone.all())? == gpu.read(with_h.all())?);
    Ok(())
}

// -------------------------------------------------------------------------------------- a step's end

const CONSTANTS: Constants = Constants {
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
};

/// Parameters and their copy after one update without gradients; `moments` are those of all.
fn adamw_step(
    gpu: &Gpu,
    params: &[f32],
    moments: [f32; 2],
    state: StepState,
) -> Result<(Vec<f32>, Vec<Element>), Failed> {
    let len = params.len();
    let (p, copy) = (gpu.upload(params)?, gpu.alloc(len)?);
    let [first, second] = moments.map(|moment| gpu.upload(&vec![moment; len]));
    let (first, second, gradients) = (first?, second?, gpu.zeros(len)?);
    let arenas = Arenas {
        params: p.all(),
        first: first.all(),
        second: second.all(),
        copy: copy.all(),
        gradients: gradients.all(),
    };
    let state = StepState {
        gradient_factor: 1.0,
        keep: 1.0,
        root: 0.1,
        ..state
    };
    let (tiles, state) = (
        Tiles::new(gpu, [(0..len, Decay::None)])?,
        gpu.upload(&[state])?,
    );
    adamw::gpu::update(gpu, arenas, &tiles, state.all(), CONSTANTS)?;
    Ok((gpu.read(p.all())?, gpu.read(copy.all())?))
}

/// √v and epsilon are of one size.
fn tiny_moments(gpu: &Gpu) -> Result<(), Failed> {
    let (m, v, rate) = (1e-9f32, 1e-18f32, 0.5f32);
    let state = StepState {
        rate,
        ..StepState::new(1.0, 0)
    };
    let (params, _) = adamw_step(gpu, &[0.0; 7], [m, v], state)?;
    let (m, v) = (
        f64::from(m) * CONSTANTS.beta1,
        f64::from(v) * CONSTANTS.beta2,
    );
    let expected = -f64::from(rate) * m / (v.sqrt() / 0.1 + CONSTANTS.epsilon);
    for found in params {
        // Ten numbers are rounded on the way.
        let error = (f64::from(found) / expected - 1.0).abs();
        let limit = 10.0 * f64::from(f32::EPSILON) / 2.0;
        assert!(error <= limit, "{found:e} is not {expected:e}");
    }
    Ok(())
}

/// The state after a step whose sums of squares are `squares`.
fn finished(gpu: &Gpu, squares: &[f32], max_norm: f64) -> Result<StepState, Failed> {
    let (squares, schedule) = (gpu.upload(squares)?, gpu.zeros(1)?);
    let state = gpu.upload(&[StepState::new(1.0, 0)])?;
    let (squares, schedule) = (squares.all(), schedule.all());
    grad_norm::finish(
        gpu,
        state.all(),
        squares,
        schedule,
        max_norm,
        LossScaling::Fixed,
    )?;
    let state = gpu.read(state.all())?[0];
    assert_eq!(state.loss_scale, 1.0, "a fixed scale stays");
    Ok(state)
}

/// More than the block has threads; whole numbers, whose sum is exact.
fn many_sums(gpu: &Gpu) -> Result<(), Failed> {
    let squares: Vec<f32> = (0..3000).map(|i| (i % 7) as f32).collect();
    let sum: f32 = squares.iter().sum();
    let norm = finished(gpu, &squares, 0.0)?.grad_norm;
    assert!((norm / sum.sqrt() - 1.0).abs() <= f32::EPSILON, "{norm}");
    Ok(())
}

/// A norm as small as the millionth that stands beside it.
fn clipping(gpu: &Gpu) -> Result<(), Failed> {
    let factor = |max_norm| -> Result<f32, Failed> {
        Ok(finished(gpu, &[1e-12], max_norm)?.gradient_factor)
    };
    assert!((factor(1e-6)? / 0.5 - 1.0).abs() <= 4.0 * f32::EPSILON);
    assert_eq!(factor(1.0)?, 1.0);
    assert_eq!(factor(0.0)?, 1.0, "0 asks for no clipping");
    Ok(())
}
