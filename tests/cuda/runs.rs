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
use super::on_any_device::small::at_most;
use super::run_files::{content, difference, killed_until_done};

pub type Test = fn(&Path) -> Result<(), Failed>;

const TESTS: [(&str, Test); 7] = [
    (
        "twenty steps on the digits follow the CPU's losses",
        twenty_steps,
    ),
    (
        "a run with everything in its recipe follows the CPU's losses",
        recipe,
    ),
    (
        "auto takes the GPU, and a model trained on it runs anywhere",
        auto,
    ),
    (
        "a batch is copied to the GPU while it is at work on the one before",
        copied_ahead,
    ),
    (
        "--batch-size auto takes what fits, and a resumed run keeps it",
        auto_batch,
    ),
    ("info shows the GPU's memory", info),
    (
        "killed and resumed, it ends in the same bits, the loss scale among them",
        killed,
    ),
];

pub fn trials(devices: Devices) -> Vec<Trial> {
    trials_of(devices, &TESTS)
}

pub fn trials_of(devices: Devices, tests: &[(&str, Test)]) -> Vec<Trial> {
    let device = ("sm_75", ElementType::F16);
    let tests = tests.iter();
    tests
        .map(|&(name, test)| {
            devices.trial(format!("run: {name}"), device, move |_| {
                test(tempfile::tempdir()?.path())
            })
        })
        .collect()
}

/// Variables of the environment.
pub type Variables<'a> = [(&'a str, &'a str)];

/// Memory of a GPU on which all the digits at once do not fit: 128 MiB stay the driver's.
pub const SMALL: (&str, &str) = ("VITCUDA_EMULATOR_MEMORY", "167772160");

/// Runs the binary in `folder`.
pub fn vitcuda(folder: &Path, line: &str, variables: &Variables) -> Result<Output, Failed> {
    Ok(command(folder, line)
        .envs(variables.iter().copied())
        .output()?)
}

/// The emulator is first on its library path, too.
fn command(folder: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitcuda"));
    command.current_dir(folder).args(line.split_whitespace());
    for variable in ["VITCUDA_DEVICE", "VITCUDA_PRECISION"] {
        command.env_remove(variable);
    }
    command
}

/// What a run that goes well says on stderr.
pub fn well(folder: &Path, line: &str, variables: &Variables) -> Result<String, Failed> {
    let said = vitcuda(folder, line, variables)?;
    let stderr = String::from_utf8(said.stderr)?;
    if said.status.success() {
        Ok(stderr)
    } else {
        Err(stderr.into())
    }
}

/// What a run says on stderr that ends with exit code `code`.
pub fn refused(
    folder: &Path,
    line: &str,
    variables: &Variables,
    code: i32,
) -> Result<String, Failed> {
    let said = vitcuda(folder, line, variables)?;
    let stderr = String::from_utf8(said.stderr)?;
    if said.status.code() == Some(code) {
        Ok(stderr)
    } else {
        Err(format!("{:?}: {stderr}", said.status.code()).into())
    }
}

/// Fails unless `said` has all of `texts`.
pub fn mentions(said: &str, texts: &[&str]) -> Result<(), Failed> {
    match texts.iter().find(|&&text| !said.contains(text)) {
        None => Ok(()),
        Some(missing) => Err(format!("`{missing}` is missing: {said}").into()),
    }
}

/// The logged losses of a run.
fn losses(folder: &Path, run: &str) -> Result<Vec<f64>, Failed> {
    logged(folder, run, "loss")
}

/// What a run logged under `key`.
fn logged(folder: &Path, run: &str, key: &str) -> Result<Vec<f64>, Failed> {
    let text = std::fs::read_to_string(folder.join(run).join("metrics.jsonl"))?;
    let rows = text.lines().map(serde_json::from_str::<serde_json::Value>);
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    Ok(rows.iter().filter_map(|row| row[key].as_f64()).collect())
}

const RUN: &str =
    "train --max-steps 20 --batch-size 16 --logging-steps 1 --eval-strategy no --save-strategy no";

/// All that changes the training of a step, on top of [`RUN`].
const RECIPE: &str = "--freeze 1 --augment crop-flip --gradient-accumulation-steps 2 \
    --lr-scheduler-type cosine --warmup-ratio 0.2 --label-smoothing-factor 0.1 \
    --class-weights balanced --weight-decay 0.05";

fn twenty_steps(folder: &Path) -> Result<(), Failed> {
    follows(folder, RUN, 20)
}

/// The learning rates are the same on any device.
fn recipe(folder: &Path) -> Result<(), Failed> {
    let line = format!("{RUN} {RECIPE}");
    follows(folder, &line, 20)?;
    let rates = |run: &str| logged(folder, run, "learning_rate");
    if rates("cuda")? == rates("cpu")? {
        Ok(())
    } else {
        Err("other learning rates".into())
    }
}

/// `count` losses of the run `line`, each within 2 % of the CPU's: what is asked of the CPU against
/// its peer.
fn follows(folder: &Path, line: &str, count: usize) -> Result<(), Failed> {
    well(
        folder,
        &format!("{line} --device cuda:1 --output-dir cuda"),
        &[],
    )?;
    well(
        folder,
        &format!("{line} --device cpu --output-dir cpu"),
        &[],
    )?;
    let (found, wanted) = (losses(folder, "cuda")?, losses(folder, "cpu")?);
    if (found.len(), wanted.len()) != (count, count) {
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
    let said = well(folder, line, &[])?;
    let texts = [
        "cuda:0, ",
        "(sm_75), f16 mixed precision",
        "AdamW's moments",
        "scratch",
        "the largest batch that fits is 20",
    ];
    mentions(&said, &texts)?;
    let score = |device: &str| -> Result<serde_json::Value, Failed> {
        let line = format!("eval run --json --device {device}");
        let said = vitcuda(folder, &line, &[])?;
        Ok(serde_json::from_slice(&said.stdout).map_err(|e| format!("{e}: {said:?}"))?)
    };
    let (gpu, cpu) = (score("cuda")?, score("cpu")?);
    let loss = |scores: &serde_json::Value| scores["eval_loss"].as_f64().unwrap_or(f64::NAN);
    at_most("eval_loss", (loss(&gpu) / loss(&cpu) - 1.0).abs(), 0.01)
}

/// In the order of the calls: copies of batches, and waits for the end of steps.
fn copied_ahead(folder: &Path) -> Result<(), Failed> {
    for accumulation in [1, 2] {
        let file = folder.join(format!("counters-{accumulation}"));
        let name = file.display().to_string();
        let line = format!(
            "train --device cuda --max-steps 4 --batch-size 8 --eval-strategy no \
             --train-samples 80 --eval-samples 8 --gradient-accumulation-steps {accumulation} --output-dir run-{accumulation}"
        );
        well(folder, &line, &[("VITCUDA_EMULATOR_COUNTERS", &name)])?;
        let text = std::fs::read_to_string(&file)?;
        let block = 8 * 3 * 8 * 8;
        let (mut copies, mut before_waits) = (0, Vec::new());
        for call in text.lines().map(serde_json::from_str::<serde_json::Value>) {
            let call = call?;
            // Nothing but a batch has this size.
            let size = call["copy_to_device"].as_u64().unwrap_or(0);
            copies += u64::from((block..block + 1024).contains(&size));
            match call["host_synchronisation"].as_str() {
                // Such a wait spins, and takes a core from the decoders.
                Some(call @ ("cuStreamSynchronize" | "cuCtxSynchronize")) => {
                    return Err(format!("the host waits in {call}").into());
                }
                // Before the first batch parameters are copied, which is waited for.
                Some("cuEventSynchronize") if copies > 0 => before_waits.push(copies),
                _ => {}
            }
        }
        // One wait a step, and before it the first batch of the next one.
        let expected = (1..=4).map(|step| accumulation * step + u64::from(step < 4));
        if before_waits.get(..4) != Some(&expected.collect::<Vec<_>>()[..]) {
            return Err(format!("copies before each wait: {before_waits:?}").into());
        }
    }
    Ok(())
}

fn batch_size(folder: &Path, checkpoint: &str) -> Result<u64, Failed> {
    let file = folder
        .join("run")
        .join(checkpoint)
        .join("trainer_state.json");
    let state: serde_json::Value = serde_json::from_slice(&std::fs::read(file)?)?;
    Ok(state["train_batch_size"].as_u64().ok_or("no number")?)
}

fn auto_batch(folder: &Path) -> Result<(), Failed> {
    let line = "train --device cuda --batch-size auto --eval-batch-size auto --eval-samples 20 --max-steps 2 \
                --save-steps 1 --eval-strategy no --output-dir run";
    let said = well(folder, line, &[SMALL])?;
    mentions(
        &said,
        &[
            "by auto: what memory takes",
            "fit in 90 % of the 32 MiB that are free",
        ],
    )?;
    let chosen = batch_size(folder, "checkpoint-1")?;
    // Of what fits, as the header says, nine tenths, or a little less.
    let most = said.split("the largest batch that fits is ").nth(1);
    let most = most.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    let most = most.ok_or_else(|| format!("no largest batch: {said}"))?;
    if !chosen.is_multiple_of(8) || !(most * 8 / 10..most * 9 / 10 + 8).contains(&chosen) {
        return Err(format!("{chosen} of {most}").into());
    }
    // With 8 GiB it would take all the digits.
    std::fs::remove_dir_all(folder.join("run/checkpoint-2"))?;
    let said = well(folder, &format!("{line} --resume"), &[])?;
    mentions(
        &said,
        &[&format!(
            "{chosen} images, by auto: the choice of the run so far"
        )],
    )?;
    assert_eq!(batch_size(folder, "checkpoint-2")?, chosen);
    Ok(())
}

fn info(folder: &Path) -> Result<(), Failed> {
    let said = vitcuda(folder, "info vit_base_patch16_224 --device cuda", &[])?;
    let text = String::from_utf8(said.stdout)?;
    mentions(
        &text,
        &[
            "training MiB",
            "GPU training",
            "GPU inference",
            "MiB free, batches of up to",
        ],
    )?;
    let said = vitcuda(
        folder,
        "info vit_base_patch16_224 --device cuda --json",
        &[],
    )?;
    let info: serde_json::Value = serde_json::from_slice(&said.stdout)?;
    let row = |of: &serde_json::Value, row: usize, what: &str| {
        of["memory_bytes"][row][what].as_u64().unwrap_or(0)
    };
    let gpu = &info["gpu"];
    for what in ["training", "inference"] {
        for i in 1..6 {
            assert!(row(gpu, i, what) > row(gpu, i - 1, what), "{gpu}");
        }
        // Rows are of 1, 8, 16, 32, 64 and 128 images; 8 GiB hold what a batch of the largest size needs.
        let largest = gpu["largest_batch"][what].as_u64().ok_or("no number")?;
        let per_image = (row(gpu, 5, what) - row(gpu, 0, what)) / 127;
        let left = (8 << 30) - (128 << 20) - row(gpu, 0, what);
        let expected = left / per_image;
        assert!(
            largest.abs_diff(expected) <= 1 + expected / 50,
            "{largest}, {expected}"
        );
    }
    // In 16 bits, and with more kept: between a third and all of what f32 takes.
    let share = row(gpu, 5, "training") as f64 / row(&info, 5, "training") as f64;
    assert!((0.33..1.0).contains(&share), "{share}");
    let said = vitcuda(folder, "info vit_base_patch16_224 --json", &[])?;
    let info: serde_json::Value = serde_json::from_slice(&said.stdout)?;
    assert!(info.get("gpu").is_none());
    Ok(())
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
    well(&whole, line, &[])?; // compiles what is not in the cache
    std::fs::remove_dir_all(whole.join("run"))?;
    let start = Instant::now();
    well(&whole, line, &[])?;
    let all = start.elapsed();
    let expected = content(&whole.join("run"));

    let checkpoint = whole.join("run/checkpoint-10");
    let table = ParamTable::new(&VitConfig::read(checkpoint.join("config.json"))?);
    let scale = optimizer_file::load(&checkpoint, &table.params, u64::MAX)?.loss_scale;
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
