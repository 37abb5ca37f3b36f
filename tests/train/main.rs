//! The training loop, with engines that play a script.

mod ahead;
mod best;
#[path = "../common/mod.rs"]
mod common;
mod damaged;
mod fakes;
mod files;
mod play;
mod records;
mod report;
mod resuming;
mod saving;
mod steps;
mod trouble;

use std::path::Path;

use approx::relative_eq;
use libtest_mimic::{Arguments, Trial};
use serde_json::Value;

fn main() {
    let areas = [
        steps::trials(),
        ahead::trials(),
        best::trials(),
        trouble::trials(),
        saving::trials(),
        files::trials(),
        report::trials(),
        records::trials(),
        resuming::trials(),
        damaged::trials(),
    ];
    let trials = areas.into_iter().flatten().collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

pub fn trial(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

fn read_json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Equal to within the rounding of a few f64 operations.
fn close(a: f64, b: f64) -> bool {
    relative_eq!(a, b, epsilon = 0.0, max_relative = 4.0 * f64::EPSILON)
}
