//! That the checks find what is wrong: each of the [`faults`](super::faults) is planted into the
//! kernels' text, and the check that must find it is run.

use super::faults::Fault;
use super::{Check, Wrong, check};
use crate::device::Gpu;
use crate::error::Result;
use crate::ops::gpu::GpuOp;
use crate::ops::registry::{Case, Pass, REGISTRY};

/// What came of a planted fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// The check that must find it did; what it said.
    Found(String),
    /// It did not; what other checks said.
    Missed(Vec<String>),
}

/// Plants `fault` and runs its check, case after case, until it is found. The GPU's kernels are as
/// they were when this returns.
///
/// [`Error::Device`](crate::Error::Device) where a kernel does not compile or run.
pub fn prove(fault: &Fault, gpu: &Gpu) -> Result<Proof> {
    let op = operation(fault.op);
    let cases = op.cases().into_iter();
    let mut others = Vec::new();
    for case in cases.filter(|case| op.takes(case) && has(op, case, fault)) {
        let wrong = checked(fault, op, &case, gpu);
        gpu.plant(None)?;
        let Some(wrong) = wrong? else {
            continue;
        };
        let said = format!("{case}: {wrong}");
        if finds(fault, &wrong) {
            return Ok(Proof::Found(said));
        } else {
            others.push(said)
        }
    }
    Ok(Proof::Missed(others))
}

/// What the check says with the fault in the kernels: from the first run on, or, where equal bits
/// are looked at, after it.
fn checked(fault: &Fault, op: &dyn GpuOp, case: &Case, gpu: &Gpu) -> Result<Option<Wrong>> {
    let first = usize::from(fault.check == Check::EqualBits);
    let mut planted = Ok(());
    let wrong = check(op, case, fault.pass, gpu, &mut |run| {
        if run == first {
            planted = gpu.plant(Some(fault.patch));
        }
    });
    planted.and(wrong)
}

fn finds(fault: &Fault, wrong: &Wrong) -> bool {
    // The pieces of a gradient are judged one by one.
    let tensor = wrong.tensor.split(", piece").next();
    wrong.check == fault.check && tensor == Some(fault.tensor)
}

/// Whether the case has the tensor that the fault is seen in.
fn has(op: &dyn GpuOp, case: &Case, fault: &Fault) -> bool {
    let inputs = op.inputs(case);
    fault.pass == Pass::Forward
        || inputs
            .iter()
            .any(|input| format!("d{}", input.name) == fault.tensor)
}

/// # Panics
/// If there is no such operation, or it has no kernels.
fn operation(name: &str) -> &'static dyn GpuOp {
    let mut ops = REGISTRY.iter().filter_map(|op| op.gpu());
    let found = ops.find(|op| op.name() == name);
    found.unwrap_or_else(|| panic!("no kernels of {name}"))
}
