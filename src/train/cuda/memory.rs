//! The allocations of a plan.

use super::plan::MemoryPlan;
use crate::device::structs::StepState;
use crate::device::{Buffer, Element, ElementType, Gpu, Slice};
use crate::error::Result;
use crate::model::gpu::arena::Arena;
use crate::model::gpu::trained;
use crate::model::vit::Vit;
use crate::ops::adamw::gpu::{Decay, Tiles};

/// What a step changes besides the parameters; arenas of their [`trained`] part.
#[derive(Debug)]
pub struct Optimizer {
    pub first: Buffer<f32>,
    pub second: Buffer<f32>,
    pub gradients: Buffer<f32>,
    pub tiles: Tiles,
    pub class_weights: Option<Buffer<f32>>,
}

/// The allocations of a plan.
#[derive(Debug)]
pub struct Memory {
    pub params: Buffer<f32>,
    pub copy: Buffer<Element>,
    pub optimizer: Option<Optimizer>,
    pub activations: Arena,
    /// (channels, 256).
    pub lookup: Buffer<f32>,
    pub state: Buffer<StepState>,
}

impl Memory {
    /// Allocates what `plan` says, with zeros for the optimiser; parameters are not written.
    pub fn new(
        gpu: &Gpu,
        vit: &Vit,
        plan: &MemoryPlan,
        lookup: &[f32],
        class_weights: Option<&[f32]>,
    ) -> Result<Self> {
        let len = vit.table.len;
        let arena = trained(vit);
        let tensors = vit.table.starting_at(vit.trained().start).iter();
        let tensors = tensors.map(|param| {
            let decay = if param.decay {
                Decay::Applies
            } else {
                Decay::None
            };
            let range = &param.range;
            (range.start - arena.start..range.end - arena.start, decay)
        });
        let optimizer = match plan.training {
            Some(_) => Some(Optimizer {
                first: gpu.zeros(arena.len())?,
                second: gpu.zeros(arena.len())?,
                gradients: gpu.alloc(arena.len())?,
                tiles: Tiles::new(gpu, tensors)?,
                class_weights: class_weights.map(|w| gpu.upload(w)).transpose()?,
            }),
            None => None,
        };
        Ok(Self {
            params: gpu.alloc(len)?,
            copy: gpu.alloc(len)?,
            optimizer,
            activations: Arena::new(gpu, plan.arena)?,
            lookup: gpu.upload(lookup)?,
            state: gpu.zeros(1)?,
        })
    }

    /// Writes the parameters, and their copy in 16 bits.
    pub fn set_params(&self, gpu: &Gpu, params: &[f32]) -> Result<()> {
        let element: ElementType = gpu.element();
        let copy: Vec<Element> = params.iter().map(|&v| element.from_f32(v)).collect();
        gpu.write(self.params.all(), params)?;
        gpu.write(self.copy.all(), &copy)
    }

    /// The one state block.
    pub fn state(&self) -> Slice<'_, StepState> {
        self.state.all()
    }
}
