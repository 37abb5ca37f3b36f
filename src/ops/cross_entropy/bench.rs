//! What the benchmark times of the cross-entropy: loss and gradient, one pass.

use super::gpu::{self, MicroBatch};
use super::{CrossEntropy, Target, forward_backward};
use crate::device::Gpu;
use crate::device::structs::StepState;
use crate::error::Result;
use crate::ops::bench::{Bench, Sizes, Stopwatch, Work, f32s, random, random_labels};
use crate::ops::gemm::Accumulate;

/// Gradients have `bytes` a value, logits four.
fn work(sizes: &Sizes, bytes: usize) -> Work {
    let (b, k) = (sizes.dims.batch, sizes.dims.classes);
    Work {
        op: "cross_entropy",
        call: "forward and backward".into(),
        bytes: (4 + bytes) * b * k + 4 * b,
        flops: 0,
    }
}

impl Bench for CrossEntropy {
    fn bench_cpu(&self, sizes: &Sizes, watch: &mut dyn Stopwatch) -> Result<()> {
        let (b, k) = (sizes.dims.batch, sizes.dims.classes);
        let (logits, mut d) = (random(b * k), random(b * k));
        let labels = random_labels(b, k);
        let target = Target {
            labels: &labels,
            weights: None,
            smoothing: 0.1,
        };
        watch.time(work(sizes, 4), &mut || {
            std::hint::black_box(forward_backward(&mut d, &logits, target, 1.0));
            Ok(())
        })
    }

    fn bench_gpu(&self, gpu: &Gpu, sizes: &Sizes, watch: &mut dyn Stopwatch) -> Result<()> {
        let (b, k) = (sizes.dims.batch, sizes.dims.classes);
        let (logits, d) = (f32s(gpu, b * k)?, gpu.alloc(b * k)?);
        let labels = gpu.upload(&random_labels(b, k))?;
        let losses = gpu.alloc(b)?;
        let state = gpu.upload(&[StepState::new(1.0, 0)])?;
        watch.time(work(sizes, 2), &mut || {
            let target = gpu::Target {
                labels: labels.all(),
                weights: None,
                smoothing: 0.1,
            };
            let micro_batch = MicroBatch {
                share: 1.0,
                loss: Accumulate::Overwrite,
            };
            let (d, losses, state) = (d.all(), losses.all(), state.all());
            gpu::forward_backward(gpu, d, losses, state, logits.all(), target, micro_batch)
        })
    }
}
