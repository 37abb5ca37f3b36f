//! Global L2 norm of the gradients, and the factor that clips it:
//! norm = √(Σ g²), coefficient = min(1, max_norm / (norm + 1e-6)),
//! as PyTorch's `clip_grad_norm_` (Pascanu, Mikolov, Bengio 2013).
//!
//! Squares are summed in f64, chunk by chunk in order; one gradient that is not finite makes the
//! norm not finite.

mod bench;
pub mod gpu;

use rayon::prelude::*;

use super::gpu::GpuOp;
use super::real::{Real, lane_sum, simd};
use super::registry::{Case, Gradients, Input, Op, real_passes};

/// Values of a chunk: 256 KiB of f32.
const CHUNK: usize = 1 << 16;

/// √(Σ g²).
pub fn norm<T: Real>(gradients: &[T]) -> f64 {
    let sums: Vec<f64> = gradients
        .par_chunks(CHUNK)
        .map(|g| {
            simd(
                #[inline(always)]
                || lane_sum(g.len(), |i| g[i].f64() * g[i].f64()),
            )
        })
        .collect();
    sums.iter().sum::<f64>().sqrt()
}

/// Factor for the gradients so that their norm is at most `max_norm`; 0 asks for no clipping.
pub fn clip_coefficient(norm: f64, max_norm: f64) -> f64 {
    if max_norm > 0.0 {
        (max_norm / (norm + 1e-6)).min(1.0)
    } else {
        1.0
    }
}

/// Registry entry: the norm of `g`, and its coefficient for a limit of 1.
pub struct GradNorm;

impl GradNorm {
    fn run_forward<T: Real>(&self, _: &Case, inputs: &[Vec<T>]) -> Vec<Vec<T>> {
        let norm = norm(&inputs[0]);
        vec![vec![T::of(norm), T::of(clip_coefficient(norm, 1.0))]]
    }

    fn plain_forward<T: Real>(&self, _: &Case, inputs: &[Vec<T>]) -> Vec<Vec<T>> {
        let mut sum = T::zero();
        for &g in &inputs[0] {
            sum += g * g;
        }
        let norm = sum.sqrt();
        vec![vec![norm, T::one().min(T::one() / (norm + T::of(1e-6)))]]
    }

    fn run_backward<T: Real>(&self, _: &Case, _: &[Vec<T>], _: &[Vec<T>]) -> Gradients<T> {
        Vec::new()
    }

    fn plain_backward<T: Real>(&self, _: &Case, _: &[Vec<T>], _: &[Vec<T>]) -> Gradients<T> {
        Vec::new()
    }
}

impl Op for GradNorm {
    fn name(&self) -> &'static str {
        "grad_norm"
    }

    fn cases(&self) -> Vec<Case> {
        vec![
            Case::new(&[("n", 1)]),
            Case::new(&[("n", 1001)]),
            Case::new(&[("n", 3 * CHUNK + 17)]),
        ]
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        vec![Input::normal("g", case.dim("n"), 0.1)]
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn gpu(&self) -> Option<&dyn GpuOp> {
        Some(self)
    }

    real_passes!();
}
