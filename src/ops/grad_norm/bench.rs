//! What the benchmark times of the gradient norm, of all parameters. In a step most sums of squares
//! come from the kernels that make the gradients, and `finish` is what is left.

use super::gpu::{self, LossScaling};
use super::{GradNorm, norm};
use crate::device::Gpu;
use crate::device::structs::StepState;
use crate::error::Result;
use crate::ops::bench::{Bench, Sizes, Stopwatch, Work, f32s, random};

fn work(call: &str, bytes: usize) -> Work {
    Work {
        op: "grad_norm",
        call: call.into(),
        bytes,
        flops: 0,
    }
}

impl Bench for GradNorm {
    fn bench_cpu(&self, sizes: &Sizes, watch: &mut dyn Stopwatch) -> Result<()> {
        let gradients = random(sizes.parameters);
        watch.time(work("norm", 4 * gradients.len()), &mut || {
            std::hint::black_box(norm(&gradients));
            Ok(())
        })
    }

    fn bench_gpu(&self, gpu: &Gpu, sizes: &Sizes, watch: &mut dyn Stopwatch) -> Result<()> {
        let gradients = f32s(gpu, sizes.parameters)?;
        let slots = gpu::parts(sizes.parameters);
        let squares = gpu.alloc(slots)?;
        let state = gpu.upload(&[StepState::new(1.0, 0)])?;
        let schedule = gpu.zeros(1)?;
        let bytes = 4 * (sizes.parameters + slots);
        watch.time(work("squares", bytes), &mut || {
            gpu::squares(gpu, squares.all(), gradients.all())
        })?;
        watch.time(work("finish", 4 * slots), &mut || {
            let (state, squares) = (state.all(), squares.all());
            let scaling = LossScaling::DYNAMIC;
            gpu::finish(gpu, state, squares, schedule.all(), 1.0, scaling)
        })
    }
}
