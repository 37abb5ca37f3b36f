//! The seam between the training loop and the device that computes.

use std::ops::Range;

pub use crate::data::Batch;
use crate::error::Result;
use crate::model::config::VitConfig;
use crate::model::params::ParamTable;

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
    /// The micro-batches of training steps; `None` for engines that only evaluate.
    pub training: Option<EpochBatches>,
    /// Evaluated at once, if there is room; fewer is only slower.
    pub inference: usize,
}

/// The micro-batches of an epoch: all of one size, but perhaps the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochBatches {
    /// Images of an epoch, at least 1.
    pub examples: usize,
    /// At least 1.
    pub batch_size: usize,
}

impl EpochBatches {
    /// One batch of `images`.
    pub fn one(images: usize) -> Self {
        Self {
            examples: images,
            batch_size: images,
        }
    }

    /// Images in the largest.
    pub fn full(self) -> usize {
        self.batch_size.min(self.examples)
    }

    /// Every number of images that a micro-batch may have.
    pub fn sizes(self) -> impl Iterator<Item = usize> {
        let rest = self.examples % self.full();
        [self.full(), rest].into_iter().filter(|&images| images > 0)
    }
}

/// A step that [`Engine::begin_step`] began, to be handed to [`Engine::finish_step`].
#[derive(Debug)]
#[must_use = "a step that was begun has to be finished"]
pub enum Begun {
    /// It is made already.
    Done(StepOutput),
    /// The device is at work on it.
    UnderWay,
}

/// A batch that was sent to the device ahead of its step, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Staged(pub u64);

/// A device that holds a model and can train and run it.
///
/// A step is made by [`Engine::train_step`], or in two calls, between which a device that works by
/// itself does so: [`Engine::begin_step`] and [`Engine::finish_step`]. What [`Engine::stage`] is
/// given in between is copied to the device under the step. Engines without such a device leave
/// these as they are.
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

    /// Begins what [`Engine::train_step`] does. `first`, where given, is what [`Engine::stage`] said
    /// of the first micro-batch. Until the step is finished, the engine can only stage.
    fn begin_step(
        &mut self,
        micro_batches: &[&Batch],
        first: Option<Staged>,
        lr: f64,
    ) -> Result<Begun> {
        debug_assert_eq!(first, None, "this engine stages nothing");
        self.train_step(micro_batches, lr).map(Begun::Done)
    }

    /// Lets a batch begin its way to the device: the first of the next step. `None` where there is
    /// no such way; and it is no loss if that step never comes.
    fn stage(&mut self, _batch: &Batch) -> Result<Option<Staged>> {
        Ok(None)
    }

    /// Whether the device is still at work on the step that was begun; does not wait.
    fn is_at_work(&self) -> Result<bool> {
        Ok(false)
    }

    /// Waits for the step that was begun.
    fn finish_step(&mut self, step: Begun) -> Result<StepOutput> {
        match step {
            Begun::Done(output) => Ok(output),
            Begun::UnderWay => unreachable!("engines that begin steps also finish them"),
        }
    }

    /// What a person should know since the last call, a sentence each.
    fn take_notices(&mut self) -> Vec<String> {
        Vec::new()
    }

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
