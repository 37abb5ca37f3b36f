//! Putting a model on a device: opening it, planning the memory, allocating it.

use super::config::Hyper;
use super::cpu::{CpuEngine, Lookup};
use super::cuda;
use super::engine::{Capacity, Engine};
use crate::device::{Device, Gpu};
use crate::error::Result;
use crate::model::config::VitConfig;
use crate::report::Fact;

/// A device that is ready for a model.
#[derive(Debug)]
pub enum Opened {
    Cpu,
    Cuda(Box<Gpu>),
}

/// A model whose memory is planned, and not allocated yet.
#[derive(Debug)]
pub enum Planned {
    Cpu(Box<VitConfig>, Hyper),
    Cuda(Box<cuda::Planned>),
}

impl Opened {
    /// Opens `device`.
    ///
    /// # Errors
    /// What [`Gpu::open`] reports.
    pub fn new(device: Device) -> Result<Self> {
        match device {
            Device::Cpu => Ok(Self::Cpu),
            Device::Cuda { ordinal, element } => {
                Ok(Self::Cuda(Box::new(Gpu::open(ordinal, element)?)))
            }
        }
    }

    /// Plans the memory of a model for `capacity`.
    ///
    /// # Errors
    /// [`Error::Memory`](crate::error::Error::Memory) that names the largest batch that fits it;
    /// [`Error::Device`](crate::error::Error::Device) for a model that a GPU cannot run.
    pub fn plan(self, config: VitConfig, hyper: Hyper, capacity: Capacity) -> Result<Planned> {
        match self {
            Self::Cpu => Ok(Planned::Cpu(Box::new(config), hyper)),
            Self::Cuda(gpu) => {
                let planned = cuda::Planned::new(*gpu, config, hyper, capacity)?;
                Ok(Planned::Cuda(Box::new(planned)))
            }
        }
    }
}

impl Planned {
    /// Lines for people: where it will be computed, and what memory that takes.
    pub fn facts(&self) -> Vec<Fact> {
        match self {
            Self::Cpu(..) => {
                let threads = rayon::current_num_threads();
                vec![Fact::new("device", format!("cpu, {threads} threads, f32"))]
            }
            Self::Cuda(planned) => {
                let gpu = planned.gpu();
                let (major, minor) = gpu.properties().capability;
                let device = format!(
                    "cuda:{}, {} (sm_{major}{minor}), {} mixed precision",
                    gpu.ordinal(),
                    gpu.properties().name,
                    gpu.element()
                );
                let slow = gpu.properties().lacks_tensor_cores().then(|| {
                    Fact::new(
                        "speed",
                        "this GPU has no tensor cores (GTX 16 and its like): it computes the same, many times slower",
                    )
                });
                let facts = [
                    Some(Fact::new("device", device)),
                    slow,
                    Some(Fact::new("memory", planned.in_words())),
                ];
                facts.into_iter().flatten().collect()
            }
        }
    }

    /// Puts the model on the device: `params` is the arena of its table, `lookup` comes from its
    /// preprocessor.
    ///
    /// # Errors
    /// [`Error::Memory`](crate::error::Error::Memory) that names the largest batch that fits, where
    /// the memory is gone since it was planned.
    pub fn load(self, params: Vec<f32>, lookup: Lookup) -> Result<Box<dyn Engine>> {
        Ok(match self {
            Self::Cpu(config, hyper) => Box::new(CpuEngine::new(*config, params, lookup, hyper)),
            Self::Cuda(planned) => Box::new(planned.load(&params, lookup)?),
        })
    }
}

/// All of it at once: an engine on `device` with room for `capacity`.
///
/// # Errors
/// What the three report.
pub fn load(
    device: Device,
    config: VitConfig,
    params: Vec<f32>,
    lookup: Lookup,
    hyper: Hyper,
    capacity: Capacity,
) -> Result<Box<dyn Engine>> {
    let planned = Opened::new(device)?.plan(config, hyper, capacity)?;
    planned.load(params, lookup)
}
