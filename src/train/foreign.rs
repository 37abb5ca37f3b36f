//! Going on with a run of Hugging Face's Trainer.
//!
//! Its weights, its `trainer_state.json` and the place in the data are taken over; the state of its
//! optimiser is a pickle, `optimizer.pt`, which is not read.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

use super::config::{BestMetric, Changes, TrainConfig};
use super::plan::Plan;
use super::run_folder::RunFolder;
use super::state::{RunTotals, TrainerState};

/// What is told of such a run.
pub(super) const NOTICE: &str = "this is a run of Hugging Face's Trainer: the optimiser starts anew; \
     how long the run took so far is not known, so the rates of the whole are too high";

/// Whether a checkpoint of the Trainer may be gone on from.
///
/// # Errors
/// [`Error::Usage`] with the way out, unless a new start of the optimiser is accepted.
pub(super) fn check(state: &TrainerState, checkpoint: &Path, changes: Changes) -> Result<()> {
    match changes {
        Changes::Accept => Ok(()),
        Changes::Refuse => Err(Error::usage(
            format!(
                "{} is a checkpoint of Hugging Face's Trainer: the state of its optimiser is a \
                 pickle (optimizer.pt), and pickles are not read",
                checkpoint.display()
            ),
            format!(
                "start a new run from its weights: `--model {}` and another `--output-dir`; or go on \
                 after its step {} with an optimiser that starts anew: add `--resume-with-changes`",
                checkpoint.display(),
                state.global_step
            ),
        )),
    }
}

/// The settings of a run that any state tells.
pub(super) fn settings(state: &TrainerState) -> Map<String, Value> {
    let told = json!({
        "--batch-size": state.train_batch_size,
        "--max-steps": state.max_steps,
    });
    match told {
        Value::Object(told) => told,
        other => unreachable!("{other} is no object"),
    }
}

/// Gives the state of a run of the Trainer the sums that it does not keep, as its log tells them, and
/// the best of the checkpoints that are left, by our metric.
pub(super) fn adopt(
    state: &mut TrainerState,
    plan: &Plan,
    config: &TrainConfig,
    folder: &RunFolder,
) {
    let step = state.global_step;
    let (epochs, updates) = (step / plan.updates_per_epoch, step % plan.updates_per_epoch);
    let images = plan.images_before(updates, config.train_batch_size);
    let mut totals = RunTotals {
        images: epochs * plan.examples as u64 + images as u64,
        updates: step,
        ..RunTotals::default()
    };
    let metric = config.metric_for_best_model;
    (state.best_global_step, state.best_metric) = (None, None);
    let mut logged = 0;
    for row in &state.log_history {
        let Some(at) = row.get("step").and_then(Value::as_u64) else {
            continue;
        };
        if let Some(loss) = row.get("loss").and_then(Value::as_f64) {
            let steps = at.saturating_sub(logged);
            totals.losses.sum += loss * steps as f64;
            totals.losses.finite += steps;
            logged = at;
        }
        if let Some(value) = row.get(metric.name()).and_then(Value::as_f64) {
            count(&mut totals, metric, value);
            if metric.is_better(value, state.best_metric) && folder.checkpoint(at).is_dir() {
                (state.best_global_step, state.best_metric) = (Some(at), Some(value));
            }
        }
    }
    let best = state.best_global_step.map(|at| folder.checkpoint(at));
    state.best_model_checkpoint = best.map(|path| path.display().to_string());
    *state.totals() = totals;
}

/// Takes in an evaluation, for early stopping.
fn count(totals: &mut RunTotals, metric: BestMetric, value: f64) {
    if metric.is_better(value, totals.best_evaluation) {
        totals.best_evaluation = Some(value);
        totals.evaluations_since_best = 0;
    } else {
        totals.evaluations_since_best += 1
    }
}
