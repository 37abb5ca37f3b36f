//! The end of a run: results, final model, closing report.

use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::files::{self, Indent};
use crate::metrics::Paired;
use crate::report::format::rounded;
use crate::report::record::Comparison;
use crate::report::{Best, Event, Finished};

use super::config::{OnSaveError, SaveStrategy};
use super::evaluate::Evaluation;
use super::state::TrainerState;
use super::trainer::Run;

/// What a finished run came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub state: TrainerState,
    /// `train_results.json`.
    pub train: Map<String, Value>,
    /// Of the model that was written; none without validation images.
    pub evaluation: Option<Evaluation>,
    /// Step of the model that was written.
    pub step: u64,
    pub best: Option<Best>,
    /// The best evaluation beside the last one; none where they are the same.
    pub comparison: Option<Comparison>,
}

/// Which parameters a run ends with.
#[derive(Clone, Copy)]
enum Final {
    Last,
    BestOf(u64),
}

impl Run<'_> {
    /// Loads the best parameters if asked, writes the final model and the results, evaluates.
    pub(super) fn finish(mut self) -> Result<Outcome> {
        // The last checkpoint may fail and the final model yet be written: it is tried first.
        let last_checkpoint = self.wait_for_writer();
        let last_checkpoint = self.by_policy(last_checkpoint);
        let train = self.train_results();
        self.state.push_results(&train);
        let chosen = self.choose()?;
        let saving = Instant::now();
        let params = self.finite_params()?;
        let saved = self.save_model(chosen, &params);
        saved.map_err(|e| self.not_saved("the final model was not saved", &e))?;
        self.state.totals().time.saving_seconds += saving.elapsed().as_secs_f64();

        let evaluation = self.final_evaluation(chosen)?;
        let comparison = self.compare_best(chosen, evaluation.as_ref());
        let mut eval = Map::new();
        if let Some(evaluation) = &evaluation {
            eval = evaluation.to_hf_keys();
            eval.insert("epoch".into(), json!(self.state.epoch));
            eval.sort_keys();
        }
        self.state.totals().time.total_seconds = self.runtime();
        self.state.stateful_callbacks.health = self.health.memory().clone();
        let is_over = self.is_over();
        self.state.export_callbacks(self.job.config, is_over);
        let written = self.write_results(&train, &eval);
        written.map_err(|e| self.not_saved("the results were not saved", &e))?;
        last_checkpoint?;

        let step = self.step_of(chosen);
        let best = self.best();
        let totals = self.state.totals().clone();
        let finished = Finished {
            train: train.clone(),
            eval,
            step,
            best: best.clone(),
            early_stop: self.early_stop.clone(),
            output_dir: self.folder.path().to_owned(),
            time: totals.time,
            saving: totals.saving,
            nonfinite_losses: totals.losses.nonfinite,
            next: self.job.next.clone(),
        };
        self.emit(Event::Finished(Box::new(finished)))?;
        Ok(Outcome {
            state: self.state,
            train,
            evaluation,
            step,
            best,
            comparison,
        })
    }

    /// Puts the parameters that the run ends with into the engine.
    fn choose(&mut self) -> Result<Final> {
        let config = self.job.config;
        let Some(best) = self.state.best_global_step else {
            return Ok(Final::Last);
        };
        if !config.ends_with_best() {
            return Ok(Final::Last);
        }
        if best != self.state.global_step {
            let folder = self.best_checkpoint_folder();
            let folder = folder.unwrap_or_else(|| self.folder.best());
            let loaded = self.job.model_files.load(&folder);
            match (loaded, config.on_save_error) {
                (Ok(params), _) => self.engine.set_params(&params)?,
                (Err(error), OnSaveError::Stop) => return Err(error),
                (Err(error), OnSaveError::Continue) => {
                    let text = format!("the run ends with its last parameters: {error}");
                    self.emit(Event::Notice { text })?;
                    return Ok(Final::Last);
                }
            }
        }
        Ok(Final::BestOf(best))
    }

    /// Writes the final model; of the checkpoints, where one is to be kept, only the best one stays.
    fn save_model(&mut self, chosen: Final, params: &[f32]) -> Result<()> {
        self.job.model_files.save(self.folder.path(), params)?;
        // Without checkpoints the final model is the last one there is.
        if matches!(chosen, Final::Last) || self.job.config.save == SaveStrategy::Never {
            self.folder.set_last(self.folder.path())?;
        }
        if self.job.config.save_total_limit == Some(1) && self.best_checkpoint_folder().is_some() {
            for step in self.folder.checkpoints()? {
                if Some(step) != self.state.best_global_step {
                    self.folder.remove_checkpoint(step)?;
                }
            }
        }
        Ok(())
    }

    fn write_results(&self, train: &Map<String, Value>, eval: &Map<String, Value>) -> Result<()> {
        self.write("trainer_state.json", &self.state, Indent::Two)?;
        if !eval.is_empty() {
            self.write("eval_results.json", eval, Indent::Four)?;
        }
        self.write("train_results.json", train, Indent::Four)?;
        let mut all = train.clone();
        all.extend(eval.clone());
        all.sort_keys();
        self.write("all_results.json", &all, Indent::Four)
    }

    /// The reference's keys. `train_loss` is the mean over all steps with a finite loss.
    fn train_results(&mut self) -> Map<String, Value> {
        let seconds = self.runtime();
        let totals = self.state.totals();
        let (images, train_loss) = (totals.images as f64, totals.losses.mean());
        let steps = self.state.global_step as f64;
        let results = json!({
            "epoch": self.state.epoch,
            "total_flos": self.state.total_flos,
            "train_loss": train_loss,
            "train_runtime": rounded(seconds, 4),
            "train_samples_per_second": rounded(images / seconds, 3),
            "train_steps_per_second": rounded(steps / seconds, 3),
        });
        match results {
            Value::Object(results) => results,
            other => unreachable!("{other} is no object"),
        }
    }

    /// The scores of the parameters the run ends with. An evaluation of the very same parameters is
    /// not repeated: it would give the same numbers.
    fn final_evaluation(&mut self, chosen: Final) -> Result<Option<Evaluation>> {
        match self.evaluations.at(self.step_of(chosen)) {
            Some(evaluation) => Ok(Some(evaluation.clone())),
            None => self.score().map_err(|error| match error {
                Error::Interrupted { .. } => Error::Interrupted {
                    problem: format!(
                        "interrupted in the last evaluation; the trained model is in {}",
                        self.folder.path().display()
                    ),
                    help: "`vitcuda eval` evaluates it".into(),
                },
                other => other,
            }),
        }
    }

    fn step_of(&self, chosen: Final) -> u64 {
        match chosen {
            Final::Last => self.state.global_step,
            Final::BestOf(step) => step,
        }
    }

    /// The best evaluation beside the last one. `evaluation` is that of the `chosen` parameters,
    /// which the loop need not have evaluated.
    fn compare_best(&self, chosen: Final, evaluation: Option<&Evaluation>) -> Option<Comparison> {
        let (best_step, best) = self
            .evaluations
            .best(self.job.config.metric_for_best_model)?;
        let (last_step, last) = match chosen {
            Final::Last => (self.state.global_step, evaluation?),
            Final::BestOf(_) => self.evaluations.last()?,
        };
        if best_step == last_step {
            return None;
        }
        Some(Comparison {
            best_step,
            last_step,
            paired: Paired::new(&best.predictions, &last.predictions)?,
        })
    }

    /// What `best/` holds.
    fn best(&self) -> Option<Best> {
        Some(Best {
            step: self.state.best_global_step?,
            metric: self.job.config.metric_for_best_model.name().into(),
            value: self.state.best_metric?,
        })
    }

    fn write(&self, name: &str, value: &impl serde::Serialize, indent: Indent) -> Result<()> {
        files::write_json(self.folder.path().join(name), value, indent)
    }
}
