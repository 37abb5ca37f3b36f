//! The kernels that a model's linear layers launch.

use super::launch::{Access, ColumnSums, ProductKernel, plan};
use super::tile::Tile;
use super::weight::{SUM_THREADS, sum_specialisation};
use super::{WeightPlan, gelu_tile};
use crate::device::Properties;
use crate::device::kernels::{
    LinearBackwardInput, LinearBackwardInputGelu, LinearBackwardWeight, LinearBackwardWeightPart,
    LinearBackwardWeightSum, LinearForward, LinearForwardF32, LinearForwardGelu,
    LinearForwardPatch, LinearForwardResidual,
};
use crate::ops::gpu::{ModelDims, Plan};
use crate::ops::linear::Shape;

/// Collects the plans of layers with packed, aligned tensors.
pub(in crate::ops) struct Plans<'a> {
    gpu: &'a Properties,
    found: Vec<Plan>,
}

impl<'a> Plans<'a> {
    pub fn new(gpu: &'a Properties) -> Self {
        Self {
            gpu,
            found: Vec::new(),
        }
    }

    /// Each once.
    pub fn finish(mut self) -> Vec<Plan> {
        self.found.sort();
        self.found.dedup();
        self.found
    }

    fn forward<K: ProductKernel>(&mut self, shape: Shape, epilogue: usize) {
        let tile = Tile::choose(self.gpu, shape.forward(epilogue));
        let access = Access::packed(shape.inputs, shape.inputs, shape.outputs);
        self.found.push(plan::<K>(&tile, access));
    }

    /// y = x Wᵀ + b.
    pub fn bias(&mut self, shape: Shape) {
        self.forward::<LinearForward>(shape, 2);
    }

    /// In f32.
    pub fn logits(&mut self, shape: Shape) {
        self.forward::<LinearForwardF32>(shape, 4);
    }

    pub fn gelu(&mut self, shape: Shape) {
        self.forward::<LinearForwardGelu>(shape, 4);
    }

    pub fn residual(&mut self, shape: Shape) {
        self.forward::<LinearForwardResidual>(shape, 8);
    }

    /// The patch embedding, forward and backward.
    pub fn patches(&mut self, shape: Shape, per_image: usize) {
        let tile = Tile::choose(self.gpu, shape.forward(4));
        let access = Access::packed(shape.inputs, shape.inputs, shape.outputs);
        let access = access.patches(per_image);
        self.found.push(plan::<LinearForwardPatch>(&tile, access));
        let access = Access::packed(shape.outputs, shape.inputs, shape.inputs);
        self.weight_with(shape, access.patches(per_image));
    }

    /// dx.
    pub fn input(&mut self, shape: Shape) {
        let tile = Tile::choose(self.gpu, shape.backward_input(2));
        let access = Access::packed(shape.outputs, shape.inputs, shape.inputs);
        self.found.push(plan::<LinearBackwardInput>(&tile, access));
    }

    /// dh of the GELU before the layer.
    pub fn input_gelu(&mut self, shape: Shape) {
        let tile = gelu_tile(self.gpu, shape);
        let access = Access::packed(shape.outputs, shape.inputs, shape.inputs);
        self.found
            .push(plan::<LinearBackwardInputGelu>(&tile, access));
    }

    /// dW.
    pub fn weight(&mut self, shape: Shape) {
        self.weight_with(
            shape,
            Access::packed(shape.outputs, shape.inputs, shape.inputs),
        );
    }

    /// dW, and db of a dy that its maker does not sum up.
    pub fn weight_and_bias(&mut self, shape: Shape) {
        let access = Access {
            column_sums: ColumnSums::OfDy,
            ..Access::packed(shape.outputs, shape.inputs, shape.inputs)
        };
        self.weight_with(shape, access);
    }

    fn weight_with(&mut self, shape: Shape, access: Access) {
        let WeightPlan { tile, parts, .. } = WeightPlan::new(self.gpu, shape);
        if parts == 1 {
            self.found.push(plan::<LinearBackwardWeight>(&tile, access));
            return;
        }
        self.found
            .push(plan::<LinearBackwardWeightPart>(&tile, access));
        self.found.push(Plan::of::<LinearBackwardWeightSum>(
            sum_specialisation(),
            SUM_THREADS,
        ));
    }
}

/// Patch embedding, qkv, projection and head. The last block computes keys and values for all tokens
/// and the rest for the class tokens.
pub(super) fn of_model(gpu: &Properties, model: &ModelDims) -> Vec<Plan> {
    let (c, batch) = (model.width, model.batch);
    let tokens = batch * model.tokens;
    let shape = |rows, inputs, outputs| Shape {
        rows,
        inputs,
        outputs,
    };
    let mut plans = Plans::new(gpu);
    let per_image = model.tokens - 1;
    let values = model.channels * model.patch * model.patch;
    plans.patches(shape(batch * per_image, values, c), per_image);
    let qkv = [
        shape(tokens, c, 3 * c),
        shape(tokens, c, 2 * c),
        shape(batch, c, c),
    ];
    for shape in qkv {
        plans.bias(shape);
        plans.input(shape);
        plans.weight(shape);
    }
    for rows in [tokens, batch] {
        let projection = shape(rows, c, c);
        plans.residual(projection);
        plans.input(projection);
        plans.weight(projection);
    }
    let head = shape(batch, c, model.classes);
    plans.logits(head);
    plans.input(head);
    plans.weight_and_bias(head);
    plans.finish()
}
