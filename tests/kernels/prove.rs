//! Each fault that `doctor --full --prove` plants is found by the check that must find it.

use libtest_mimic::{Failed, Trial};
use vitcuda::device::{ElementType, Gpu};
use vitcuda::ops::gpu_check::faults::{self, Fault};
use vitcuda::ops::gpu_check::prove::{Proof, prove};

use super::emulated::Devices;

pub fn trials(devices: Devices) -> Vec<Trial> {
    let trial = |fault: &'static Fault| {
        let name = format!("a planted fault is found: {fault}");
        devices.trial(name, ("sm_80", ElementType::F16), |gpu| found(fault, gpu))
    };
    faults::all().map(trial).collect()
}

fn found(fault: &Fault, gpu: &Gpu) -> Result<(), Failed> {
    match prove(fault, gpu)? {
        Proof::Found(_) => Ok(()),
        Proof::Missed(others) => Err(format!("missed; others said {others:?}").into()),
    }
}
