//! How far tensor cores and an approximate GELU may take a linear layer's results, beyond rounding
//! to nearest; to first order, value by value (see `ops/gpu_rounding.rs`).

use crate::device::{ElementType, Properties};
use crate::ops::gpu::Allowance;
use crate::ops::gpu_rounding::{EXP2, RECIPROCAL, TensorCore};
use crate::ops::linear::gpu::WeightPlan;
use crate::ops::linear::{Linear, Shape};
use crate::ops::plain;
use crate::ops::real::Real;
use crate::ops::registry::{Case, Gradients};

/// Relative error of the tail Φ(−|h|) = exp(−h²/2) erfcx(t) / 2 with t = |h| / √2: `ex2`, and `rcp` in
/// u = 1 / (1 + 0.36 t). At t = 0 erfcx falls 2/√π / 0.36 = 3.2 times as fast as u, elsewhere less.
const TAIL: f64 = EXP2 + 3.2 * RECIPROCAL;
/// Largest slope of the GELU: Φ + hφ at h = √2.
const STEEPEST: f64 = 1.13;
/// Largest slope of its slope: φ (2 − h²) at 0.
const BENT_MOST: f64 = 0.8;

/// |values|.
pub(in crate::ops) fn magnitudes(values: &[f64]) -> Vec<f64> {
    values.iter().map(|v| v.abs()).collect()
}

/// `values` as elements.
pub(in crate::ops) fn as_elements(element: ElementType, values: &[f64]) -> Vec<f64> {
    let round = |&v: &f64| f64::from(element.round(v as f32));
    values.iter().map(round).collect()
}

/// a += b.
pub(in crate::ops) fn add(a: &mut [f64], b: &[f64]) {
    assert_eq!(a.len(), b.len(), "an allowance a value");
    a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
}

/// Of x Wᵀ (rows, outputs).
pub(in crate::ops) fn product(core: TensorCore, x: &[f64], w: &[f64], inputs: usize) -> Vec<f64> {
    let row = |x: &[f64]| {
        let columns = w.chunks_exact(inputs);
        let loss = columns.map(|w| core.loss(x.iter().zip(w).map(|(x, w)| x * w)));
        loss.collect::<Vec<_>>()
    };
    x.chunks_exact(inputs).flat_map(row).collect()
}

/// Of dy W (rows, inputs).
pub(in crate::ops) fn input_gradient(
    core: TensorCore,
    dy: &[f64],
    w: &[f64],
    outputs: usize,
) -> Vec<f64> {
    let inputs = w.len() / outputs;
    let value = |dy: &[f64], i: usize| {
        let products = dy.iter().enumerate();
        core.loss(products.map(|(o, d)| d * w[o * inputs + i]))
    };
    let rows = dy.chunks_exact(outputs);
    rows.flat_map(|dy| (0..inputs).map(move |i| value(dy, i)))
        .collect()
}

/// Of dyᵀ x (outputs, inputs), in the parts that the launcher splits the sum into: each begins at zero.
pub(in crate::ops) fn weight_gradient(
    core: TensorCore,
    gpu: &Properties,
    dy: &[f64],
    x: &[f64],
    shape: Shape,
) -> Vec<f64> {
    let Shape {
        rows,
        inputs,
        outputs,
    } = shape;
    let part_rows = WeightPlan::new(gpu, shape).part_rows;
    let value = |at: usize| {
        let (o, i) = (at / inputs, at % inputs);
        let part = |begin: usize| {
            let rows = begin..rows.min(begin + part_rows);
            core.loss(rows.map(|n| dy[n * outputs + o] * x[n * inputs + i]))
        };
        (0..rows).step_by(part_rows).map(part).sum()
    };
    (0..outputs * inputs).map(value).collect()
}

/// Of gelu(h), with h off by `loss`.
pub(in crate::ops) fn gelu(h: &[f64], loss: &[f64]) -> Vec<f64> {
    let value = |(&h, loss): (&f64, &f64)| {
        let (tail, _) = (-h.abs()).plain_normal();
        STEEPEST * loss + h.abs() * tail * TAIL
    };
    h.iter().zip(loss).map(value).collect()
}

/// Of dy gelu'(h), with h off by `h_loss` and dy by `dy_loss`.
pub(in crate::ops) fn gelu_backward(
    dy: &[f64],
    dy_loss: &[f64],
    h: &[f64],
    h_loss: &[f64],
) -> Vec<f64> {
    let value = |i: usize| {
        let (tail, density) = (-h[i].abs()).plain_normal();
        let approximate = tail * TAIL + h[i].abs() * density * EXP2;
        dy[i].abs() * (BENT_MOST * h_loss[i] + approximate) + STEEPEST * dy_loss[i]
    };
    (0..h.len()).map(value).collect()
}

impl Allowance for Linear {
    fn forward(
        &self,
        gpu: &Properties,
        element: ElementType,
        case: &Case,
        inputs: &[Vec<f64>],
    ) -> Vec<Vec<f64>> {
        let core = TensorCore::of(gpu.capability, element);
        let (x, w) = (&inputs[0], &inputs[1]);
        let loss = product(core, x, w, case.dim("I"));
        match case.variant {
            "gelu" => vec![gelu(&plain::linear(x, w, &inputs[2]), &loss)],
            _ => vec![loss],
        }
    }

    fn backward(
        &self,
        gpu: &Properties,
        element: ElementType,
        case: &Case,
        inputs: &[Vec<f64>],
        dy: &[Vec<f64>],
    ) -> Gradients<f64> {
        let core = TensorCore::of(gpu.capability, element);
        let shape = Self::shape(case);
        let [x, w, b, ..] = inputs else {
            unreachable!("inputs of a case")
        };
        // What reaches the layer, and how far off: only a GELU behind it changes anything.
        let (dh, dh_loss) = match case.variant {
            "gelu" => {
                let (h, exact) = (plain::linear(x, w, b), vec![0.0; dy[0].len()]);
                let loss = gelu_backward(&dy[0], &exact, &h, &product(core, x, w, shape.inputs));
                let dh = plain::gelu_backward(&dy[0], &h);
                (as_elements(element, &dh), loss)
            }
            _ => (dy[0].clone(), vec![0.0; dy[0].len()]),
        };
        let (x_size, w_size) = (magnitudes(x), magnitudes(w));
        let [mut dx, mut dw, db] = plain::linear_backward(&dh_loss, &x_size, &w_size, b.len());
        add(&mut dx, &input_gradient(core, &dh, w, b.len()));
        add(&mut dw, &weight_gradient(core, gpu, &dh, x, shape));
        // A residual's gradient is dy itself.
        let residual = (case.variant == "residual").then(|| Some(vec![0.0; dy[0].len()]));
        [dx, dw, db].map(Some).into_iter().chain(residual).collect()
    }
}
