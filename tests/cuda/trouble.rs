//! Runs that cannot go well: what they say, how they end, what they leave.

use std::fs;
use std::path::Path;

use libtest_mimic::{Failed, Trial};

use super::emulated::{Devices, REFUSED, UNKNOWN_MUTATION};
use super::runs::{SMALL, Test, mentions, refused, trials_of, vitcuda, well};

const TESTS: [(&str, Test); 7] = [
    (
        "a batch that does not fit is refused with the one that does",
        too_large,
    ),
    (
        "memory that others take after the plan was shown is the same error",
        taken_meanwhile,
    ),
    ("bf16 on a GPU that has none is refused", no_bf16),
    (
        "losses that stay NaN end the run and leave the last good checkpoint",
        diverged,
    ),
    (
        "a kernel that does not compile ends the run with a report",
        nothing_compiles,
    ),
    (
        "a cache that cannot be written is told, and the run goes on",
        read_only_cache,
    ),
    (
        "a damaged cache is told and mended, and the run goes on",
        damaged_cache,
    ),
];

pub fn trials(devices: Devices) -> Vec<Trial> {
    trials_of(devices, &TESTS)
}

const ALL_DIGITS: &str =
    "train --device cuda --eval-strategy no --eval-samples 8 --max-steps 1 --batch-size 1438";
const SHORT: &str = "train --device cuda --eval-strategy no --train-samples 40 --eval-samples 8 --max-steps 2 --batch-size 8";

/// The number behind `--batch-size` in the help.
fn advised(said: &str) -> Result<usize, Failed> {
    mentions(said, &["help: the largest batch that fits is"])?;
    let number = said.split("--batch-size ").nth(1);
    let number = number.and_then(|text| text.split(',').next()?.trim().parse().ok());
    Ok(number.ok_or_else(|| format!("no number: {said}"))?)
}

fn too_large(folder: &Path) -> Result<(), Failed> {
    let said = refused(folder, ALL_DIGITS, &[SMALL], 6)?;
    mentions(
        &said,
        &["a batch of 1438 does not fit the GPU", "32 MiB are free"],
    )?;
    // Nothing was to be allocated, so there is no plan to show.
    assert!(!said.contains("\nmemory"), "{said}");
    let most = advised(&said)?;
    let with = |images: usize| ALL_DIGITS.replace("1438", &images.to_string());
    refused(folder, &with(most + 1), &[SMALL], 6)?;
    let said = well(folder, &with(most), &[SMALL])?;
    mentions(&said, &[&format!("the largest batch that fits is {most}")])
}

fn taken_meanwhile(folder: &Path) -> Result<(), Failed> {
    let (all, left) = (8u64 << 30, 160 << 20);
    let taken = (all - left).to_string();
    let variables = [("VITCUDA_EMULATOR_MEMORY_TAKEN", taken.as_str())];
    let late = refused(folder, ALL_DIGITS, &variables, 6)?;
    // The header came before the first allocation, and said that all was well.
    mentions(
        &late,
        &[
            "device  cuda:0",
            "memory  parameters",
            "a batch of 1438 does not fit",
        ],
    )?;
    let early = refused(folder, ALL_DIGITS, &[SMALL], 6)?;
    assert_eq!(advised(&late)?, advised(&early)?);
    Ok(())
}

fn no_bf16(folder: &Path) -> Result<(), Failed> {
    let line = "train --device cuda --precision bf16 --max-steps 1";
    let said = refused(folder, line, &[], 5)?;
    mentions(&said, &["has no bf16 tensor cores", "help: take f16"])
}

/// The rate is 0 at first, and destroys the parameters in step 2.
fn diverged(folder: &Path) -> Result<(), Failed> {
    let line = "train --device cuda --max-steps 100 --batch-size 8 --learning-rate 1e38 \
                --warmup-steps 100 --eval-strategy no --save-steps 1 --output-dir run";
    let said = refused(folder, line, &[], 7)?;
    let texts = [
        "error: the run diverged: the loss of 50 steps in a row, 3 to 52, is not finite",
        "the loss of step 3 is",
        "nothing is saved until losses are finite again",
        "help: lower the learning rate",
        "the last good checkpoint is run/checkpoint-2",
    ];
    mentions(&said, &texts)?;
    assert_eq!(said.matches("notice: the loss").count(), 1, "{said}");
    let mut left: Vec<String> = fs::read_dir(folder.join("run"))?
        .map(|entry| {
            entry
                .expect("readable")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| name.contains("checkpoint"))
        .collect();
    left.sort();
    assert_eq!(left, ["checkpoint-1", "checkpoint-2"]);
    // That of step 1 holds the weights of the start: chance, and no more.
    let said = vitcuda(folder, "eval run/checkpoint-1 --json --device cpu", &[])?;
    let scores: serde_json::Value = serde_json::from_slice(&said.stdout)?;
    let loss = scores["eval_loss"].as_f64().unwrap_or(f64::NAN);
    assert!((1.0..5.0).contains(&loss), "{scores}");
    Ok(())
}

fn nothing_compiles(folder: &Path) -> Result<(), Failed> {
    let cache = folder.join("cache").display().to_string();
    let variables = [UNKNOWN_MUTATION, ("VITCUDA_CACHE", &cache)];
    let said = refused(folder, SHORT, &variables, 5)?;
    let texts = [
        "error: NVRTC 13.",
        "cannot compile",
        "for sm_75",
        REFUSED,
        "the whole log is in ",
    ];
    mentions(&said, &texts)?;
    let report = said
        .split("the whole log is in ")
        .nth(1)
        .unwrap_or_default();
    let report = fs::read_to_string(report.lines().next().unwrap_or_default())?;
    mentions(
        &report,
        &["--gpu-architecture=sm_75", REFUSED, "__global__"],
    )
}

fn read_only_cache(folder: &Path) -> Result<(), Failed> {
    // A file where the folder should be: nobody can write there, not even root.
    let file = folder.join("a-file");
    fs::write(&file, "")?;
    let said = well(
        folder,
        SHORT,
        &[("VITCUDA_CACHE", &file.display().to_string())],
    )?;
    mentions(
        &said,
        &[
            "compiled kernels are not kept",
            "let VITCUDA_CACHE name a folder",
        ],
    )?;
    assert_eq!(said.matches("are not kept").count(), 1, "{said}");
    Ok(())
}

fn damaged_cache(folder: &Path) -> Result<(), Failed> {
    let cache = folder.join("cache");
    let name = cache.display().to_string();
    let run = |run: &str| {
        let line = format!("{SHORT} --output-dir {run}");
        let said = well(folder, &line, &[("VITCUDA_CACHE", &name)])?;
        Ok::<_, Failed>((said, fs::read(folder.join(run).join("model.safetensors"))?))
    };
    let (said, model) = run("first")?;
    assert!(!said.contains("damaged"), "{said}");
    let entries = || fs::read_dir(cache.join("kernels")).map(|all| all.map(|e| e.unwrap().path()));
    let one = entries()?.next().expect("kernels were compiled");
    let whole = fs::read(&one)?;
    fs::write(&one, &whole[..whole.len() / 2])?;
    let (said, again) = run("second")?;
    mentions(
        &said,
        &[
            "a compiled kernel is damaged and made anew",
            &one.display().to_string(),
        ],
    )?;
    assert!(again == model, "other bits after a damaged cache");
    assert_eq!(fs::read(&one)?.len(), whole.len(), "mended");
    let (said, _) = run("third")?;
    assert!(!said.contains("damaged"), "{said}");
    Ok(())
}
