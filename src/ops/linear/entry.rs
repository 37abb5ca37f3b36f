//! The registry entry of linear layers.

use super::{Epilogue, Shape, backward_input, backward_weight, forward, gelu_backward};
use crate::ops::gemm::Accumulate;
use crate::ops::gpu::GpuOp;
use crate::ops::plain;
use crate::ops::real::Real;
use crate::ops::registry::{Case, Input, Op, Role, real_passes};

/// Registry entry; variants: plain, `gelu` and `residual`.
pub struct Linear;

impl Linear {
    pub(in crate::ops) fn shape(case: &Case) -> Shape {
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
            // Tiles of two bands in two columns.
            Case::new(&[("N", 600), ("I", 8), ("O", 72)]),
            Case::new(&[("N", 3), ("I", 20), ("O", 390)]).variant("gelu"),
            Case::new(&[("N", 9), ("I", 16), ("O", 24)]).variant("gelu"),
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
