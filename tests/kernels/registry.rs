//! Each operation, case, pass and device.

use libtest_mimic::{Failed, Trial};
use vitcuda::device::{ElementType, Gpu, kernels};
use vitcuda::ops::gpu::GpuOp;
use vitcuda::ops::{Case, Input, Pass, REGISTRY, Role};

use super::emulated::{Devices, counters, with_seed};

/// Operations whose kernels are still to be written.
const WITHOUT_KERNELS: &[&str] = &[
    "patch_embed",
    "linear",
    "mlp",
    "attention",
    "cross_entropy",
    "grad_norm",
    "adamw",
];

const DEVICES: [(&str, ElementType); 3] = [
    ("sm_75", ElementType::F16),
    ("sm_80", ElementType::F16),
    ("sm_80", ElementType::Bf16),
];

pub fn trials(devices: Devices) -> Vec<Trial> {
    let mut trials = vec![Trial::test("operations without kernels are listed", || {
        let without = REGISTRY.iter().filter(|op| op.gpu().is_none());
        let without: Vec<_> = without.map(|op| op.name()).collect();
        assert_eq!(without, WITHOUT_KERNELS);
        Ok(())
    })];
    for name in WITHOUT_KERNELS {
        let missing = Trial::test(format!("{name}: no kernels yet"), || Ok(()));
        trials.push(missing.with_ignored_flag(true));
    }
    for op in REGISTRY.iter().filter_map(|op| op.gpu()) {
        for case in op.cases().into_iter().filter(|case| !case.bench) {
            for device in DEVICES {
                let (architecture, element) = device;
                let name =
                    |pass: &str| format!("{} {case} {pass}: {architecture} {element}", op.name());
                let of = case.clone();
                let test = move |gpu: &Gpu| forward(op, &of, gpu);
                trials.push(devices.trial(name("forward"), device, test));
                if op.differentiable() {
                    let of = case.clone();
                    let test = move |gpu: &Gpu| backward(op, &of, gpu);
                    trials.push(devices.trial(name("backward"), device, test));
                }
            }
        }
    }
    trials
}

type Tensors<T> = Vec<Vec<T>>;

/// Inputs as the device stores them.
fn inputs(op: &dyn GpuOp, case: &Case, element: ElementType) -> (Vec<Input>, Tensors<f32>) {
    let specs = op.inputs(case);
    let stored = op.stored(case).inputs;
    assert_eq!(specs.len(), stored.len(), "storage of the inputs");
    let values = specs.iter().zip(stored);
    let values = values.map(|(input, storage)| storage.round(element, &input.values(1)));
    let values = values.collect();
    (specs, values)
}

fn widen(tensors: &[Vec<f32>]) -> Tensors<f64> {
    let wide = |tensor: &Vec<f32>| tensor.iter().map(|&v| f64::from(v)).collect();
    tensors.iter().map(wide).collect()
}

fn forward(op: &dyn GpuOp, case: &Case, gpu: &Gpu) -> Result<(), Failed> {
    let (_, inputs) = inputs(op, case, gpu.element());
    let run = || op.gpu_forward(gpu, case, &inputs);
    counters::reset_counters();
    let found = with_seed(0, run)?;
    traffic(op, case, gpu, Pass::Forward)?;
    let exact = op.forward_f64(case, &widen(&inputs));
    let plain = op.rounded_forward(gpu.element(), case, &inputs);
    assert_eq!(found.len(), exact.len(), "outputs");
    for (i, exact) in exact.iter().enumerate() {
        within_budget(&format!("output {i}"), &found[i], &plain[i], exact)?;
    }
    for seed in [0, 1, 2] {
        equal_bits(&format!("seed {seed}"), &with_seed(seed, run)?, &found)?;
    }
    Ok(())
}

fn backward(op: &dyn GpuOp, case: &Case, gpu: &Gpu) -> Result<(), Failed> {
    let element = gpu.element();
    let (specs, inputs) = inputs(op, case, element);
    let outputs = op.forward_f64(case, &widen(&inputs));
    let stored = op.stored(case).output_gradients;
    assert_eq!(
        outputs.len(),
        stored.len(),
        "storage of the outputs' gradients"
    );
    let dy = outputs.iter().zip(stored).map(|(y, storage)| {
        let dy = Input::normal("dy", y.len(), 1.0).values(2);
        storage.round(element, &dy)
    });
    let dy: Tensors<f32> = dy.collect();
    let run = |micro_batches| op.gpu_backward(gpu, case, &inputs, &dy, micro_batches);
    counters::reset_counters();
    let found = with_seed(0, || run(1))?;
    traffic(op, case, gpu, Pass::Backward)?;
    let exact = op.backward_f64(case, &widen(&inputs), &widen(&dy));
    let plain = op.rounded_backward(element, case, &inputs, &dy);
    assert_eq!(found.len(), specs.len(), "gradients");
    for (i, spec) in specs.iter().enumerate() {
        match (spec.role, &found[i], &plain[i], &exact[i]) {
            (Role::Constant, None, _, None) => {}
            (_, Some(found), Some(plain), Some(exact)) => {
                within_budget(&format!("d{}", spec.name), found, plain, exact)?;
            }
            _ => return Err(format!("d{}: missing, or of a constant", spec.name).into()),
        }
    }
    for seed in [1, 2] {
        let again = with_seed(seed, || run(1))?;
        for (again, found) in again.iter().zip(&found) {
            equal_bits(&format!("seed {seed}"), again.as_slice(), found.as_slice())?;
        }
    }
    // A second micro-batch: activations' gradients are overwritten, parameters' doubled, exactly.
    let twice = with_seed(0, || run(2))?;
    for ((spec, twice), once) in specs.iter().zip(&twice).zip(&found) {
        let factor = match spec.role {
            Role::Parameter => 2.0,
            _ => 1.0,
        };
        let once: Option<Vec<f32>> = once
            .as_ref()
            .map(|d| d.iter().map(|v| factor * v).collect());
        let what = format!("d{} after two micro-batches", spec.name);
        equal_bits(&what, twice.as_slice(), once.as_slice())?;
    }
    Ok(())
}

/// What must be so whatever the numbers: no float atomics, no bank conflicts in the tiles, and no
/// more global memory touched than the operation needs.
fn traffic(op: &dyn GpuOp, case: &Case, gpu: &Gpu, pass: Pass) -> Result<(), Failed> {
    let mut bytes = 0;
    for name in kernels::NAMES {
        let Some(count) = counters::counters_if_run(name) else {
            continue;
        };
        bytes += count.global_read_distinct + count.global_written_distinct;
        for (what, number) in [
            ("float atomics", count.float_atomics),
            ("bank conflicts of ldmatrix", count.ldmatrix_bank_conflicts),
            ("bank conflicts of cp.async", count.cp_async_bank_conflicts),
        ] {
            if number > 0 {
                return Err(format!("{name}: {number} {what}").into());
            }
        }
    }
    if matches!(
        std::env::var("VITCUDA_EMULATOR_CHECKS").as_deref(),
        Ok("off" | "address")
    ) {
        return Ok(()); // loads and stores are not counted
    }
    let expected = op.gpu_bytes(gpu.properties(), case, pass);
    let ratio = bytes as f64 / expected as f64;
    match (0.95..=1.05).contains(&ratio) {
        true => Ok(()),
        false => Err(format!("{bytes} bytes of global memory, {expected} expected").into()),
    }
}

fn max_abs(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |m, v| if v.abs() <= m { m } else { v.abs() })
}

/// Largest difference; NaN if one of the values is.
fn distance(found: &[f32], exact: &[f64]) -> f64 {
    assert_eq!(found.len(), exact.len(), "length");
    max_abs(found.iter().zip(exact).map(|(&a, &b)| f64::from(a) - b))
}

/// Twice the plain loop's error, and one f32 rounding of the largest value.
fn within_budget(what: &str, found: &[f32], plain: &[f32], exact: &[f64]) -> Result<(), Failed> {
    let rounding = f64::from(f32::EPSILON) / 2.0 * max_abs(exact.iter().copied());
    let budget = 2.0 * distance(plain, exact) + rounding;
    let error = distance(found, exact);
    match error <= budget {
        true => Ok(()),
        false => Err(format!("{what}: off by {error:.3e}, {budget:.3e} is the budget").into()),
    }
}

fn equal_bits(what: &str, a: &[Vec<f32>], b: &[Vec<f32>]) -> Result<(), Failed> {
    assert_eq!(a.len(), b.len(), "{what}: tensors");
    for (tensor, (a, b)) in a.iter().zip(b).enumerate() {
        assert_eq!(a.len(), b.len(), "{what}: tensor {tensor}");
        let different = a
            .iter()
            .zip(b)
            .position(|(a, b)| a.to_bits() != b.to_bits());
        if let Some(i) = different {
            let (a, b) = (a[i], b[i]);
            let place = format!("value {i} of tensor {tensor}");
            return Err(format!("{what}: {place} is {a:e}, should be {b:e}").into());
        }
    }
    Ok(())
}
