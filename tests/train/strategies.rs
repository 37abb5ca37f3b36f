//! When a run logs, evaluates and saves, as `TrainingArguments` say it.

use libtest_mimic::Trial;
use vitcuda::report::{BestMark, Event};
use vitcuda::rng::randperm;
use vitcuda::train::config::{Changes, Interval, Resume, SaveStrategy};

use crate::fakes::{Scripted, tiny_config};
use crate::play::{Play, logged_row};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("logs by epoch, the first step too, or none", logging),
        trial(
            "an evaluation of what the run starts from is no candidate",
            on_start,
        ),
        trial("no evaluation before its delay", delay),
        trial("only better evaluations are saved", best),
        trial("the data seed orders the images", data_seed),
        trial(
            "checkpoints without an optimiser are models and no more",
            only_model,
        ),
    ]
}

fn played(change: impl FnOnce(&mut Play)) -> Play {
    let mut play = Play::new();
    change(&mut play);
    play.run(&mut Scripted::new(tiny_config(2))).unwrap();
    play
}

fn evaluated(play: &Play) -> Vec<u64> {
    let events = play.events.iter();
    let steps = events.filter_map(|event| match event {
        Event::Evaluated(e) => Some(e.step),
        _ => None,
    });
    steps.collect()
}

fn logging() {
    let logged = |interval, first| -> Vec<u64> {
        let play = played(|p| {
            p.config.logging = interval;
            p.config.logging_first_step = first;
            p.config.num_train_epochs = 1.5;
        });
        let rows = play.events.iter().filter_map(logged_row);
        rows.map(|row| row.step).collect()
    };
    // 63 steps an epoch; the run ends within the second one.
    assert_eq!(logged(Interval::Epoch, false), [63, 95]);
    assert_eq!(logged(Interval::Never, false), [0; 0]);
    assert_eq!(logged(Interval::Steps(40), true), [1, 40, 80]);
    let play = played(|p| {
        p.config.logging = Interval::Steps(40);
        p.config.log_at_milestones = true;
        p.config.eval = Interval::Steps(25);
        p.config.num_train_epochs = 1.5;
    });
    let rows = play.events.iter().filter_map(logged_row);
    let steps: Vec<u64> = rows.map(|row| row.step).collect();
    assert_eq!(steps, [25, 40, 50, 63, 75, 80, 95]);
}

fn on_start() {
    let play = played(|p| {
        p.config.eval_on_start = true;
        p.config.eval = Interval::Steps(30);
    });
    assert_eq!(evaluated(&play), [0, 30, 60, 63]);
    let marks = play.events.iter().filter_map(|event| match event {
        Event::Evaluated(e) => Some(e.mark),
        _ => None,
    });
    assert_eq!(
        marks.take(2).collect::<Vec<_>>(),
        [BestMark::NotBest, BestMark::Best]
    );
    let history = play.json("trainer_state.json")["log_history"].clone();
    assert_eq!(history[0]["step"], 0);
    assert!(history[0].get("eval_loss").is_some());
}

fn delay() {
    let steps = played(|p| {
        p.config.eval = Interval::Steps(10);
        p.config.eval_delay = 40.0;
    });
    assert_eq!(evaluated(&steps), [40, 50, 60, 63]);
    let epochs = played(|p| {
        p.config.eval = Interval::Epoch;
        p.config.eval_delay = 2.0;
        p.config.num_train_epochs = 3.0;
    });
    assert_eq!(evaluated(&epochs), [126, 189]);
}

fn best() {
    let mut play = Play::new();
    play.config.eval = Interval::Steps(10);
    play.config.save = SaveStrategy::Best;
    play.config.load_best_model_at_end = true;
    let mut engine = Scripted::new(tiny_config(2));
    engine.on_eval = |step| match step {
        10 => 0.5,
        40 => 0.4,
        _ => 0.6,
    };
    let outcome = play.run(&mut engine).unwrap();
    assert_eq!(play.files("checkpoint"), ["checkpoint-10", "checkpoint-40"]);
    assert_eq!(outcome.state.best_global_step, Some(40));
    assert_eq!(outcome.step, 40);

    play.config.eval = Interval::Never;
    play.config.overwrite_output_dir = true;
    let error = play.run(&mut engine).unwrap_err();
    assert!(error.help().unwrap().contains("--eval-steps"), "{error}");
}

fn data_seed() {
    let first_batch = |seed, data_seed| {
        let mut play = Play::new();
        (play.config.seed, play.config.data_seed) = (seed, data_seed);
        play.config.max_steps = Some(1);
        let mut engine = Scripted::new(tiny_config(2));
        play.run(&mut engine).unwrap();
        let steps = &engine.record.lock().unwrap().steps;
        steps[0].0[0].clone()
    };
    assert_eq!(first_batch(42, Some(7)), randperm(1000, 7)[..16]);
    assert_eq!(first_batch(42, None), randperm(1000, 42)[..16]);
}

fn only_model() {
    let mut play = Play::new().every(30);
    play.config.save_only_model = true;
    play.run(&mut Scripted::new(tiny_config(2))).unwrap();
    let checkpoint = play.output().join("checkpoint-30");
    assert!(checkpoint.join("model.safetensors").exists());
    assert!(!checkpoint.join("optimizer.safetensors").exists());
    play.config.resume = Some(Resume {
        checkpoint: Some(checkpoint),
        changes: Changes::Refuse,
    });
    let error = play.run(&mut Scripted::new(tiny_config(2))).unwrap_err();
    assert!(error.to_string().contains("--save-only-model"), "{error}");
    assert!(error.help().unwrap().contains("--model"), "{error}");
    assert_eq!(play.files("checkpoint").len(), 3, "nothing was deleted");
}
