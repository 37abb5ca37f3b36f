//! Runs that are interrupted, diverge, collapse, or must not start.

use std::path::Path;
use std::sync::atomic::Ordering;

use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use vitcuda::Error;
use vitcuda::report::record::Origin;
use vitcuda::report::{BestMark, Event};
use vitcuda::train::ModelFiles;
use vitcuda::train::config::{Interval, SaveStrategy};
use vitcuda::train::engine::{Batch, StepOutput};
use vitcuda::train::health;

use crate::common::with_shared;
use crate::fakes::{Numbered, Scripted, tiny_config};
use crate::play::{Play, logged_row, notices};
use crate::{close, read_json, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("an interruption saves a checkpoint", interruption),
        trial("NaN losses are counted and shown", nan_is_shown),
        trial("a run of NaN losses ends the run", divergence),
        trial("NaN parameters are never saved", nan_parameters),
        trial("a NaN evaluation is never the best", nan_evaluation),
        trial("a collapsed run is noticed once", collapse),
        with_shared(
            "the collapse of the reference's 2e-4 run is noticed",
            "golden/hf_trainer_run/lr2e-4-ep1/trainer_state.json",
            reference_collapse,
        ),
        trial("another run's folder is refused", foreign_folder),
        trial("overwriting removes the other run", overwriting),
        trial("settings that make no run are refused", bad_settings),
    ]
}

fn interruption() {
    let mut play = Play::new().every(10);
    let mut engine = Scripted::new(tiny_config(2));
    engine.stop_after = Some((13, play.stop.clone()));
    let error = play.run(&mut engine).unwrap_err();
    assert!(matches!(error, Error::Interrupted { .. }), "{error}");
    let checkpoint = play.output().join("checkpoint-13");
    assert!(
        error
            .to_string()
            .contains(&checkpoint.display().to_string()),
        "{error}"
    );
    assert!(checkpoint.join("model.safetensors").is_file());
    assert!(checkpoint.join("optimizer.safetensors").is_file());
    assert_eq!(engine.steps, 13);
    let state = play.json("checkpoint-13/trainer_state.json");
    assert_eq!(state["global_step"], 13);
    let totals = &state["stateful_callbacks"]["RunTotals"];
    assert_eq!(totals["images"], 13 * 16);
    assert_eq!(totals["window"]["finite"], 3);

    // At a step that is saved anyway there is one checkpoint, and its evaluation is not waited for.
    let mut play = Play::new().every(10);
    let mut engine = Scripted::new(tiny_config(2));
    engine.stop_after = Some((10, play.stop.clone()));
    assert_eq!(play.run(&mut engine).unwrap_err().exit_code(), 130);
    assert_eq!(play.files("checkpoint"), ["checkpoint-10"]);
    assert!(!play.events.iter().any(|e| matches!(e, Event::Evaluated(_))));
    assert!(play.stop.load(Ordering::Relaxed));
}

fn nan_is_shown() {
    let mut play = Play::new();
    play.config.max_steps = Some(10);
    let mut engine = Scripted::new(tiny_config(2));
    engine.on_step = |step| StepOutput {
        loss: match step {
            3 => f64::NAN,
            7 => f64::INFINITY,
            _ => step as f64,
        },
        grad_norm: 1.0,
    };
    let outcome = play.run(&mut engine).unwrap();
    let logged = play.events.iter().find_map(logged_row).unwrap();
    assert_eq!(logged.nonfinite_losses, 2);
    assert_eq!(logged.loss, 45.0 / 8.0);
    // Two updates were left out: the learning rate stands at that of the ninth.
    assert!(close(logged.learning_rate, 2e-4 * 2.0 / 10.0));
    assert_eq!(outcome.state.log_history[0]["nonfinite_losses"], 2);
    assert_eq!(outcome.train["train_loss"], 45.0 / 8.0);
    let notices = play
        .events
        .iter()
        .filter(|e| matches!(e, Event::Notice { .. }));
    assert_eq!(notices.count(), 2);

    // Where there is no finite loss at all, none is shown.
    let mut play = Play::new();
    play.config.max_steps = Some(2);
    play.config.logging = Interval::Steps(2);
    engine.on_step = |_| StepOutput {
        loss: f64::NAN,
        grad_norm: f64::NAN,
    };
    let outcome = play.run(&mut engine).unwrap();
    assert!(
        play.events
            .iter()
            .find_map(logged_row)
            .unwrap()
            .loss
            .is_nan()
    );
    assert_eq!(outcome.state.log_history[0]["loss"], Value::Null);
    assert_eq!(play.json("train_results.json")["train_loss"], Value::Null);
}

fn divergence() {
    let mut play = Play::new().every(4);
    let mut engine = Scripted::new(tiny_config(2));
    engine.on_step = |step| StepOutput {
        loss: if step < 10 { 1.0 } else { f64::NAN },
        grad_norm: 1.0,
    };
    let error = play.run(&mut engine).unwrap_err();
    assert_eq!(error.exit_code(), 7);
    assert_eq!(engine.steps, 9 + u64::from(health::MAX_NONFINITE));
    assert!(error.to_string().contains("10 to 59"), "{error}");
    // Step 12 was due, but its loss was NaN.
    assert_eq!(play.files("checkpoint"), ["checkpoint-4", "checkpoint-8"]);
    assert!(
        error
            .help()
            .unwrap()
            .contains("the last good checkpoint is")
            && error.help().unwrap().ends_with("checkpoint-8"),
        "{:?}",
        error.help()
    );

    engine.steps = 0;
    engine.on_step = |_| StepOutput {
        loss: 1.0,
        grad_norm: f64::INFINITY,
    };
    let error = Play::new().run(&mut engine).unwrap_err();
    assert_eq!(error.exit_code(), 7);
    assert_eq!(engine.steps, u64::from(health::MAX_NONFINITE));
}

fn nan_parameters() {
    let mut play = Play::new().every(10);
    let mut engine = Scripted::new(tiny_config(2));
    let bias = engine.table.head_bias.start;
    engine.params[bias] = f32::NAN;
    let error = play.run(&mut engine).unwrap_err();
    assert_eq!(error.exit_code(), 7);
    assert!(error.to_string().contains("`classifier.bias`"), "{error}");
    assert!(play.files("checkpoint").is_empty());
}

fn nan_evaluation() {
    let mut play = Play::new().every(10);
    play.config.max_steps = Some(30);
    let mut engine = Scripted::new(tiny_config(2));
    engine.on_eval = |step| if step == 20 { 0.5 } else { f64::NAN };
    let outcome = play.run(&mut engine).unwrap();
    assert_eq!(outcome.state.best_global_step, Some(20));
    let last = outcome.evaluation.unwrap();
    assert!(last.loss().is_nan());
    assert_eq!(last.correct(), 0);
    assert_eq!(play.json("eval_results.json")["eval_loss"], Value::Null);
    let marks: Vec<BestMark> = play
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Evaluated(e) => Some(e.mark),
            _ => None,
        })
        .collect();
    assert_eq!(
        marks,
        [BestMark::NotBest, BestMark::Best, BestMark::NotBest]
    );
}

fn collapse() {
    let told = |on_step| {
        let mut play = Play::new();
        play.train_images.label = |i| (i % 2) as u32;
        let mut engine = Scripted::new(tiny_config(2));
        engine.on_step = on_step;
        play.run(&mut engine).unwrap();
        notices(&play)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let at_chance = |step| StepOutput {
        loss: if step < 10 { 1.5 } else { 0.70 },
        grad_norm: 1.0,
    };
    let notices = told(at_chance);
    assert_eq!(notices.len(), 1);
    assert!(notices[0].contains("step 50 of 63"), "{}", notices[0]);
    assert!(notices[0].contains("2e-4") && notices[0].contains("2e-5"));
    let below_chance = |step| StepOutput {
        loss: if step < 10 { 1.5 } else { 0.67 },
        grad_norm: 1.0,
    };
    assert_eq!(told(below_chance), [""; 0]);
    // It has not moved at all: its rate may be too low, and a tenth of it would be no help.
    let unmoved = |_| StepOutput {
        loss: 0.70,
        grad_norm: 1.0,
    };
    assert_eq!(told(unmoved), [""; 0]);
}

/// The means of ten steps that the reference logged at 2e-4, one class against the other.
fn reference_collapse(path: &Path) -> Result<(), Failed> {
    let history = read_json(path)["log_history"].clone();
    let rows = history.as_array().unwrap();
    let means: Vec<f64> = rows.iter().filter_map(|row| row["loss"].as_f64()).collect();
    assert_eq!(means.len(), 6);
    let play = Play::new();
    let mut health = health::Health::new(&play.config, 63, 0, Origin::Pretrained, &[500, 500]);
    let batch = Batch {
        images: Vec::new(),
        labels: vec![0, 1],
    };
    let told = (1..=60).find(|&step| {
        let output = StepOutput {
            loss: means[(step as usize - 1) / 10],
            grad_norm: 1.0,
        };
        let notice = health.observe(step, std::slice::from_ref(&batch), &output);
        notice.unwrap().is_some()
    });
    assert_eq!(told, Some(60));
    Ok(())
}

fn foreign_folder() {
    let refused = |file: &str| {
        let mut play = Play::new();
        std::fs::create_dir_all(play.output().join(file).parent().unwrap()).unwrap();
        std::fs::write(play.output().join(file), "{}").unwrap();
        let mut engine = Scripted::new(tiny_config(2));
        let error = play.run(&mut engine).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert_eq!(engine.steps, 0);
        error.to_string()
    };
    assert!(refused("trainer_state.json").ends_with("holds another run (trainer_state.json)"));
    assert!(refused("checkpoint-40/config.json").ends_with("holds another run (checkpoint-40)"));
    assert!(refused("model.safetensors").ends_with("(model.safetensors)"));

    let mut play = Play::new();
    std::fs::create_dir_all(play.output().join("checkpoint-notes")).unwrap();
    std::fs::create_dir_all(play.output().join("best/of/all")).unwrap();
    std::fs::write(play.output().join("notes.txt"), "mine").unwrap();
    play.run(&mut Scripted::new(tiny_config(2))).unwrap();
    assert_eq!(play.files("notes"), ["notes.txt"]);
    assert!(play.output().join("best/of/all").is_dir());
    // And now it holds a run itself.
    let error = play.run(&mut Scripted::new(tiny_config(2))).unwrap_err();
    assert_eq!(error.exit_code(), 2);
}

fn overwriting() {
    let mut play = Play::new().every(10);
    play.run(&mut Scripted::new(tiny_config(2))).unwrap();
    std::fs::write(play.output().join("notes.txt"), "mine").unwrap();
    std::fs::create_dir(play.output().join(".checkpoint-7.partial")).unwrap();
    std::fs::create_dir(play.output().join("checkpoint-007")).unwrap();
    play.config.overwrite_output_dir = true;
    play.config.max_steps = Some(5);
    play.config.save = SaveStrategy::Never;
    play.run(&mut Scripted::new(tiny_config(2))).unwrap();
    assert_eq!(play.files("checkpoint"), ["checkpoint-007"]);
    // The last step is evaluated, so there is a best one; it is not that of the other run.
    let best = play.model_files.load(&play.output().join("best"));
    assert_eq!(best.unwrap()[0], 5.0);
    assert!(play.files(".").is_empty(), "{:?}", play.files("."));
    assert_eq!(play.files("notes"), ["notes.txt"]);
    let metrics = std::fs::read_to_string(play.output().join("metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 1, "{metrics}");
}

fn bad_settings() {
    let refused = |change: fn(&mut Play)| {
        let mut play = Play::new();
        change(&mut play);
        let error = play.run(&mut Scripted::new(tiny_config(2))).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        assert!(error.help().is_some(), "{error}");
    };
    refused(|p| p.config.train_batch_size = 0);
    refused(|p| p.config.gradient_accumulation_steps = 0);
    refused(|p| p.config.num_train_epochs = f64::NAN);
    refused(|p| p.config.num_train_epochs = 0.0);
    refused(|p| p.config.max_steps = Some(0));
    refused(|p| p.config.learning_rate = -1.0);
    refused(|p| p.config.logging = Interval::Steps(0));
    refused(|p| p.config.eval = Interval::Steps(0));
    refused(|p| p.config.save_total_limit = Some(0));
    refused(|p| p.config.early_stopping_patience = Some(2));
    refused(|p| {
        p.config.eval = Interval::Epoch;
        p.config.early_stopping_patience = Some(0);
    });
    refused(|p| p.config.warmup_ratio = 1.5);
    refused(|p| p.config.hyper.label_smoothing = f64::NAN);
    refused(|p| p.train_images = Numbered::new(0));
    refused(|p| {
        p.config.eval = Interval::Epoch;
        p.validation_images = Numbered::new(0);
    });
}
