//! The benchmark's launches, on an emulated GPU: what they do to memory is checked, their times mean
//! nothing. Their tensors lie as a model's do, so warps have to find neighbours side by side.

use libtest_mimic::{Failed, Trial};
use vitcuda::bench::{Ceilings, KernelSetup, Place, kernels};
use vitcuda::device::{self, ElementType, Gpu};
use vitcuda::model::presets;
use vitcuda::ops::{Op, REGISTRY};

use super::emulated::Devices;
use super::emulated::counters::{self, Counters};
use super::registry::no_conflicts;

pub fn trials(devices: Devices) -> Vec<Trial> {
    let device = ("sm_80", ElementType::F16);
    let ops = REGISTRY.iter().filter(|op| op.gpu().is_some());
    let trial = |op: &&'static dyn Op| {
        let op = *op;
        let name = format!("{}: the benchmark's launches: sm_80 f16", op.name());
        devices.trial(name, device, move |gpu| launches(op, gpu))
    };
    ops.map(trial).collect()
}

fn launches(op: &dyn Op, gpu: &Gpu) -> Result<(), Failed> {
    let mut config = presets::preset("vit_digits_patch2_8").expect("a preset");
    config.set_labels(&["even", "odd"]);
    let ceilings = Ceilings {
        what: "ceilings",
        device: gpu.properties().name.clone(),
        copy_gb_s: 1.0,
        tensor_tflops: Some(1.0),
        tensor_computed_as: None,
        emulated: true,
    };
    let setup = KernelSetup {
        place: Place::Gpu(gpu),
        ceilings: &ceilings,
        model: "vit_digits_patch2_8",
        config: &config,
        batch_size: 2,
        warmup: 0,
        repeats: 1,
    };
    counters::reset_counters();
    let rows = kernels(op, &setup)?;
    assert!(!rows.is_empty());
    for row in rows {
        assert!(row.emulated && row.op == op.name(), "{row:?}");
        assert!(row.ms > 0.0 && row.percent.is_some(), "{row:?}");
    }
    for name in device::kernels::NAMES {
        if let Some(count) = counters::counters_if_run(name) {
            no_conflicts(name, &count)?;
            coalesced(name, &count)?;
        }
    }
    Ok(())
}

/// Sectors of global memory that a kernel's warps touch beyond the fewest for what they read and write.
const SECTORS: f64 = 1.05;
/// The same in attention: lanes take fragments of the block's own queries, keys or gradients from global
/// memory as tensor cores want them, 16 bytes of a row at a time, once for all the rows that they
/// meet, and write what comes of them in the same way.
const SECTORS_OF_ATTENTION: f64 = 2.0;

fn coalesced(name: &str, count: &Counters) -> Result<(), Failed> {
    let limit = if name.starts_with("attention_") {
        SECTORS_OF_ATTENTION
    } else {
        SECTORS
    };
    let (found, least) = (count.global_sectors, count.global_sectors_least);
    if found as f64 <= limit * least as f64 {
        Ok(())
    } else {
        Err(format!("{name}: {found} sectors of global memory instead of {least}").into())
    }
}
