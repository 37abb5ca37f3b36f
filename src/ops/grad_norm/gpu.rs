//! Gradient norm, loss scale and the fate of a step on a GPU: `kernels/grad_norm.cu`.

use super::GradNorm;
use crate::device::kernels::{GradNormFinish, GradNormSquares};
use crate::device::structs::{StepState, UpdateRates};
use crate::device::{Geometry, Gpu, Kernel, Properties, Slice, Specialisation};
use crate::error::Result;
use crate::ops::gpu::{GpuOp, Storage, Stored};
use crate::ops::registry::{Case, Gradients, Pass};

const THREADS: u32 = 256;
const FINISH_THREADS: u32 = 1024;
/// Gradients of a block.
const VALUES: usize = 8192;

/// Floats that [`squares`] leaves for `count` gradients.
pub fn parts(count: usize) -> usize {
    count.div_ceil(VALUES)
}

/// Sums of the squares of `gradients`, in [`parts`] parts: for those whose own kernel leaves none.
///
/// # Panics
/// If `squares` has another length than [`parts`].
pub fn squares(gpu: &Gpu, squares: Slice<f32>, gradients: Slice<f32>) -> Result<()> {
    let count = gradients.len();
    assert_eq!(squares.len(), parts(count), "grad_norm: squares");
    if count == 0 {
        return Ok(());
    }
    let kernel = GradNormSquares {
        squares: squares.ptr(),
        gradients: gradients.ptr(),
        count: count as i64,
    };
    let geometry = Geometry::line(parts(count), THREADS);
    // SAFETY: a block reads inside `gradients` and writes one of the `squares`.
    unsafe { gpu.launch(&kernel, &specialisation(), geometry) }
}

/// How the loss scale goes on from step to step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossScaling {
    /// Halved by an overflow, doubled after so many steps in a row without one.
    Dynamic { growth_interval: u32 },
    /// Never changed: bf16 has the range of f32.
    Fixed,
}

impl LossScaling {
    /// PyTorch's `GradScaler`: from [`LossScaling::START`], ×2 after 2,000 good steps.
    pub const DYNAMIC: Self = Self::Dynamic {
        growth_interval: 2000,
    };
    /// Loss scale of the first step.
    pub const START: f32 = 65_536.0;
}

/// The step's end: from all sums of squares, and the step's loss in `state`, comes everything else
/// that `state` tells of the step. Row u of `schedule` is for the update that follows u others; its
/// last row for all later ones.
///
/// `max_norm` 0 asks for no clipping.
///
/// # Panics
/// If `schedule` is empty.
pub fn finish(
    gpu: &Gpu,
    state: Slice<StepState>,
    squares: Slice<f32>,
    schedule: Slice<UpdateRates>,
    max_norm: f64,
    scaling: LossScaling,
) -> Result<()> {
    assert_eq!(state.len(), 1, "grad_norm: state");
    assert!(!schedule.is_empty(), "grad_norm: schedule");
    let kernel = GradNormFinish {
        state: state.ptr(),
        squares: squares.ptr(),
        rates: schedule.ptr(),
        slots: squares.len() as i32,
        rows: schedule.len() as i32,
        max_norm: max_norm as f32,
        growth_interval: match scaling {
            LossScaling::Dynamic { growth_interval } => growth_interval as i32,
            LossScaling::Fixed => 0,
        },
    };
    // SAFETY: the lengths are those of the slices, and there is a row.
    unsafe {
        gpu.launch(
            &kernel,
            &specialisation(),
            Geometry::line(1, FINISH_THREADS),
        )
    }
}

fn specialisation() -> Specialisation {
    GradNormFinish::specialise(&[])
}

impl GpuOp for GradNorm {
    fn stored(&self, _: &Case) -> Stored {
        Stored {
            inputs: &[Storage::F32],
            outputs: &[Storage::F32],
            output_gradients: &[],
            input_gradients: &[],
        }
    }

    fn gpu_forward(&self, gpu: &Gpu, _: &Case, inputs: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        // Scaled as a step's gradients are: exact, by a power of two.
        let scaled: Vec<f32> = inputs[0].iter().map(|g| g * LossScaling::START).collect();
        let gradients = gpu.upload(&scaled)?;
        let partial = gpu.alloc(parts(scaled.len()))?;
        let state = gpu.upload(&[StepState::new(LossScaling::START, 0)])?;
        let schedule = gpu.zeros(1)?;
        squares(gpu, partial.all(), gradients.all())?;
        let (state, schedule) = (state.all(), schedule.all());
        finish(
            gpu,
            state,
            partial.all(),
            schedule,
            1.0,
            LossScaling::DYNAMIC,
        )?;
        let state = gpu.read(state)?[0];
        let coefficient = state.gradient_factor * LossScaling::START;
        Ok(vec![vec![state.grad_norm, coefficient]])
    }

    fn gpu_backward(
        &self,
        _: &Gpu,
        _: &Case,
        _: &[Vec<f32>],
        _: &[Vec<f32>],
        _: usize,
    ) -> Result<Gradients<f32>> {
        Ok(Vec::new())
    }

    fn gpu_bytes(&self, _: &Properties, case: &Case, _: Pass) -> u64 {
        let n = case.dim("n");
        // A part is written and read; of the state four words are read and nine written.
        (4 * n + 8 * parts(n) + 13 * 4 + size_of::<UpdateRates>()) as u64
    }
}
