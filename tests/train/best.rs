//! The best checkpoint: which one it is, that it is kept, that it can be loaded.

use approx::assert_abs_diff_eq;
use libtest_mimic::Trial;
use vitcuda::Error;
use vitcuda::report::Event;
use vitcuda::train::config::{BestMetric, Interval, SaveStrategy};

use crate::fakes::{Scripted, tiny_config};
use crate::play::Play;
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("rotation keeps the best and the newest", rotation),
        trial("a limit of one ends with the best alone", limit_of_one),
        trial("ties keep the earlier checkpoint", ties),
        trial("accuracy is better when higher", best_accuracy),
        trial("the best parameters are loaded at the end", load_best),
        trial("settings of load_best are checked", load_best_settings),
        trial("early stopping counts evaluations", early_stopping),
        trial(
            "early stopping ends with the best model",
            stopped_at_the_best,
        ),
        trial("evaluation by epoch", by_epoch),
    ]
}

/// Validation losses of the tutorial's table; the evaluation of step 126 is transformers 5's.
fn tutorial_losses(step: u64) -> f64 {
    const LOSSES: [f64; 12] = [
        0.126342, 0.080837, 0.114378, 0.120676, 0.059736, 0.145740, 0.101908, 0.080557, 0.187967,
        0.124333, 0.045854, 0.039275,
    ];
    *LOSSES.get(step as usize / 10 - 1).unwrap_or(&0.05)
}

fn tutorial() -> (Play, Scripted) {
    let mut play = Play::new().every(10);
    play.config.num_train_epochs = 2.0;
    play.config.save_total_limit = Some(2);
    let mut engine = Scripted::new(tiny_config(2));
    engine.on_eval = |step| {
        if step == 126 {
            0.05
        } else {
            tutorial_losses(step)
        }
    };
    (play, engine)
}

fn rotation() {
    let (mut play, mut engine) = tutorial();
    let outcome = play.run(&mut engine).unwrap();
    assert_eq!(
        play.files("checkpoint"),
        ["checkpoint-120", "checkpoint-126"]
    );
    assert_eq!(outcome.state.best_global_step, Some(120));
    let best = outcome.state.best_metric.unwrap();
    // The logits that carry the scripted loss are f32.
    assert_abs_diff_eq!(best, 0.039275, epsilon = 1e-7);
    let checkpoint = play.output().join("checkpoint-120");
    assert_eq!(
        outcome.state.best_model_checkpoint,
        Some(checkpoint.display().to_string())
    );
    let file = |folder: &str| std::fs::read(play.output().join(folder).join("model.safetensors"));
    assert_eq!(file("best").unwrap(), file("checkpoint-120").unwrap());

    // The best stays although it is old: 50 lives on beside each newest until 110 is better.
    let (mut play, mut engine) = tutorial();
    play.config.max_steps = Some(100);
    play.run(&mut engine).unwrap();
    assert_eq!(
        play.files("checkpoint"),
        ["checkpoint-100", "checkpoint-50"]
    );
}

fn limit_of_one() {
    let (mut play, mut engine) = tutorial();
    play.config.save_total_limit = Some(1);
    play.run(&mut engine).unwrap();
    assert_eq!(play.files("checkpoint"), ["checkpoint-120"]);
}

fn ties() {
    let mut play = Play::new().every(10);
    let mut engine = Scripted::new(tiny_config(2));
    engine.on_eval = |_| 0.5;
    let outcome = play.run(&mut engine).unwrap();
    assert_eq!(outcome.state.best_global_step, Some(10));
    assert_eq!(outcome.best.unwrap().step, 10);
}

fn best_accuracy() {
    let mut play = Play::new().every(10);
    play.config.metric_for_best_model = BestMetric::EvalAccuracy;
    let mut engine = Scripted::new(tiny_config(2));
    // p(label) = e^-0.5 > 1/2 is a hit, e^-1 < 1/2 a miss.
    engine.on_eval = |step| if step == 30 || step == 50 { 0.5 } else { 1.0 };
    let outcome = play.run(&mut engine).unwrap();
    assert_eq!(outcome.state.best_global_step, Some(30));
    assert_eq!(outcome.state.best_metric, Some(1.0));
    assert_eq!(outcome.evaluation.unwrap().accuracy(), 0.0);
}

fn load_best() {
    let (mut play, mut engine) = tutorial();
    play.config.load_best_model_at_end = true;
    let outcome = play.run(&mut engine).unwrap();
    assert_eq!(engine.params[0], 120.0);
    let loss = outcome.evaluation.unwrap().loss();
    assert_abs_diff_eq!(loss, 0.039275, epsilon = 1e-7);
    assert_eq!(play.json("eval_results.json")["eval_loss"], loss);
    let file = |name: &str| std::fs::read(play.output().join(name)).unwrap();
    assert_eq!(
        file("model.safetensors"),
        file("checkpoint-120/model.safetensors")
    );
    assert_ne!(
        file("model.safetensors"),
        file("checkpoint-126/model.safetensors")
    );
}

fn load_best_settings() {
    let refused = |eval, save| {
        let mut play = Play::new();
        (play.config.eval, play.config.save) = (eval, SaveStrategy::from(save));
        play.config.load_best_model_at_end = true;
        let error = play.run(&mut Scripted::new(tiny_config(2))).unwrap_err();
        assert!(matches!(error, Error::Usage { .. }), "{error}");
        assert!(!play.output().exists());
        error.help().unwrap().to_owned()
    };
    assert_eq!(
        refused(Interval::Steps(10), Interval::Steps(25)),
        "use `--save-steps 30`"
    );
    refused(Interval::Epoch, Interval::Steps(10));
    refused(Interval::Steps(10), Interval::Never);
    refused(Interval::Never, Interval::Never);
}

/// A run that stops after three evaluations that are no better than that of step 20.
fn stopping() -> (Play, Scripted) {
    let mut play = Play::new().every(5);
    play.config.early_stopping_patience = Some(3);
    let mut engine = Scripted::new(tiny_config(2));
    // Better at 5, 10, 20; equal at 25; worse after.
    engine.on_eval = |step| match step {
        5 => 0.5,
        10 => 0.4,
        15 => 0.45,
        20 | 25 => 0.3,
        _ => 0.6,
    };
    (play, engine)
}

fn stopped_at_the_best() {
    for save in [
        SaveStrategy::Steps(5),
        SaveStrategy::Best,
        SaveStrategy::Never,
    ] {
        let (mut play, mut engine) = stopping();
        play.config.save = save;
        play.config.save_total_limit = Some(1);
        let outcome = play.run(&mut engine).unwrap();
        assert_eq!(outcome.step, 20, "{save:?}");
        assert_eq!(engine.params[0], 20.0);
        assert_eq!(outcome.best.unwrap().step, 20);
        assert_abs_diff_eq!(outcome.evaluation.unwrap().loss(), 0.3, epsilon = 1e-7);
        let file = |name: &str| std::fs::read(play.output().join(name)).unwrap();
        assert_eq!(file("model.safetensors"), file("best/model.safetensors"));
        assert!(play.output().join("last/model.safetensors").exists());
    }
    let (mut play, mut engine) = stopping();
    play.config.save = SaveStrategy::Steps(7);
    let error = play.run(&mut engine).unwrap_err();
    assert!(error.to_string().contains("--early-stopping-patience"));
    assert_eq!(error.help(), Some("use `--save-steps 10`"));
}

fn early_stopping() {
    let (mut play, mut engine) = stopping();
    let outcome = play.run(&mut engine).unwrap();
    assert_eq!(outcome.state.global_step, 35);
    assert_eq!(outcome.state.best_global_step, Some(20));
    assert_eq!(outcome.state.max_steps, 63);
    let Some(Event::Finished(finished)) = play.events.last() else {
        panic!("the run has an end");
    };
    assert!(finished.early_stop.as_ref().unwrap().contains("step 35"));
}

fn by_epoch() {
    let mut play = Play::new();
    (play.config.eval, play.config.save) = (Interval::Epoch, SaveStrategy::Epoch);
    play.config.num_train_epochs = 2.5;
    let outcome = play.run(&mut Scripted::new(tiny_config(2))).unwrap();
    assert_eq!(
        play.files("checkpoint"),
        ["checkpoint-126", "checkpoint-158", "checkpoint-63"]
    );
    let evaluated = outcome.state.log_history.iter();
    let steps: Vec<u64> = evaluated
        .filter(|row| row.contains_key("eval_loss"))
        .map(|row| row["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, [63, 126, 158]);
    assert_eq!(outcome.state.save_steps, 500);
}
