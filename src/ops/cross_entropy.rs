//! Softmax cross-entropy with label smoothing ε (Szegedy et al. 2016) and class weights w, as
//! PyTorch's `CrossEntropyLoss` with mean reduction:
//!
//! L = Σ_images Σ_c −q_c log p_c / Σ_images w_label, p = softmax(logits),
//! q_c = (1 − ε) w_label [c = label] + ε w_c / K.
//!
//! dlogits_c = (p_c Σ q − q_c) / Σ w_label, times a scale. Loss and gradient come from one pass.

mod bench;
pub mod gpu;

use super::gpu::GpuOp;
use super::plain;
use super::real::Real;
use super::registry::{Case, Input, Op, Role, real_passes};

/// What is being minimised.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// (B), class indices.
    pub labels: &'a [u32],
    /// (K); `None` weighs all classes 1.
    pub weights: Option<&'a [f32]>,
    /// ε.
    pub smoothing: f64,
}

/// Returns the loss of `logits` (B, K) and writes `scale` times its gradient into `d_logits`.
pub fn forward_backward<T: Real>(d_logits: &mut [T], logits: &[T], target: Target, scale: T) -> T {
    let k = logits.len() / target.labels.len();
    let weight = |c: usize| target.weights.map_or(T::one(), |w| T::of(f64::from(w[c])));
    let spread = T::of(target.smoothing / k as f64);
    let kept = T::of(1.0 - target.smoothing);
    let spread_sum = (0..k).map(weight).sum::<T>() * spread;
    let total = target
        .labels
        .iter()
        .map(|&label| weight(label as usize))
        .sum::<T>();
    // In f64: a batch has thousands of terms, and their sum is one number.
    let mut loss = 0.0;
    let rows = logits.chunks_exact(k).zip(d_logits.chunks_exact_mut(k));
    for ((row, d), &label) in rows.zip(target.labels) {
        let label = label as usize;
        let max = row
            .iter()
            .fold(T::neg_infinity(), |m, &v| if v <= m { m } else { v });
        let sum = row.iter().map(|&v| (v - max).exp()).sum::<T>();
        let log_sum = sum.ln();
        let q_sum = kept * weight(label) + spread_sum;
        for (c, d) in d.iter_mut().enumerate() {
            let log_p = row[c] - max - log_sum;
            let own = if c == label { kept } else { T::zero() };
            let q = weight(c) * (own + spread);
            loss -= (q * log_p).f64();
            *d = scale * (log_p.exp() * q_sum - q) / total;
        }
    }
    T::of(loss) / total
}

/// Registry entry; variants: plain, `smoothed`, and `smoothed weighted`.
pub struct CrossEntropy;

impl CrossEntropy {
    fn smoothing(case: &Case) -> f64 {
        if case.variant.contains("smoothed") {
            0.1
        } else {
            0.0
        }
    }

    fn run<T: Real>(case: &Case, inputs: &[Vec<T>], scale: T) -> (T, Vec<T>) {
        let labels: Vec<u32> = inputs[1].iter().map(|v| v.f64() as u32).collect();
        let weights: Vec<f32> = inputs[2].iter().map(|v| v.f64() as f32).collect();
        let target = Target {
            labels: &labels,
            weights: case.variant.contains("weighted").then_some(&weights),
            smoothing: Self::smoothing(case),
        };
        let mut d = vec![T::nan(); inputs[0].len()];
        let loss = forward_backward(&mut d, &inputs[0], target, scale);
        (loss, d)
    }

    fn run_forward<T: Real>(&self, case: &Case, inputs: &[Vec<T>]) -> Vec<Vec<T>> {
        vec![vec![Self::run(case, inputs, T::one()).0]]
    }

    fn run_backward<T: Real>(
        &self,
        case: &Case,
        inputs: &[Vec<T>],
        dy: &[Vec<T>],
    ) -> Vec<Option<Vec<T>>> {
        vec![Some(Self::run(case, inputs, dy[0][0]).1), None, None]
    }

    fn plain<T: Real>(case: &Case, inputs: &[Vec<T>]) -> (T, Vec<T>) {
        let labels: Vec<usize> = inputs[1].iter().map(|v| v.f64() as usize).collect();
        let weights = if case.variant.contains("weighted") {
            inputs[2].clone()
        } else {
            vec![T::one(); case.dim("K")]
        };
        plain::cross_entropy(&inputs[0], &labels, &weights, T::of(Self::smoothing(case)))
    }

    fn plain_forward<T: Real>(&self, case: &Case, inputs: &[Vec<T>]) -> Vec<Vec<T>> {
        vec![vec![Self::plain(case, inputs).0]]
    }

    fn plain_backward<T: Real>(
        &self,
        case: &Case,
        inputs: &[Vec<T>],
        dy: &[Vec<T>],
    ) -> Vec<Option<Vec<T>>> {
        let d = Self::plain(case, inputs).1;
        vec![
            Some(d.into_iter().map(|d| d * dy[0][0]).collect()),
            None,
            None,
        ]
    }
}

impl Op for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn cases(&self) -> Vec<Case> {
        vec![
            Case::new(&[("B", 1), ("K", 2)]),
            Case::new(&[("B", 5), ("K", 3)]).variant("smoothed"),
            Case::new(&[("B", 16), ("K", 37)]).variant("smoothed weighted"),
            Case::new(&[("B", 2), ("K", 1000)]).variant("weighted"),
            Case::new(&[("B", 200), ("K", 5)]).variant("smoothed weighted"),
        ]
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let (b, k) = (case.dim("B"), case.dim("K"));
        vec![
            Input::normal("logits", b * k, 2.0),
            Input::whole("labels", b, k as u32),
            Input::normal("weights", k, 0.1)
                .around(1.0)
                .role(Role::Constant),
        ]
    }

    fn gpu(&self) -> Option<&dyn GpuOp> {
        Some(self)
    }

    real_passes!();
}
