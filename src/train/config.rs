//! Everything a training run can be told; the command line fills one of these.
//!
//! Names and defaults are those of Hugging Face's `TrainingArguments` where it has them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::engine::Hyper;

pub use crate::model::init::HeadInit;

/// When to evaluate or save.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interval {
    Never,
    Epoch,
    /// Every so many optimiser steps.
    Steps(u64),
}

/// When to save a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SaveStrategy {
    Never,
    Epoch,
    /// Every so many optimiser steps.
    Steps(u64),
    /// After each evaluation that is better than all before it.
    Best,
}

impl From<Interval> for SaveStrategy {
    fn from(interval: Interval) -> Self {
        match interval {
            Interval::Never => Self::Never,
            Interval::Epoch => Self::Epoch,
            Interval::Steps(every) => Self::Steps(every),
        }
    }
}

/// Shape of the learning rate over the run, after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    Linear,
    Cosine,
    Constant,
}

/// Which score decides what "best" is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BestMetric {
    /// Lower is better.
    EvalLoss,
    /// Higher is better.
    EvalAccuracy,
}

/// How a run that ended early goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// A checkpoint of the run; the newest where none is named, the start where there is none.
    pub checkpoint: Option<PathBuf>,
    pub changes: Changes,
}

/// What to do where settings are not those of the run so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    Refuse,
    Accept,
}

/// What a run does when a checkpoint could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnSaveError {
    Stop,
    /// Says so and trains on; the final model is another matter.
    Continue,
}

/// One training run, minus data and model.
#[derive(Debug, Clone)]
pub struct TrainConfig {
    pub output_dir: PathBuf,
    /// Go on although `output_dir` holds another run.
    pub overwrite_output_dir: bool,
    /// Go on with the run in `output_dir` instead of starting one.
    pub resume: Option<Resume>,
    pub learning_rate: f64,
    pub num_train_epochs: f64,
    /// Overrides the epochs when set.
    pub max_steps: Option<u64>,
    pub train_batch_size: usize,
    pub eval_batch_size: usize,
    pub gradient_accumulation_steps: usize,
    pub schedule: Schedule,
    pub warmup_steps: u64,
    /// Used when `warmup_steps` is 0: this share of all steps, rounded up.
    pub warmup_ratio: f64,
    pub hyper: Hyper,
    pub seed: u64,
    /// Seed of the order of the images; `seed` where it is not given.
    pub data_seed: Option<u64>,
    pub logging: Interval,
    /// Log the first step, too, whatever `logging` says.
    pub logging_first_step: bool,
    /// Log at each evaluation and at the end of each epoch, too, whatever `logging` says: then each
    /// row of the table has a loss.
    pub log_at_milestones: bool,
    pub eval: Interval,
    /// Evaluate the parameters that the run starts from.
    pub eval_on_start: bool,
    /// No evaluation before so many steps, or epochs where `eval` goes by them.
    pub eval_delay: f64,
    pub save: SaveStrategy,
    pub save_total_limit: Option<usize>,
    /// Checkpoints hold no state of the optimiser: they are models, and no run goes on from them.
    pub save_only_model: bool,
    pub on_save_error: OnSaveError,
    pub load_best_model_at_end: bool,
    pub metric_for_best_model: BestMetric,
    /// Stop after so many evaluations without improvement, and end with the best model.
    pub early_stopping_patience: Option<u32>,
}

impl TrainConfig {
    /// Whether the run ends with the best parameters, not the last. Early stopping means it: the
    /// evaluations it waits for are no better (the reference refuses it without
    /// `load_best_model_at_end`).
    pub fn ends_with_best(&self) -> bool {
        self.load_best_model_at_end || self.early_stopping_patience.is_some()
    }
}
