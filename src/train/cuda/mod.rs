//! The GPU: 16-bit mixed precision, a step one CUDA graph, the same bits from run to run.
//!
//! Gradients are those of the loss times a scale that keeps small ones inside 16 bits; a step in
//! which they overflow changes nothing but the scale (Micikevicius et al. 2018). Between the start
//! of a step and its end the host does not wait; then it waits once, for loss and gradient norm.

mod input;
pub mod kernels;
mod memory;
mod plan;
mod room;
mod work;

use std::collections::HashMap;
use std::ops::Range;

use super::config::Hyper;
use super::cpu::Lookup;
use super::engine::{
    Batch, Begun, Capacity, Engine, LossScale, OptimizerState, Staged, StepOutput,
};
use crate::device::structs::StepState;
use crate::device::{Gpu, Graph, Pinned};
use crate::error::{Error, Result};
use crate::model::config::VitConfig;
use crate::model::gpu;
use crate::model::params::ParamTable;
use crate::model::vit::Vit;
use crate::ops::adamw;
use crate::ops::grad_norm::gpu::LossScaling;

use input::Input;
use memory::Memory;
pub use plan::MemoryPlan;
pub use room::Room;
use work::{Position, Work, constants, loss_scaling};

/// A model on a GPU, with AdamW's state if it is to be trained.
#[derive(Debug)]
pub struct CudaEngine {
    // In the order in which they are given back: graphs use memory, memory is the device's.
    graphs: HashMap<Work, Option<Graph>>,
    memory: Memory,
    input: Input,
    /// What a step tells.
    told: Pinned<StepState>,
    plan: MemoryPlan,
    vit: Vit,
    hyper: Hyper,
    /// Updates made so far.
    updates: u64,
    gpu: Gpu,
}

/// A model that is about to be put on a GPU: its memory is planned, and none of it allocated.
#[derive(Debug)]
pub struct Planned {
    gpu: Gpu,
    vit: Vit,
    hyper: Hyper,
    capacity: Capacity,
    plan: MemoryPlan,
    /// Bytes that were free.
    free: u64,
}

impl Planned {
    /// Plans the memory for `capacity` on `gpu`.
    ///
    /// [`Error::Memory`] that names the largest batch that fits; [`Error::Device`] for a model that
    /// the kernels cannot run.
    ///
    /// # Panics
    /// If the model does not have what `hyper` freezes.
    pub fn new(gpu: Gpu, config: VitConfig, hyper: Hyper, capacity: Capacity) -> Result<Self> {
        let vit = Vit::new(config).freezing(hyper.freeze);
        gpu::check(&vit)?;
        let (free, _) = gpu.memory_info()?;
        let plan = Room::new(gpu.properties(), &vit, free).plan(capacity)?;
        Ok(Self {
            gpu,
            vit,
            hyper,
            capacity,
            plan,
            free,
        })
    }

    /// What will be allocated.
    pub fn plan(&self) -> &MemoryPlan {
        &self.plan
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The plan in a line, and what there would be room for.
    pub fn in_words(&self) -> String {
        let room = Room::new(self.gpu.properties(), &self.vit, self.free);
        let evaluated = self.capacity.inference;
        let batches = self.capacity.training;
        let most = batches.and_then(|b| room.largest_training(b.examples, evaluated));
        let most = most.map_or(String::new(), |most| {
            format!("; the largest batch that fits is {most}")
        });
        format!(
            "{} of {} that are free{most}",
            self.plan,
            plan::mebibytes(room.bytes())
        )
    }

    /// Allocates what was planned, and puts the model there.
    ///
    /// [`Error::Memory`], as if it had been planned now, where the memory is gone in the meantime.
    ///
    /// # Panics
    /// If `params` is no arena of the model's table.
    pub fn load(self, params: &[f32], lookup: Lookup) -> Result<CudaEngine> {
        let Self {
            gpu,
            vit,
            hyper,
            capacity,
            plan,
            ..
        } = self;
        assert_eq!(params.len(), vit.table.len, "parameter arena");
        let class_weights = hyper.class_weights.as_deref();
        let allocated = Memory::new(&gpu, &vit, &plan, lookup.as_flattened(), class_weights)
            .and_then(|memory| Ok((memory, Input::new(&gpu, plan.input)?, gpu.pinned(1)?)));
        let (memory, input, told) = match allocated {
            Err(Error::Memory { .. }) => {
                let (free, _) = gpu.memory_info()?;
                let room = Room::new(gpu.properties(), &vit, free);
                let refused = room.without(plan.bytes()).plan(capacity);
                return Err(refused.expect_err("there is no room for this plan"));
            }
            allocated => allocated?,
        };
        memory.set_params(&gpu, params)?;
        let scale = match loss_scaling(gpu.element()) {
            LossScaling::Dynamic { .. } => LossScaling::START,
            LossScaling::Fixed => 1.0,
        };
        gpu.write(memory.state(), &[StepState::new(scale, 0)])?;
        Ok(CudaEngine {
            graphs: HashMap::new(),
            input,
            told,
            memory,
            plan,
            vit,
            hyper,
            updates: 0,
            gpu,
        })
    }
}

impl CudaEngine {
    /// Plans the memory for `capacity` on `gpu`, and puts the model there: [`Planned::new`] and
    /// [`Planned::load`].
    pub fn new(
        gpu: Gpu,
        config: VitConfig,
        params: &[f32],
        lookup: Lookup,
        hyper: Hyper,
        capacity: Capacity,
    ) -> Result<Self> {
        Planned::new(gpu, config, hyper, capacity)?.load(params, lookup)
    }

    /// What memory is allocated.
    pub fn plan(&self) -> &MemoryPlan {
        &self.plan
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Where the moments of the trained parameters are in their arenas.
    fn moments(&self) -> Range<usize> {
        let (arena, trained) = (gpu::trained(&self.vit), self.vit.trained());
        trained.start - arena.start..trained.end - arena.start
    }
}

impl Engine for CudaEngine {
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
        let step = self.begin_step(micro_batches, None, lr)?;
        self.finish_step(step)
    }

    fn begin_step(
        &mut self,
        micro_batches: &[&Batch],
        first: Option<Staged>,
        lr: f64,
    ) -> Result<Begun> {
        let training = self.plan.training.as_ref().expect("an engine that trains");
        let batches = training.batches;
        let of = micro_batches.len();
        let decay = self.hyper.weight_decay;
        let rates = adamw::gpu::rates(lr, decay, constants(&self.hyper), self.updates + 1);
        self.input.send_rates(&self.gpu, rates)?;
        for (index, batch) in micro_batches.iter().enumerate() {
            let images = batch.len();
            assert!(
                batches.sizes().any(|size| size == images),
                "a batch of {images}, and memory for {batches:?}"
            );
            let staged = first.filter(|_| index == 0);
            let there = match staged {
                Some(staged) => self.input.take(&self.gpu, staged)?,
                None => false,
            };
            if !there {
                self.input.send(&self.gpu, &batch.images, &batch.labels)?;
            }
            self.run(Work::Step {
                images,
                micro_batch: Position::new(index, of),
                of,
            })?;
        }
        let state = self.memory.state();
        self.gpu.main().download(&mut self.told, 0..1, state)?;
        Ok(Begun::UnderWay)
    }

    fn stage(&mut self, batch: &Batch) -> Result<Option<Staged>> {
        let staged = self.input.stage(&batch.images, &batch.labels)?;
        Ok(Some(staged))
    }

    fn is_at_work(&self) -> Result<bool> {
        self.told.is_busy()
    }

    fn finish_step(&mut self, _: Begun) -> Result<StepOutput> {
        let state = self.told.values()?[0];
        self.updates = state.updates as u64;
        Ok(StepOutput {
            loss: state.loss.into(),
            grad_norm: state.grad_norm.into(),
        })
    }

    fn take_notices(&mut self) -> Vec<String> {
        self.gpu.compiler().take_notices()
    }

    fn logits(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        let classes = self.vit.config.num_labels();
        let mut logits = Vec::with_capacity(batch.len() * classes);
        let layout = self.plan.input;
        for pixels in input::chunks(batch, &layout, self.plan.inference.images) {
            let images = layout.count(pixels);
            self.input.send(&self.gpu, pixels, &[])?;
            self.run(Work::Logits { images })?;
            let place = self.plan.inference.logits;
            let found = self.memory.activations.first(place, images * classes);
            logits.extend(self.gpu.read(found)?);
        }
        Ok(logits)
    }

    fn params(&self) -> Result<Vec<f32>> {
        self.gpu.read(self.memory.params.all())
    }

    fn set_params(&mut self, params: &[f32]) -> Result<()> {
        self.memory.set_params(&self.gpu, params)
    }

    fn optimizer(&self) -> Result<OptimizerState> {
        let Some(optimizer) = &self.memory.optimizer else {
            return Ok(OptimizerState::default());
        };
        let state = self.gpu.read(self.memory.state())?[0];
        Ok(OptimizerState {
            step: state.updates as u64,
            first: self.gpu.read(optimizer.first.slice(self.moments()))?,
            second: self.gpu.read(optimizer.second.slice(self.moments()))?,
            loss_scale: Some(LossScale {
                factor: state.loss_scale,
                good_steps: state.good_steps as u32,
            }),
        })
    }

    fn set_optimizer(&mut self, state: &OptimizerState) -> Result<()> {
        let Some(optimizer) = &self.memory.optimizer else {
            return Ok(());
        };
        for (to, from) in [
            (&optimizer.first, &state.first),
            (&optimizer.second, &state.second),
        ] {
            // Before the first step there is none.
            if from.is_empty() {
                self.gpu.zero(to.all())?
            } else {
                self.gpu.write(to.slice(self.moments()), from)?
            }
        }
        let updates = i32::try_from(state.step).expect("fewer than 2³¹ steps");
        let mut block = self.gpu.read(self.memory.state())?[0];
        block.updates = updates;
        if let (Some(scale), LossScaling::Dynamic { .. }) =
            (state.loss_scale, loss_scaling(self.gpu.element()))
        {
            block.loss_scale = scale.factor;
            block.good_steps = scale.good_steps as i32;
        }
        self.updates = state.step;
        self.gpu.write(self.memory.state(), &[block])
    }
}
