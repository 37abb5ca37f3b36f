//! Each operation, case, pass and device.

use libtest_mimic::{Failed, Trial};
use vitcuda::device::{ElementType, Gpu, kernels};
use vitcuda::ops::gpu::GpuOp;
use vitcuda::ops::{Case, Pass, REGISTRY, gpu_check};

use super::emulated::counters::{self, Counters};
use super::emulated::{Devices, set_seed};

pub const DEVICES: [(&str, ElementType); 3] = [
    ("sm_75", ElementType::F16),
    ("sm_80", ElementType::F16),
    ("sm_80", ElementType::Bf16),
];

pub fn trials(devices: Devices) -> Vec<Trial> {
    let mut trials = vec![Trial::test("every operation has its kernels", || {
        let without = REGISTRY.iter().filter(|op| op.gpu().is_none());
        let without: Vec<_> = without.map(|op| op.name()).collect();
        assert!(without.is_empty(), "no kernels: {without:?}");
        Ok(())
    })];
    for op in REGISTRY.iter().filter_map(|op| op.gpu()) {
        let cases = op.cases().into_iter();
        for case in cases.filter(|case| op.takes(case)) {
            for device in DEVICES {
                let (architecture, element) = device;
                for pass in op.passes() {
                    let name = format!("{} {case} {pass}: {architecture} {element}", op.name());
                    let case = case.clone();
                    let test = move |gpu: &Gpu| numbers(op, &case, *pass, gpu);
                    trials.push(devices.trial(name, device, test));
                }
            }
        }
    }
    trials
}

/// The checks of `doctor --full`, each run with threads in another order; what the first run did
/// to memory, too.
fn numbers(op: &dyn GpuOp, case: &Case, pass: Pass, gpu: &Gpu) -> Result<(), Failed> {
    let mut traffic = Ok(());
    let wrong = gpu_check::check(op, case, pass, gpu, &mut |run| {
        match run {
            0 => counters::reset_counters(),
            1 => traffic = self::traffic(op, case, pass, gpu),
            _ => {}
        }
        // Runs 0 and 3 have the same order.
        set_seed(run % 3);
    })?;
    match wrong {
        Some(wrong) => Err(wrong.to_string().into()),
        None => traffic,
    }
}

/// What must be so whatever the numbers: no float atomics, no bank conflicts, and no more global memory
/// touched than the operation needs.
fn traffic(op: &dyn GpuOp, case: &Case, pass: Pass, gpu: &Gpu) -> Result<(), Failed> {
    let mut bytes = 0;
    for name in kernels::NAMES {
        let Some(count) = counters::counters_if_run(name) else {
            continue;
        };
        bytes += count.global_read_distinct + count.global_written_distinct;
        no_conflicts(name, &count)?;
    }
    let expected = op.gpu_bytes(gpu.properties(), case, pass);
    let ratio = bytes as f64 / expected as f64;
    if (0.95..=1.05).contains(&ratio) {
        Ok(())
    } else {
        Err(format!("{bytes} bytes of global memory, {expected} expected").into())
    }
}

/// The memory of a block is read and written at its full speed, and no atomics add floats.
pub fn no_conflicts(name: &str, count: &Counters) -> Result<(), Failed> {
    for (what, number, allowed) in [
        ("float atomics", count.float_atomics, 0),
        (
            "bank conflicts of ldmatrix",
            count.ldmatrix_bank_conflicts,
            0,
        ),
        (
            "bank conflicts of cp.async",
            count.cp_async_bank_conflicts,
            0,
        ),
        (
            "bank conflicts of plain accesses",
            count.shared_bank_conflicts,
            allowed_conflicts(name),
        ),
    ] {
        if number > allowed {
            return Err(format!("{name}: {number} {what}, {allowed} are allowed").into());
        }
    }
    Ok(())
}

/// Bank conflicts of plain loads and stores that belong to what a kernel does.
fn allowed_conflicts(name: &str) -> u64 {
    match name {
        // Which words of the table of bytes a warp meets is the picture's choice.
        "patch_embed_forward_bytes" => u64::MAX,
        _ => 0,
    }
}
