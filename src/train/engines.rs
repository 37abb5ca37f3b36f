//! Putting a model on a device.

use super::cpu::{CpuEngine, Lookup};
use super::cuda::CudaEngine;
use super::engine::{Capacity, Engine, Hyper};
use crate::device::{Device, Gpu};
use crate::error::Result;
use crate::model::config::VitConfig;
use crate::report::Fact;

/// A model on a device.
pub struct Loaded {
    pub engine: Box<dyn Engine>,
    /// Lines for people: where it is computed, and what memory that takes.
    pub facts: Vec<Fact>,
}

/// An engine on `device` with room for `capacity`, that holds `params`, the arena of `config`'s
/// table; `lookup` comes from the model's preprocessor.
///
/// # Errors
/// What opening the device reports; [`Error::Memory`](crate::error::Error::Memory) that names the
/// largest batch that fits it.
pub fn load(
    device: Device,
    config: VitConfig,
    params: Vec<f32>,
    lookup: Lookup,
    hyper: Hyper,
    capacity: Capacity,
) -> Result<Loaded> {
    match device {
        Device::Cpu => {
            let threads = rayon::current_num_threads();
            Ok(Loaded {
                engine: Box::new(CpuEngine::new(config, params, lookup, hyper)),
                facts: vec![Fact::new("device", format!("cpu, {threads} threads, f32"))],
            })
        }
        Device::Cuda { ordinal, element } => {
            let gpu = Gpu::open(ordinal, element)?;
            let found = gpu.properties();
            let (major, minor) = found.capability;
            let name = format!("{device}, {} (sm_{major}{minor})", found.name);
            let engine = CudaEngine::new(gpu, config, &params, lookup, hyper, capacity)?;
            let facts = vec![
                Fact::new("device", format!("{name}, {element} mixed precision")),
                Fact::new("memory", engine.plan().to_string()),
            ];
            Ok(Loaded {
                engine: Box::new(engine),
                facts,
            })
        }
    }
}
