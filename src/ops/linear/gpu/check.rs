//! The registry's entry on a GPU.

use super::{
    Layer, WeightPlan, backward_input, backward_input_gelu, backward_weight_and_bias,
    backward_weight_on, forward, forward_gelu, forward_residual, gelu_parts,
};
use crate::device::{ElementType, Gpu, Properties};
use crate::error::Result;
use crate::ops::column_sum;
use crate::ops::gemm::Accumulate;
use crate::ops::gpu::{Allowance, GpuOp, Storage, Stored};
use crate::ops::linear::{Linear, Shape};
use crate::ops::plain;
use crate::ops::registry::{Case, Gradients, Op, Pass};
use crate::ops::rows::Rows;

/// The layer behind the GELU whose backward pass has the GELU's in its epilogue. A weight of ones on
/// the diagonal hands the gradient through as it is.
fn behind_gelu(shape: Shape) -> Shape {
    Shape {
        inputs: shape.outputs,
        ..shape
    }
}

fn identity(size: usize) -> Vec<f32> {
    let one = |i| if i % (size + 1) == 0 { 1.0 } else { 0.0 };
    (0..size * size).map(one).collect()
}

/// h and gelu(h), both as they are stored.
fn rounded_gelu(element: ElementType, inputs: &[Vec<f32>]) -> [Vec<f32>; 2] {
    let round = |values: Vec<f32>| Storage::Element.round(element, &values);
    let h = round(plain::linear(&inputs[0], &inputs[1], &inputs[2]));
    let y = round(plain::gelu(&h));
    [h, y]
}

impl GpuOp for Linear {
    fn stored(&self, case: &Case) -> Stored {
        use Storage::{Element, F32};
        match case.variant {
            // The gradient of the stream is read from its copy.
            "residual" => Stored {
                inputs: &[Element, Element, F32, F32],
                outputs: &[F32],
                output_gradients: &[Element],
                input_gradients: &[Element, F32, F32, Element],
            },
            _ => Stored {
                inputs: &[Element, Element, F32],
                outputs: &[Element],
                output_gradients: &[Element],
                input_gradients: &[Element, F32, F32],
            },
        }
    }

    fn gpu_forward(&self, gpu: &Gpu, case: &Case, inputs: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let shape = Self::shape(case);
        let len = shape.rows * shape.outputs;
        // Rows apart, as those of the class tokens are.
        let spread = inputs[0].chunks(shape.inputs);
        let spread: Vec<f32> = spread.flat_map(|row| [row, &[0.0; 8]].concat()).collect();
        let (x, w) = (
            gpu.upload_elements(&spread)?,
            gpu.upload_elements(&inputs[1])?,
        );
        let b = gpu.upload(&inputs[2])?;
        let x = Rows {
            values: x.all(),
            stride: shape.inputs + 8,
        };
        let layer = Layer {
            weight: Rows::packed(w.all(), shape.inputs),
            bias: Some(b.all()),
        };
        if case.variant == "residual" {
            let (y, residual) = (gpu.alloc(len)?, gpu.upload(&inputs[3])?);
            let [to, from] = [&y, &residual].map(|r| Rows::packed(r.all(), shape.outputs));
            forward_residual(gpu, to, from, x, layer, shape)?;
            return Ok(vec![gpu.read(y.all())?]);
        }
        let y = gpu.alloc(len)?;
        match case.variant {
            "gelu" => {
                let h = gpu.alloc(len)?;
                forward_gelu(gpu, y.all(), Some(h.all()), x, layer, shape)?;
            }
            _ => forward(gpu, Rows::packed(y.all(), shape.outputs), x, layer, shape)?,
        }
        Ok(vec![gpu.read_elements(y.all())?])
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
        let [x, w] = [&inputs[0], &inputs[1]].map(|values| gpu.upload_elements(values));
        let (x, w, b) = (x?, w?, gpu.upload(&inputs[2])?);
        let (x, w) = (
            Rows::packed(x.all(), shape.inputs),
            Rows::packed(w.all(), shape.inputs),
        );
        let d = gpu.upload_elements(&dy[0])?;
        let (dh, h) = (gpu.alloc(d.len())?, gpu.alloc(d.len())?);
        let plan = WeightPlan::new(gpu.properties(), shape);
        let parts = gelu_parts(gpu.properties(), behind_gelu(shape)).max(plan.parts);
        let partials = gpu.alloc(parts * shape.outputs)?;
        let partials = partials.all();
        // With a GELU behind it the layer's dy comes with its column sums.
        let (dh, sums) = match case.variant {
            "gelu" => {
                let layer = Layer {
                    weight: w,
                    bias: Some(b.all()),
                };
                let y = gpu.alloc(d.len())?;
                forward_gelu(gpu, y.all(), Some(h.all()), x, layer, shape)?;
                let next = gpu.upload_elements(&identity(shape.outputs))?;
                let [dy, next] = [&d, &next].map(|m| Rows::packed(m.all(), shape.outputs));
                let behind = behind_gelu(shape);
                let sums = backward_input_gelu(gpu, dh.all(), partials, dy, next, h.all(), behind)?;
                (dh.all(), Some(sums))
            }
            _ => (d.all(), None),
        };
        let dh = Rows::packed(dh, shape.outputs);
        let dx = gpu.alloc(inputs[0].len())?;
        backward_input(gpu, Rows::packed(dx.all(), shape.inputs), dh, w, shape)?;
        let (dw, db) = (gpu.alloc(inputs[1].len())?, gpu.alloc(shape.outputs)?);
        let (workspace, squares) = (gpu.alloc(plan.workspace())?, gpu.alloc(plan.squares())?);
        for micro_batch in 0..micro_batches {
            let accumulate = Accumulate::part(micro_batch);
            let (dw, squares, room) = (dw.all(), Some(squares.all()), workspace.all());
            let sums = match sums {
                Some(sums) => {
                    backward_weight_on(gpu, &plan, dw, squares, room, dh, x, accumulate)?;
                    sums
                }
                None => backward_weight_and_bias(
                    gpu, &plan, dw, squares, partials, room, dh, x, accumulate,
                )?,
            };
            column_sum::finish(gpu, db.all(), None, sums, accumulate)?;
        }
        let mut gradients = vec![
            Some(gpu.read_elements(dx.all())?),
            Some(gpu.read(dw.all())?),
            Some(gpu.read(db.all())?),
        ];
        if case.variant == "residual" {
            gradients.push(Some(dy[0].clone()));
        }
        Ok(gradients)
    }

    fn gpu_bytes(&self, gpu: &Properties, case: &Case, pass: Pass) -> u64 {
        let shape = Self::shape(case);
        let Shape {
            rows,
            inputs,
            outputs,
        } = shape;
        let (x, w, y) = (2 * rows * inputs, 2 * outputs * inputs, 2 * rows * outputs);
        let forward = x
            + w
            + 4 * outputs
            + match case.variant {
                "gelu" => 2 * y,
                "residual" => 4 * y,
                _ => y,
            };
        let gelu = case.variant == "gelu";
        let bytes = match pass {
            Pass::Forward => forward,
            Pass::Backward => {
                let (parts, gradient) = if gelu {
                    (
                        gelu_parts(gpu, behind_gelu(shape)),
                        forward + 3 * y + 2 * outputs * outputs,
                    )
                } else {
                    (WeightPlan::new(gpu, shape).parts, 0)
                };
                let sums = 2 * 4 * parts * outputs + 4 * outputs;
                gradient + sums + (y + w + x) + weight_bytes(gpu, shape)
            }
        };
        bytes as u64
    }

    fn rounded_forward(
        &self,
        element: ElementType,
        case: &Case,
        inputs: &[Vec<f32>],
    ) -> Vec<Vec<f32>> {
        let storage = self.stored(case).outputs[0];
        match case.variant {
            "gelu" => Vec::from([rounded_gelu(element, inputs)[1].clone()]),
            _ => vec![storage.round(element, &self.plain_forward_f32(case, inputs)[0])],
        }
    }

    fn rounded_backward(
        &self,
        element: ElementType,
        case: &Case,
        inputs: &[Vec<f32>],
        dy: &[Vec<f32>],
    ) -> Gradients<f32> {
        let round = |values: &[f32]| Storage::Element.round(element, values);
        let mut gradients = match case.variant {
            "gelu" => {
                let [h, _] = rounded_gelu(element, inputs);
                let dh = round(&plain::gelu_backward(&dy[0], &h));
                let outputs = inputs[2].len();
                Vec::from(plain::linear_backward(&dh, &inputs[0], &inputs[1], outputs).map(Some))
            }
            _ => self.plain_backward_f32(case, inputs, dy),
        };
        gradients[0] = gradients[0].take().map(|dx| round(&dx));
        gradients
    }

    fn allowance(&self) -> Option<&dyn Allowance> {
        Some(self)
    }
}

/// Bytes of [`backward_weight`](super::backward_weight): dy, x, dW, the parts of a split sum, the sums of squares.
pub(in crate::ops) fn weight_bytes(gpu: &Properties, shape: Shape) -> usize {
    let plan = WeightPlan::new(gpu, shape);
    let operands = 2 * shape.rows * (shape.outputs + shape.inputs);
    operands + 4 * (shape.outputs * shape.inputs + 2 * plan.workspace() + plan.squares())
}
