//! The training recipe on emulated GPUs: the same tests as `tests/recipe`, and what freezing saves.

use libtest_mimic::{Failed, Trial};
use vitcuda::Error;
use vitcuda::device::kernels::{
    LayerNormBackward, LinearBackwardInput, LinearBackwardInputGelu, LinearBackwardWeight,
    LinearBackwardWeightPart,
};
use vitcuda::device::{ElementType, Gpu, Kernel};
use vitcuda::train::config::{Freeze, Hyper};
use vitcuda::train::cuda::CudaEngine;
use vitcuda::train::engine::{Capacity, Engine, EpochBatches};

use super::emulated::{Devices, counters};
use super::on_any_device::small::{BATCHES, batch, config, hyper, lookup, params, same};
use super::on_any_device::{self, freeze};

/// Given the number of a device.
type Test = fn(usize) -> Result<(), Failed>;

const TESTS: [(&str, Test); 2] = [
    ("what is frozen costs no backward pass", costs),
    ("a frozen run goes on with the same bits", saved_state),
];

pub fn trials(devices: Devices) -> Vec<Trial> {
    let f16 = ElementType::F16;
    let mut trials = Vec::new();
    for (ordinal, device) in [("sm_75", f16), ("sm_80", f16)].into_iter().enumerate() {
        let named = |name: &str| format!("recipe: {name}: {}", device.0);
        for (name, test) in TESTS {
            trials.push(devices.trial(named(name), device, move |_| test(ordinal)));
        }
        for (name, test) in on_any_device::TESTS {
            let make = move |hyper, batches| {
                Ok(Box::new(engine(ordinal, hyper, batches)?) as Box<dyn Engine>)
            };
            trials.push(devices.trial(named(name), device, move |_| test(&make)));
        }
    }
    trials
}

fn engine(ordinal: usize, hyper: Hyper, batches: EpochBatches) -> Result<CudaEngine, Error> {
    let config = config();
    let gpu = Gpu::open(ordinal, ElementType::F16)?;
    let params = params(&config);
    let capacity = Capacity {
        training: Some(batches),
        inference: 16,
    };
    CudaEngine::new(gpu, config, &params, lookup(), hyper, capacity)
}

/// Launches of a step, after the one in which its graph was captured.
struct Launches {
    norms: u64,
    input_gradients: u64,
    weight_gradients: u64,
    bytes: usize,
}

impl Launches {
    fn of(ordinal: usize, freeze: Freeze) -> Result<Self, Failed> {
        let mut engine = engine(ordinal, Hyper { freeze, ..hyper() }, BATCHES)?;
        let batch = batch(0, 6);
        engine.train_step(&[&batch], 1e-3)?;
        counters::reset_counters();
        engine.train_step(&[&batch], 1e-3)?;
        let launches = |names: &[&str]| {
            let counts = names.iter().filter_map(|n| counters::counters_if_run(n));
            counts.map(|count| count.launches).sum()
        };
        Ok(Self {
            norms: launches(&[LayerNormBackward::NAME]),
            input_gradients: launches(&[LinearBackwardInput::NAME, LinearBackwardInputGelu::NAME]),
            weight_gradients: launches(&[
                LinearBackwardWeight::NAME,
                LinearBackwardWeightPart::NAME,
            ]),
            bytes: engine.plan().bytes(),
        })
    }

    fn backward(&self) -> [u64; 3] {
        [self.norms, self.input_gradients, self.weight_gradients]
    }
}

/// Two norms a block and one behind them. Gradients of linear layers: in a block of its MLP's two,
/// the projection's, and those of queries, keys and values, which are two in the last block, where
/// one token asks; of the head; and for weights those of the patches.
fn costs(ordinal: usize) -> Result<(), Failed> {
    let all = Launches::of(ordinal, Freeze::Nothing)?;
    let [one, both, probe] = freeze::FREEZES.map(|freeze| Launches::of(ordinal, freeze));
    let (one, both, probe) = (one?, both?, probe?);
    assert_eq!(all.backward(), [5, 10, 11]);
    assert_eq!(one.backward(), [3, 6, 6]);
    assert_eq!(both.backward(), [1, 1, 1]);
    assert_eq!(probe.backward(), [0, 0, 1]);
    assert!(all.bytes > one.bytes && one.bytes > both.bytes && both.bytes > probe.bytes);
    Ok(())
}

fn saved_state(ordinal: usize) -> Result<(), Failed> {
    let freeze = Freeze::Layers(1);
    let new = || engine(ordinal, Hyper { freeze, ..hyper() }, BATCHES);
    let mut engine = new()?;
    engine.train_step(&[&batch(0, 6)], 1e-3)?;
    let mut restored = new()?;
    restored.set_params(&engine.params()?)?;
    restored.set_optimizer(&engine.optimizer()?)?;
    for engine in [&mut engine, &mut restored] {
        engine.train_step(&[&batch(1, 6)], 1e-3)?;
    }
    same("parameters", &engine.params()?, &restored.params()?)?;
    if engine.optimizer()? == restored.optimizer()? {
        Ok(())
    } else {
        Err("the optimiser's states differ".into())
    }
}
