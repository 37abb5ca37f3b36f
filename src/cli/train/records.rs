//! What a run leaves for people and other tools: event files, a table, a report.

use std::path::PathBuf;

use serde_json::{Map, Value};

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
    let settings = config.settings().into_iter();
    settings.map(|s| (s.name.to_owned(), s.value)).collect()
}

/// Whether a run that ended in `error` has curves that explain it.
pub fn is_worth_a_report(error: &Error) -> bool {
    matches!(
        error,
        Error::Diverged { .. } | Error::Interrupted { .. } | Error::NotSaved { .. }
    )
}
