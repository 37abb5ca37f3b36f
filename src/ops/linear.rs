//! y = x Wᵀ + b, W of shape (outputs, inputs) as PyTorch keeps it, and what follows it at once:
//! GELU (exact: h · Φ(h), Hendrycks and Gimpel 2016) or the residual sum.
//!
//! With dh = dy, or dy ⊙ (Φ(h) + h φ(h)) behind a GELU:
//! dx = dh W, dW = dhᵀ x, db = Σ_rows dh.
//!
//! Saved for the backward pass: x, and h = x Wᵀ + b where a GELU follows.

pub(in crate::ops) mod bench;
pub mod gpu;

use rayon::prelude::*;

use super::gemm::{Accumulate, Mat, MatMut, Packed, matmul_packed};
use super::gpu::GpuOp;
use super::parallel::{chunks, rows_mut};
use super::plain;
use super::real::{Real, simd};
use super::registry::{Case, Input, Op, Role, real_passes};

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

/// Registry entry; variants: plain, `gelu` and `residual`.
pub struct Linear;

impl Linear {
    fn shape(case: &Case) -> Shape {
        Shape {
            rows: case.dim("N"),
            inputs: case.dim("I"),
            outputs: case.dim("O"),
        }
    }

    /// `(y, h)`; h is empty without a GELU.
    fn run<T: Real>(case: &Case, inputs: &[Vec<T>]) -> (Vec<T>, Vec<T>) {
        let shape = Self::shape(case);
        let len = shape.rows * shape.outputs;
        let mut y = vec![T::zero(); len];
        let mut h = vec![T::zero(); if case.variant == "gelu" { len } else { 0 }];
        let epilogue = match case.variant {
            "gelu" => Epilogue::Gelu {
                preactivation: &mut h,
            },
            "residual" => Epilogue::Residual(&inputs[3]),
            _ => Epilogue::Bias,
        };
        forward(&mut y, epilogue, &inputs[0], &inputs[1], &inputs[2], shape);
        (y, h)
    }

    fn run_forward<T: Real>(&self, case: &Case, inputs: &[Vec<T>]) -> Vec<Vec<T>> {
        vec![Self::run(case, inputs).0]
    }

    fn run_backward<T: Real>(
        &self,
        case: &Case,
        inputs: &[Vec<T>],
        dy: &[Vec<T>],
    ) -> Vec<Option<Vec<T>>> {
        let shape = Self::shape(case);
        let [x, w, b, ..] = inputs else {
            unreachable!()
        };
        let mut dh = dy[0].clone();
        if case.variant == "gelu" {
            let (mut y, h) = Self::run(case, inputs);
            gelu_backward(&mut dh, &mut y, &h);
        }
        let mut dx = vec![T::zero(); x.len()];
        backward_input(&mut dx, &dh, w, shape);
        // Two halves of the rows, as two micro-batches would add up.
        let (mut dw, mut db) = (vec![T::zero(); w.len()], vec![T::zero(); b.len()]);
        let mut accumulate = Accumulate::Overwrite;
        for part in [0..shape.rows / 2, shape.rows / 2..shape.rows] {
            if part.is_empty() {
                continue;
            }
            let rows = part.len();
            backward_weight(
                &mut dw,
                &mut db,
                &dh[part.start * shape.outputs..part.end * shape.outputs],
                &x[part.start * shape.inputs..part.end * shape.inputs],
                accumulate,
                Shape { rows, ..shape },
            );
            accumulate = Accumulate::Add;
        }
        let mut gradients = vec![Some(dx), Some(dw), Some(db)];
        if case.variant == "residual" {
            gradients.push(Some(dy[0].clone()));
        }
        gradients
    }

    fn plain_forward<T: Real>(&self, case: &Case, inputs: &[Vec<T>]) -> Vec<Vec<T>> {
        let mut y = plain::linear(&inputs[0], &inputs[1], &inputs[2]);
        match case.variant {
            "gelu" => y = plain::gelu(&y),
            "residual" => y.iter_mut().zip(&inputs[3]).for_each(|(y, &r)| *y += r),
            _ => {}
        }
        vec![y]
    }

    fn plain_backward<T: Real>(
        &self,
        case: &Case,
        inputs: &[Vec<T>],
        dy: &[Vec<T>],
    ) -> Vec<Option<Vec<T>>> {
        let [x, w, b, ..] = inputs else {
            unreachable!()
        };
        let dh = match case.variant {
            "gelu" => plain::gelu_backward(&dy[0], &plain::linear(x, w, b)),
            _ => dy[0].clone(),
        };
        let mut gradients = Vec::from(plain::linear_backward(&dh, x, w, b.len()).map(Some));
        if case.variant == "residual" {
            gradients.push(Some(dh));
        }
        gradients
    }
}

impl Op for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cases(&self) -> Vec<Case> {
        vec![
            Case::new(&[("N", 1), ("I", 3), ("O", 5)]),
            Case::new(&[("N", 7), ("I", 50), ("O", 33)]).variant("gelu"),
            Case::new(&[("N", 197), ("I", 24), ("O", 72)]),
            Case::new(&[("N", 514), ("I", 40), ("O", 10)]).variant("residual"),
            Case::new(&[("N", 3), ("I", 20), ("O", 390)]).variant("gelu"),
        ]
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let s = Self::shape(case);
        let spread = 1.0 / (s.inputs as f64).sqrt();
        let mut inputs = vec![
            Input::normal("x", s.rows * s.inputs, 1.0),
            Input::normal("w", s.outputs * s.inputs, spread).role(Role::Parameter),
            Input::normal("b", s.outputs, 0.5).role(Role::Parameter),
        ];
        if case.variant == "residual" {
            inputs.push(Input::normal("residual", s.rows * s.outputs, 1.0));
        }
        inputs
    }

    fn gpu(&self) -> Option<&dyn GpuOp> {
        Some(self)
    }

    real_passes!();
}
