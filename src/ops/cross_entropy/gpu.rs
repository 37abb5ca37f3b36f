//! Cross-entropy on a GPU: `kernels/cross_entropy.cu`.

use super::CrossEntropy;
use crate::device::kernels::{CrossEntropyForwardBackward, CrossEntropyLoss};
use crate::device::structs::StepState;
use crate::device::{
    Element, ElementType, Geometry, Gpu, Kernel, Properties, Ptr, Slice, Specialisation,
};
use crate::error::Result;
use crate::ops::gemm::Accumulate;
use crate::ops::gpu::{Allowance, GpuOp, Storage, Stored};
use crate::ops::gpu_rounding::{EXP, LOG};
use crate::ops::registry::{Case, Gradients, Pass};

/// Of both kernels.
const THREADS: u32 = 128;

/// What is being minimised; [`super::Target`] on the device.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// (B), class indices below K.
    pub labels: Slice<'a, u32>,
    /// (K); `None` weighs all classes 1.
    pub weights: Option<Slice<'a, f32>>,
    /// ε.
    pub smoothing: f64,
}

/// A micro-batch's part in its step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MicroBatch {
    /// 1 / micro-batches of the step.
    pub share: f64,
    /// Overwrite for the step's first one.
    pub loss: Accumulate,
}

/// Writes the gradient of `logits` (B, K), times the loss scale and the micro-batch's share, into
/// `d_logits` (B, K), and `share` times the loss into `state`. `losses` (B) gets what each image
/// adds to the loss.
///
/// # Panics
/// If lengths disagree.
pub fn forward_backward(
    gpu: &Gpu,
    d_logits: Slice<Element>,
    losses: Slice<f32>,
    state: Slice<StepState>,
    logits: Slice<f32>,
    target: Target,
    micro_batch: MicroBatch,
) -> Result<()> {
    let images = target.labels.len();
    let classes = logits.len() / images;
    assert_eq!(logits.len(), images * classes, "cross_entropy: logits");
    assert_eq!(d_logits.len(), logits.len(), "cross_entropy: d_logits");
    assert_eq!(losses.len(), images, "cross_entropy: losses");
    assert_eq!(state.len(), 1, "cross_entropy: state");
    let weights = target.weights.map_or(classes, Slice::len);
    assert_eq!(weights, classes, "cross_entropy: weights");
    let share = micro_batch.share as f32;
    let gradient = CrossEntropyForwardBackward {
        d_logits: d_logits.ptr(),
        losses: losses.ptr(),
        logits: logits.ptr(),
        labels: target.labels.ptr(),
        weights: Ptr::from(target.weights),
        state: state.ptr(),
        images: images as i32,
        classes: classes as i32,
        kept: (1.0 - target.smoothing) as f32,
        spread: (target.smoothing / classes as f64) as f32,
        share,
    };
    // SAFETY: a block reads and writes one row of K values; labels are below K, says the caller.
    unsafe {
        gpu.launch(
            &gradient,
            &specialisation(),
            Geometry::line(images, THREADS),
        )?
    };
    let loss = CrossEntropyLoss {
        state: state.ptr(),
        losses: losses.ptr(),
        images: images as i32,
        share,
        accumulate: micro_batch.loss.flag(),
    };
    // SAFETY: `losses` has a value for each image.
    unsafe { gpu.launch(&loss, &specialisation(), Geometry::line(1, THREADS)) }
}

fn specialisation() -> Specialisation {
    CrossEntropyLoss::specialise(&[])
}

impl CrossEntropy {
    /// The loss, and d_logits, with `share` as the factor of both.
    fn run_gpu(
        &self,
        gpu: &Gpu,
        case: &Case,
        inputs: &[Vec<f32>],
        share: f64,
    ) -> Result<(f32, Vec<f32>)> {
        let (b, k) = (case.dim("B"), case.dim("K"));
        let labels: Vec<u32> = inputs[1].iter().map(|&label| label as u32).collect();
        let (logits, labels) = (gpu.upload(&inputs[0])?, gpu.upload(&labels)?);
        let weights = gpu.upload(&inputs[2])?;
        let target = Target {
            labels: labels.all(),
            weights: case.variant.contains("weighted").then_some(weights.all()),
            smoothing: Self::smoothing(case),
        };
        let (d_logits, losses) = (gpu.alloc(b * k)?, gpu.alloc(b)?);
        let state = gpu.upload(&[StepState::new(1.0, 0)])?;
        let micro_batch = MicroBatch {
            share,
            loss: Accumulate::Overwrite,
        };
        let (d, losses, state) = (d_logits.all(), losses.all(), state.all());
        forward_backward(gpu, d, losses, state, logits.all(), target, micro_batch)?;
        Ok((gpu.read(state)?[0].loss, gpu.read_elements(d)?))
    }
}

impl CrossEntropy {
    /// What `expf` and `logf` may add to the error of the loss, and of each logit's gradient.
    ///
    /// Image b's part of the loss is Σq log Σ exp(…) / W and more: there a relative error of the sum is
    /// an absolute one of its logarithm. The gradient's p has `expf` above and below.
    fn losses(&self, case: &Case, inputs: &[Vec<f64>]) -> (f64, Vec<f64>) {
        let classes = case.dim("K");
        let weighted = case.variant.contains("weighted");
        let weight = |class: usize| if weighted { inputs[2][class] } else { 1.0 };
        let labels: Vec<usize> = inputs[1].iter().map(|&label| label as usize).collect();
        let total: f64 = labels.iter().map(|&label| weight(label)).sum();
        let spread = Self::smoothing(case) / classes as f64 * (0..classes).map(weight).sum::<f64>();
        let (mut loss, mut logits) = (0.0, Vec::new());
        for (row, label) in inputs[0].chunks_exact(classes).zip(labels) {
            let q = ((1.0 - Self::smoothing(case)) * weight(label) + spread) / total;
            let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = row.iter().map(|v| (v - top).exp()).sum();
            loss += q * (EXP + sum.ln() * LOG);
            logits.extend(row.iter().map(|v| (v - top).exp() / sum * q * 2.0 * EXP));
        }
        (loss, logits)
    }
}

impl GpuOp for CrossEntropy {
    fn stored(&self, _: &Case) -> Stored {
        use Storage::{Element, F32};
        Stored {
            inputs: &[F32; 3],
            outputs: &[F32],
            output_gradients: &[F32],
            input_gradients: &[Element, F32, F32],
        }
    }

    fn gpu_forward(&self, gpu: &Gpu, case: &Case, inputs: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        Ok(vec![vec![self.run_gpu(gpu, case, inputs, 1.0)?.0]])
    }

    fn gpu_backward(
        &self,
        gpu: &Gpu,
        case: &Case,
        inputs: &[Vec<f32>],
        dy: &[Vec<f32>],
        micro_batches: usize,
    ) -> Result<Gradients<f32>> {
        let mut d_logits = None;
        for _ in 0..micro_batches {
            d_logits = Some(self.run_gpu(gpu, case, inputs, dy[0][0].into())?.1);
        }
        Ok(vec![d_logits, None, None])
    }

    fn gpu_bytes(&self, _: &Properties, case: &Case, _: Pass) -> u64 {
        let (b, k) = (case.dim("B"), case.dim("K"));
        let weights = if case.variant.contains("weighted") {
            k
        } else {
            0
        };
        // Logits, gradient, labels and weights; losses there and back; scale and loss of the state.
        ((4 + 2) * b * k + 4 * (b + weights) + 8 * b + 8) as u64
    }

    fn allowance(&self) -> Option<&dyn Allowance> {
        Some(self)
    }
}

impl Allowance for CrossEntropy {
    fn forward(
        &self,
        _: &Properties,
        _: ElementType,
        case: &Case,
        inputs: &[Vec<f64>],
    ) -> Vec<Vec<f64>> {
        vec![vec![self.losses(case, inputs).0]]
    }

    fn backward(
        &self,
        _: &Properties,
        _: ElementType,
        case: &Case,
        inputs: &[Vec<f64>],
        dy: &[Vec<f64>],
    ) -> Gradients<f64> {
        let mut logits = self.losses(case, inputs).1;
        logits.iter_mut().for_each(|loss| *loss *= dy[0][0].abs());
        vec![Some(logits), None, None]
    }
}
