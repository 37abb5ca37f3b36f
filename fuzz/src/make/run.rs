//! What a short run leaves.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Made, made};

pub fn all(vitcuda: &Path) -> Vec<Made> {
    let folder = tempfile::tempdir().expect("a folder");
    let line = "train --max-steps 4 --batch-size 4 --train-samples 16 --eval-samples 6 \
                --logging-steps 1 --eval-steps 2 --save-steps 2 --learning-rate 1e-3 --device cpu \
                --quiet --output-dir run";
    let status = Command::new(vitcuda)
        .args(line.split_whitespace())
        .current_dir(folder.path())
        .status();
    let status = status.unwrap_or_else(|e| panic!("{}: {e}", vitcuda.display()));
    assert!(status.success(), "{}: {status}", vitcuda.display());
    let read = |name: &str| fs::read(folder.path().join("run").join(name)).expect("it was written");
    let checkpoint = "checkpoint-2/";
    let owner = r#"{"stage": "clearing", "settings": {"--batch-size": 4, "--seed": 42}}"#;
    vec![
        made("state", "run.json", owner),
        made(
            "state",
            "trainer_state.json",
            read(&format!("{checkpoint}trainer_state.json")),
        ),
        made(
            "state",
            "evaluations.json",
            read(&format!("{checkpoint}evaluations.json")),
        ),
        made("state", "metrics.jsonl", read("metrics.jsonl")),
        made("report", "report.json", read("report.json")),
        made("report", "metrics.jsonl", read("metrics.jsonl")),
        made("report", "trainer_state.json", read("trainer_state.json")),
    ]
}
