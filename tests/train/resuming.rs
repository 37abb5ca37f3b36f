//! Runs that go on where they should end, begin or be refused.

use std::fs;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use vitcuda::Error;
use vitcuda::report::Event;
use vitcuda::train::config::{Changes, Interval, Resume};
use vitcuda::train::engine::StepOutput;

use crate::fakes::{Scripted, good_step, tiny_config};
use crate::play::{Play, notices};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("a run beyond its new end ends at once", beyond_the_end),
        trial(
            "a state of another step than its checkpoint's is refused",
            another_step,
        ),
        trial("a run without checkpoints starts anew", anew),
        trial("a folder of other settings is overwritten", overwritten),
        trial("what an older run left is not gone on with", half_cleared),
        trial(
            "a checkpoint that was being replaced comes back",
            half_replaced,
        ),
    ]
}

pub fn resume(changes: Changes) -> Option<Resume> {
    Some(Resume {
        checkpoint: None,
        changes,
    })
}

/// An engine whose run has to end.
pub fn bounded() -> Scripted {
    let mut engine = Scripted::new(tiny_config(2));
    engine.on_step = |step| -> StepOutput {
        assert!(step <= 100, "the run does not end");
        good_step(step)
    };
    engine
}

/// A run of 30 steps with a checkpoint every ten.
fn thirty_steps() -> Play {
    let mut play = Play::new().every(10);
    play.config.eval = Interval::Never;
    play.config.max_steps = Some(30);
    play.run(&mut bounded()).unwrap();
    play
}

fn evaluated(play: &Play) -> Vec<u64> {
    let steps = play.events.iter().filter_map(|event| match event {
        Event::Evaluated(evaluated) => Some(evaluated.step),
        _ => None,
    });
    steps.collect()
}

fn beyond_the_end() {
    for interval in [Interval::Steps(10), Interval::Steps(7), Interval::Never] {
        let mut play = thirty_steps();
        play.config.max_steps = Some(20);
        play.config.eval = interval;
        play.config.resume = resume(Changes::Accept);
        let mut engine = bounded();
        let outcome = play.run(&mut engine).unwrap();
        assert_eq!((outcome.state.global_step, engine.steps), (30, 30));
        let expected = match interval {
            Interval::Never => vec![],
            _ => vec![30],
        };
        assert_eq!(evaluated(&play), expected);
        assert!(play.output().join("all_results.json").is_file());
    }
}

fn another_step() {
    let mut play = thirty_steps();
    let file = play.output().join("checkpoint-30/trainer_state.json");
    let mut state: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    state["global_step"] = json!(1000);
    fs::write(&file, state.to_string()).unwrap();
    play.config.resume = resume(Changes::Refuse);
    let error = play.run(&mut bounded()).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    let said = error.to_string();
    assert!(said.contains("1000") && said.contains("step 30"), "{said}");
}

fn anew() {
    let mut play = thirty_steps();
    play.config.overwrite_output_dir = true;
    play.config.save = Interval::Never;
    play.run(&mut bounded()).unwrap();
    let model = fs::read(play.output().join("model.safetensors")).unwrap();
    play.config.overwrite_output_dir = false;
    play.config.resume = resume(Changes::Refuse);
    play.run(&mut bounded()).unwrap();
    let said = notices(&play);
    assert!(
        said.len() == 1 && said[0].contains("no checkpoint") && said[0].contains("anew"),
        "{said:?}"
    );
    assert!(fs::read(play.output().join("model.safetensors")).unwrap() == model);

    play.config.learning_rate = 1e-3;
    let error = play.run(&mut bounded()).unwrap_err();
    assert!(matches!(error, Error::Usage { .. }), "{error}");
    let told = "--learning-rate: 0.0002 then, 0.001 now";
    assert!(error.to_string().contains(told), "{error}");
    play.config.resume = resume(Changes::Accept);
    play.run(&mut bounded()).unwrap();

    // A model that no run of this program has left is nobody's to train over.
    fs::remove_file(play.output().join("run.json")).unwrap();
    let error = play.run(&mut bounded()).unwrap_err();
    assert!(error.to_string().contains("but no checkpoint"), "{error}");
}

fn overwritten() {
    let mut play = thirty_steps();
    play.config.resume = resume(Changes::Refuse);
    play.config.overwrite_output_dir = true;
    play.run(&mut bounded()).unwrap();
    assert!(notices(&play).is_empty(), "it goes on with the same run");

    play.config.seed = 43;
    play.config.max_steps = Some(20);
    let mut engine = bounded();
    play.run(&mut engine).unwrap();
    assert_eq!(engine.steps, 20);
    let said = notices(&play);
    assert!(
        said.len() == 1 && said[0].contains("other settings and is overwritten"),
        "{said:?}"
    );
    assert_eq!(play.files("checkpoint"), ["checkpoint-10", "checkpoint-20"]);
}

fn half_cleared() {
    let mut play = thirty_steps();
    let file = play.output().join("run.json");
    let owner = fs::read_to_string(&file).unwrap();
    fs::write(&file, owner.replace("begun", "clearing")).unwrap();
    play.config.resume = resume(Changes::Refuse);
    play.run(&mut bounded()).unwrap();
    let said = notices(&play);
    assert!(said.len() == 1 && said[0].contains("anew"), "{said:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), owner);
}

fn half_replaced() {
    let mut play = thirty_steps();
    let [checkpoint, replaced] =
        ["checkpoint-30", ".checkpoint-30.replaced"].map(|name| play.output().join(name));
    play.config.resume = resume(Changes::Refuse);
    fs::rename(&checkpoint, &replaced).unwrap();
    let mut engine = bounded();
    play.run(&mut engine).unwrap();
    assert_eq!(engine.record.lock().unwrap().steps.len(), 0);
    assert!(checkpoint.is_dir() && !replaced.exists());
}
