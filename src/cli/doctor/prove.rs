//! `vitcuda doctor --full --prove`: the checks of `--full` find what is wrong.

use std::time::Instant;

use serde_json::json;

use super::super::Global;
use super::super::output::{self, Outcome};
use vitcuda::Error;
use vitcuda::device::Gpu;
use vitcuda::ops::gpu_check::faults;
use vitcuda::ops::gpu_check::prove::{Proof, prove};

/// Plants one fault after the other into the kernels, and runs the check that must find it. All are
/// planted; those that were missed are the error.
pub fn run(gpu: &Gpu, global: &Global) -> Outcome {
    if !global.json {
        output::result("\nfaults planted into the kernels, each for a check to find:")?;
    }
    let mut missed = Vec::new();
    for fault in faults::all() {
        if !fault.is_on(gpu.properties()) {
            global.notice(format_args!("this GPU runs no kernel with {fault}"));
            continue;
        }
        let start = Instant::now();
        let proof = prove(fault, gpu)?;
        let seconds = start.elapsed().as_secs_f64();
        let said = match &proof {
            Proof::Found(said) => vec![said.clone()],
            Proof::Missed(others) => others.clone(),
        };
        let found = matches!(proof, Proof::Found(_));
        if global.json {
            output::json(&json!({
                "what": "fault",
                "op": fault.op,
                "pass": fault.pass.to_string(),
                "tensor": fault.tensor,
                "fault": fault.what,
                "file": fault.patch.file,
                "element": gpu.element().to_string(),
                "found": found,
                "said": said,
                "seconds": seconds,
            }))?
        } else {
            output::result(format_args!(
                "{:<6} {fault}, {seconds:.1} s",
                if found { "found" } else { "MISSED" },
            ))?
        }
        if !found {
            missed.push(describe(&fault.to_string(), &said));
        }
    }
    if missed.is_empty() {
        Ok(())
    } else {
        Err(Error::device(
            format!(
                "{} planted faults were missed:\n{}",
                missed.len(),
                missed.join("\n")
            ),
            "the checks of doctor --full prove less on this GPU than they should: this is a bug of vitcuda",
        )
        .into())
    }
}

/// The fault, and what was found in its place.
fn describe(fault: &str, others: &[String]) -> String {
    match others {
        [] => format!("{fault}: every check passed"),
        others => format!("{fault}: instead, {}", others.join("; ")),
    }
}
