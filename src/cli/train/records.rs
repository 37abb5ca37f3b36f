//! What a run leaves for people and other tools: event files, a table, a report.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::cli::report::{self, PAGE};
use crate::cli::thumbnail;
use vitcuda::data::Loader;
use vitcuda::model::config::VitConfig;
use vitcuda::report::record::Origin;
use vitcuda::report::verdict::Finding;
use vitcuda::report::{Event, MetricsCsv, Record, Reporter, RunLog, TensorBoard};
use vitcuda::train::Outcome;
use vitcuda::train::config::TrainConfig;
use vitcuda::{Error, Result};

/// Writes the records of a run into its folder while it goes on.
pub struct Records {
    folder: PathBuf,
    tensorboard: TensorBoard,
    csv: MetricsCsv,
    record: Record,
}

impl Records {
    /// The records of a run that is told `config` and trains `model`, whose weights have this
    /// `origin`.
    pub fn new(config: &TrainConfig, model: &VitConfig, origin: Origin) -> Self {
        let folder = &config.output_dir;
        let model = serde_json::to_string_pretty(model).expect("keys are strings");
        let args = serde_json::to_string_pretty(&arguments(config)).expect("keys are strings");
        let texts = vec![("args", args), ("model_config", model)];
        Self {
            tensorboard: TensorBoard::new(folder, texts),
            csv: MetricsCsv::new(folder),
            record: Record {
                learning_rate: Some(config.learning_rate),
                origin: Some(origin),
                ..Record::default()
            },
            folder: folder.clone(),
        }
    }

    /// Where the report is written.
    pub fn page(&self) -> PathBuf {
        self.folder.join(PAGE)
    }

    /// Writes the report of a run that has ended; `validation` are the images it evaluated, whose
    /// classes are `classes`. Says what it shows.
    pub fn finish(
        &mut self,
        ended: &Result<Outcome>,
        validation: Option<&Loader>,
        classes: &[String],
    ) -> Result<Vec<Finding>> {
        match ended {
            Err(error @ Error::Interrupted { .. }) => {
                self.record.interruption = Some(error.to_string());
            }
            Err(error) => self.record.failure = Some(error.to_string()),
            Ok(outcome) => {
                self.record.comparison = outcome.comparison.clone();
                let judged = outcome.evaluation.as_ref().zip(validation);
                self.record.judged = judged.map(|(evaluation, images)| {
                    let what = format!("the model of step {}", outcome.step);
                    thumbnail::judged(what, evaluation, images.dataset(), classes)
                });
            }
        }
        let log = RunLog::read(&self.folder).unwrap_or_default();
        self.record.write(&self.folder)?;
        report::write(
            &self.page(),
            &report::name(&self.folder),
            &log,
            &self.record,
        )
    }

    /// Records that could not be written, or not to their end.
    pub fn failures(&self) -> impl Iterator<Item = &Error> {
        [self.tensorboard.failure(), self.csv.failure()]
            .into_iter()
            .flatten()
    }
}

impl Reporter for Records {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Planned { facts } | Event::RunStarted { facts, .. } => {
                self.record.facts.extend_from_slice(facts);
            }
            Event::Notice { text } => self.record.notices.push(text.clone()),
            _ => {}
        }
        self.tensorboard.event(event);
        self.csv.event(event);
    }
}

/// The run's settings, under the names of `TrainingArguments`.
pub fn arguments(config: &TrainConfig) -> Map<String, Value> {
    let hyper = &config.hyper;
    let settings = json!({
        "output_dir": config.output_dir,
        "learning_rate": config.learning_rate,
        "num_train_epochs": config.num_train_epochs,
        "max_steps": config.max_steps.map_or(-1, |steps| steps as i64),
        "per_device_train_batch_size": config.train_batch_size,
        "per_device_eval_batch_size": config.eval_batch_size,
        "gradient_accumulation_steps": config.gradient_accumulation_steps,
        "lr_scheduler_type": config.schedule,
        "warmup_steps": config.warmup_steps,
        "warmup_ratio": config.warmup_ratio,
        "weight_decay": hyper.weight_decay,
        "adam_beta1": hyper.beta1,
        "adam_beta2": hyper.beta2,
        "adam_epsilon": hyper.epsilon,
        "max_grad_norm": hyper.max_grad_norm,
        "label_smoothing_factor": hyper.label_smoothing,
        "seed": config.seed,
        "data_seed": config.data_seed,
        "logging_strategy": config.logging,
        "logging_first_step": config.logging_first_step,
        "logging_at_evaluations": config.log_at_milestones,
        "eval_strategy": config.eval,
        "eval_on_start": config.eval_on_start,
        "eval_delay": config.eval_delay,
        "save_strategy": config.save,
        "save_total_limit": config.save_total_limit,
        "save_only_model": config.save_only_model,
        "load_best_model_at_end": config.load_best_model_at_end,
        "metric_for_best_model": config.metric_for_best_model,
        "early_stopping_patience": config.early_stopping_patience,
    });
    match settings {
        Value::Object(settings) => settings,
        other => unreachable!("{other} is no object"),
    }
}

/// Whether a run that ended in `error` has curves that explain it.
pub fn is_worth_a_report(error: &Error) -> bool {
    matches!(
        error,
        Error::Diverged { .. } | Error::Interrupted { .. } | Error::NotSaved { .. }
    )
}
