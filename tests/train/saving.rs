//! Checkpoints that cannot be written, and runs without any.

use approx::assert_abs_diff_eq;
use libtest_mimic::Trial;
use vitcuda::train::ModelFiles;
use vitcuda::train::config::{Interval, OnSaveError};

use crate::fakes::{Scripted, tiny_config};
use crate::play::{OneTensor, Play, notices};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("a full disk leaves the earlier checkpoints", full_disk),
        trial(
            "a full disk ends no run that was told to go on",
            full_disk_goes_on,
        ),
        trial(
            "best and last are there without checkpoints",
            no_checkpoints,
        ),
    ]
}

/// Room for two models: the third one does not fit.
fn full_disk() {
    let mut play = Play::new().every(10);
    play.model_files = OneTensor::with_room(2);
    let mut engine = Scripted::new(tiny_config(2));
    let error = play.run(&mut engine).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    let said = error.to_string();
    assert!(said.starts_with("saving at step 30 failed: "), "{said}");
    let left = play.output().join("checkpoint-20").display().to_string();
    assert!(error.help().unwrap().contains(&left), "{error:?}");
    // It is seen at the next step, at the latest where the next checkpoint is due.
    assert!((31..=40).contains(&engine.steps), "{}", engine.steps);
    assert_eq!(play.files("checkpoint"), ["checkpoint-10", "checkpoint-20"]);
    assert!(play.files(".").is_empty(), "{:?}", play.files("."));
    let model = |folder: &str| std::fs::read(play.output().join(folder).join("model.safetensors"));
    assert_eq!(model("last").unwrap(), model("checkpoint-20").unwrap());
}

fn full_disk_goes_on() {
    let mut play = Play::new().every(10);
    play.config.on_save_error = OnSaveError::Continue;
    play.model_files = OneTensor::with_room(2);
    let mut engine = Scripted::new(tiny_config(2));
    // The one that does not fit would have been the best.
    engine.on_eval = |step| if step == 30 { 0.1 } else { 0.5 };
    let outcome = play.run(&mut engine).unwrap();
    assert_eq!(outcome.state.best_global_step, Some(10));
    assert_eq!(
        play.files("checkpoint"),
        [10, 20, 40, 50, 60, 63].map(|step| format!("checkpoint-{step}"))
    );
    let notices = notices(&play);
    assert_eq!(notices.len(), 1, "{notices:?}");
    for part in ["saving at step 30 failed", "goes on", "checkpoint-20"] {
        assert!(notices[0].contains(part), "{}", notices[0]);
    }
    let saving = outcome.state.stateful_callbacks.totals.saving;
    assert_eq!(saving.checkpoints, 6);

    // Seven checkpoints fit, the final model does not: that is an error whatever was chosen.
    let mut play = Play::new().every(10);
    play.config.on_save_error = OnSaveError::Continue;
    play.model_files = OneTensor::with_room(7);
    let error = play.run(&mut Scripted::new(tiny_config(2))).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(
        error.to_string().contains("the final model was not saved"),
        "{error}"
    );
    assert!(error.help().unwrap().contains("checkpoint-63"), "{error:?}");

    // The last checkpoint fails, the final model fits.
    let mut play = Play::new().every(10);
    play.model_files = OneTensor::with_room(6);
    let error = play.run(&mut Scripted::new(tiny_config(2))).unwrap_err();
    assert!(error.to_string().contains("saving at step 63 failed"));
    assert!(play.output().join("model.safetensors").is_file());
    assert!(play.output().join("all_results.json").is_file());
}

/// Without checkpoints the models of the best and of the last step are there all the same.
fn no_checkpoints() {
    let mut play = Play::new();
    play.config.eval = Interval::Steps(10);
    let mut engine = Scripted::new(tiny_config(2));
    engine.on_eval = |step| if step == 20 { 0.1 } else { 0.5 };
    let outcome = play.run(&mut engine).unwrap();
    assert!(play.files("checkpoint").is_empty());
    let steps_of = |folder: &str| {
        let params = play.model_files.load(&play.output().join(folder));
        params.unwrap()[0]
    };
    assert_eq!((steps_of("best"), steps_of("last")), (20.0, 63.0));
    let best = outcome.best.unwrap();
    assert_eq!(best.step, 20);
    assert_abs_diff_eq!(best.value, 0.1, epsilon = 1e-7);
    assert_eq!(outcome.state.best_global_step, Some(20));
    let place = play.output().join("best").display().to_string();
    assert_eq!(outcome.state.best_model_checkpoint, Some(place));
}
