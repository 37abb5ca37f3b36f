//! How far tensor cores and an approximate GELU may take the results, as `linear/gpu/allowance.rs` has it
//! for one layer: what the first layer's sums lose goes through the GELU and the second layer.

use crate::device::{ElementType, Properties};
use crate::ops::gpu::Allowance;
use crate::ops::gpu_rounding::TensorCore;
use crate::ops::linear::gpu::allowance::{
    add, as_elements, gelu, gelu_backward, input_gradient, magnitudes, product, weight_gradient,
};
use crate::ops::mlp::Mlp;
use crate::ops::plain;
use crate::ops::registry::{Case, Gradients};

/// Between the layers.
struct Hidden {
    h: Vec<f64>,
    h_loss: Vec<f64>,
    gelu: Vec<f64>,
    gelu_loss: Vec<f64>,
}

impl Hidden {
    fn new(core: TensorCore, element: ElementType, inputs: &[Vec<f64>], width: usize) -> Self {
        let (x, w) = (&inputs[0], &inputs[2]);
        let h = plain::linear(x, w, &inputs[3]);
        let h_loss = product(core, x, w, width);
        Self {
            gelu: as_elements(element, &plain::gelu(&h)),
            gelu_loss: gelu(&h, &h_loss),
            h,
            h_loss,
        }
    }
}

impl Allowance for Mlp {
    fn forward(
        &self,
        gpu: &Properties,
        element: ElementType,
        case: &Case,
        inputs: &[Vec<f64>],
    ) -> Vec<Vec<f64>> {
        let core = TensorCore::of(gpu.capability, element);
        let shape = Self::shape(case);
        let hidden = Hidden::new(core, element, inputs, shape.width);
        let w2 = &inputs[4];
        let mut y = plain::linear(&hidden.gelu_loss, &magnitudes(w2), &vec![0.0; shape.width]);
        add(&mut y, &product(core, &hidden.gelu, w2, shape.hidden));
        vec![y]
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
        let (c, f) = (shape.width, shape.hidden);
        let hidden = Hidden::new(core, element, inputs, c);
        let (x, dy) = (&inputs[0], &dy[0]);
        let [w1, w2] = [&inputs[2], &inputs[4]];
        let [dg, ..] = plain::linear_backward(dy, &hidden.gelu, w2, c);
        let dg_loss = input_gradient(core, dy, w2, c);
        let dh_loss = gelu_backward(&dg, &dg_loss, &hidden.h, &hidden.h_loss);
        let dh = as_elements(element, &plain::gelu_backward(&dg, &hidden.h));

        let [mut dx, mut dw1, db1] =
            plain::linear_backward(&dh_loss, &magnitudes(x), &magnitudes(w1), f);
        add(&mut dx, &input_gradient(core, &dh, w1, f));
        add(&mut dw1, &weight_gradient(core, gpu, &dh, x, shape.fc1()));
        let mut dw2 = weight_gradient(core, gpu, dy, &hidden.gelu, shape.fc2());
        let [_, of_gelu, _] =
            plain::linear_backward(&magnitudes(dy), &hidden.gelu_loss, &magnitudes(w2), c);
        add(&mut dw2, &of_gelu);
        // dy itself is the residual's gradient, and db2 its sum in f32.
        let (residual, db2) = (vec![0.0; dy.len()], vec![0.0; c]);
        [dx, residual, dw1, db1, dw2, db2].map(Some).into()
    }
}
