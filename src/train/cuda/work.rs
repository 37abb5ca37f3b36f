//! What is issued to the GPU as one CUDA graph.

use super::CudaEngine;
use super::input::InputMemory;
use super::memory::Memory;
use super::plan::MemoryPlan;
use crate::device::{ElementType, Gpu, Properties, Record};
use crate::error::Result;
use crate::model::config::VitConfig;
use crate::model::gpu::{self, Gradients, Params, Pass};
use crate::model::vit::Vit;
use crate::ops::adamw::Constants;
use crate::ops::adamw::gpu::Arenas;
use crate::ops::cross_entropy::gpu::{MicroBatch, Target};
use crate::ops::gemm::Accumulate;
use crate::ops::grad_norm::gpu::LossScaling;
use crate::ops::patch_embed::gpu::Images;
use crate::ops::{adamw, cross_entropy, grad_norm};
use crate::train::config::Hyper;
use crate::train::engine::EpochBatches;

/// One piece of work; equal pieces launch the same kernels with the same arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Work {
    /// A micro-batch of a step; the last one ends with the update of the parameters.
    Step {
        images: usize,
        micro_batch: Position,
        /// Micro-batches of the step.
        of: usize,
    },
    /// A forward pass to the logits.
    Logits { images: usize },
}

/// Place of a micro-batch in its step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Position {
    Only,
    First,
    Middle,
    Last,
}

impl Position {
    /// Of number `index`, from 0, of `of`.
    pub fn new(index: usize, of: usize) -> Self {
        match (index, index + 1 == of) {
            (0, true) => Self::Only,
            (0, false) => Self::First,
            (_, false) => Self::Middle,
            (_, true) => Self::Last,
        }
    }

    /// Gradients and loss start anew, or go on.
    fn accumulate(self) -> Accumulate {
        match self {
            Self::Only | Self::First => Accumulate::Overwrite,
            Self::Middle | Self::Last => Accumulate::Add,
        }
    }

    /// Whether the step is complete behind it.
    pub fn ends_step(self) -> bool {
        matches!(self, Self::Only | Self::Last)
    }
}

impl CudaEngine {
    /// Issues `work` on the input that is in place: as a graph, which is captured the first time, or
    /// kernel by kernel with `VITCUDA_GRAPH=0`.
    pub(super) fn run(&mut self, work: Work) -> Result<()> {
        if !self.graphs.contains_key(&work) {
            let gpu = &self.gpu;
            let (properties, element) = (gpu.properties().clone(), gpu.element());
            let record = Gpu::record(properties, element, |gpu| self.issuer(gpu).issue(work))?;
            gpu.prepare(&record.launches)?;
            let graph = if gpu.takes_graphs() {
                Some(gpu.capture(|| self.issuer(gpu).issue(work))?)
            } else {
                None
            };
            self.graphs.insert(work, graph);
        }
        match &self.graphs[&work] {
            // SAFETY: the graph uses the engine's memory, which never grows or moves and is given
            // back after the graphs, and the modules of `gpu`, which stay loaded.
            Some(graph) => unsafe { graph.launch() },
            None => self.issuer(&self.gpu).issue(work),
        }
    }

    fn issuer<'a>(&'a self, gpu: &'a Gpu) -> Issuer<'a> {
        Issuer {
            gpu,
            vit: &self.vit,
            hyper: &self.hyper,
            plan: &self.plan,
            memory: &self.memory,
            input: &self.input.memory,
        }
    }
}

/// What an engine would allocate for training `config` on `images` images at a time, and launch for
/// one step of them, on such a GPU.
pub(super) fn record(gpu: &Properties, config: VitConfig, images: usize) -> Record {
    let (vit, hyper) = (Vit::new(config), Hyper::default());
    let plan = MemoryPlan::for_training(gpu, &vit, EpochBatches::one(images), images);
    let lookup = vec![0.0; vit.config.num_channels * 256];
    // Launchers do not choose by the element type.
    let recorded = Gpu::record(gpu.clone(), ElementType::F16, |gpu| {
        let issuer = Issuer {
            gpu,
            vit: &vit,
            hyper: &hyper,
            plan: &plan,
            memory: &Memory::new(gpu, &vit, &plan, &lookup, None)?,
            input: &InputMemory::new(gpu, plan.input)?,
        };
        issuer.issue(Work::Step {
            images,
            micro_batch: Position::Only,
            of: 1,
        })
    });
    recorded.expect("nothing of it can fail")
}

/// What work is issued with.
struct Issuer<'a> {
    gpu: &'a Gpu,
    vit: &'a Vit,
    hyper: &'a Hyper,
    plan: &'a MemoryPlan,
    memory: &'a Memory,
    input: &'a InputMemory,
}

impl Issuer<'_> {
    fn issue(&self, work: Work) -> Result<()> {
        let (memory, plan) = (self.memory, self.plan);
        let (images, activations) = match (work, &plan.training) {
            (Work::Logits { images }, _) => (images, &plan.inference),
            (Work::Step { images, .. }, Some(training)) => (images, &training.activations),
            (Work::Step { .. }, None) => unreachable!("steps are for engines that train"),
        };
        let pass = Pass {
            gpu: self.gpu,
            vit: self.vit,
            params: Params {
                values: memory.params.all(),
                copy: memory.copy.all(),
            },
            arena: &memory.activations,
            activations,
            images,
        };
        pass.forward(Images::Bytes {
            pixels: self.input.pixels(images),
            lookup: memory.lookup.all(),
        })?;
        match work {
            Work::Logits { .. } => Ok(()),
            Work::Step {
                micro_batch, of, ..
            } => self.learn(pass, micro_batch, of),
        }
    }

    /// Loss, gradients, and behind the last micro-batch the update.
    fn learn(&self, pass: Pass, micro_batch: Position, of: usize) -> Result<()> {
        let (gpu, memory, images) = (pass.gpu, self.memory, pass.images);
        let training = self.plan.training.as_ref().expect("an engine that trains");
        let optimizer = memory.optimizer.as_ref().expect("an engine that trains");
        let values = images * self.vit.config.num_labels();
        let d_logits = memory.activations.first(training.d_logits, values);
        let class_weights = optimizer.class_weights.as_ref();
        cross_entropy::gpu::forward_backward(
            gpu,
            d_logits,
            memory.activations.first(training.losses, images),
            memory.state(),
            memory.activations.first(pass.activations.logits, values),
            Target {
                labels: self.input.labels(images),
                weights: class_weights.map(|weights| weights.all()),
                smoothing: self.hyper.label_smoothing,
            },
            MicroBatch {
                share: 1.0 / of as f64,
                loss: micro_batch.accumulate(),
            },
        )?;
        let gradients = Gradients {
            params: optimizer.gradients.all(),
            scratch: &training.scratch,
            accumulate: micro_batch.accumulate(),
        };
        let squares = pass.backward(gradients, d_logits)?;
        if !micro_batch.ends_step() {
            return Ok(());
        }
        grad_norm::gpu::finish(
            gpu,
            memory.state(),
            squares,
            self.input.rates(),
            self.hyper.max_grad_norm,
            loss_scaling(gpu.element()),
        )?;
        let trained = gpu::trained(self.vit);
        let arenas = Arenas {
            params: memory.params.slice(trained.clone()),
            first: optimizer.first.all(),
            second: optimizer.second.all(),
            copy: memory.copy.slice(trained),
            gradients: optimizer.gradients.all(),
        };
        let constants = constants(self.hyper);
        adamw::gpu::update(gpu, arenas, &optimizer.tiles, memory.state(), constants)
    }
}

/// How the loss is scaled, so that gradients of this type keep what is small in them.
pub(super) fn loss_scaling(element: ElementType) -> LossScaling {
    match element {
        ElementType::F16 => LossScaling::DYNAMIC,
        ElementType::Bf16 => LossScaling::Fixed,
    }
}

/// AdamW's constants.
pub(super) fn constants(hyper: &Hyper) -> Constants {
    Constants {
        beta1: hyper.beta1,
        beta2: hyper.beta2,
        epsilon: hyper.epsilon,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_overwrites_and_the_last_ends_the_step() {
        let positions = |of| {
            (0..of)
                .map(|index| Position::new(index, of))
                .collect::<Vec<_>>()
        };
        assert_eq!(positions(1), [Position::Only]);
        assert_eq!(
            positions(3),
            [Position::First, Position::Middle, Position::Last]
        );
        for of in 1..4 {
            for (index, position) in positions(of).into_iter().enumerate() {
                assert_eq!(position.accumulate() == Accumulate::Overwrite, index == 0);
                assert_eq!(position.ends_step(), index + 1 == of);
            }
        }
    }
}
