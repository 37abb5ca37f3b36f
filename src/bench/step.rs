//! Timing whole steps of a model.

use std::time::Instant;

use serde::Serialize;

use super::median;
use crate::data::Preprocessor;
use crate::device::Device;
use crate::error::Result;
use crate::model::config::VitConfig;
use crate::model::init;
use crate::model::params::ParamTable;
use crate::rng::{Philox, Purpose};
use crate::train::config::Hyper;
use crate::train::engine::{Batch, Capacity, Engine, EpochBatches};
use crate::train::engines;

/// What a step does with its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    /// Forward, backward, clipping and AdamW.
    Train,
    /// Forward to the logits.
    Inference,
}

/// What is timed, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup<'a> {
    pub device: Device,
    /// Name of the architecture, for the result.
    pub model: &'a str,
    /// Images in a step, at least 1.
    pub batch_size: usize,
    /// Steps before the clock starts.
    pub warmup: usize,
    /// Steps that are timed, at least 1.
    pub repeats: usize,
}

/// How long steps of one kind took; as JSON, a line of a benchmark.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepTime {
    /// Always `step`; other benchmarks write lines of the same form.
    pub what: &'static str,
    pub pass: Pass,
    pub images_per_s: f64,
    /// Median, in milliseconds.
    pub ms: f64,
    /// Shortest, in milliseconds.
    pub ms_min: f64,
    pub device: String,
    pub model: String,
    pub batch_size: usize,
    pub precision: &'static str,
    /// Of the CPU.
    pub threads: usize,
    /// Steps timed.
    pub repeats: usize,
}

/// An engine with random weights and room for `batch_size` images: what a step does to the weights
/// takes the same time whatever they are.
pub fn random_engine(
    device: Device,
    config: VitConfig,
    batch_size: usize,
) -> Result<Box<dyn Engine>> {
    let params = init::params(&ParamTable::new(&config), 0);
    let lookup = Preprocessor::new(config.image_size).lookup();
    let capacity = Capacity {
        training: Some(EpochBatches::one(batch_size)),
        inference: batch_size,
    };
    engines::load(device, config, params, lookup, Hyper::default(), capacity)
}

/// Times steps of `pass` on random images of the engine's size.
///
/// # Errors
/// What the engine reports.
///
/// # Panics
/// If there is nothing to time.
pub fn step(engine: &mut dyn Engine, pass: Pass, setup: &Setup) -> Result<StepTime> {
    assert!(setup.batch_size > 0 && setup.repeats > 0, "nothing to time");
    let batch = random_batch(engine, setup.batch_size);
    let mut milliseconds = Vec::with_capacity(setup.repeats);
    for repeat in 0..setup.warmup + setup.repeats {
        let start = Instant::now();
        match pass {
            Pass::Train => drop(engine.train_step(&[&batch], 1e-5)?),
            Pass::Inference => drop(engine.logits(&batch)?),
        }
        if repeat >= setup.warmup {
            milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    milliseconds.sort_by(f64::total_cmp);
    let ms = median(&milliseconds);
    Ok(StepTime {
        what: "step",
        pass,
        images_per_s: setup.batch_size as f64 / ms * 1e3,
        ms,
        ms_min: milliseconds[0],
        device: setup.device.to_string(),
        model: setup.model.to_owned(),
        batch_size: setup.batch_size,
        precision: setup.device.precision(),
        threads: rayon::current_num_threads(),
        repeats: setup.repeats,
    })
}

/// Images of noise with labels of noise: nothing in a step's time depends on what they show.
fn random_batch(engine: &dyn Engine, images: usize) -> Batch {
    let config = engine.config();
    let mut random = Philox::new(0, Purpose::Test, 0);
    let values = images * config.num_channels * config.image_size * config.image_size;
    let classes = config.num_labels() as u32;
    Batch {
        images: (0..values).map(|_| random.next_u32() as u8).collect(),
        labels: (0..images).map(|_| random.next_u32() % classes).collect(),
    }
}
