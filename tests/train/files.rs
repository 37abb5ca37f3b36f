//! What a run leaves, against what the reference left.

use std::collections::BTreeSet;
use std::path::Path;

use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use vitcuda::model::config::VitConfig;
use vitcuda::model::params::ParamTable;
use vitcuda::train::engine::{LossScale, OptimizerState};
use vitcuda::train::optimizer_file;

use crate::common::with_shared;
use crate::fakes::{Scripted, tiny_config};
use crate::play::Play;
use crate::{read_json, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("optimizer.safetensors reads back", optimizer_round_trip),
        with_shared(
            "files have the reference's keys and numbers",
            "golden/hf_trainer_run/lr2e-5-ep1",
            reference_files,
        ),
        with_shared(
            "total_flos is the reference's",
            "golden/hf_trainer_run/lr2e-5-ep1",
            reference_flos,
        ),
    ]
}

fn optimizer_round_trip() {
    let folder = tempfile::TempDir::new().unwrap();
    let table = ParamTable::new(&tiny_config(3));
    let ramp = |start: f32| (0..table.len).map(|i| start + i as f32).collect();
    let state = OptimizerState {
        step: 13,
        first: ramp(0.0),
        second: ramp(0.5),
        loss_scale: Some(LossScale {
            factor: 32768.0,
            good_steps: 41,
        }),
    };
    optimizer_file::save(folder.path(), &table, &state).unwrap();
    assert_eq!(
        optimizer_file::load(folder.path(), &table.params, 13).unwrap(),
        state
    );
    let other = ParamTable::new(&tiny_config(2));
    let error = optimizer_file::load(folder.path(), &other.params, 13).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    // More updates than there were steps.
    let error = optimizer_file::load(folder.path(), &table.params, 12).unwrap_err();
    assert_eq!(error.exit_code(), 4);
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

/// Files as the reference's, number by number where they depend on neither losses nor clock.
fn reference_files(folder: &Path) -> Result<(), Failed> {
    let golden = |file: &str| read_json(&folder.join(file));
    let mut play = Play::new().every(10);
    play.config.save_total_limit = Some(2);
    play.run(&mut Scripted::new(tiny_config(2)))?;

    for file in [
        "train_results.json",
        "eval_results.json",
        "all_results.json",
    ] {
        let (ours, theirs) = (play.json(file), golden(file));
        assert_eq!(keys(&ours), keys(&theirs), "{file}");
        let text = std::fs::read_to_string(play.output().join(file))?;
        assert!(
            text.starts_with("{\n    \"epoch\": 1.0,\n"),
            "{file}: {text}"
        );
    }
    for file in ["trainer_state.json", "checkpoint-60/trainer_state.json"] {
        let (ours, theirs) = (play.json(file), golden(file));
        assert_eq!(keys(&ours), keys(&theirs), "{file}");
        let same = [
            "epoch",
            "eval_steps",
            "global_step",
            "logging_steps",
            "max_steps",
            "num_train_epochs",
            "save_steps",
            "train_batch_size",
            "best_global_step",
        ];
        for key in same {
            assert_eq!(ours[key], theirs[key], "{file}: {key}");
        }
        let rows = ours["log_history"].as_array().unwrap();
        let golden_rows = theirs["log_history"].as_array().unwrap();
        assert_eq!(rows.len(), golden_rows.len(), "{file}");
        for (row, golden_row) in rows.iter().zip(golden_rows) {
            assert_eq!(keys(row), keys(golden_row), "{file}");
            for key in ["step", "epoch"] {
                assert_eq!(row[key], golden_row[key], "{file}: {key}");
            }
        }
        let text = std::fs::read_to_string(play.output().join(file))?;
        assert!(text.starts_with("{\n  \"best_global_step\""), "{file}");
        let order = |value: &Value| {
            value
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(order(&ours), order(&theirs), "{file}: keys in order");
        assert_eq!(
            order(&rows[0]),
            order(&golden_rows[0]),
            "{file}: keys in order"
        );
    }
    assert_eq!(play.files("checkpoint"), ["checkpoint-60", "checkpoint-63"]);
    Ok(())
}

/// The reference's estimate for the real model, from its configuration.
fn reference_flos(folder: &Path) -> Result<(), Failed> {
    let config = VitConfig::read(folder.join("config.json"))?;
    let mut play = Play::new();
    play.config.max_steps = Some(60);
    let before = play
        .run(&mut Scripted::new(config.clone()))?
        .state
        .total_flos;
    let golden = read_json(&folder.join("checkpoint-60/trainer_state.json"));
    assert_eq!(before, golden["total_flos"].as_f64().unwrap());

    let mut play = Play::new();
    play.run(&mut Scripted::new(config))?;
    let golden = read_json(&folder.join("all_results.json"));
    assert_eq!(
        play.json("all_results.json")["total_flos"],
        golden["total_flos"]
    );
    Ok(())
}
