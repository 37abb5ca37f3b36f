//! The benchmark's launches, on an emulated GPU: what they do to memory is checked, their times mean
//! nothing.

use libtest_mimic::{Failed, Trial};
use vitcuda::bench::{Ceilings, KernelSetup, Place, kernels};
use vitcuda::device::{ElementType, Gpu};
use vitcuda::model::presets;
use vitcuda::ops::{Op, REGISTRY};

use super::emulated::Devices;

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
    let rows = kernels(op, &setup)?;
    assert!(!rows.is_empty());
    for row in rows {
        assert!(row.emulated && row.op == op.name(), "{row:?}");
        assert!(row.ms > 0.0 && row.percent.is_some(), "{row:?}");
    }
    Ok(())
}
