//! The CPU device: f32 on all cores, the same bits for any number of them.

use std::ops::Range;

use super::config::Hyper;
use super::engine::{Batch, Engine, OptimizerState, StepOutput};
use crate::error::Result;
use crate::model::activations::{Activations, Keep, LastBlock};
use crate::model::config::VitConfig;
use crate::model::params::{Param, ParamTable};
use crate::model::scratch::Scratch;
use crate::model::vit::Vit;
use crate::ops::adamw::{self, Update};
use crate::ops::buffer::Buffer;
use crate::ops::cross_entropy::{self, Target};
use crate::ops::gemm::Accumulate;
use crate::ops::grad_norm;
use crate::ops::patch_embed::Images;

/// Images of one inference pass; more would only need more memory.
const INFERENCE_IMAGES: usize = 16;

/// Values of each byte, per channel: rescaling and normalisation.
pub type Lookup = [[f32; 256]; 3];

/// A model in memory, with AdamW's state.
pub struct CpuEngine {
    vit: Vit,
    lookup: Lookup,
    hyper: Hyper,
    params: Vec<f32>,
    optimizer: OptimizerState,
    /// Allocated at the first step: evaluation alone needs none of it.
    training: Option<Training>,
    inference: Option<Activations<f32>>,
}

/// Buffers of a training step.
struct Training {
    grads: Buffer<f32>,
    activations: Activations<f32>,
    scratch: Scratch<f32>,
    d_logits: Vec<f32>,
}

impl Training {
    fn new(vit: &Vit, images: usize) -> Self {
        let last = LastBlock::ClassToken;
        Self {
            grads: Buffer::zeros(vit.trained().len()),
            activations: Activations::new(&vit.config, images, vit.keep(), last),
            scratch: Scratch::new(&vit.config, vit.images_through_blocks(images)),
            d_logits: vec![0.0; images * vit.config.num_labels()],
        }
    }
}

impl CpuEngine {
    /// A device holding `params`, the arena of [`ParamTable::new`] for `config`; `lookup` comes from
    /// the model's preprocessor.
    ///
    /// # Panics
    /// If the model does not have what `hyper` freezes.
    pub fn new(config: VitConfig, params: Vec<f32>, lookup: Lookup, hyper: Hyper) -> Self {
        let vit = Vit::new(config).freezing(hyper.freeze);
        assert_eq!(params.len(), vit.table.len, "parameter arena");
        Self {
            vit,
            lookup,
            hyper,
            params,
            optimizer: OptimizerState::default(),
            training: None,
            inference: None,
        }
    }

    fn adamw(&mut self, lr: f64, coefficient: f64) {
        let OptimizerState {
            step,
            first,
            second,
            ..
        } = &mut self.optimizer;
        *step += 1;
        let trained = self.vit.trained();
        first.resize(trained.len(), 0.0);
        second.resize(trained.len(), 0.0);
        let params = &mut self.params[trained.clone()];
        let grads = &self.training.as_ref().expect("a step was made").grads;
        let same_decay = |a: &Param, b: &Param| a.decay == b.decay;
        let tensors = self.vit.table.starting_at(trained.start);
        for group in tensors.chunk_by(same_decay) {
            let (start, end) = (group[0].range.start, group[group.len() - 1].range.end);
            let range = start - trained.start..end - trained.start;
            adamw::update(
                &mut params[range.clone()],
                &mut first[range.clone()],
                &mut second[range.clone()],
                &grads[range],
                Update {
                    constants: adamw::Constants {
                        beta1: self.hyper.beta1,
                        beta2: self.hyper.beta2,
                        epsilon: self.hyper.epsilon,
                    },
                    lr,
                    weight_decay: if group[0].decay {
                        self.hyper.weight_decay
                    } else {
                        0.0
                    },
                    coefficient,
                    step: *step,
                },
            );
        }
    }
}

impl Engine for CpuEngine {
    fn config(&self) -> &VitConfig {
        &self.vit.config
    }

    fn table(&self) -> &ParamTable {
        &self.vit.table
    }

    fn trained(&self) -> Range<usize> {
        self.vit.trained()
    }

    fn train_step(&mut self, micro_batches: &[&Batch], lr: f64) -> Result<StepOutput> {
        let largest = micro_batches.iter().map(|b| b.len()).max().unwrap_or(0);
        let fits = |t: &Training| t.activations.images >= largest;
        if !self.training.as_ref().is_some_and(fits) {
            // Given back first, so that old and new buffers never coexist.
            self.training = None;
        }
        let vit = &self.vit;
        let t = self
            .training
            .get_or_insert_with(|| Training::new(vit, largest));
        let share = 1.0 / micro_batches.len() as f64;
        let mut loss = 0.0;
        let mut accumulate = Accumulate::Overwrite;
        for batch in micro_batches {
            let images = Images::Bytes {
                pixels: &batch.images,
                lookup: &self.lookup,
            };
            vit.forward(&mut t.activations, &self.params, images, batch.len());
            let len = batch.len() * vit.config.num_labels();
            let target = Target {
                labels: &batch.labels,
                weights: self.hyper.class_weights.as_deref(),
                smoothing: self.hyper.label_smoothing,
            };
            let d_logits = &mut t.d_logits[..len];
            let logits = &t.activations.logits[..len];
            let mean = cross_entropy::forward_backward(d_logits, logits, target, share as f32);
            loss += f64::from(mean) * share;
            vit.backward(
                &mut t.grads,
                &mut t.scratch,
                d_logits,
                &t.activations,
                &self.params,
                accumulate,
            );
            accumulate = Accumulate::Add;
        }
        let grad_norm = grad_norm::norm(&t.grads);
        if loss.is_finite() && grad_norm.is_finite() {
            self.adamw(
                lr,
                grad_norm::clip_coefficient(grad_norm, self.hyper.max_grad_norm),
            );
        }
        Ok(StepOutput { loss, grad_norm })
    }

    fn logits(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        let vit = &self.vit;
        let room = batch.len().min(INFERENCE_IMAGES);
        if self.inference.as_ref().is_none_or(|a| a.images < room) {
            self.inference = None;
        }
        let activations = self.inference.get_or_insert_with(|| {
            Activations::new(&vit.config, room, Keep::Nothing, LastBlock::ClassToken)
        });
        let image = vit.config.num_channels * vit.config.image_size.pow(2);
        let mut logits = Vec::with_capacity(batch.len() * vit.config.num_labels());
        for pixels in batch.images.chunks(INFERENCE_IMAGES * image) {
            let count = pixels.len() / image;
            let images = Images::Bytes {
                pixels,
                lookup: &self.lookup,
            };
            vit.forward(activations, &self.params, images, count);
            logits.extend_from_slice(&activations.logits[..count * vit.config.num_labels()]);
        }
        Ok(logits)
    }

    fn params(&self) -> Result<Vec<f32>> {
        Ok(self.params.clone())
    }

    fn set_params(&mut self, params: &[f32]) -> Result<()> {
        self.params.copy_from_slice(params);
        Ok(())
    }

    fn optimizer(&self) -> Result<OptimizerState> {
        Ok(self.optimizer.clone())
    }

    fn set_optimizer(&mut self, state: &OptimizerState) -> Result<()> {
        self.optimizer = state.clone();
        Ok(())
    }
}
