//! Order, counting, learning rates: what happens at which step.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use approx::assert_abs_diff_eq;
use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use vitcuda::report::Event;
use vitcuda::rng::randperm;
use vitcuda::train::config::{Changes, Interval, Resume, Schedule};
use vitcuda::train::schedule::LearningRate;

use crate::common::with_shared;
use crate::fakes::{Numbered, Scripted, Softmax, tiny_config};
use crate::play::{Play, logged_row, notices};
use crate::{close, read_json, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("lr follows transformers' schedules", lr_schedules),
        trial("the logged lr is the next step's", logged_lr),
        trial("epochs show the images in torch's order", order_of_epochs),
        with_shared(
            "order and lr are the trace's",
            "golden/real_steps/trace.json",
            trace,
        ),
        trial(
            "accumulation ends an epoch with a short update",
            short_update,
        ),
        trial(
            "steps and epochs are counted as the reference does",
            counting,
        ),
        trial("a step logs, then evaluates, then saves", order_at_a_step),
        trial("a resumed run draws only the images that are left", seeking),
        trial(
            "softmax regression learns, and its scores are right",
            softmax_learns,
        ),
    ]
}

fn rates(play: &Play, max_steps: u64) -> LearningRate {
    LearningRate::new(&play.config, max_steps)
}

fn lr_schedules() {
    let mut play = Play::new();
    let linear = rates(&play, 126);
    assert_eq!(linear.at(1), 2e-4);
    assert!(close(linear.at(126), 2e-4 / 126.0));
    assert_eq!(format!("{:.3e}", linear.at(126)), "1.587e-6");
    assert_eq!(linear.at(127), 0.0);

    // Made with transformers 5.23: get_*_schedule_with_warmup(warmup 10, total 100), 1e-3.
    play.config.learning_rate = 1e-3;
    play.config.warmup_steps = 10;
    let expected = [
        (Schedule::Linear, 0.000_555_555_555_555_555_6),
        (Schedule::Cosine, 0.000_586_824_088_833_465_2),
        (Schedule::Constant, 1e-3),
    ];
    for (shape, after_fifty) in expected {
        play.config.schedule = shape;
        let rate = rates(&play, 100);
        assert_eq!(rate.at(1), 0.0);
        assert!(close(rate.at(6), 5e-4), "{shape:?}");
        assert!(close(rate.at(11), 1e-3), "{shape:?}");
        assert!(
            close(rate.at(51), after_fifty),
            "{shape:?}: {}",
            rate.at(51)
        );
    }
    play.config.warmup_steps = 0;
    play.config.warmup_ratio = 0.101;
    assert_eq!(rates(&play, 100).warmup_steps(), 11);
}

fn logged_lr() {
    let mut play = Play::new();
    play.config.num_train_epochs = 2.0;
    play.run(&mut Scripted::new(tiny_config(2))).unwrap();
    let logged: Vec<_> = play.events.iter().filter_map(logged_row).collect();
    assert_eq!(logged.len(), 12);
    assert_eq!(logged[0].step, 10);
    assert!(close(logged[0].learning_rate, 1.841_269_841_269_841_3e-4));
    assert_eq!(logged[0].loss, 0.25);
    assert_eq!(logged[0].grad_norm, 2.0);
}

fn order_of_epochs() {
    let mut play = Play::new();
    play.config.num_train_epochs = 2.0;
    let mut engine = Scripted::new(tiny_config(2));
    play.run(&mut engine).unwrap();
    let record = engine.record.lock().unwrap();
    let shown: Vec<usize> = record.steps.iter().flat_map(|(b, _)| b.concat()).collect();
    assert_eq!(shown[..8], [542, 618, 816, 68, 94, 215, 60, 585]);
    assert_eq!(shown[1000..1008], [588, 148, 223, 575, 689, 935, 932, 343]);
    assert_eq!(shown[..1000], randperm(1000, 42));
    assert_eq!(shown[1000..], randperm(1000, 43));
    assert_eq!(record.steps.len(), 126);
    assert_eq!(record.steps[62].0, [shown[992..1000].to_vec()]);
    assert!(close(record.steps[125].1, 2e-4 / 126.0));
}

/// The peer's order of photos and its learning rates (transformers 5 logs those of the step itself).
fn trace(path: &Path) -> Result<(), Failed> {
    let trace = read_json(path);
    let mut play = Play::new();
    play.config.learning_rate = 2e-5;
    let mut engine = Scripted::new(tiny_config(2));
    play.run(&mut engine)?;
    let record = engine.record.lock().unwrap();
    let shown: Vec<usize> = record.steps.iter().flat_map(|(b, _)| b.concat()).collect();
    let order: Vec<usize> = serde_json::from_value(trace["order_indices"].clone())?;
    assert_eq!(shown, order);
    let steps = trace["steps"].as_array().unwrap();
    assert_eq!(record.steps.len(), steps.len());
    for ((_, lr), step) in record.steps.iter().zip(steps) {
        assert!(
            close(*lr, step["learning_rate"].as_f64().unwrap()),
            "{step}"
        );
    }
    Ok(())
}

fn short_update() {
    let mut play = Play::new();
    play.config.gradient_accumulation_steps = 4;
    play.config.num_train_epochs = 2.0;
    play.config.logging = Interval::Steps(1);
    let mut engine = Scripted::new(tiny_config(2));
    let outcome = play.run(&mut engine).unwrap();
    // 63 micro-batches: 15 updates of 4, and one of 3.
    assert_eq!(outcome.state.max_steps, 32);
    let record = engine.record.lock().unwrap();
    let micro_batches: Vec<usize> = record.steps.iter().map(|(b, _)| b.len()).collect();
    assert_eq!(
        micro_batches[..16],
        [4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 3]
    );
    let last: Vec<usize> = record.steps[15].0.iter().map(Vec::len).collect();
    assert_eq!(last, [16, 16, 8]);
    let epochs: Vec<f64> = play
        .events
        .iter()
        .filter_map(logged_row)
        .map(|l| l.epoch)
        .collect();
    assert_eq!(epochs[0], 4.0 / 63.0);
    assert_eq!(epochs[14], 60.0 / 63.0);
    assert_eq!(epochs[15], 1.0);
    assert_eq!(epochs[16], 1.0 + 4.0 / 63.0);
    assert_eq!(epochs[31], 2.0);
}

fn counting() {
    let steps = |epochs: f64, max_steps: Option<u64>| {
        let mut play = Play::new();
        play.config.num_train_epochs = epochs;
        play.config.max_steps = max_steps;
        let state = play.run(&mut Scripted::new(tiny_config(2))).unwrap().state;
        (state.max_steps, state.num_train_epochs, state.epoch)
    };
    assert_eq!(steps(2.0, None), (126, 2, 2.0));
    assert_eq!(steps(0.5, None), (32, 1, 32.0 / 63.0));
    assert_eq!(steps(1.5, None), (95, 2, 1.0 + 32.0 / 63.0));
    assert_eq!(steps(3.0, Some(5)), (5, 1, 5.0 / 63.0));
    assert_eq!(steps(3.0, Some(64)), (64, 2, 1.0 + 1.0 / 63.0));
}

fn order_at_a_step() {
    let mut play = Play::new().every(10);
    play.config.max_steps = Some(12);
    play.run(&mut Scripted::new(tiny_config(2))).unwrap();
    let names: Vec<String> = play
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Logged(l) => Some(format!("log {}", l.step)),
            Event::Evaluated(e) => Some(format!("evaluate {}", e.step)),
            Event::Saved(s) => Some(format!("save {}", s.step)),
            Event::Finished(_) => Some("finish".into()),
            _ => None,
        })
        .collect();
    // A checkpoint is told of when it has been written, and before the next one is begun.
    let (saves, others): (Vec<String>, Vec<String>) = names
        .iter()
        .cloned()
        .partition(|name| name.starts_with("save"));
    assert_eq!(others, ["log 10", "evaluate 10", "evaluate 12", "finish"]);
    assert_eq!(saves, ["save 10", "save 12"]);
    let place = |name: &str| names.iter().position(|n| n == name);
    assert!(place("evaluate 10") < place("save 10"));
    assert!(place("evaluate 12") < place("save 12") && place("save 12") < place("finish"));
    let text = std::fs::read_to_string(play.output().join("metrics.jsonl")).unwrap();
    let events: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].to_string())
        .collect();
    let expected: Vec<String> = names[..5]
        .iter()
        .map(|name| match name.split(' ').next() {
            Some("log") => "\"logged\"".into(),
            Some("evaluate") => "\"evaluated\"".into(),
            _ => "\"saved\"".into(),
        })
        .collect();
    assert_eq!(events, expected);
    for file in [
        "model.safetensors",
        "optimizer.safetensors",
        "evaluations.json",
        "trainer_state.json",
    ] {
        assert!(
            play.output().join("checkpoint-10").join(file).is_file(),
            "{file}"
        );
    }
    assert!(play.files(".").is_empty(), "{:?}", play.files("."));
}

/// 126 steps in two epochs, stopped after 100: 592 images of the second epoch have been seen.
fn seeking() {
    let mut play = Play::new().every(50);
    play.config.num_train_epochs = 2.0;
    let mut engine = Scripted::new(tiny_config(2));
    engine.stop_after = Some((100, play.stop.clone()));
    assert_eq!(play.run(&mut engine).unwrap_err().exit_code(), 130);
    play.stop.store(false, Ordering::Relaxed);
    play.train_images.drawn = Arc::default();
    play.config.resume = Some(Resume {
        checkpoint: None,
        changes: Changes::Refuse,
    });
    let mut engine = Scripted::new(tiny_config(2));
    let outcome = play.run(&mut engine).unwrap();
    assert_eq!(outcome.state.global_step, 126);
    assert_eq!(play.train_images.drawn.load(Ordering::Relaxed), 408);
    let record = engine.record.lock().unwrap();
    let shown: Vec<usize> = record.steps.iter().flat_map(|(b, _)| b.concat()).collect();
    assert_eq!(shown, randperm(1000, 43)[592..]);
}

/// Three classes told apart by their shade.
fn shaded(images: usize) -> Numbered {
    Numbered {
        label: |i| (i % 3) as u32,
        shade: |i| [20, 120, 240][i % 3] + (i / 3 % 8) as u8,
        ..Numbered::new(images)
    }
}

fn softmax_learns() {
    let mut play = Play::new().every(20);
    play.train_images = shaded(120);
    play.validation_images = shaded(50);
    play.config.learning_rate = 1.0;
    play.config.num_train_epochs = 40.0;
    let mut engine = Softmax::new(tiny_config(3));
    let outcome = play.run(&mut engine).unwrap();
    let evaluation = outcome.evaluation.unwrap();
    assert!(evaluation.accuracy() > 0.95, "{evaluation:?}");
    assert_eq!(evaluation.samples(), 50);
    assert_eq!(evaluation.steps, 1);
    let classes = evaluation.summary().confusion.class_counts();
    let samples: Vec<usize> = classes.iter().map(|c| c.samples).collect();
    assert_eq!(samples, [17, 17, 16]);
    let correct: usize = classes.iter().map(|c| c.correct).sum();
    let predicted: usize = classes.iter().map(|c| c.predicted).sum();
    assert_eq!((correct, predicted), (evaluation.correct(), 50));
    let first = &outcome.state.log_history[0];
    assert!(outcome.train["train_loss"].as_f64() < first["loss"].as_f64());
    assert!(notices(&play).is_empty(), "{:?}", notices(&play));

    // Zero weights: every class gets a third.
    let mut engine = Softmax::new(tiny_config(3));
    play.config.learning_rate = 0.0;
    play.config.overwrite_output_dir = true;
    let evaluation = play.run(&mut engine).unwrap().evaluation.unwrap();
    assert_abs_diff_eq!(evaluation.loss(), 3_f64.ln(), epsilon = 1e-15);
    let classes = evaluation.summary().confusion.class_counts();
    assert_eq!(classes[0].predicted, 50);
    assert_eq!(evaluation.accuracy(), 17.0 / 50.0);
}
