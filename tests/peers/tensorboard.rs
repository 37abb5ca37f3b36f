//! TensorBoard reads the event files of a run.

use libtest_mimic::{Failed, Trial};

use super::{script, vitcuda, with_python};

pub fn trials() -> Vec<Trial> {
    vec![with_python("TensorBoard reads a run as it was", events)]
}

fn events() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let run = folder.path().join("run").to_string_lossy().into_owned();
    let flags = ["--max-steps=30", "--logging-steps=5", "--eval-steps=10"];
    vitcuda(["train", "--output-dir", &run].iter().chain(&flags))?;
    script("check_tensorboard.py", [run])
}
