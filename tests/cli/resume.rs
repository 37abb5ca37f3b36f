//! A run that is killed and resumed ends as if it had never been killed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use vitcuda::rng::{Philox, Purpose};

use super::support::{run_in, vitcuda};

/// Steps, evaluations and checkpoints that fall together and apart.
const RUN: &str = "train --max-steps 120 --logging-steps 7 --eval-steps 12 --save-steps 5 \
                   --save-total-limit 3 --seed 7 --batch-size 48 --output-dir run";

fn words(more: &str) -> Vec<&str> {
    RUN.split_whitespace()
        .chain(more.split_whitespace())
        .collect()
}

/// Keys of times and rates, which no two runs share.
fn is_time(key: &str) -> bool {
    ["second", "runtime", "data_wait"]
        .iter()
        .any(|part| key.contains(part))
}

fn without_times(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(key, _)| !is_time(key))
            .map(|(key, value)| (key, without_times(value)))
            .collect(),
        Value::Array(values) => values.into_iter().map(without_times).collect(),
        other => other,
    }
}

/// For people, and full of times: event files, and what says the same as `metrics.jsonl`.
fn is_for_people(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    path.components().any(|part| part.as_os_str() == "runs")
        || ["report.html", "report.json", "metrics.csv"]
            .map(Some)
            .contains(&name)
}

/// Every file of a run: JSON without its times, the rest byte for byte.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(inner).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if is_for_people(path.strip_prefix(folder).unwrap()) {
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            let json = |text: &str| without_times(serde_json::from_str(text).unwrap()).to_string();
            let bytes = match path.extension().and_then(|e| e.to_str()) {
                Some("json") => json(&String::from_utf8(bytes).unwrap()).into_bytes(),
                Some("jsonl") => {
                    let text = String::from_utf8(bytes).unwrap();
                    let lines: Vec<String> = text.lines().map(json).collect();
                    lines.join("\n").into_bytes()
                }
                _ => bytes,
            };
            found.insert(path.strip_prefix(folder).unwrap().to_owned(), bytes);
        }
    }
    found
}

#[test]
fn killed_at_twenty_moments_it_ends_in_the_same_bits() {
    let whole = tempfile::tempdir().unwrap();
    let start = Instant::now();
    run_in(whole.path(), &words("")).well();
    let all = start.elapsed();
    let expected = content(&whole.path().join("run"));

    let mut moments = Philox::new(11, Purpose::Test, 0);
    let mut kills = 0;
    while kills < 20 {
        let folder = tempfile::tempdir().unwrap();
        // Each session may be killed within the time of a whole run, so most runs are killed more
        // than once, and some sessions get to their end.
        loop {
            let mut session = vitcuda()
                .env("VITCUDA_DEVICE", "cpu")
                .current_dir(folder.path())
                .args(words("--resume"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let share = f64::from(moments.next_u32()) / f64::from(u32::MAX);
            std::thread::sleep(Duration::from_secs_f64(all.as_secs_f64() * share));
            if let Some(status) = session.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                break;
            }
            session.kill().unwrap();
            session.wait().unwrap();
            kills += 1;
        }
        let found = content(&folder.path().join("run"));
        let names = |files: &BTreeMap<PathBuf, _>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&found), names(&expected));
        for (name, bytes) in &expected {
            assert!(found[name] == *bytes, "{} differs", name.display());
        }
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
        let state: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        assert_eq!(state["train_batch_size"], images);
        let settings = &state["stateful_callbacks"]["RunSettings"];
        assert_eq!(settings["--batch-size"], images);
    }
}
