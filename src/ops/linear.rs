//! y = x Wᵀ + b, W of shape (outputs, inputs) as PyTorch keeps it, and what follows it at once:
//! GELU (exact: h · Φ(h), Hendrycks and Gimpel 2016) or the residual sum.
//!
//! With dh = dy, or dy ⊙ (Φ(h) + h φ(h)) behind a GELU:
//! dx = dh W, dW = dhᵀ x, db = Σ_rows dh.
//!
//! Saved for the backward pass: x, and h = x Wᵀ + b where a GELU follows.

pub(in crate::ops) mod bench;
mod entry;
pub mod gpu;

use rayon::prelude::*;

use super::gemm::{Accumulate, Mat, MatMut, Packed, matmul_packed};
use super::parallel::{chunks, rows_mut};
use super::real::{Real, simd};

pub use entry::Linear;

/// Shape of a linear layer applied to `rows` rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub rows: usize,
    pub inputs: usize,
    pub outputs: usize,
}

/// What the forward pass does with x Wᵀ + b.
pub enum Epilogue<'a, T> {
    /// y = x Wᵀ + b.
    Bias,
    /// h = x Wᵀ + b, kept in `preactivation` (N, outputs), and y = h Φ(h).
    Gelu { preactivation: &'a mut [T] },
    /// y = residual + x Wᵀ + b; the residual is (N, outputs).
    Residual(&'a [T]),
}

/// Adds the bias to each row; an empty bias is none.
#[inline(always)]
fn add_bias<T: Real>(rows: &mut [T], bias: &[T]) {
    if bias.is_empty() {
        return;
    }
    for row in rows.chunks_exact_mut(bias.len()) {
        for (v, &b) in row.iter_mut().zip(bias) {
            *v += b;
        }
    }
}

/// A layer whose weight is packed: ready for many rows.
pub struct Layer<'a, T> {
    weight: Packed<'a, T>,
    bias: &'a [T],
    inputs: usize,
    outputs: usize,
}

impl<'a, T: Real> Layer<'a, T> {
    /// The layer of `w` (outputs, inputs) and `b` (outputs, or empty for none).
    pub fn new(w: &'a [T], b: &'a [T], inputs: usize, outputs: usize) -> Self {
        assert_eq!(w.len(), outputs * inputs, "linear: w");
        assert!(b.is_empty() || b.len() == outputs, "linear: b");
        Self {
            weight: Packed::new(Mat::new(w, outputs, inputs).t()),
            bias: b,
            inputs,
            outputs,
        }
    }

    /// A few rows of [`forward`], on the calling thread.
    pub fn rows(&self, y: &mut [T], epilogue: Epilogue<T>, x: &[T]) {
        let rows = x.len() / self.inputs;
        let product = |y: &mut [T], accumulate| {
            let x = Mat::new(x, rows, self.inputs);
            let y = MatMut::new(y, rows, self.outputs);
            matmul_packed(y, accumulate, x, &self.weight);
        };
        match epilogue {
            Epilogue::Bias => {
                product(y, Accumulate::Overwrite);
                simd(
                    #[inline(always)]
                    || add_bias(y, self.bias),
                );
            }
            Epilogue::Gelu { preactivation: h } => {
                product(h, Accumulate::Overwrite);
                simd(
                    #[inline(always)]
                    || {
                        add_bias(h, self.bias);
                        for (y, &h) in y.iter_mut().zip(h.iter()) {
                            *y = h * h.fast_normal().0;
                        }
                    },
                );
            }
            Epilogue::Residual(residual) => {
                y.copy_from_slice(residual);
                simd(
                    #[inline(always)]
                    || add_bias(y, self.bias),
                );
                product(y, Accumulate::Add);
            }
        }
    }
}

/// `y` (N, outputs) of `x` (N, inputs), `w` (outputs, inputs), `b` (outputs, or empty for none).
pub fn forward<T: Real>(
    y: &mut [T],
    epilogue: Epilogue<T>,
    x: &[T],
    w: &[T],
    b: &[T],
    shape: Shape,
) {
    let Shape {
        rows,
        inputs,
        outputs,
    } = shape;
    assert_eq!(x.len(), rows * inputs, "linear: x");
    let layer = Layer::new(w, b, inputs, outputs);
    let y = rows_mut(y, rows, outputs);
    let x = chunks(rows).map(|r| &x[r.start * inputs..r.end * inputs]);
    match epilogue {
        Epilogue::Bias => y.zip(x).for_each(|(y, x)| layer.rows(y, Epilogue::Bias, x)),
        Epilogue::Gelu { preactivation } => y
            .zip(rows_mut(preactivation, rows, outputs))
            .zip(x)
            .for_each(|((y, preactivation), x)| {
                layer.rows(y, Epilogue::Gelu { preactivation }, x);
            }),
        Epilogue::Residual(residual) => {
            assert_eq!(residual.len(), rows * outputs, "linear: residual");
            let residual = chunks(rows).map(|r| &residual[r.start * outputs..r.end * outputs]);
            y.zip(residual).zip(x).for_each(|((y, residual), x)| {
                layer.rows(y, Epilogue::Residual(residual), x);
            });
        }
    }
}

/// Turns the gradient `d` of gelu(h) into that of `h`, and writes gelu(h) into `gelu`.
pub fn gelu_backward<T: Real>(d: &mut [T], gelu: &mut [T], h: &[T]) {
    simd(
        #[inline(always)]
        || {
            for ((d, gelu), &h) in d.iter_mut().zip(gelu).zip(h) {
                let (below, density) = h.fast_normal();
                *d *= h.mul_add(density, below);
                *gelu = h * below;
            }
        },
    );
}

/// A weight packed for gradients of the input.
pub struct Transposed<'a, T> {
    weight: Packed<'a, T>,
    inputs: usize,
    outputs: usize,
}

impl<'a, T: Real> Transposed<'a, T> {
    /// Packs `w` (outputs, inputs).
    pub fn new(w: &'a [T], inputs: usize, outputs: usize) -> Self {
        assert_eq!(w.len(), outputs * inputs, "linear: w");
        Self {
            weight: Packed::new(Mat::new(w, outputs, inputs)),
            inputs,
            outputs,
        }
    }

    /// A few rows of [`backward_input`], on the calling thread.
    pub fn rows(&self, dx: &mut [T], dy: &[T]) {
        let rows = dy.len() / self.outputs;
        let dx = MatMut::new(dx, rows, self.inputs);
        let dy = Mat::new(dy, rows, self.outputs);
        matmul_packed(dx, Accumulate::Overwrite, dy, &self.weight);
    }
}

/// Gradient `dx` (N, inputs) of the input, given `dy` (N, outputs).
pub fn backward_input<T: Real>(dx: &mut [T], dy: &[T], w: &[T], shape: Shape) {
    let Shape {
        rows,
        inputs,
        outputs,
    } = shape;
    assert_eq!(dy.len(), rows * outputs, "linear: dy");
    let w = Transposed::new(w, inputs, outputs);
    rows_mut(dx, rows, inputs)
        .zip(chunks(rows))
        .for_each(|(dx, r)| w.rows(dx, &dy[r.start * outputs..r.end * outputs]));
}

/// Rows of dW computed by one task.
const STRIP: usize = 192;

/// Rows of x and dy that one pass over dW takes: their packed form stays near the cores.
const ROWS: usize = 2400;

/// Gradients `dw` (outputs, inputs) and `db` (outputs, or empty for none), by `accumulate`.
pub fn backward_weight<T: Real>(
    dw: &mut [T],
    db: &mut [T],
    dy: &[T],
    x: &[T],
    accumulate: Accumulate,
    shape: Shape,
) {
    let Shape {
        rows,
        inputs,
        outputs,
    } = shape;
    assert_eq!(dy.len(), rows * outputs, "linear: dy");
    assert_eq!(x.len(), rows * inputs, "linear: x");
    assert_eq!(dw.len(), outputs * inputs, "linear: dw");
    if rows == 0 || outputs == 0 {
        return;
    }
    let product = || {
        let mut accumulate = accumulate;
        let step = rows.div_ceil(rows.div_ceil(ROWS));
        for first in (0..rows).step_by(step) {
            let count = step.min(rows - first);
            let x = Packed::new(Mat::new(
                &x[first * inputs..][..count * inputs],
                count,
                inputs,
            ));
            dw.par_chunks_mut(STRIP * inputs)
                .enumerate()
                .for_each(|(i, dw)| {
                    let dy = &dy[first * outputs + i * STRIP..];
                    let height = dw.len() / inputs;
                    let dy = Mat::strided(dy, count, height, outputs).t();
                    let dw = MatMut::new(dw, height, inputs);
                    matmul_packed(dw, accumulate, dy, &x);
                });
            accumulate = Accumulate::Add;
        }
    };
    let sums = |(i, db): (usize, &mut [T])| {
        let first = i * STRIP;
        if accumulate == Accumulate::Overwrite {
            db.fill(T::zero());
        }
        simd(
            #[inline(always)]
            || {
                for row in dy.chunks_exact(outputs) {
                    for (sum, &d) in db.iter_mut().zip(&row[first..]) {
                        *sum += d;
                    }
                }
            },
        );
    };
    rayon::join(product, || {
        db.par_chunks_mut(STRIP).enumerate().for_each(sums);
    });
}
