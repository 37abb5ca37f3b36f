//! y = residual + fc2(gelu(fc1 x)), a few rows at a time: the F values of a row are used where the
//! cache still has them. Only h = fc1 x reaches memory, and only where a backward pass wants it.
//!
//! dh = (dy W₂) ⊙ gelu′(h), dx = dh W₁; the weights' gradients are [`linear::backward_weight`]'s,
//! from gelu(h), which the backward pass computes again.

mod bench;
pub mod gpu;

use rayon::prelude::*;

use super::buffer::Scratch;
use super::gemm::Accumulate;
use super::gpu::GpuOp;
use super::linear::{self, Epilogue, Layer, Transposed};
use super::parallel::{chunk_rows, chunks, rows_mut};
use super::plain;
use super::real::Real;
use super::registry::{Case, Input, Op, Role, real_passes};

/// Sizes of an MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// N.
    pub rows: usize,
    /// C.
    pub width: usize,
    /// F.
    pub hidden: usize,
}

/// The weights, or their gradients; `S` is a slice.
pub struct Params<S> {
    /// (F, C).
    pub fc1_weight: S,
    /// (F).
    pub fc1_bias: S,
    /// (C, F).
    pub fc2_weight: S,
    /// (C).
    pub fc2_bias: S,
}

/// What becomes of h.
pub enum Hidden<'a, T> {
    /// Kept for [`backward`], (N, F).
    Keep(&'a mut [T]),
    Drop,
}

/// `y` (N, C) of `x` and `residual` (N, C).
pub fn forward<T: Real>(
    y: &mut [T],
    hidden: Hidden<T>,
    x: &[T],
    residual: &[T],
    params: &Params<&[T]>,
    shape: Shape,
) {
    let Shape {
        rows,
        width,
        hidden: f,
    } = shape;
    assert_eq!(x.len(), rows * width, "mlp: x");
    assert_eq!(residual.len(), rows * width, "mlp: residual");
    let fc1 = Layer::new(params.fc1_weight, params.fc1_bias, width, f);
    let fc2 = Layer::new(params.fc2_weight, params.fc2_bias, f, width);
    let buffer = || Scratch::new(chunk_rows(rows) * f);
    let one = |y: &mut [T], h: &mut [T], gelu: &mut [T], r: std::ops::Range<usize>| {
        let gelu = &mut gelu[..h.len()];
        let range = r.start * width..r.end * width;
        fc1.rows(gelu, Epilogue::Gelu { preactivation: h }, &x[range.clone()]);
        fc2.rows(y, Epilogue::Residual(&residual[range]), gelu);
    };
    let y = rows_mut(y, rows, width).zip(chunks(rows));
    match hidden {
        Hidden::Keep(h) => y
            .zip(rows_mut(h, rows, f))
            .for_each_init(buffer, |gelu, ((y, r), h)| one(y, h, gelu, r)),
        Hidden::Drop => y.for_each_init(
            || (buffer(), buffer()),
            |(h, gelu), (y, r)| one(y, &mut h[..r.len() * f], gelu, r),
        ),
    }
}

/// For `dy` (N, C): `dx` (N, C), `d_hidden` and gelu(h) (N, F).
pub fn backward<T: Real>(
    dx: &mut [T],
    d_hidden: &mut [T],
    gelu: &mut [T],
    dy: &[T],
    hidden: &[T],
    params: &Params<&[T]>,
    shape: Shape,
) {
    let Shape {
        rows,
        width,
        hidden: f,
    } = shape;
    assert_eq!(dy.len(), rows * width, "mlp: dy");
    assert_eq!(hidden.len(), rows * f, "mlp: hidden");
    let fc1 = Transposed::new(params.fc1_weight, width, f);
    let fc2 = Transposed::new(params.fc2_weight, f, width);
    rows_mut(dx, rows, width)
        .zip(rows_mut(d_hidden, rows, f))
        .zip(rows_mut(gelu, rows, f))
        .zip(chunks(rows))
        .for_each(|(((dx, dh), gelu), r)| {
            fc2.rows(dh, &dy[r.start * width..r.end * width]);
            linear::gelu_backward(dh, gelu, &hidden[r.start * f..r.end * f]);
            fc1.rows(dx, dh);
        });
}

/// Gradients of the weights, by `accumulate`, from what [`backward`] wrote.
pub fn backward_weight<T: Real>(
    d: Params<&mut [T]>,
    dy: &[T],
    d_hidden: &[T],
    gelu: &[T],
    x: &[T],
    accumulate: Accumulate,
    shape: Shape,
) {
    let layer = |inputs, outputs| linear::Shape {
        rows: shape.rows,
        inputs,
        outputs,
    };
    let (c, f) = (shape.width, shape.hidden);
    rayon::join(
        || linear::backward_weight(d.fc2_weight, d.fc2_bias, dy, gelu, accumulate, layer(f, c)),
        || {
            linear::backward_weight(
                d.fc1_weight,
                d.fc1_bias,
                d_hidden,
                x,
                accumulate,
                layer(c, f),
            );
        },
    );
}

/// Registry entry.
pub struct Mlp;

impl Mlp {
    fn shape(case: &Case) -> Shape {
        Shape {
            rows: case.dim("N"),
            width: case.dim("C"),
            hidden: case.dim("F"),
        }
    }

    fn params<T>(inputs: &[Vec<T>]) -> Params<&[T]> {
        Params {
            fc1_weight: &inputs[2],
            fc1_bias: &inputs[3],
            fc2_weight: &inputs[4],
            fc2_bias: &inputs[5],
        }
    }

    fn run_forward<T: Real>(&self, case: &Case, inputs: &[Vec<T>]) -> Vec<Vec<T>> {
        let mut y = vec![T::nan(); inputs[0].len()];
        let (params, shape) = (Self::params(inputs), Self::shape(case));
        forward(&mut y, Hidden::Drop, &inputs[0], &inputs[1], &params, shape);
        vec![y]
    }

    fn run_backward<T: Real>(
        &self,
        case: &Case,
        inputs: &[Vec<T>],
        dy: &[Vec<T>],
    ) -> Vec<Option<Vec<T>>> {
        let (params, shape) = (Self::params(inputs), Self::shape(case));
        let (x, dy) = (&inputs[0], &dy[0]);
        let [mut h, mut dh, mut gelu] = [(); 3].map(|()| vec![T::nan(); shape.rows * shape.hidden]);
        let mut y = vec![T::nan(); x.len()];
        forward(&mut y, Hidden::Keep(&mut h), x, &inputs[1], &params, shape);
        let mut d: Vec<Vec<T>> = inputs.iter().map(|v| vec![T::nan(); v.len()]).collect();
        let [dx, residual, w1, b1, w2, b2] = d.as_mut_slice() else {
            unreachable!()
        };
        backward(dx, &mut dh, &mut gelu, dy, &h, &params, shape);
        residual.copy_from_slice(dy);
        let gradients = Params {
            fc1_weight: w1.as_mut_slice(),
            fc1_bias: b1,
            fc2_weight: w2,
            fc2_bias: b2,
        };
        backward_weight(gradients, dy, &dh, &gelu, x, Accumulate::Overwrite, shape);
        d.into_iter().map(Some).collect()
    }

    fn plain_forward<T: Real>(&self, _: &Case, inputs: &[Vec<T>]) -> Vec<Vec<T>> {
        let [x, residual, w1, b1, w2, b2] = inputs else {
            unreachable!()
        };
        let mut y = plain::linear(&plain::gelu(&plain::linear(x, w1, b1)), w2, b2);
        y.iter_mut().zip(residual).for_each(|(y, &r)| *y += r);
        vec![y]
    }

    fn plain_backward<T: Real>(
        &self,
        case: &Case,
        inputs: &[Vec<T>],
        dy: &[Vec<T>],
    ) -> Vec<Option<Vec<T>>> {
        let [x, _, w1, b1, w2, _] = inputs else {
            unreachable!()
        };
        let (c, f) = (case.dim("C"), case.dim("F"));
        let h = plain::linear(x, w1, b1);
        let [dg, dw2, db2] = plain::linear_backward(&dy[0], &plain::gelu(&h), w2, c);
        let dh = plain::gelu_backward(&dg, &h);
        let [dx, dw1, db1] = plain::linear_backward(&dh, x, w1, f);
        let all = [dx, dy[0].clone(), dw1, db1, dw2, db2];
        all.map(Some).into()
    }
}

impl Op for Mlp {
    fn name(&self) -> &'static str {
        "mlp"
    }

    fn cases(&self) -> Vec<Case> {
        vec![
            Case::new(&[("N", 1), ("C", 3), ("F", 5)]),
            Case::new(&[("N", 257), ("C", 18), ("F", 50)]),
        ]
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let s = Self::shape(case);
        let weight = |name, inputs: usize| {
            let spread = 1.0 / (inputs as f64).sqrt();
            Input::normal(name, s.width * s.hidden, spread).role(Role::Parameter)
        };
        vec![
            Input::normal("x", s.rows * s.width, 1.0),
            Input::normal("residual", s.rows * s.width, 1.0),
            weight("fc1_weight", s.width),
            Input::normal("fc1_bias", s.hidden, 0.5).role(Role::Parameter),
            weight("fc2_weight", s.hidden),
            Input::normal("fc2_bias", s.width, 0.5).role(Role::Parameter),
        ]
    }

    fn gpu(&self) -> Option<&dyn GpuOp> {
        Some(self)
    }

    real_passes!();
}
