//! Runs of Hugging Face's Trainer are gone on with, and it goes on with ours.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::support::{Said, run_in};

const RUN: &str = "train --train-samples 100 --eval-samples 40 --batch-size 10 --max-steps 12 \
                   --eval-steps 3 --save-steps 3 --logging-steps 3 --early-stopping-patience 9 \
                   --output-dir run";

fn run(folder: &Path, more: &str) -> Said {
    let words: Vec<&str> = RUN
        .split_whitespace()
        .chain(more.split_whitespace())
        .collect();
    run_in(folder, &words)
}

fn state(folder: &Path, place: &str) -> Value {
    let file = folder.join(place).join("trainer_state.json");
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// A run whose checkpoints of steps 3 and 6 are as Trainer leaves them, and no others.
fn of_the_trainer() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), "").well();
    let run = folder.path().join("run");
    for step in [9, 12] {
        fs::remove_dir_all(run.join(format!("checkpoint-{step}"))).unwrap();
    }
    for file in [
        "metrics.jsonl",
        "metrics.csv",
        "report.json",
        "trainer_state.json",
    ] {
        fs::remove_file(run.join(file)).unwrap();
    }
    for step in [3, 6] {
        let place = format!("run/checkpoint-{step}");
        let mut state = state(folder.path(), &place);
        state["stateful_callbacks"] = json!({
            "TrainerControl": {"args": {"should_log": false}, "attributes": {}},
        });
        state["logging_steps"] = json!(3.0);
        state["best_model_checkpoint"] = json!("/somewhere/else/checkpoint-3");
        state.as_object_mut().unwrap().remove("best_global_step");
        // Python writes numbers that are none as no JSON has them.
        let text = state
            .to_string()
            .replacen("\"grad_norm\":", "\"grad_norm\":NaN,\"was\":", 1);
        let checkpoint = folder.path().join(place);
        fs::write(checkpoint.join("trainer_state.json"), text).unwrap();
        fs::remove_file(checkpoint.join("evaluations.json")).unwrap();
        fs::remove_file(checkpoint.join("optimizer.safetensors")).unwrap();
        fs::write(checkpoint.join("optimizer.pt"), b"PK\x03\x04").unwrap();
    }
    folder
}

#[test]
fn its_pickled_optimiser_is_refused_with_the_way_out() {
    let folder = of_the_trainer();
    run(folder.path(), "--resume").failed(2).mentions(&[
        "checkpoint-6 is a checkpoint of Hugging Face's Trainer",
        "pickles are not read",
        "`--model run/checkpoint-6`",
        "--resume-with-changes",
    ]);
    // The way out is one.
    let line = "train --model run/checkpoint-6 --max-steps 2 --output-dir new";
    let words: Vec<&str> = line.split(' ').collect();
    run_in(folder.path(), &words).well();
}

#[test]
fn its_run_goes_on_after_its_last_step() {
    let folder = of_the_trainer();
    let early = state_rows(&fs::read_to_string(
        folder.path().join("run/checkpoint-6/trainer_state.json"),
    ));
    run(folder.path(), "--resume --resume-with-changes")
        .well()
        .mentions(&["after step 6 of 12", "the optimiser starts anew"]);
    let state = state(folder.path(), "run");
    assert_eq!(state["global_step"], 12);
    let history = state["log_history"].as_array().unwrap();
    let steps: Vec<u64> = history
        .iter()
        .filter(|row| row.get("loss").is_some())
        .map(|row| row["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, [3, 6, 9, 12]);
    assert_eq!(early, 2);
    // The learning rate falls on from where it was: 2e-3 over twelve steps, seven of them done.
    let at_nine = history
        .iter()
        .find(|row| row["step"] == 9 && row.get("loss").is_some());
    let rate = at_nine.unwrap()["learning_rate"].as_f64().unwrap();
    assert!((rate - 2e-3 * 3.0 / 12.0).abs() < 1e-12, "{rate}");
    // The whole run's curve is there, and its best checkpoint is one that is there.
    let log = fs::read_to_string(folder.path().join("run/metrics.jsonl")).unwrap();
    assert!(log.lines().next().unwrap().contains("\"step\":3"), "{log}");
    let best = state["best_global_step"].as_u64().unwrap();
    assert!(
        folder
            .path()
            .join(format!("run/checkpoint-{best}"))
            .is_dir()
    );
    let losses: f64 = state["stateful_callbacks"]["RunTotals"]["losses"]["finite"]
        .as_f64()
        .unwrap();
    assert_eq!(losses, 12.0);
}

/// Logs of the loss.
fn state_rows(text: &Result<String, std::io::Error>) -> usize {
    text.as_ref().unwrap().matches("\"loss\":").count()
}

/// What Trainer looks up when it saves, and does not find an end without.
#[test]
fn our_state_has_the_callbacks_that_it_looks_up() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), "").well();
    for (place, is_over) in [
        ("run/checkpoint-3", false),
        ("run/checkpoint-12", true),
        ("run", true),
    ] {
        let state = state(folder.path(), place);
        let callbacks = &state["stateful_callbacks"];
        let control = &callbacks["TrainerControl"];
        assert_eq!(control["args"]["should_training_stop"], is_over, "{place}");
        assert_eq!(control["attributes"], json!({}));
        let stopping = &callbacks["EarlyStoppingCallback"];
        assert_eq!(
            stopping["args"],
            json!({"early_stopping_patience": 9, "early_stopping_threshold": 0.0})
        );
        assert!(stopping["attributes"]["early_stopping_patience_counter"].is_u64());
    }
}

/// A model of other shapes is told of, whatever settings are accepted.
#[test]
fn another_model_is_no_change_of_settings() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), "").well();
    let more = "--resume --resume-with-changes --image-size 10";
    run(folder.path(), more)
        .failed(4)
        .mentions(&["holds another model than this run trains"]);
}
