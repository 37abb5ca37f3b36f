//! The events of a run. Their JSON keys are Hugging Face's where it has them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Somebody who listens to a run.
pub trait Reporter {
    /// Called for each event, in the order of time.
    fn event(&mut self, event: &Event);
}

impl<R: Reporter + ?Sized> Reporter for &mut R {
    fn event(&mut self, event: &Event) {
        (**self).event(event);
    }
}

/// Several listeners; each hears each event.
#[derive(Default)]
pub struct Reporters<'a>(pub Vec<Box<dyn Reporter + 'a>>);

impl Reporter for Reporters<'_> {
    fn event(&mut self, event: &Event) {
        for reporter in &mut self.0 {
            reporter.event(event);
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// What the run is about to take of the device, for the header.
    Planned {
        facts: Vec<Fact>,
    },
    RunStarted {
        /// What the run is made of, for the header: data, model, recipe, plan.
        facts: Vec<Fact>,
        max_steps: u64,
    },
    Progress(Progress),
    /// An evaluation goes on: batches done, of all.
    Evaluating {
        done: usize,
        total: usize,
    },
    Logged(Logged),
    Evaluated(Evaluated),
    Saved(Saved),
    /// Something worth a person's attention that is no error.
    Notice {
        text: String,
    },
    Finished(Box<Finished>),
}

/// A line of the header.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// One word: `data`, `model`, `device`.
    pub name: String,
    pub text: String,
}

impl Fact {
    /// The fact `text` about `name`.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
        }
    }
}

/// An optimiser step was made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Progress {
    pub step: u64,
    pub max_steps: u64,
    pub epoch: f64,
    /// Of this step alone.
    pub loss: f64,
    /// Training alone, since the last log.
    pub images_per_second: f64,
    /// Guess from the run so far, its evaluations included.
    pub remaining_seconds: f64,
}

/// The mean since the last log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Logged {
    pub step: u64,
    pub epoch: f64,
    /// Mean over the steps since the last log whose loss was finite; NaN if there is none.
    pub loss: f64,
    /// Of the last step, before clipping.
    pub grad_norm: f64,
    pub learning_rate: f64,
    /// Steps since the last log whose loss was NaN or infinite, left out of `loss`.
    #[serde(skip_serializing_if = "is_zero")]
    pub nonfinite_losses: u64,
    /// Training alone, without evaluations and saving.
    pub images_per_second: f64,
    /// Share of the training time in which the model waited for images.
    pub data_wait: f64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Whether an evaluation is better than all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BestMark {
    Best,
    NotBest,
}

/// Scores under the reference's names, runtime and rates rounded as it rounds them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scores {
    pub eval_accuracy: f64,
    /// `null` in JSON, which has no NaN, when it is not finite.
    pub eval_loss: f64,
    /// Seconds.
    pub eval_runtime: f64,
    pub eval_samples_per_second: f64,
    /// Batches a second.
    pub eval_steps_per_second: f64,
}

impl Scores {
    /// As the keys of a JSON object.
    pub fn to_map(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            other => unreachable!("five numbers, not {other:?}"),
        }
    }
}

/// An evaluation ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluated {
    pub step: u64,
    pub epoch: f64,
    #[serde(flatten)]
    pub scores: Scores,
    pub correct: usize,
    pub samples: usize,
    pub mark: BestMark,
}

/// A checkpoint was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Saved {
    pub step: u64,
    pub epoch: f64,
    pub checkpoint: PathBuf,
    /// Whether it is the best of those saved so far.
    pub mark: BestMark,
    /// Of writing it, beside the training.
    pub seconds: f64,
    /// Of copying the state, while training stood still.
    pub held_seconds: f64,
    pub bytes: u64,
}

/// Where the time of a run went, its earlier sessions included: seconds of the thread that trains.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct TimeSpent {
    pub total_seconds: f64,
    /// Computing training steps.
    pub training_seconds: f64,
    /// Computing evaluations.
    pub evaluation_seconds: f64,
    /// Waiting for images, in evaluations too.
    pub data_wait_seconds: f64,
    /// Copying the state for checkpoints, waiting for the one before to be written, and writing the
    /// final model.
    pub saving_seconds: f64,
}

impl TimeSpent {
    /// Steps and evaluations alone: what a run without logs, checkpoints and slow disks would take.
    pub fn bare_seconds(&self) -> f64 {
        self.training_seconds + self.evaluation_seconds
    }

    /// What is none of the parts.
    pub fn other_seconds(&self) -> f64 {
        self.total_seconds - self.bare_seconds() - self.data_wait_seconds - self.saving_seconds
    }

    /// By what share the run took longer than its bare seconds.
    pub fn overhead(&self) -> f64 {
        self.total_seconds / self.bare_seconds() - 1.0
    }
}

/// What a run wrote while it trained, its earlier sessions included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct SavingCost {
    pub checkpoints: u64,
    pub bytes: u64,
    /// Of the thread that writes.
    pub write_seconds: f64,
}

/// The best model of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Best {
    pub step: u64,
    /// `eval_loss` or `eval_accuracy`.
    pub metric: String,
    pub value: f64,
}

/// The run is over.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finished {
    /// `train_results.json`.
    pub train: Map<String, Value>,
    /// `eval_results.json`; empty without validation images.
    pub eval: Map<String, Value>,
    /// Step of the model that was written.
    pub step: u64,
    pub best: Option<Best>,
    /// Why the run ended before its last step, if it did.
    pub early_stop: Option<String>,
    pub output_dir: PathBuf,
    pub time: TimeSpent,
    pub saving: SavingCost,
    pub nonfinite_losses: u64,
    /// Commands to try next.
    pub next: Vec<String>,
}
