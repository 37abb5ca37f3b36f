//! The end of a run: results, final model, closing report.

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::files::{self, Indent};
use crate::metrics::Paired;
use crate::report::format::rounded;
use crate::report::record::Comparison;
use crate::report::{Best, Event, Finished};

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
        let train = self.train_results();
        self.state.push_results(&train);
        // Resuming from the last checkpoint took it, and none was written since.
        self.state.stateful_callbacks.memory = self.memory();
        let config = self.job.config;
        let chosen = match self.state.best_global_step {
            Some(best) if config.load_best_model_at_end => Final::BestOf(best),
            _ => Final::Last,
        };
        if let Final::BestOf(best) = chosen
            && best != self.state.global_step
        {
            let params = self.job.model_files.load(&self.folder.checkpoint(best))?;
            self.engine.set_params(&params)?;
        }
        let params = self.finite_params()?;
        self.job.model_files.save(self.folder.path(), &params)?;
        self.write("trainer_state.json", &self.state, Indent::Two)?;
        if let (Some(1), Some(best)) = (config.save_total_limit, self.state.best_global_step) {
            let others = self.folder.checkpoints()?;
            let others = others.into_iter().filter(|&step| step != best);
            others
                .into_iter()
                .try_for_each(|step| self.folder.remove_checkpoint(step))?;
        }

        let evaluation = self.final_evaluation(chosen)?;
        let comparison = self.compare_best(chosen, evaluation.as_ref());
        let mut eval = Map::new();
        if let Some(evaluation) = &evaluation {
            eval = evaluation.to_hf_keys();
            eval.insert("epoch".into(), json!(self.state.epoch));
            eval.sort_keys();
            self.write("eval_results.json", &eval, Indent::Four)?;
        }
        self.write("train_results.json", &train, Indent::Four)?;
        let mut all = train.clone();
        all.extend(eval.clone());
        all.sort_keys();
        self.write("all_results.json", &all, Indent::Four)?;

        let step = match chosen {
            Final::Last => self.state.global_step,
            Final::BestOf(step) => step,
        };
        let best = self.best();
        let totals = self.state.totals().clone();
        self.emit(Event::Finished(Finished {
            train: train.clone(),
            eval,
            best: best.clone(),
            early_stop: self.early_stop.clone(),
            output_dir: self.folder.path().to_owned(),
            data_wait_seconds: totals.data_wait_seconds,
            nonfinite_losses: totals.losses.nonfinite,
            next: self.job.next.clone(),
        }))?;
        Ok(Outcome {
            state: self.state,
            train,
            evaluation,
            step,
            best,
            comparison,
        })
    }

    /// The reference's keys. `train_loss` is the mean over all steps with a finite loss.
    fn train_results(&mut self) -> Map<String, Value> {
        let seconds = self.runtime();
        let totals = self.state.totals();
        totals.runtime_seconds = seconds;
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
        let (step, known) = match chosen {
            Final::Last => (self.state.global_step, &self.last_evaluation),
            Final::BestOf(step) => (step, &self.best_evaluation),
        };
        match known {
            Some((evaluated, evaluation)) if *evaluated == step => Ok(Some(evaluation.clone())),
            _ => self.score().map_err(|error| match error {
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

    /// The best evaluation beside the last one. `evaluation` is that of the `chosen` parameters,
    /// which the loop need not have evaluated.
    fn compare_best(&self, chosen: Final, evaluation: Option<&Evaluation>) -> Option<Comparison> {
        let (best_step, best) = self.best_scored.as_ref()?;
        let (last_step, last) = match chosen {
            Final::Last => (self.state.global_step, evaluation?),
            Final::BestOf(_) => self.last_evaluation.as_ref().map(|(step, e)| (*step, e))?,
        };
        if *best_step == last_step {
            return None;
        }
        Some(Comparison {
            best_step: *best_step,
            last_step,
            paired: Paired::new(&best.predictions, &last.predictions)?,
        })
    }

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
