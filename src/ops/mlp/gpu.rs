//! The MLP on a GPU: two linear layers ([`linear::gpu`](super::linear::gpu)) with all between them in
//! their epilogues. h = fc1 x and gelu(h) reach memory, both (N, F) and packed: the backward pass
//! reads both.

mod allowance;

use super::linear::Shape as Linear;
use super::linear::gpu::{
    self as linear, Layer, WeightPlan, backward_weight_and_bias, gelu_parts, weight_bytes,
};
use super::{Mlp, Shape};
use crate::device::{Element, ElementType, Gpu, Properties, Slice};
use crate::error::Result;
use crate::ops::column_sum::{self, Partials};
use crate::ops::gemm::Accumulate;
use crate::ops::gpu::{Allowance, GpuOp, Storage, Stored};
use crate::ops::plain;
use crate::ops::registry::{Case, Gradients, Pass};
use crate::ops::rows::Rows;

impl Shape {
    fn fc1(self) -> Linear {
        Linear {
            rows: self.rows,
            inputs: self.width,
            outputs: self.hidden,
        }
    }

    fn fc2(self) -> Linear {
        Linear {
            rows: self.rows,
            inputs: self.hidden,
            outputs: self.width,
        }
    }
}

/// `y` (N, C) = residual + fc2(gelu(fc1 x)); `gelu` (N, F) is scratch memory, and with `h` what the
/// backward pass needs.
pub fn forward(
    gpu: &Gpu,
    y: Rows<f32>,
    h: Option<Slice<Element>>,
    gelu: Slice<Element>,
    x: Rows<Element>,
    residual: Rows<f32>,
    [fc1, fc2]: [Layer; 2],
    shape: Shape,
) -> Result<()> {
    linear::forward_gelu(gpu, gelu, h, x, fc1, shape.fc1())?;
    let gelu = Rows::packed(gelu, shape.hidden);
    linear::forward_residual(gpu, y, residual, gelu, fc2, shape.fc2())
}

/// Rows of partial sums, F values each, that [`backward`] leaves.
pub fn parts(gpu: &Properties, shape: Shape) -> usize {
    gelu_parts(gpu, shape.fc2())
}

/// For `dy` (N, C): `dx` (N, C) and `dh` (N, F), and the column sums of dh, the gradient of fc1's
/// bias; `partials` must hold [`parts`] · F. The weights are fc1's (F, C) and fc2's (C, F).
pub fn backward<'a>(
    gpu: &Gpu,
    dx: Rows<Element>,
    dh: Slice<Element>,
    partials: Slice<'a, f32>,
    dy: Rows<Element>,
    h: Slice<Element>,
    [fc1, fc2]: [Rows<Element>; 2],
    shape: Shape,
) -> Result<Partials<'a>> {
    let sums = linear::backward_input_gelu(gpu, dh, partials, dy, fc2, h, shape.fc2())?;
    let dh = Rows::packed(dh, shape.hidden);
    linear::backward_input(gpu, dx, dh, fc1, shape.fc1())?;
    Ok(sums)
}

/// How the gradients of the two weights are computed: what they need of memory.
pub fn weight_plans(gpu: &Properties, shape: Shape) -> [WeightPlan; 2] {
    [shape.fc1(), shape.fc2()].map(|shape| WeightPlan::new(gpu, shape))
}

/// The gradients of the two weights, packed, with their sums of squares where wanted; `gelu` is what
/// [`forward`] wrote, `dh` what [`backward`] wrote, `x` the layer's input. `workspace` has room for
/// the larger of [`weight_plans`].
pub fn backward_weight(
    gpu: &Gpu,
    [dw1, dw2]: [Slice<f32>; 2],
    [squares1, squares2]: [Option<Slice<f32>>; 2],
    workspace: Slice<f32>,
    dy: Rows<Element>,
    dh: Slice<Element>,
    gelu: Slice<Element>,
    x: Rows<Element>,
    accumulate: Accumulate,
    shape: Shape,
) -> Result<()> {
    let [dh, gelu] = [dh, gelu].map(|values| Rows::packed(values, shape.hidden));
    let (fc1, fc2) = (shape.fc1(), shape.fc2());
    linear::backward_weight(gpu, dw2, squares2, workspace, dy, gelu, accumulate, fc2)?;
    linear::backward_weight(gpu, dw1, squares1, workspace, dh, x, accumulate, fc1)
}

/// h, gelu(h) as they are stored.
fn rounded_hidden(element: ElementType, inputs: &[Vec<f32>]) -> [Vec<f32>; 2] {
    let round = |values: Vec<f32>| Storage::Element.round(element, &values);
    let h = round(plain::linear(&inputs[0], &inputs[2], &inputs[3]));
    let gelu = round(plain::gelu(&h));
    [h, gelu]
}

impl GpuOp for Mlp {
    fn stored(&self, _: &Case) -> Stored {
        use Storage::{Element, F32};
        Stored {
            inputs: &[Element, F32, Element, F32, Element, F32],
            outputs: &[F32],
            // The gradient of the stream is read from its copy.
            output_gradients: &[Element],
            input_gradients: &[Element, Element, F32, F32, F32, F32],
        }
    }

    fn gpu_forward(&self, gpu: &Gpu, case: &Case, inputs: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let shape = Self::shape(case);
        let (c, f) = (shape.width, shape.hidden);
        let [x, w1, w2] = [0, 2, 4].map(|i| gpu.upload_elements(&inputs[i]));
        let [residual, b1, b2] = [1, 3, 5].map(|i| gpu.upload(&inputs[i]));
        let (x, w1, w2, b1, b2) = (x?, w1?, w2?, b1?, b2?);
        let fc1 = Layer {
            weight: Rows::packed(w1.all(), c),
            bias: Some(b1.all()),
        };
        let fc2 = Layer {
            weight: Rows::packed(w2.all(), f),
            bias: Some(b2.all()),
        };
        // The sum replaces the residual.
        let y = residual?;
        let stream = Rows::packed(y.all(), c);
        let gelu = gpu.alloc(shape.rows * f)?;
        let x = Rows::packed(x.all(), c);
        forward(gpu, stream, None, gelu.all(), x, stream, [fc1, fc2], shape)?;
        Ok(vec![gpu.read(y.all())?])
    }

    fn gpu_backward(
        &self,
        gpu: &Gpu,
        case: &Case,
        inputs: &[Vec<f32>],
        dy: &[Vec<f32>],
        micro_batches: usize,
    ) -> Result<Gradients<f32>> {
        let shape = Self::shape(case);
        let (rows, c, f) = (shape.rows, shape.width, shape.hidden);
        let [x, w1, w2] = [0, 2, 4].map(|i| gpu.upload_elements(&inputs[i]));
        let (x, w1, w2, b1) = (x?, w1?, w2?, gpu.upload(&inputs[3])?);
        let fc1 = Layer {
            weight: Rows::packed(w1.all(), c),
            bias: Some(b1.all()),
        };
        let x = Rows::packed(x.all(), c);
        let (h, gelu) = (gpu.alloc(rows * f)?, gpu.alloc(rows * f)?);
        linear::forward_gelu(gpu, gelu.all(), Some(h.all()), x, fc1, shape.fc1())?;
        let d = gpu.upload_elements(&dy[0])?;
        let d = Rows::packed(d.all(), c);
        let (dx, dh) = (gpu.alloc(rows * c)?, gpu.alloc(rows * f)?);
        let properties = gpu.properties();
        let hidden_sums = gpu.alloc(parts(properties, shape) * f)?;
        let weights = [fc1.weight, Rows::packed(w2.all(), f)];
        let to = Rows::packed(dx.all(), c);
        let sums1 = backward(
            gpu,
            to,
            dh.all(),
            hidden_sums.all(),
            d,
            h.all(),
            weights,
            shape,
        )?;
        let plans = weight_plans(properties, shape);
        let [one, two] = plans.map(|plan| plan.workspace());
        let workspace = gpu.alloc(one.max(two))?;
        let (dw1, dw2) = (gpu.alloc(c * f)?, gpu.alloc(c * f)?);
        let (db1, db2) = (gpu.alloc(f)?, gpu.alloc(c)?);
        // In a model the norm before this dy has summed up its columns: here the weight's gradient
        // does, made once more.
        let output_sums = gpu.alloc(plans[1].parts * c)?;
        let sums2 = backward_weight_and_bias(
            gpu,
            &plans[1],
            dw2.all(),
            None,
            output_sums.all(),
            workspace.all(),
            d,
            Rows::packed(gelu.all(), f),
            Accumulate::Overwrite,
        )?;
        for micro_batch in 0..micro_batches {
            let accumulate = Accumulate::part(micro_batch);
            let (dw, room) = ([dw1.all(), dw2.all()], workspace.all());
            let (dh, gelu) = (dh.all(), gelu.all());
            backward_weight(gpu, dw, [None; 2], room, d, dh, gelu, x, accumulate, shape)?;
            column_sum::finish(gpu, db1.all(), None, sums1, accumulate)?;
            column_sum::finish(gpu, db2.all(), None, sums2, accumulate)?;
        }
        Ok(vec![
            Some(gpu.read_elements(dx.all())?),
            Some(dy[0].clone()),
            Some(gpu.read(dw1.all())?),
            Some(gpu.read(db1.all())?),
            Some(gpu.read(dw2.all())?),
            Some(gpu.read(db2.all())?),
        ])
    }

    fn gpu_bytes(&self, gpu: &Properties, case: &Case, pass: Pass) -> u64 {
        let shape = Self::shape(case);
        let (rows, c, f) = (shape.rows, shape.width, shape.hidden);
        let (x, h, w) = (2 * rows * c, 2 * rows * f, 2 * c * f);
        let bytes = match pass {
            // fc1 writes gelu(h), fc2 reads it, and the stream twice as wide as x.
            Pass::Forward => (x + w + 4 * f + h) + (h + w + 4 * c + 4 * x),
            Pass::Backward => {
                let forward = x + w + 4 * f + 2 * h;
                let inputs = (x + w + 2 * h) + (h + w + x);
                let [one, two] = weight_plans(gpu, shape);
                let sums = 8 * (parts(gpu, shape) * f + two.parts * c) + 4 * (f + c);
                // fc2's twice: see `gpu_backward`.
                let weights = weight_bytes(gpu, shape.fc1()) + 2 * weight_bytes(gpu, shape.fc2());
                let squares = one.squares() + 2 * two.squares();
                forward + inputs + sums + weights - 4 * squares
            }
        };
        bytes as u64
    }

    fn rounded_forward(
        &self,
        element: ElementType,
        _: &Case,
        inputs: &[Vec<f32>],
    ) -> Vec<Vec<f32>> {
        let [_, gelu] = rounded_hidden(element, inputs);
        let mut y = plain::linear(&gelu, &inputs[4], &inputs[5]);
        y.iter_mut().zip(&inputs[1]).for_each(|(y, &r)| *y += r);
        vec![y]
    }

    fn rounded_backward(
        &self,
        element: ElementType,
        case: &Case,
        inputs: &[Vec<f32>],
        dy: &[Vec<f32>],
    ) -> Gradients<f32> {
        let Shape {
            width: c,
            hidden: f,
            ..
        } = Self::shape(case);
        let round = |values: &[f32]| Storage::Element.round(element, values);
        let [h, gelu] = rounded_hidden(element, inputs);
        let [dg, dw2, db2] = plain::linear_backward(&dy[0], &gelu, &inputs[4], c);
        let dh = round(&plain::gelu_backward(&dg, &h));
        let [dx, dw1, db1] = plain::linear_backward(&dh, &inputs[0], &inputs[2], f);
        [round(&dx), dy[0].clone(), dw1, db1, dw2, db2]
            .map(Some)
            .into()
    }

    fn allowance(&self) -> Option<&dyn Allowance> {
        Some(self)
    }
}
