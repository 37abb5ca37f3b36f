//! A run that is killed and resumed ends as if it had never been killed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vitcuda::model::tensor_file::{self, Tensor, TensorFile};
use vitcuda::rng::{Philox, Purpose};

use super::run_files::{content, difference, killed_until_done};
use super::support::{run_in, vitcuda};

/// Steps, evaluations and checkpoints that fall together and apart.
const RUN: &str = "train --max-steps 120 --logging-steps 7 --eval-steps 12 --save-steps 5 \
                   --save-total-limit 3 --seed 7 --batch-size 48 --output-dir run";

fn words(more: &str) -> Vec<&str> {
    RUN.split_whitespace()
        .chain(more.split_whitespace())
        .collect()
}

/// A session that goes on with the run in `folder`, or starts it.
fn session(folder: &Path) -> Command {
    let mut command = vitcuda();
    command
        .env("VITCUDA_DEVICE", "cpu")
        .current_dir(folder)
        .args(words("--resume"));
    command
}

#[test]
fn killed_at_twenty_moments_it_ends_in_the_same_bits() {
    let whole = tempfile::tempdir().unwrap();
    let start = Instant::now();
    run_in(whole.path(), &words("")).well();
    let all = start.elapsed();
    let expected = content(&whole.path().join("run"));

    // Each session may be killed within the time of a whole run, so most runs are killed more than
    // once, and some sessions get to their end.
    let mut moments = Philox::new(11, Purpose::Test, 0);
    let mut kills = 0;
    while kills < 20 {
        let folder = tempfile::tempdir().unwrap();
        kills += killed_until_done(
            || session(folder.path()),
            || all.mul_f64(f64::from(moments.next_u32()) / f64::from(u32::MAX)),
        );
        let found = content(&folder.path().join("run"));
        assert_eq!(difference(&found, &expected), None);
    }
}

#[test]
fn killed_behind_its_last_checkpoint_it_ends_in_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    run_in(folder.path(), &words("")).well();
    let expected = content(&folder.path().join("run"));
    run_in(folder.path(), &words("--resume")).well();
    let found = content(&folder.path().join("run"));
    for (name, bytes) in &expected {
        assert!(found[name] == *bytes, "{} differs", name.display());
    }
}

#[test]
fn other_settings_are_refused_or_told() {
    let folder = tempfile::tempdir().unwrap();
    run_in(folder.path(), &words("")).well();
    let other = words("--resume --learning-rate 1e-3 --weight-decay 0.1");
    let said = run_in(folder.path(), &other).failed(2);
    said.mentions(&["--learning-rate: 0.002 then, 0.001 now", "--weight-decay"]);
    run_in(folder.path(), &words("--resume --head-init zero"))
        .failed(2)
        .mentions(&["weights at the start: "]);
    let accepted = words("--resume --learning-rate 1e-3 --resume-with-changes");
    run_in(folder.path(), &accepted)
        .well()
        .mentions(&["going on with another setting: --learning-rate"]);
}

#[test]
fn a_named_checkpoint_drops_the_later_ones() {
    let folder = tempfile::tempdir().unwrap();
    run_in(folder.path(), &words("")).well();
    let expected = content(&folder.path().join("run"));
    let steps = fs::read_dir(folder.path().join("run")).unwrap();
    let oldest = steps
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_prefix("checkpoint-")?.parse::<u64>().ok()
        })
        .min()
        .unwrap();
    let checkpoint = format!("--resume-from-checkpoint run/checkpoint-{oldest}");
    run_in(folder.path(), &words(&checkpoint))
        .well()
        .mentions(&[&format!("after step {oldest} of 120")]);
    let found = content(&folder.path().join("run"));
    let model = Path::new("model.safetensors");
    assert!(found[model] == expected[model], "other parameters");

    let nowhere = words("--resume-from-checkpoint run/checkpoint-3");
    run_in(folder.path(), &nowhere)
        .failed(2)
        .mentions(&["no checkpoint of the run"]);
}

#[test]
fn auto_takes_a_batch_and_keeps_that_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = |more: &str| {
        let line = "train --max-steps 2 --save-steps 1 --eval-strategy no";
        let words = line.split(' ').chain(more.split(' '));
        run_in(folder.path(), &words.collect::<Vec<_>>()).well()
    };
    run("--output-dir new --batch-size auto").mentions(&[
        "32 images, by auto: the most that auto takes here",
        "fit in 50 % of the ",
    ]);
    run("--output-dir run --batch-size 16");
    fs::remove_dir_all(folder.path().join("run/checkpoint-2")).unwrap();
    run("--output-dir run --batch-size auto --resume")
        .mentions(&["16 images, by auto: the choice of the run so far"]);
    for (name, images) in [("new", 32), ("run", 16)] {
        let file = folder
            .path()
            .join(name)
            .join("checkpoint-2/trainer_state.json");
        let state: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        assert_eq!(state["train_batch_size"], images);
        let settings = &state["stateful_callbacks"]["RunSettings"];
        assert_eq!(settings["--batch-size"], images);
    }
}

/// The verdict compares the best evaluation with the last one, image by image: after a resume, too,
/// when the best one was another session's.
#[test]
fn a_resumed_run_is_judged_as_one_that_was_not() {
    const RUN: &str = "train --train-samples 240 --eval-samples 60 --batch-size 16 --max-steps 20 \
                       --lr 0.01 --logging-steps 3 --eval-steps 4 --save-steps 2 --output-dir run";
    let folder = tempfile::tempdir().unwrap();
    let comparison = |more: &str| {
        let words: Vec<&str> = RUN
            .split_whitespace()
            .chain(more.split_whitespace())
            .collect();
        run_in(folder.path(), &words).well();
        let record = fs::read(folder.path().join("run/report.json")).unwrap();
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        record["comparison"].clone()
    };
    let whole = comparison("");
    assert!(whole["best_step"].as_u64().unwrap() < 14, "{whole}");
    assert_eq!(whole["last_step"], 20);
    assert_eq!(
        comparison("--resume-from-checkpoint run/checkpoint-14"),
        whole
    );
    // The last checkpoint is of the last step: nothing is evaluated again.
    assert_eq!(comparison("--resume"), whole);
}

/// Killed before there is a checkpoint, a run starts anew: by the settings it had, and saying so.
#[test]
fn killed_before_its_first_checkpoint_it_starts_anew() {
    let line = |more: &str| -> Vec<String> {
        let words = "train --epochs 1000000 --logging-steps 1 --output-dir run".split(' ');
        let more = more.split_whitespace();
        words.chain(more).map(str::to_owned).collect()
    };
    let folder = tempfile::tempdir().unwrap();
    let mut first = vitcuda()
        .env("VITCUDA_DEVICE", "cpu")
        .current_dir(folder.path())
        .args(line(""))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let log = folder.path().join("run/metrics.jsonl");
    while fs::metadata(&log).map_or(0, |file| file.len()) == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    first.kill().unwrap();
    first.wait().unwrap();

    let other = line("--resume --learning-rate 1e-3 --max-steps 2");
    let other: Vec<&str> = other.iter().map(String::as_str).collect();
    run_in(folder.path(), &other)
        .failed(2)
        .mentions(&["--learning-rate: 0.002 then, 0.001 now"]);
    assert!(fs::metadata(&log).unwrap().len() > 0, "nothing was touched");

    let mut again = vitcuda()
        .env("VITCUDA_DEVICE", "cpu")
        .current_dir(folder.path())
        .args(line("--resume"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(again.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("starts anew") && stderr.read_line(&mut said).unwrap() > 0 {}
    again.kill().unwrap();
    again.wait().unwrap();
    assert!(
        said.contains("there is no checkpoint in run: the run starts anew"),
        "{said}"
    );
}

/// A checkpoint that holds a backbone alone, or one of other classes.
#[test]
fn a_checkpoint_of_another_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = words("--save-strategy steps");
    run_in(folder.path(), &run).well();
    let checkpoint = folder.path().join("run/checkpoint-120");
    let weights = checkpoint.join("model.safetensors");
    let file = TensorFile::open(&weights).unwrap();
    let headless: Vec<_> = file
        .names()
        .into_iter()
        .filter(|name| !name.starts_with("classifier."))
        .map(|name| {
            let shape = file.shape(&name).unwrap().to_vec();
            let values = file.read_vec(&name, &shape).unwrap();
            (name, shape, values)
        })
        .collect();
    drop(file);
    let mut tensors: Vec<Tensor> = headless
        .iter()
        .map(|(name, shape, values)| Tensor {
            name: name.clone(),
            shape,
            values,
        })
        .collect();
    tensor_file::write(&weights, &mut tensors, &[]).unwrap();
    let config = checkpoint.join("config.json");
    let mut settings: serde_json::Value =
        serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    let keys = settings.as_object_mut().unwrap();
    keys.retain(|key, _| !["id2label", "label2id"].contains(&key.as_str()));
    fs::write(&config, settings.to_string()).unwrap();
    let said = run_in(folder.path(), &words("--resume")).failed(4);
    said.mentions(&["checkpoint-120", "classifier", "--resume-from-checkpoint"]);
}
