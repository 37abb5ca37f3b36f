//! `trainer_state.json`: where a run stands, in Hugging Face's words.

use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::json::without_nan;
use crate::report::{Evaluated, Logged, SavingCost, TimeSpent};

use super::config::{SaveStrategy, TrainConfig};
use super::health;
use super::plan::Plan;

/// The keys of transformers' `TrainerState`, in the order in which it writes them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainerState {
    pub best_global_step: Option<u64>,
    /// Value of the metric that decides, at `best_global_step`.
    pub best_metric: Option<f64>,
    /// Path of the best checkpoint.
    pub best_model_checkpoint: Option<String>,
    pub epoch: f64,
    #[serde(default, deserialize_with = "whole")]
    pub eval_steps: u64,
    pub global_step: u64,
    pub is_hyper_param_search: bool,
    pub is_local_process_zero: bool,
    pub is_world_process_zero: bool,
    /// What was logged, in the order of time.
    pub log_history: Vec<Map<String, Value>>,
    #[serde(default, deserialize_with = "whole")]
    pub logging_steps: u64,
    pub max_steps: u64,
    #[serde(default)]
    pub num_input_tokens_seen: u64,
    /// Epochs begun.
    pub num_train_epochs: u64,
    #[serde(default, deserialize_with = "whole")]
    pub save_steps: u64,
    #[serde(default)]
    pub stateful_callbacks: Callbacks,
    pub total_flos: f64,
    #[serde(default, deserialize_with = "whole")]
    pub train_batch_size: u64,
    pub trial_name: Option<String>,
    pub trial_params: Option<Value>,
}

/// The free-form part of the state: what must survive from one session of a run to the next.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Callbacks {
    /// The reference's own: Trainer looks them up when it saves, and goes on with no run that has
    /// not got them. They are written for it and not read.
    #[serde(flatten, skip_deserializing)]
    pub exported: Map<String, Value>,
    #[serde(rename = "RunTotals", default)]
    pub totals: RunTotals,
    #[serde(rename = "RunHealth", default)]
    pub health: health::Memory,
    /// By flag: what a resumed run must have in common with the one it goes on with.
    #[serde(rename = "RunSettings", default)]
    pub settings: Map<String, Value>,
}

/// Losses of some steps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    /// Sum over the steps whose loss was finite.
    pub sum: f64,
    pub finite: u64,
    /// Steps whose loss was NaN or infinite. They are counted and shown, never averaged over.
    pub nonfinite: u64,
}

impl Losses {
    /// Takes in the loss of a step.
    pub fn add(&mut self, loss: f64) {
        if loss.is_finite() {
            self.sum += loss;
            self.finite += 1;
        } else {
            self.nonfinite += 1
        }
    }

    /// The number of steps; none where it is beyond u64.
    fn steps(&self) -> Option<u64> {
        self.finite.checked_add(self.nonfinite)
    }

    /// Mean of the finite losses; NaN if there is none.
    pub fn mean(&self) -> f64 {
        self.sum / self.finite as f64
    }
}

/// Sums over the whole run, which the reference forgets when it resumes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunTotals {
    /// Images trained on.
    pub images: u64,
    /// Updates of the parameters: the steps whose loss and gradient were finite. The learning rate
    /// follows this count, as the reference's scheduler does.
    pub updates: u64,
    /// Of all steps.
    pub losses: Losses,
    /// Of the steps since the last log.
    pub window: Losses,
    /// Evaluations without improvement, for early stopping.
    pub evaluations_since_best: u32,
    /// The best value of the deciding metric in any evaluation, saved or not.
    pub best_evaluation: Option<f64>,
    pub time: TimeSpent,
    pub saving: SavingCost,
}

impl TrainerState {
    /// The state before the first step.
    pub fn new(config: &TrainConfig, plan: &Plan) -> Self {
        // 500 is the reference's default, which it leaves there when it goes by epochs.
        let steps = |strategy| match strategy {
            SaveStrategy::Steps(every) => every,
            SaveStrategy::Epoch | SaveStrategy::Best | SaveStrategy::Never => 500,
        };
        Self {
            best_global_step: None,
            best_metric: None,
            best_model_checkpoint: None,
            epoch: 0.0,
            eval_steps: steps(config.eval.into()),
            global_step: 0,
            is_hyper_param_search: false,
            is_local_process_zero: true,
            is_world_process_zero: true,
            log_history: Vec::new(),
            logging_steps: steps(config.logging.into()),
            max_steps: plan.max_steps,
            num_input_tokens_seen: 0,
            num_train_epochs: plan.epochs,
            save_steps: steps(config.save),
            stateful_callbacks: Callbacks::default(),
            total_flos: 0.0,
            train_batch_size: config.train_batch_size as u64,
            trial_name: None,
            trial_params: None,
        }
    }

    /// Reads that of the checkpoint in `folder`, which is of step `step`.
    ///
    /// # Errors
    /// [`Error::Model`] for a file of another program, or one that no run can have written.
    pub fn read(folder: &Path, step: u64) -> Result<Self> {
        let file = folder.join("trainer_state.json");
        let text = crate::files::read_text(&file).map_err(|e| Error::io(&file, "read it", e))?;
        let refuse = |problem: String| {
            let help = "resume from another checkpoint with `--resume-from-checkpoint`";
            Error::model(&file, problem, help)
        };
        let state: Self = serde_json::from_str(&without_nan(&text))
            .map_err(|e| refuse(format!("it is no state of a run: {e}")))?;
        if state.global_step != step {
            return Err(refuse(format!(
                "`global_step` is {}, but it lies in the checkpoint of step {step}",
                state.global_step
            )));
        }
        match state.impossible() {
            Some(key) => Err(refuse(format!(
                "`{key}` is what no run of {step} steps can have: the file is damaged"
            ))),
            None => Ok(state),
        }
    }

    /// The first key whose value no run can have after so many steps, if there is one.
    fn impossible(&self) -> Option<&'static str> {
        // Exact in f64, and far from where sums overflow.
        const MOST: u64 = 1 << 53;
        let step = self.global_step;
        let Callbacks { totals, health, .. } = &self.stateful_callbacks;
        let TimeSpent {
            total_seconds,
            training_seconds,
            evaluation_seconds,
            data_wait_seconds,
            saving_seconds,
        } = totals.time;
        let SavingCost {
            checkpoints,
            bytes,
            write_seconds,
        } = totals.saving;
        let is_time = |seconds: &f64| (0.0..1e12).contains(seconds);
        let times = [
            total_seconds,
            training_seconds,
            evaluation_seconds,
            data_wait_seconds,
            saving_seconds,
            write_seconds,
        ];
        let known = [
            ("global_step", step < MOST),
            (
                "best_global_step",
                self.best_global_step.is_none_or(|best| best <= step),
            ),
            (
                "train_batch_size",
                (1..MOST).contains(&self.train_batch_size),
            ),
            ("images", totals.images < MOST),
            ("updates", totals.updates <= step),
            ("losses", totals.losses.steps() == Some(step)),
            (
                "window",
                totals.window.steps().is_some_and(|steps| steps <= step),
            ),
            (
                "evaluations_since_best",
                u64::from(totals.evaluations_since_best) <= step + 1,
            ),
            ("time", times.iter().all(is_time)),
            ("saving", checkpoints < MOST && bytes < MOST),
            ("RunHealth", health.is_possible(step)),
        ];
        // What Trainer does not keep is filled in when its run is taken over.
        let kept = if self.is_foreign() { 2 } else { known.len() };
        known[..kept]
            .iter()
            .find(|(_, is)| !is)
            .map(|(key, _)| *key)
    }

    /// Whether it was written by Hugging Face's Trainer and not by this program.
    pub fn is_foreign(&self) -> bool {
        self.stateful_callbacks.settings.is_empty()
    }

    /// Writes down for Trainer what its callbacks keep, at the end of a run or within it.
    pub fn export_callbacks(&mut self, config: &TrainConfig, is_over: bool) {
        let exported = &mut self.stateful_callbacks.exported;
        let control = json!({
            "args": {
                "should_epoch_stop": false,
                "should_evaluate": false,
                "should_log": false,
                "should_save": true,
                "should_training_stop": is_over,
            },
            "attributes": {},
        });
        exported.insert("TrainerControl".into(), control);
        if let Some(patience) = config.early_stopping_patience {
            let counter = self.stateful_callbacks.totals.evaluations_since_best;
            let early_stopping = json!({
                "args": {"early_stopping_patience": patience, "early_stopping_threshold": 0.0},
                "attributes": {"early_stopping_patience_counter": counter},
            });
            exported.insert("EarlyStoppingCallback".into(), early_stopping);
        }
    }

    /// The run's sums.
    pub fn totals(&mut self) -> &mut RunTotals {
        &mut self.stateful_callbacks.totals
    }

    /// Step of the last evaluation.
    pub fn last_evaluated(&self) -> Option<u64> {
        let rows = self.log_history.iter().rev();
        let row = rows.into_iter().find(|row| row.contains_key("eval_loss"))?;
        row.get("step")?.as_u64()
    }

    /// Appends the row of a log. Losses left out of the mean are counted in the row.
    pub fn push_logged(&mut self, logged: &Logged) {
        let numbers = [
            ("epoch", logged.epoch),
            ("grad_norm", logged.grad_norm),
            ("learning_rate", logged.learning_rate),
            ("loss", logged.loss),
        ];
        let row = numbers.map(|(key, value)| (key.to_owned(), value.into()));
        let mut row = Map::from_iter(row);
        if logged.nonfinite_losses > 0 {
            row.insert("nonfinite_losses".into(), logged.nonfinite_losses.into());
        }
        row.insert("step".into(), logged.step.into());
        self.log_history.push(row);
    }

    /// Appends the row of an evaluation.
    pub fn push_evaluated(&mut self, e: &Evaluated) {
        let mut row = e.scores.to_map();
        row.insert("epoch".into(), e.epoch.into());
        row.insert("step".into(), e.step.into());
        row.sort_keys();
        self.log_history.push(row);
    }

    /// Appends the closing row: the results of the whole training.
    pub fn push_results(&mut self, results: &Map<String, Value>) {
        let mut row = results.clone();
        row.insert("step".into(), self.global_step.into());
        row.sort_keys();
        self.log_history.push(row);
    }
}

/// A number of steps or images that Python may have written as `500.0`, or as `null` for none.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = Option::<f64>::deserialize(deserializer)?;
    Ok(number.map_or(0, |number| number as u64))
}
