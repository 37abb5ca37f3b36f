//! y = x Wᵀ + b, W of shape (outputs, inputs) as PyTorch keeps it, and what follows it at once:
//! GELU (exact: h · Φ(h), Hendrycks and Gimpel 2016) or the residual sum.
//!
//! With dh = dy, or dy ⊙ (Φ(h) + h φ(h)) behind a GELU:
//! dx = dh W, dW = dhᵀ x, db = Σ_rows dh.
//!
//! Saved for the backward pass: x, and h = x Wᵀ + b where a GELU follows.

use rayon::prelude::*;

use super::gemm::{Accumulate, Mat, MatMut, matmul};
use super::parallel::{chunks, rows_mut};
use super::plain;
use super::real::{Real, simd};
use super::registry::{Case, Cost, Input, Op, Pass, Role, real_passes};

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
    assert_eq!(w.len(), outputs * inputs, "linear: w");
    assert!(b.is_empty() || b.len() == outputs, "linear: b");
    let w = Mat::new(w, outputs, inputs).t();
    let product = |y: &mut [T], x: &[T], accumulate| {
        let n = x.len() / inputs;
        let y = MatMut::new(y, n, outputs);
        matmul(y, accumulate, T::one(), Mat::new(x, n, inputs), w);
    };
    let y = rows_mut(y, rows, outputs);
    let x = chunks(rows).map(|r| &x[r.start * inputs..r.end * inputs]);
    match epilogue {
        Epilogue::Bias => y.zip(x).for_each(|(y, x)| {
            product(y, x, Accumulate::Overwrite);
            simd(
                #[inline(always)]
                || add_bias(y, b),
            );
        }),
        Epilogue::Gelu { preactivation } => y
            .zip(rows_mut(preactivation, rows, outputs))
            .zip(x)
            .for_each(|((y, h), x)| {
                product(h, x, Accumulate::Overwrite);
                simd(
                    #[inline(always)]
                    || {
                        add_bias(h, b);
                        for (y, &h) in y.iter_mut().zip(h.iter()) {
                            *y = h * h.fast_normal().0;
                        }
                    },
                );
            }),
        Epilogue::Residual(residual) => {
            assert_eq!(residual.len(), rows * outputs, "linear: residual");
            let residual = chunks(rows).map(|r| &residual[r.start * outputs..r.end * outputs]);
            y.zip(x).zip(residual).for_each(|((y, x), residual)| {
                y.copy_from_slice(residual);
                simd(
                    #[inline(always)]
                    || add_bias(y, b),
                );
                product(y, x, Accumulate::Add);
            });
        }
    }
}

/// What lies between the linear layer's input and the activation that `dx` is the gradient of.
pub enum Through<'a, T> {
    Nothing,
    /// x = gelu(h): dx becomes the gradient of h (N, inputs).
    Gelu {
        preactivation: &'a [T],
    },
}

/// Gradient `dx` (N, inputs) of the input, given `dy` (N, outputs).
pub fn backward_input<T: Real>(dx: &mut [T], dy: &[T], w: &[T], through: Through<T>, shape: Shape) {
    let Shape {
        rows,
        inputs,
        outputs,
    } = shape;
    assert_eq!(dy.len(), rows * outputs, "linear: dy");
    let w = Mat::new(w, outputs, inputs);
    rows_mut(dx, rows, inputs)
        .zip(chunks(rows))
        .for_each(|(dx, chunk)| {
            let dy = &dy[chunk.start * outputs..chunk.end * outputs];
            let y = MatMut::new(dx, chunk.len(), inputs);
            let dy = Mat::new(dy, chunk.len(), outputs);
            matmul(y, Accumulate::Overwrite, T::one(), dy, w);
            if let Through::Gelu { preactivation } = &through {
                let h = &preactivation[chunk.start * inputs..chunk.end * inputs];
                simd(
                    #[inline(always)]
                    || {
                        for (d, &h) in dx.iter_mut().zip(h) {
                            let (below, density) = h.fast_normal();
                            *d *= h.mul_add(density, below);
                        }
                    },
                );
            }
        });
}

/// Rows of dW computed by one task: a power of two of equal parts, none under 192 rows (narrower
/// strips pack the other operand too often: 120 against 155 GFLOP/s a core at K = 4,112).
fn strip(outputs: usize) -> usize {
    outputs.div_ceil(1 << (outputs / 192).max(1).ilog2())
}

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
    let x = Mat::new(x, rows, inputs);
    let strip = strip(outputs);
    let product = |(i, dw): (usize, &mut [T])| {
        let first = i * strip;
        let height = dw.len() / inputs;
        let dy = Mat::strided(&dy[first..], rows, height, outputs).t();
        matmul(MatMut::new(dw, height, inputs), accumulate, T::one(), dy, x);
    };
    let sums = |(i, db): (usize, &mut [T])| {
        let first = i * strip;
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
    rayon::join(
        || {
            dw.par_chunks_mut(strip * inputs)
                .enumerate()
                .for_each(product)
        },
        || db.par_chunks_mut(strip).enumerate().for_each(sums),
    );
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
            // In the model the derivative rides on the product of the layer after; an identity
            // stands for that layer here.
            let h = Self::run(case, inputs).1;
            let mut identity = vec![T::zero(); shape.outputs * shape.outputs];
            for i in 0..shape.outputs {
                identity[i * shape.outputs + i] = T::one();
            }
            let square = Shape {
                inputs: shape.outputs,
                ..shape
            };
            let through = Through::Gelu { preactivation: &h };
            backward_input(&mut dh, &dy[0], &identity, through, square);
        }
        let mut dx = vec![T::zero(); x.len()];
        backward_input(&mut dx, &dh, w, Through::Nothing, shape);
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
            Case::bench(&[("N", 4112), ("I", 384), ("O", 1152)]),
            Case::bench(&[("N", 4112), ("I", 384), ("O", 384)]).variant("residual"),
            Case::bench(&[("N", 4112), ("I", 384), ("O", 1536)]).variant("gelu"),
            Case::bench(&[("N", 4112), ("I", 1536), ("O", 384)]).variant("residual"),
        ]
    }

    fn cost(&self, case: &Case, pass: Pass) -> Cost {
        let s = Self::shape(case);
        let product = 2 * (s.rows * s.inputs * s.outputs) as u64;
        let (x, y) = (s.rows * s.inputs, s.rows * s.outputs);
        let extra = if case.variant.is_empty() { 0 } else { y };
        let w = s.inputs * s.outputs;
        match pass {
            Pass::Forward => Cost {
                bytes: 4 * (x + w + y + extra) as u64,
                flops: product,
            },
            Pass::Backward => Cost {
                bytes: 4 * (2 * x + 2 * w + 2 * y + extra) as u64,
                flops: 2 * product,
            },
        }
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

    real_passes!();
}
