//! Whole runs through the command line.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use libtest_mimic::{Failed, Trial};
use vitcuda::device::ElementType;
use vitcuda::model::config::VitConfig;
use vitcuda::model::params::ParamTable;
use vitcuda::rng::{Philox, Purpose};
use vitcuda::train::optimizer_file;

use super::emulated::Devices;
use super::model::at_most;
use super::run_files::{content, difference, killed_until_done};

type Test = fn(&Path) -> Result<(), Failed>;

const TESTS: [(&str, Test); 6] = [
    (
        "twenty steps on the digits follow the CPU's losses",
        twenty_steps,
    ),
    (
        "auto takes the GPU, and a model trained on it runs anywhere",
        auto,
    ),
    (
        "a batch that does not fit is refused with the one that does",
        too_large,
    ),
    ("bf16 on a GPU that has none is refused", no_bf16),
    (
        "losses that stay NaN end the run with exit code 7",
        diverged,
    ),
    (
        "killed and resumed, it ends in the same bits, the loss scale among them",
        killed,
    ),
];

pub fn trials(devices: Devices) -> Vec<Trial> {
    let device = ("sm_75", ElementType::F16);
    let tests = TESTS.into_iter();
    tests
        .map(|(name, test)| {
            devices.trial(format!("run: {name}"), device, move |_| {
                test(tempfile::tempdir()?.path())
            })
        })
        .collect()
}

/// All the digits at once; and less memory than they need, of which 128 MiB stay the driver's.
const LARGE_BATCH: &str = "--batch-size 1438";
const SMALL_MEMORY: u64 = 160 << 20;

/// Runs the binary in `folder`.
fn vitcuda(folder: &Path, line: &str) -> Result<Output, Failed> {
    Ok(command(folder, line).output()?)
}

/// The emulator is first on its library path, too.
fn command(folder: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitcuda"));
    command.current_dir(folder).args(line.split_whitespace());
    for variable in ["VITCUDA_DEVICE", "VITCUDA_PRECISION"] {
        command.env_remove(variable);
    }
    if line.contains(LARGE_BATCH) {
        command.env("VITCUDA_EMULATOR_MEMORY", SMALL_MEMORY.to_string());
    }
    command
}

fn well(folder: &Path, line: &str) -> Result<String, Failed> {
    let said = vitcuda(folder, line)?;
    let stderr = String::from_utf8(said.stderr)?;
    match said.status.success() {
        true => Ok(stderr),
        false => Err(stderr.into()),
    }
}

fn refused(folder: &Path, line: &str, code: i32, texts: &[&str]) -> Result<(), Failed> {
    let said = vitcuda(folder, line)?;
    let stderr = String::from_utf8(said.stderr)?;
    let right = said.status.code() == Some(code) && texts.iter().all(|text| stderr.contains(text));
    match right {
        true => Ok(()),
        false => Err(format!("{:?}: {stderr}", said.status.code()).into()),
    }
}

/// The logged losses of a run.
fn losses(folder: &Path, run: &str) -> Result<Vec<f64>, Failed> {
    let text = std::fs::read_to_string(folder.join(run).join("metrics.jsonl"))?;
    let rows = text.lines().map(serde_json::from_str::<serde_json::Value>);
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    Ok(rows.iter().filter_map(|row| row["loss"].as_f64()).collect())
}

const RUN: &str =
    "train --max-steps 20 --batch-size 16 --logging-steps 1 --eval-strategy no --save-strategy no";

/// Each loss within 2 % of the CPU's: what is asked of the CPU against its peer.
fn twenty_steps(folder: &Path) -> Result<(), Failed> {
    well(folder, &format!("{RUN} --device cuda:1 --output-dir cuda"))?;
    well(folder, &format!("{RUN} --device cpu --output-dir cpu"))?;
    let (found, wanted) = (losses(folder, "cuda")?, losses(folder, "cpu")?);
    if (found.len(), wanted.len()) != (20, 20) {
        return Err(format!("{found:?}, {wanted:?}").into());
    }
    for (step, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
        at_most(
            &format!("loss {}", step + 1),
            (found / wanted - 1.0).abs(),
            0.02,
        )?;
    }
    Ok(())
}

fn auto(folder: &Path) -> Result<(), Failed> {
    let line = "train --max-steps 2 --batch-size 8 --eval-strategy no --train-samples 20 --eval-samples 20 --output-dir run";
    let said = well(folder, line)?;
    for text in [
        "cuda:0, ",
        "(sm_75), f16 mixed precision",
        "AdamW's moments",
    ] {
        if !said.contains(text) {
            return Err(format!("`{text}` is missing: {said}").into());
        }
    }
    let score = |device: &str| -> Result<serde_json::Value, Failed> {
        let line = format!("eval run --json --device {device}");
        let said = vitcuda(folder, &line)?;
        Ok(serde_json::from_slice(&said.stdout).map_err(|e| format!("{e}: {said:?}"))?)
    };
    let (gpu, cpu) = (score("cuda")?, score("cpu")?);
    let loss = |scores: &serde_json::Value| scores["eval_loss"].as_f64().unwrap_or(f64::NAN);
    at_most("eval_loss", (loss(&gpu) / loss(&cpu) - 1.0).abs(), 0.01)
}

fn too_large(folder: &Path) -> Result<(), Failed> {
    let line = &format!("train --device cuda --max-steps 1 {LARGE_BATCH}");
    let texts = ["does not fit the GPU", "the largest batch that fits is"];
    refused(folder, line, 6, &texts)
}

fn no_bf16(folder: &Path) -> Result<(), Failed> {
    let line = "train --device cuda --precision bf16 --max-steps 1";
    refused(folder, line, 5, &["has no bf16 tensor cores"])
}

fn diverged(folder: &Path) -> Result<(), Failed> {
    let line = "train --device cuda --max-steps 100 --batch-size 8 --learning-rate 1e38 --eval-strategy no --output-dir run";
    refused(folder, line, 7, &["the run diverged"])
}

/// Kills that the runs below have to survive together.
const KILLS: usize = 8;

/// Epochs of 6 steps; steps, evaluations and checkpoints fall together and apart.
fn killed(folder: &Path) -> Result<(), Failed> {
    let line = "train --device cuda --train-samples 12 --eval-samples 4 --batch-size 2 \
                --max-steps 10 --logging-steps 3 --eval-steps 4 --save-steps 2 \
                --save-total-limit 2 --resume --output-dir run";
    let whole = folder.join("whole");
    std::fs::create_dir(&whole)?;
    well(&whole, line)?; // compiles what is not in the cache
    std::fs::remove_dir_all(whole.join("run"))?;
    let start = Instant::now();
    well(&whole, line)?;
    let all = start.elapsed();
    let expected = content(&whole.join("run"));

    let checkpoint = whole.join("run/checkpoint-10");
    let table = ParamTable::new(&VitConfig::read(checkpoint.join("config.json"))?);
    let scale = optimizer_file::load(&checkpoint, &table)?.loss_scale;
    if scale.is_none_or(|scale| scale.good_steps == 0) {
        return Err(format!("a loss scale that counts: {scale:?}").into());
    }

    let mut moments = Philox::new(23, Purpose::Test, 0);
    let (mut kills, mut runs) = (0, 0);
    while kills < KILLS {
        runs += 1;
        let own = folder.join(runs.to_string());
        std::fs::create_dir(&own)?;
        kills += killed_until_done(
            || command(&own, line),
            || all.mul_f64(f64::from(moments.next_u32()) / f64::from(u32::MAX)),
        );
        if let Some(difference) = difference(&content(&own.join("run")), &expected) {
            return Err(format!("run {runs}, after {kills} kills: {difference}").into());
        }
    }
    Ok(())
}
