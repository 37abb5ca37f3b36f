//! AdamW (Loshchilov and Hutter 2019) in the order of PyTorch's `torch.optim.AdamW`:
//!
//! p ← p (1 − lr·wd); m ← m + (1 − β₁)(g − m); v ← β₂ v + (1 − β₂) g²;
//! p ← p − lr / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + eps).

mod bench;
pub mod gpu;

use rayon::prelude::*;

use super::gpu::GpuOp;
use super::real::{Real, simd};
use super::registry::{Case, Gradients, Input, Op, Role, real_passes};

/// Values of a chunk: four arrays of 64 KiB.
const CHUNK: usize = 1 << 14;

/// What stays the same over all updates of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Constants {
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
}

/// What the formula takes from learning rate and step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// 1 − lr·wd.
    pub keep: f64,
    /// lr / (1 − β₁ᵗ).
    pub rate: f64,
    /// √(1 − β₂ᵗ).
    pub root: f64,
}

impl Rates {
    /// Of update `step`, 1 for the first, at learning rate `lr`.
    pub fn new(constants: Constants, lr: f64, weight_decay: f64, step: u64) -> Self {
        let power = |beta: f64| 1.0 - beta.powi(step.min(i32::MAX as u64) as i32);
        Self {
            keep: 1.0 - lr * weight_decay,
            rate: lr / power(constants.beta1),
            root: power(constants.beta2).sqrt(),
        }
    }
}

/// What one update needs to know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Update {
    pub constants: Constants,
    pub lr: f64,
    /// wd; 0 for tensors that do not decay.
    pub weight_decay: f64,
    /// Factor on the gradients (clipping).
    pub coefficient: f64,
    /// t: 1 at the first update.
    pub step: u64,
}

/// Updates parameters `p` and moments `m`, `v` with gradients `g`, all of one length.
pub fn update<T: Real>(p: &mut [T], m: &mut [T], v: &mut [T], g: &[T], update: Update) {
    assert!(
        p.len() == g.len() && m.len() == g.len() && v.len() == g.len(),
        "adamw: lengths"
    );
    let Constants {
        beta1,
        beta2,
        epsilon,
    } = update.constants;
    let rates = Rates::new(
        update.constants,
        update.lr,
        update.weight_decay,
        update.step,
    );
    let (keep, rate, root) = (T::of(rates.keep), T::of(rates.rate), T::of(rates.root));
    let (rest1, rest2, beta2) = (T::of(1.0 - beta1), T::of(1.0 - beta2), T::of(beta2));
    let (epsilon, coefficient) = (T::of(epsilon), T::of(update.coefficient));
    p.par_chunks_mut(CHUNK)
        .zip(m.par_chunks_mut(CHUNK))
        .zip(v.par_chunks_mut(CHUNK))
        .zip(g.par_chunks(CHUNK))
        .for_each(|(((p, m), v), g)| {
            simd(
                #[inline(always)]
                || {
                    for (((p, m), v), &g) in p.iter_mut().zip(m).zip(v).zip(g) {
                        let g = g * coefficient;
                        *m += rest1 * (g - *m);
                        *v = *v * beta2 + rest2 * g * g;
                        *p = *p * keep - rate * (*m / (v.sqrt() / root + epsilon));
                    }
                },
            );
        });
}

/// Registry entry: one update at step 3.
pub struct AdamW;

const CHECK: Update = Update {
    constants: Constants {
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
    },
    lr: 1e-2,
    weight_decay: 0.05,
    coefficient: 0.5,
    step: 3,
};

impl AdamW {
    fn run_forward<T: Real>(&self, _: &Case, inputs: &[Vec<T>]) -> Vec<Vec<T>> {
        let [p, m, root_v, g] = inputs else {
            unreachable!()
        };
        let (mut p, mut m) = (p.clone(), m.clone());
        let mut v: Vec<T> = root_v.iter().map(|&r| r * r).collect();
        update(&mut p, &mut m, &mut v, g, CHECK);
        vec![p, m, v]
    }

    fn plain_forward<T: Real>(&self, _: &Case, inputs: &[Vec<T>]) -> Vec<Vec<T>> {
        let [p, m, root_v, g] = inputs else {
            unreachable!()
        };
        let of = T::of;
        let Constants {
            beta1,
            beta2,
            epsilon,
        } = CHECK.constants;
        let mut outputs = [(); 3].map(|()| Vec::new());
        for i in 0..p.len() {
            let g = g[i] * of(CHECK.coefficient);
            let m = of(beta1) * m[i] + of(1.0 - beta1) * g;
            let v = of(beta2) * root_v[i] * root_v[i] + of(1.0 - beta2) * g * g;
            let m_hat = m / of(1.0 - beta1.powi(3));
            let v_hat = v / of(1.0 - beta2.powi(3));
            let decayed = p[i] - of(CHECK.lr * CHECK.weight_decay) * p[i];
            let p = decayed - of(CHECK.lr) * m_hat / (v_hat.sqrt() + of(epsilon));
            for (output, value) in outputs.iter_mut().zip([p, m, v]) {
                output.push(value);
            }
        }
        outputs.into()
    }

    fn run_backward<T: Real>(&self, _: &Case, _: &[Vec<T>], _: &[Vec<T>]) -> Gradients<T> {
        Vec::new()
    }

    fn plain_backward<T: Real>(&self, _: &Case, _: &[Vec<T>], _: &[Vec<T>]) -> Gradients<T> {
        Vec::new()
    }
}

impl Op for AdamW {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cases(&self) -> Vec<Case> {
        vec![Case::new(&[("n", 1)]), Case::new(&[("n", 2 * CHUNK + 37)])]
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let n = case.dim("n");
        vec![
            Input::normal("p", n, 1.0).role(Role::Parameter),
            Input::normal("m", n, 0.1).role(Role::Constant),
            Input::normal("root_v", n, 0.1).role(Role::Constant),
            Input::normal("g", n, 0.3),
        ]
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn gpu(&self) -> Option<&dyn GpuOp> {
        Some(self)
    }

    real_passes!();
}
