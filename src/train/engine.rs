//! The seam between the training loop and the device that computes.

use std::ops::Range;

pub use crate::data::Batch;
use crate::error::Result;
use crate::model::config::VitConfig;
pub use crate::model::freeze::Freeze;
use crate::model::params::ParamTable;

/// What stays the same over a whole training run.
#[derive(Debug, Clone, PartialEq)]
pub struct Hyper {
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    /// Decoupled weight decay, applied to the parameters whose `decay` is set.
    pub weight_decay: f64,
    /// Gradients are scaled down to this global L2 norm; 0 leaves them alone.
    pub max_grad_norm: f64,
    /// Share of the target spread evenly over all classes.
    pub label_smoothing: f64,
    /// Weight of each class in the loss (mean weighted as PyTorch's `CrossEntropyLoss`).
    pub class_weights: Option<Vec<f32>>,
    pub freeze: Freeze,
}

impl Default for Hyper {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            label_smoothing: 0.0,
            class_weights: None,
            freeze: Freeze::Nothing,
        }
    }
}

/// What one optimiser step reports.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepOutput {
    /// Mean over the micro-batches of the step of their mean losses, as in transformers 4.46. A short
    /// one counts as much as the others (transformers 5.23 goes by images instead).
    pub loss: f64,
    /// Global L2 norm of the gradients of all trained parameters, before clipping.
    pub grad_norm: f64,
}

/// A factor on the loss that keeps small gradients inside 16 bits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossScale {
    pub factor: f32,
    /// Steps without overflow since it last changed.
    pub good_steps: u32,
}

/// AdamW's memory; `first` and `second` have the layout of the trained part of the parameter arena.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OptimizerState {
    /// Updates made so far.
    pub step: u64,
    pub first: Vec<f32>,
    pub second: Vec<f32>,
    /// Where the device scales the loss.
    pub loss_scale: Option<LossScale>,
}

/// Images that an engine has to have room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// In a micro-batch of a training step; `None` for engines that only evaluate.
    pub training: Option<usize>,
    /// Evaluated at once, if there is room; fewer is only slower.
    pub inference: usize,
}

/// A device that holds a model and can train and run it.
pub trait Engine: Send {
    /// Architecture, with its labels.
    fn config(&self) -> &VitConfig;

    /// Layout of every arena.
    fn table(&self) -> &ParamTable;

    /// The part of the parameter arena that training changes; all before it is frozen.
    fn trained(&self) -> Range<usize> {
        0..self.table().len
    }

    /// One optimiser step: forward and backward over each micro-batch, the gradients averaged over
    /// them, clipped, then AdamW at learning rate `lr`. A loss or gradient that is not finite is
    /// returned as such, and the parameters stay untouched.
    fn train_step(&mut self, micro_batches: &[&Batch], lr: f64) -> Result<StepOutput>;

    /// Logits (B, K) of the batch; labels are ignored.
    fn logits(&mut self, batch: &Batch) -> Result<Vec<f32>>;

    /// A copy of the f32 parameter arena.
    fn params(&self) -> Result<Vec<f32>>;

    /// Replaces the parameters; panics if the length is not the table's.
    fn set_params(&mut self, params: &[f32]) -> Result<()>;

    /// A copy of AdamW's state.
    fn optimizer(&self) -> Result<OptimizerState>;

    /// Replaces AdamW's state.
    fn set_optimizer(&mut self, state: &OptimizerState) -> Result<()>;
}
