//! Putting a model on a device.

use super::cpu::{CpuEngine, Lookup};
use super::engine::{Engine, Hyper};
use crate::device::Device;
use crate::error::Result;
use crate::model::config::VitConfig;

/// An engine on `device` that holds `params`, the arena of `config`'s table; `lookup` comes from
/// the model's preprocessor.
pub fn load(
    device: Device,
    config: VitConfig,
    params: Vec<f32>,
    lookup: Lookup,
    hyper: Hyper,
) -> Result<Box<dyn Engine>> {
    match device {
        Device::Cpu => Ok(Box::new(CpuEngine::new(config, params, lookup, hyper))),
    }
}
