//! Steps of the engine: graphs, overflow, state, determinism.

use std::collections::BTreeSet;

use libtest_mimic::{Failed, Trial};
use vitcuda::Error;
use vitcuda::device::{ElementType, Gpu};
use vitcuda::train::config::Hyper;
use vitcuda::train::cpu::CpuEngine;
use vitcuda::train::cuda::{CudaEngine, kernels};
use vitcuda::train::engine::{Batch, Capacity, Engine, EpochBatches, LossScale};

use super::emulated::{Devices, counters, set_seed};
use super::on_any_device::small::{at_most, batch, config, hyper, lookup, params, same};

pub type Test = fn(usize, ElementType) -> Result<(), Failed>;

const TESTS: [(&str, Test); 8] = [
    ("the host waits for a step only at its end", waits),
    (
        "what is planned is what a step compiles",
        planned_is_compiled,
    ),
    (
        "steps follow the CPU's, short batches and micro-batches too",
        follows_the_cpu,
    ),
    (
        "an overflow skips the step, halves the scale, and loses nothing",
        overflow,
    ),
    (
        "the same bits from run to run, in any order of threads",
        same_bits,
    ),
    ("a saved state goes on with the same bits", saved_state),
    (
        "logits are the CPU's, however many images there are",
        logits,
    ),
    (
        "class weights and label smoothing are the CPU's",
        weighted_loss,
    ),
];

pub fn trials(devices: Devices) -> Vec<Trial> {
    let mut trials = on_both(devices, &TESTS);
    let device = ("sm_80", ElementType::Bf16);
    let name = "engine: bf16 needs no loss scale".to_owned();
    trials.push(devices.trial(name, device, |_| unscaled()));
    trials
}

/// Each test on both GPUs.
pub fn on_both(devices: Devices, tests: &[(&str, Test)]) -> Vec<Trial> {
    let f16 = ElementType::F16;
    let mut trials = Vec::new();
    for &(name, test) in tests {
        for (ordinal, device) in [("sm_75", f16), ("sm_80", f16)].into_iter().enumerate() {
            let name = format!("engine: {name}: {}", device.0);
            // Engines own their GPU: the one that is handed over only shows that it can be opened.
            trials.push(devices.trial(name, device, move |_| test(ordinal, f16)));
        }
    }
    trials
}

/// Micro-batches of 6, and one of 5 at the end of an epoch.
pub const CAPACITY: Capacity = Capacity {
    training: Some(EpochBatches {
        examples: 17,
        batch_size: 6,
    }),
    inference: 4,
};

fn with(ordinal: usize, element: ElementType, hyper: Hyper) -> Result<CudaEngine, Error> {
    let config = config();
    let gpu = Gpu::open(ordinal, element)?;
    let params = params(&config);
    CudaEngine::new(gpu, config, &params, lookup(), hyper, CAPACITY)
}

/// No kernel more and none less: the plans are what the architectures' compile net and `doctor` go
/// by.
fn planned_is_compiled(ordinal: usize, element: ElementType) -> Result<(), Failed> {
    let capacity = Capacity {
        training: Some(EpochBatches::one(6)),
        inference: 6,
    };
    let config = config();
    let gpu = Gpu::open(ordinal, element)?;
    let mut engine = CudaEngine::new(
        gpu,
        config.clone(),
        &params(&config),
        lookup(),
        hyper(),
        capacity,
    )?;
    let images = batch(0, 6);
    engine.train_step(&[&images], 1e-3)?;
    engine.logits(&images)?;
    let gpu = engine.gpu();
    let plans = kernels::plans(gpu.properties(), &config, 6);
    let planned: BTreeSet<_> = plans.into_iter().map(|plan| plan.spec).collect();
    assert_eq!(gpu.loaded(), planned.into_iter().collect::<Vec<_>>());
    Ok(())
}

pub fn cuda(ordinal: usize, element: ElementType) -> Result<CudaEngine, Error> {
    with(ordinal, element, hyper())
}

fn cpu(hyper: Hyper) -> CpuEngine {
    let config = config();
    let params = params(&config);
    CpuEngine::new(config, params, lookup(), hyper)
}

fn waits(ordinal: usize, element: ElementType) -> Result<(), Failed> {
    let mut engine = cuda(ordinal, element)?;
    let batches = [batch(0, 6), batch(1, 6)];
    let both: Vec<&Batch> = batches.iter().collect();
    // The first steps capture the graphs.
    engine.train_step(&both[..1], 1e-3)?;
    engine.train_step(&both, 1e-3)?;
    let mut first = None;
    for micro_batches in [&both[..1], &both, &both, &both[..1]] {
        counters::reset_counters();
        let step = engine.begin_step(micro_batches, first, 1e-3)?;
        first = engine.stage(both[0])?;
        let within = counters::host_synchronisations();
        engine.finish_step(step)?;
        let all = counters::host_synchronisations();
        if within != 0 || all > 1 {
            return Err(format!("{within} waits within a step, {all} with its end").into());
        }
    }
    Ok(())
}

/// The micro-batches of a step: a full one, a short one, or one of each.
pub fn micro_batches(step: u64) -> Vec<Batch> {
    match step {
        2 => vec![batch(step, 5)],
        4 => vec![batch(step, 6), batch(20 + step, 5)],
        _ => vec![batch(step, 6)],
    }
}

/// Losses and gradient norms of `engine`: full batches, a short one, and micro-batches.
pub fn curve(engine: &mut dyn Engine) -> Result<Vec<(f64, f64)>, Error> {
    let mut curve = Vec::new();
    for step in 0..6 {
        let batches = micro_batches(step);
        let micro_batches: Vec<&Batch> = batches.iter().collect();
        let output = engine.train_step(&micro_batches, 2e-3)?;
        curve.push((output.loss, output.grad_norm));
    }
    Ok(curve)
}

/// Each loss and gradient norm within 2 % of the CPU's: what is asked of the CPU against its peer.
fn close(found: &[(f64, f64)], wanted: &[(f64, f64)]) -> Result<(), Failed> {
    for (step, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        at_most(
            &format!("loss {step}"),
            (found.0 / wanted.0 - 1.0).abs(),
            0.02,
        )?;
        at_most(
            &format!("norm {step}"),
            (found.1 / wanted.1 - 1.0).abs(),
            0.02,
        )?;
    }
    Ok(())
}

fn follows_the_cpu(ordinal: usize, element: ElementType) -> Result<(), Failed> {
    let found = curve(&mut cuda(ordinal, element)?)?;
    close(&found, &curve(&mut cpu(hyper()))?)
}

fn weighted_loss(ordinal: usize, element: ElementType) -> Result<(), Failed> {
    let hyper = Hyper {
        label_smoothing: 0.1,
        class_weights: Some(vec![1.0, 0.5, 2.0, 0.25, 1.5]),
        ..hyper()
    };
    let found = curve(&mut with(ordinal, element, hyper.clone())?)?;
    close(&found, &curve(&mut cpu(hyper))?)
}

fn overflow(ordinal: usize, element: ElementType) -> Result<(), Failed> {
    let [mut disturbed, mut quiet] = [cuda(ordinal, element)?, cuda(ordinal, element)?];
    let batches = [batch(0, 6), batch(1, 6)];
    for engine in [&mut disturbed, &mut quiet] {
        engine.train_step(&[&batches[0]], 1e-3)?;
    }
    let before = (disturbed.params()?, disturbed.optimizer()?);
    // Far above what f16 holds: the gradients of the next step overflow.
    let mut state = before.1.clone();
    let planted = (2f32).powi(60);
    state.loss_scale = Some(LossScale {
        factor: planted,
        good_steps: 7,
    });
    disturbed.set_optimizer(&state)?;
    let output = disturbed.train_step(&[&batches[1]], 1e-3)?;
    if output.grad_norm.is_finite() || !output.loss.is_finite() {
        return Err(format!("no overflow: {output:?}").into());
    }
    let after = disturbed.optimizer()?;
    same("parameters", &before.0, &disturbed.params()?)?;
    same("first moments", &before.1.first, &after.first)?;
    same("second moments", &before.1.second, &after.second)?;
    let halved = Some(LossScale {
        factor: planted / 2.0,
        good_steps: 0,
    });
    if (after.step, after.loss_scale) != (before.1.step, halved) {
        return Err(format!("step {}, scale {:?}", after.step, after.loss_scale).into());
    }
    // With the scale it had, the next step is the one that would have been.
    disturbed.set_optimizer(&before.1)?;
    for engine in [&mut disturbed, &mut quiet] {
        engine.train_step(&[&batches[1]], 1e-3)?;
    }
    same(
        "parameters of the next step",
        &disturbed.params()?,
        &quiet.params()?,
    )
}

fn same_bits(ordinal: usize, element: ElementType) -> Result<(), Failed> {
    let mut first: Option<Vec<f32>> = None;
    for seed in 0..4 {
        set_seed(seed);
        let mut engine = cuda(ordinal, element)?;
        curve(&mut engine)?;
        let params = engine.params()?;
        match &first {
            Some(first) => same(&format!("parameters with seed {seed}"), first, &params)?,
            None => first = Some(params),
        }
    }
    Ok(())
}

fn saved_state(ordinal: usize, element: ElementType) -> Result<(), Failed> {
    let mut engine = cuda(ordinal, element)?;
    curve(&mut engine)?;
    let mut restored = cuda(ordinal, element)?;
    restored.set_params(&engine.params()?)?;
    restored.set_optimizer(&engine.optimizer()?)?;
    for engine in [&mut engine, &mut restored] {
        engine.train_step(&[&batch(9, 6)], 1e-3)?;
    }
    same("parameters", &engine.params()?, &restored.params()?)?;
    if engine.optimizer()? == restored.optimizer()? {
        Ok(())
    } else {
        Err("the optimiser's states differ".into())
    }
}

fn logits(ordinal: usize, element: ElementType) -> Result<(), Failed> {
    // Three chunks, the last one short.
    let batch = batch(0, 10);
    let wanted = cpu(hyper()).logits(&batch)?;
    let mut training = cuda(ordinal, element)?;
    let largest = wanted.iter().fold(0f32, |m, v| m.max(v.abs()));
    // Two layers of some four rounded tensors each, and the weights: a few units of 2⁻¹¹.
    let limit = f64::from(largest) * 16.0 * element.epsilon() / 2.0;
    for steps in 0..2 {
        let found = training.logits(&batch)?;
        assert_eq!(found.len(), wanted.len());
        let distance = found
            .iter()
            .zip(&wanted)
            .map(|(a, b)| f64::from((a - b).abs()));
        let distance = distance.fold(0.0, |m, d| if d <= m { m } else { d });
        at_most(&format!("logits after {steps} steps"), distance, limit)?;
        // Training in between shares the memory, and at learning rate 0 changes nothing else.
        training.train_step(&[&super::on_any_device::small::batch(1, 6)], 0.0)?;
    }
    Ok(())
}

fn unscaled() -> Result<(), Failed> {
    let bf16 = ElementType::Bf16;
    let mut engine = cuda(1, bf16)?;
    let found = curve(&mut engine)?;
    // Eight bits of precision, three fewer than f16: eight times the error.
    let wanted = curve(&mut cpu(hyper()))?;
    for (step, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
        at_most(
            &format!("loss {step}"),
            (found.0 / wanted.0 - 1.0).abs(),
            0.16,
        )?;
    }
    let scale = engine
        .optimizer()?
        .loss_scale
        .expect("a device that scales");
    if scale.factor == 1.0 {
        Ok(())
    } else {
        Err(format!("{scale:?}").into())
    }
}
