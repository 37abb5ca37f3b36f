//! `vitcuda doctor --full`: every kernel on the device at hand.

use std::time::Instant;

use serde_json::json;

use super::super::Global;
use super::super::output::{self, Outcome};
use vitcuda::Error;
use vitcuda::device::{ElementType, Gpu};
use vitcuda::ops::gpu::GpuOp;
use vitcuda::ops::{REGISTRY, gpu_check};

/// Checks each operation in each element type that the GPU has: against the f64 reference, and
/// equal bits from run to run. All are run; the failures are the error.
pub fn run(gpu: &Gpu, global: &Global) -> Outcome {
    let bf16 = if gpu.properties().capability >= ElementType::Bf16.needs() {
        Some(Gpu::open(gpu.ordinal(), ElementType::Bf16)?)
    } else {
        None
    };
    let mut failures = Vec::new();
    for op in REGISTRY {
        let Some(op) = op.gpu() else {
            global.notice(format_args!("{} has no kernels yet", op.name()));
            continue;
        };
        for gpu in std::iter::once(gpu).chain(&bf16) {
            let start = Instant::now();
            let checks = check(op, gpu)?;
            let (count, failed) = (checks.len(), checks.iter().flatten().count());
            let seconds = start.elapsed().as_secs_f64();
            let element = gpu.element();
            if global.json {
                output::json(&json!({
                    "what": "check",
                    "op": op.name(),
                    "element": element.to_string(),
                    "checks": count,
                    "failed": failed,
                    "seconds": seconds,
                }))?
            } else {
                output::result(format_args!(
                    "{:<14} {element:<5} {:>3} of {count} checks passed, {seconds:.1} s",
                    op.name(),
                    count - failed,
                ))?
            }
            failures.extend(checks.into_iter().flatten());
        }
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(Error::device(
            format!("{} checks failed:\n{}", failures.len(), failures.join("\n")),
            "run it again; a failure that comes and goes points to the hardware, one that stays to vitcuda",
        )
        .into())
    }
}

/// What went wrong, if anything, in each case and pass.
///
/// Errors of the device end it: after one, the driver refuses everything.
fn check(op: &dyn GpuOp, gpu: &Gpu) -> Result<Vec<Option<String>>, Error> {
    let mut checks = Vec::new();
    for case in op.cases().into_iter().filter(|case| op.takes(case)) {
        for &pass in op.passes() {
            let verdict = gpu_check::check(op, &case, pass, gpu, &mut |_| ())?;
            let name = format!("{} {} {case} {pass}", gpu.element(), op.name());
            checks.push(verdict.map(|wrong| format!("{name}: {wrong}")));
        }
    }
    Ok(checks)
}
