//! y = (x − mean) · rstd · w + b over the last dimension (Ba, Kiros, Hinton 2016).
//!
//! With x̂ = (x − mean) · rstd and g = dy · w:
//! dx = rstd · (g − mean(g) − x̂ · mean(g · x̂)), dw = Σ_rows dy · x̂, db = Σ_rows dy.
//!
//! Saved for the backward pass: mean and rstd = 1 / √(var + eps), one each a row.

mod bench;
pub mod gpu;

use rayon::prelude::*;

use super::gemm::Accumulate;
use super::gpu::GpuOp;
use super::parallel::{chunk_rows, chunks, rows_mut};
use super::plain;
use super::real::{Real, lane_sum, simd};
use super::registry::{Case, Input, Op, Role, real_passes};

#[inline(always)]
fn forward_row<T: Real>(y: &mut [T], x: &[T], w: &[T], b: &[T], eps: T) -> (T, T) {
    let n = x.len();
    let (y, w, b) = (&mut y[..n], &w[..n], &b[..n]);
    let inverse = T::one() / T::of(n as f64);
    let mean = lane_sum(n, |i| x[i]) * inverse;
    let variance = lane_sum(n, |i| (x[i] - mean) * (x[i] - mean)) * inverse;
    let rstd = T::one() / (variance + eps).sqrt();
    for i in 0..n {
        y[i] = ((x[i] - mean) * rstd).mul_add(w[i], b[i]);
    }
    (mean, rstd)
}

/// Layer norm of `x` (N, C) into `y` (N, C); `mean` and `rstd` (N) are kept for [`backward`].
pub fn forward<T: Real>(
    y: &mut [T],
    mean: &mut [T],
    rstd: &mut [T],
    x: &[T],
    w: &[T],
    b: &[T],
    eps: T,
) {
    let (rows, width) = (mean.len(), w.len());
    assert_eq!(x.len(), rows * width, "layer_norm: x");
    assert_eq!((rstd.len(), b.len()), (rows, width), "layer_norm: rstd, b");
    rows_mut(y, rows, width)
        .zip(rows_mut(mean, rows, 1))
        .zip(rows_mut(rstd, rows, 1))
        .zip(chunks(rows))
        .for_each(|(((y, mean), rstd), chunk)| {
            simd(
                #[inline(always)]
                || {
                    for (i, row) in chunk.enumerate() {
                        (mean[i], rstd[i]) = forward_row(
                            &mut y[i * width..][..width],
                            &x[row * width..][..width],
                            w,
                            b,
                            eps,
                        );
                    }
                },
            );
        });
}

/// What [`backward`] does with the gradient that reaches x by another path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residual {
    /// dx is overwritten.
    None,
    /// dx holds the gradient of the residual branch already, and this one is added to it.
    Add,
}

#[inline(always)]
fn backward_row<T: Real>(
    dx: &mut [T],
    dw: &mut [T],
    db: &mut [T],
    dy: &[T],
    x: &[T],
    w: &[T],
    (mean, rstd): (T, T),
    residual: Residual,
) {
    let n = x.len();
    let (dx, dw, db) = (&mut dx[..n], &mut dw[..n], &mut db[..n]);
    let (dy, w) = (&dy[..n], &w[..n]);
    let inverse = T::one() / T::of(n as f64);
    let hat = |x: T| (x - mean) * rstd;
    let mean_g = lane_sum(n, |i| dy[i] * w[i]) * inverse;
    let mean_gx = lane_sum(n, |i| dy[i] * w[i] * hat(x[i])) * inverse;
    for ((dw, &dy), &x) in dw.iter_mut().zip(dy).zip(x) {
        *dw += dy * hat(x);
    }
    for (db, &dy) in db.iter_mut().zip(dy) {
        *db += dy;
    }
    let terms = dx.iter_mut().zip(dy).zip(w).zip(x);
    let terms =
        terms.map(|(((dx, &dy), &w), &x)| (dx, rstd * (dy * w - mean_g - hat(x) * mean_gx)));
    match residual {
        Residual::None => terms.for_each(|(dx, gradient)| *dx = gradient),
        Residual::Add => terms.for_each(|(dx, gradient)| *dx += gradient),
    }
}

/// Gradients of [`forward`]: `dx` (N, C) by `residual`, `dw` and `db` (C) by `accumulate`.
pub fn backward<T: Real>(
    dx: &mut [T],
    dw: &mut [T],
    db: &mut [T],
    dy: &[T],
    x: &[T],
    w: &[T],
    mean: &[T],
    rstd: &[T],
    residual: Residual,
    accumulate: Accumulate,
) {
    let (rows, width) = (mean.len(), w.len());
    assert_eq!(dy.len(), rows * width, "layer_norm: dy");
    assert_eq!(x.len(), rows * width, "layer_norm: x");
    let mut sums = vec![T::zero(); rows.div_ceil(chunk_rows(rows)) * 2 * width];
    rows_mut(dx, rows, width)
        .zip(sums.par_chunks_mut(2 * width))
        .zip(chunks(rows))
        .for_each(|((dx, sums), chunk)| {
            let (dw, db) = sums.split_at_mut(width);
            simd(
                #[inline(always)]
                || {
                    for (i, row) in chunk.enumerate() {
                        let at = row * width;
                        backward_row(
                            &mut dx[i * width..][..width],
                            dw,
                            db,
                            &dy[at..][..width],
                            &x[at..][..width],
                            w,
                            (mean[row], rstd[row]),
                            residual,
                        );
                    }
                },
            );
        });
    if accumulate == Accumulate::Overwrite {
        dw.fill(T::zero());
        db.fill(T::zero());
    }
    for sums in sums.chunks_exact(2 * width) {
        for c in 0..width {
            dw[c] += sums[c];
            db[c] += sums[width + c];
        }
    }
}

/// Registry entry.
pub struct LayerNorm;

const EPS: f64 = 1e-6;

/// The variant in which x = u + bias, as a linear layer's output is added to the stream, and x goes
/// on beside the norm, so that one row of `every` is an output, too (all rows, or the class tokens):
/// the bias gradient and the residual gradient are what the backward pass is fused with.
const IN_STREAM: &str = "in-stream";

impl LayerNorm {
    /// x; in the stream the inputs are (u, w, b, bias).
    fn stream<T: Real>(&self, case: &Case, inputs: &[Vec<T>]) -> Vec<T> {
        match (case.variant, inputs) {
            (IN_STREAM, [u, _, _, bias]) => {
                let rows = u.chunks_exact(bias.len());
                rows.flat_map(|row| row.iter().zip(bias).map(|(&u, &bias)| u + bias))
                    .collect()
            }
            (_, [x, ..]) => x.clone(),
            _ => unreachable!("inputs of a case"),
        }
    }

    /// `y`, and the rows of x that are an output.
    fn outputs<T: Real>(&self, case: &Case, y: Vec<T>, x: &[T]) -> Vec<Vec<T>> {
        match case.variant {
            IN_STREAM => {
                let rows = x.chunks_exact(case.dim("C")).step_by(case.dim("every"));
                vec![y, rows.flatten().copied().collect()]
            }
            _ => vec![y],
        }
    }

    /// The gradient that reaches x past the norm: `dy`'s second tensor in its rows, zero in others.
    fn residual<T: Real>(&self, case: &Case, dy: &[Vec<T>]) -> Option<Vec<T>> {
        let c = case.dim("C");
        let passed = dy.get(1)?;
        let mut residual = vec![T::zero(); case.dim("N") * c];
        let rows = residual.chunks_exact_mut(c).step_by(case.dim("every"));
        for (row, passed) in rows.zip(passed.chunks_exact(c)) {
            row.copy_from_slice(passed);
        }
        Some(residual)
    }

    fn run_forward<T: Real>(&self, case: &Case, inputs: &[Vec<T>]) -> Vec<Vec<T>> {
        let n = case.dim("N");
        let x = self.stream(case, inputs);
        let (mut y, mut mean, mut rstd) = (x.clone(), vec![T::zero(); n], vec![T::zero(); n]);
        let (w, b) = (&inputs[1], &inputs[2]);
        forward(&mut y, &mut mean, &mut rstd, &x, w, b, T::of(EPS));
        self.outputs(case, y, &x)
    }

    fn run_backward<T: Real>(
        &self,
        case: &Case,
        inputs: &[Vec<T>],
        dy: &[Vec<T>],
    ) -> Vec<Option<Vec<T>>> {
        let (n, c) = (case.dim("N"), case.dim("C"));
        let x = self.stream(case, inputs);
        let (w, b) = (&inputs[1], &inputs[2]);
        let (mut y, mut mean, mut rstd) = (x.clone(), vec![T::zero(); n], vec![T::zero(); n]);
        forward(&mut y, &mut mean, &mut rstd, &x, w, b, T::of(EPS));
        let (mut dx, residual) = match self.residual(case, dy) {
            Some(residual) => (residual, Residual::Add),
            None => (y, Residual::None),
        };
        let (mut dw, mut db) = (vec![T::zero(); c], vec![T::zero(); c]);
        backward(
            &mut dx,
            &mut dw,
            &mut db,
            &dy[0],
            &x,
            w,
            &mean,
            &rstd,
            residual,
            Accumulate::Overwrite,
        );
        self.gradients(case, dx, dw, db)
    }

    /// One for each input; the bias's is the sum of dx over the rows.
    fn gradients<T: Real>(
        &self,
        case: &Case,
        dx: Vec<T>,
        dw: Vec<T>,
        db: Vec<T>,
    ) -> Vec<Option<Vec<T>>> {
        let mut gradients = vec![Some(dx), Some(dw), Some(db)];
        if case.variant == IN_STREAM {
            let c = case.dim("C");
            let mut bias = vec![T::zero(); c];
            for row in gradients[0].iter().flat_map(|dx| dx.chunks_exact(c)) {
                for (sum, &d) in bias.iter_mut().zip(row) {
                    *sum += d;
                }
            }
            gradients.push(Some(bias));
        }
        gradients
    }

    fn plain_forward<T: Real>(&self, case: &Case, inputs: &[Vec<T>]) -> Vec<Vec<T>> {
        let x = self.stream(case, inputs);
        let y = plain::layer_norm(&x, &inputs[1], &inputs[2], T::of(EPS));
        self.outputs(case, y, &x)
    }

    fn plain_backward<T: Real>(
        &self,
        case: &Case,
        inputs: &[Vec<T>],
        dy: &[Vec<T>],
    ) -> Vec<Option<Vec<T>>> {
        let x = self.stream(case, inputs);
        let [mut dx, dw, db] = plain::layer_norm_backward(&dy[0], &x, &inputs[1], T::of(EPS));
        for (dx, passed) in dx
            .iter_mut()
            .zip(self.residual(case, dy).into_iter().flatten())
        {
            *dx += passed;
        }
        self.gradients(case, dx, dw, db)
    }
}

impl Op for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn cases(&self) -> Vec<Case> {
        vec![
            Case::new(&[("N", 1), ("C", 3)]),
            Case::new(&[("N", 3), ("C", 33)]),
            Case::new(&[("N", 197), ("C", 192)]),
            Case::new(&[("N", 514), ("C", 50)]),
            // More rows than a GPU has warps for at once, alone and in teams.
            Case::new(&[("N", 3300), ("C", 9)]),
            Case::new(&[("N", 400), ("C", 1540), ("every", 2)]).variant(IN_STREAM),
            Case::new(&[("N", 34), ("C", 384), ("every", 17)]).variant(IN_STREAM),
            Case::new(&[("N", 5), ("C", 1024), ("every", 1)]).variant(IN_STREAM),
            Case::new(&[("N", 3), ("C", 1540), ("every", 2)]).variant(IN_STREAM),
        ]
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let (n, c) = (case.dim("N"), case.dim("C"));
        let mut inputs = vec![
            Input::normal("x", n * c, 2.0).around(0.7),
            Input::normal("w", c, 0.3).around(1.0).role(Role::Parameter),
            Input::normal("b", c, 0.3).role(Role::Parameter),
        ];
        if case.variant == IN_STREAM {
            inputs.push(Input::normal("bias", c, 0.3).role(Role::Parameter));
        }
        inputs
    }

    fn gpu(&self) -> Option<&dyn GpuOp> {
        Some(self)
    }

    real_passes!();
}
