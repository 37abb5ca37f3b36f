//! What the host does before steps and beside them: planning memory, sending batches ahead.

use libtest_mimic::{Failed, Trial};
use vitcuda::Error;
use vitcuda::device::{ElementType, Gpu};
use vitcuda::train::config::Hyper;
use vitcuda::train::cuda::Planned;
use vitcuda::train::engine::{Batch, Begun, Capacity, Engine, EpochBatches};

use super::emulated::{Devices, take_memory};
use super::engine::{CAPACITY, Test, cuda, curve, micro_batches, on_both};
use super::on_any_device::small::{batch, config, lookup, params, same};

const TESTS: [(&str, Test); 4] = [
    ("staged batches give the same bits", staged),
    (
        "what is staged is there when its step begins",
        staged_is_taken,
    ),
    ("without graphs the bits are the same", without_graphs),
    (
        "memory that is gone since it was planned is an error that names what fits",
        memory_gone,
    ),
];

pub fn trials(devices: Devices) -> Vec<Trial> {
    on_both(devices, &TESTS)
}

/// The steps of [`curve`], each with its first batch staged under the one before; what steps gave.
fn staged_curve(engine: &mut dyn Engine) -> Result<Vec<(f64, f64)>, Error> {
    let steps: Vec<Vec<Batch>> = (0..6).map(micro_batches).collect();
    let mut curve = Vec::new();
    let mut first = engine.stage(&steps[0][0])?;
    for (index, step) in steps.iter().enumerate() {
        let batches: Vec<&Batch> = step.iter().collect();
        let begun = engine.begin_step(&batches, first, 2e-3)?;
        first = match steps.get(index + 1) {
            Some(next) => engine.stage(&next[0])?,
            None => None,
        };
        let output = engine.finish_step(begun)?;
        curve.push((output.loss, output.grad_norm));
        if index % 2 == 1 {
            // An evaluation takes the place of what was staged.
            engine.logits(&batch(40, 6))?;
        }
    }
    Ok(curve)
}

fn staged(ordinal: usize, element: ElementType) -> Result<(), Failed> {
    let [mut plain, mut ahead] = [cuda(ordinal, element)?, cuda(ordinal, element)?];
    let (wanted, found) = (curve(&mut plain)?, staged_curve(&mut ahead)?);
    if wanted != found {
        return Err(format!("{found:?} instead of {wanted:?}").into());
    }
    same("parameters", &plain.params()?, &ahead.params()?)
}

/// The step does not look at the images again: they were copied when they were staged.
fn staged_is_taken(ordinal: usize, element: ElementType) -> Result<(), Failed> {
    let [mut plain, mut ahead] = [cuda(ordinal, element)?, cuda(ordinal, element)?];
    let (right, wrong) = (batch(0, 6), batch(1, 6));
    plain.train_step(&[&right], 1e-3)?;
    let first = ahead.stage(&right)?;
    let begun = ahead.begin_step(&[&wrong], first, 1e-3)?;
    assert!(matches!(begun, Begun::UnderWay));
    if !ahead.is_at_work()? {
        return Err("the device is idle in a step".into());
    }
    ahead.finish_step(begun)?;
    same("parameters", &plain.params()?, &ahead.params()?)?;
    // Once taken, it is no longer there.
    plain.train_step(&[&wrong], 1e-3)?;
    let begun = ahead.begin_step(&[&wrong], first, 1e-3)?;
    ahead.finish_step(begun)?;
    same("parameters", &plain.params()?, &ahead.params()?)
}

fn without_graphs(ordinal: usize, element: ElementType) -> Result<(), Failed> {
    let mut plain = cuda(ordinal, element)?;
    // SAFETY: tests run one by one.
    unsafe { std::env::set_var("VITCUDA_GRAPH", "0") };
    let single = cuda(ordinal, element);
    // SAFETY: as above.
    unsafe { std::env::remove_var("VITCUDA_GRAPH") };
    let mut single = single?;
    assert!(plain.gpu().takes_graphs() && !single.gpu().takes_graphs());
    let (wanted, found) = (curve(&mut plain)?, curve(&mut single)?);
    if wanted != found {
        return Err(format!("{found:?} instead of {wanted:?}").into());
    }
    same("parameters", &plain.params()?, &single.params()?)
}

fn memory_gone(ordinal: usize, element: ElementType) -> Result<(), Failed> {
    let config = config();
    let params = params(&config);
    let plan = |images: usize| {
        let capacity = Capacity {
            training: Some(EpochBatches::one(images)),
            ..CAPACITY
        };
        let gpu = Gpu::open(ordinal, element)?;
        Planned::new(gpu, config.clone(), Hyper::default(), capacity)
    };
    let images = 40_000;
    let load = |planned: Planned| planned.load(&params, lookup()).map(drop);
    let (free, _) = plan(images)?.gpu().memory_info()?;
    let half = plan(images)?.plan().bytes() as u64 / 2;
    // All but what the driver is left and half of what is planned.
    take_memory(free - (128 << 20) - half);
    let late = plan(images).and_then(load);
    let at_once = plan(images).map(drop);
    let small = plan(100).and_then(load);
    take_memory(0);
    Gpu::open(ordinal, element)?.memory_info()?;
    let late = late.expect_err("half is gone");
    let at_once = at_once.expect_err("half is gone");
    assert_eq!(late.exit_code(), 6);
    assert_eq!(late.to_string(), at_once.to_string());
    assert_eq!(late.help(), at_once.help());
    let help = late.help().expect("advice").to_owned();
    let most = help.split("the largest batch that fits is ").nth(1);
    let most: usize = most
        .and_then(|text| text.split(':').next()?.parse().ok())
        .expect("a number");
    assert!((15_000..25_000).contains(&most), "{help}");
    small?;
    // All of it was given back, what was allocated before the memory ran out included.
    let (after, _) = plan(images)?.gpu().memory_info()?;
    assert_eq!(after, free);
    Ok(())
}
