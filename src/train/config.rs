//! Everything a training run can be told; the command line fills one of these.
//!
//! Names and defaults are those of Hugging Face's `TrainingArguments` where it has them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use crate::model::freeze::Freeze;
pub use crate::model::init::HeadInit;

/// What stays the same over a whole training run.
#[derive(Debug, Clone, PartialEq)]
pub struct Hyper {
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    /// Decoupled weight decay, applied to the parameters whose `decay` is set.
    pub weight_decay: f64,
    /// Gradients are scaled down to this global L2 norm; 0 leaves them alone.
    pub max_grad_norm: f64,
    /// Share of the target spread evenly over all classes.
    pub label_smoothing: f64,
    /// Weight of each class in the loss (mean weighted as PyTorch's `CrossEntropyLoss`).
    pub class_weights: Option<Vec<f32>>,
    pub freeze: Freeze,
}

impl Default for Hyper {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            label_smoothing: 0.0,
            class_weights: None,
            freeze: Freeze::Nothing,
        }
    }
}

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
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

impl Default for TrainConfig {
    /// `TrainingArguments()`, but that its 500 steps between logs are cut short where the run is, that
    /// it saves where it evaluates, and that neither is asked for.
    fn default() -> Self {
        Self {
            output_dir: PathBuf::new(),
            overwrite_output_dir: false,
            resume: None,
            learning_rate: 5e-5,
            num_train_epochs: 3.0,
            max_steps: None,
            train_batch_size: 8,
            eval_batch_size: 8,
            gradient_accumulation_steps: 1,
            schedule: Schedule::Linear,
            warmup_steps: 0,
            warmup_ratio: 0.0,
            hyper: Hyper::default(),
            seed: 42,
            data_seed: None,
            logging: Interval::Steps(500),
            logging_first_step: false,
            log_at_milestones: false,
            eval: Interval::Never,
            eval_on_start: false,
            eval_delay: 0.0,
            save: SaveStrategy::Steps(500),
            save_total_limit: None,
            save_only_model: false,
            on_save_error: OnSaveError::Stop,
            load_best_model_at_end: false,
            metric_for_best_model: BestMetric::EvalLoss,
            early_stopping_patience: None,
        }
    }
}

/// A setting of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// As it is given, `--learning-rate`.
    pub flag: &'static str,
    /// What `TrainingArguments` calls it, or would.
    pub name: &'static str,
    pub value: Value,
    pub resumed: Resumed,
}

/// What a setting may be in a run that is gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumed {
    /// What it was: it has its part in the numbers, or in which of them there are.
    Same,
    /// Another: it says what becomes of the numbers, or where the run stops.
    Other,
}

/// Flag, name, value, and what a resumed run may have.
type Row = (&'static str, &'static str, Value, Resumed);

impl From<Row> for Setting {
    fn from((flag, name, value, resumed): Row) -> Self {
        Self {
            flag,
            name,
            value,
            resumed,
        }
    }
}

impl Hyper {
    /// Its part of [`TrainConfig::settings`]; each has a part in the numbers.
    fn rows(&self) -> Vec<Row> {
        let Self {
            beta1,
            beta2,
            epsilon,
            weight_decay,
            max_grad_norm,
            label_smoothing,
            class_weights,
            freeze,
        } = self;
        #[rustfmt::skip]
        let rows = [
            ("--weight-decay", "weight_decay", json!(weight_decay)),
            ("--adam-beta1", "adam_beta1", json!(beta1)),
            ("--adam-beta2", "adam_beta2", json!(beta2)),
            ("--adam-epsilon", "adam_epsilon", json!(epsilon)),
            ("--max-grad-norm", "max_grad_norm", json!(max_grad_norm)),
            ("--label-smoothing-factor", "label_smoothing_factor", json!(label_smoothing)),
            ("--class-weights", "class_weights", json!(class_weights)),
            ("--freeze", "freeze", json!(freeze.to_string())),
        ];
        let same = |(flag, name, value)| (flag, name, value, Resumed::Same);
        rows.into_iter().map(same).collect()
    }
}

impl TrainConfig {
    /// All settings, in the order in which they are told. What is told of a run anywhere (its header,
    /// the state in its checkpoints, the model card, TensorBoard's text) is taken from here, so
    /// none is left out.
    pub fn settings(&self) -> Vec<Setting> {
        use Resumed::{Other, Same};
        // Without `..`: a new field does not compile until it is told, or left out by its name.
        let Self {
            output_dir,
            overwrite_output_dir: _, // how a run begins, not what it is
            resume: _,
            learning_rate,
            num_train_epochs,
            max_steps,
            train_batch_size,
            eval_batch_size,
            gradient_accumulation_steps,
            schedule,
            warmup_steps,
            warmup_ratio,
            hyper,
            seed,
            data_seed,
            logging,
            logging_first_step,
            log_at_milestones,
            eval,
            eval_on_start,
            eval_delay,
            save,
            save_total_limit,
            save_only_model,
            on_save_error,
            load_best_model_at_end,
            metric_for_best_model,
            early_stopping_patience,
        } = self;
        #[rustfmt::skip] // a table
        let steps = vec![
            ("--output-dir", "output_dir", json!(output_dir), Other),
            ("--learning-rate", "learning_rate", json!(learning_rate), Same),
            ("--epochs", "num_train_epochs", json!(num_train_epochs), Same),
            ("--max-steps", "max_steps", json!(max_steps), Same),
            ("--batch-size", "per_device_train_batch_size", json!(train_batch_size), Same),
            ("--eval-batch-size", "per_device_eval_batch_size", json!(eval_batch_size), Other),
            ("--gradient-accumulation-steps", "gradient_accumulation_steps", json!(gradient_accumulation_steps), Same),
            ("--lr-scheduler-type", "lr_scheduler_type", json!(schedule), Same),
            ("--warmup-steps", "warmup_steps", json!(warmup_steps), Same),
            ("--warmup-ratio", "warmup_ratio", json!(warmup_ratio), Same),
        ];
        #[rustfmt::skip]
        let moments = vec![
            ("--seed", "seed", json!(seed), Same),
            ("--data-seed", "data_seed", json!(data_seed), Same),
            ("--logging-steps", "logging_strategy", json!(logging), Same),
            ("--logging-first-step", "logging_first_step", json!(logging_first_step), Same),
            ("--logging-strategy", "logging_at_evaluations", json!(log_at_milestones), Same),
            ("--eval-steps", "eval_strategy", json!(eval), Same),
            ("--eval-on-start", "eval_on_start", json!(eval_on_start), Other),
            ("--eval-delay", "eval_delay", json!(eval_delay), Same),
            ("--save-steps", "save_strategy", json!(save), Same),
            ("--save-total-limit", "save_total_limit", json!(save_total_limit), Other),
            ("--save-only-model", "save_only_model", json!(save_only_model), Other),
            ("--on-save-error", "on_save_error", json!(on_save_error), Other),
            ("--load-best-model-at-end", "load_best_model_at_end", json!(load_best_model_at_end), Other),
            ("--metric-for-best-model", "metric_for_best_model", json!(metric_for_best_model), Same),
            ("--early-stopping-patience", "early_stopping_patience", json!(early_stopping_patience), Other),
        ];
        let rows = steps.into_iter().chain(hyper.rows()).chain(moments);
        rows.map(Setting::from).collect()
    }

    /// Settings that are not those of [`TrainConfig::default`].
    pub fn changed_settings(&self) -> Vec<Setting> {
        let usual = Self::default().settings();
        let mut settings = self.settings();
        settings.retain(|setting| !usual.contains(setting));
        settings
    }

    /// Whether the run ends with the best parameters, not the last. Early stopping means it: the
    /// evaluations it waits for are no better (the reference refuses it without
    /// `load_best_model_at_end`).
    pub fn ends_with_best(&self) -> bool {
        self.load_best_model_at_end || self.early_stopping_patience.is_some()
    }
}
