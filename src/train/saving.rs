//! Checkpoints: when one is written, which is the best, which are deleted.

use std::path::PathBuf;
use std::time::Instant;

use crate::error::{Error, Result};
use crate::files::{self, Indent};
use crate::report::format::rounded;
use crate::report::{BestMark, Event, Saved};

use super::optimizer_file;
use super::trainer::Run;

impl Run<'_> {
    /// Writes the checkpoint of this step, unless its loss shows that something is wrong.
    pub(super) fn save(&mut self) -> Result<()> {
        let step = self.state.global_step;
        if !self.health.is_sound() {
            let text = format!(
                "no checkpoint at step {step}: its loss is not finite, the earlier ones stay"
            );
            return self.emit(Event::Notice { text });
        }
        let mark = self.track_best(step);
        self.write_checkpoint(mark).map(|_| ())
    }

    /// Only steps that are evaluated and saved can be the best; among equals the first one stays.
    fn track_best(&mut self, step: u64) -> BestMark {
        let which = self.job.config.metric_for_best_model;
        let evaluated = self.last_evaluation.as_ref();
        let Some((_, evaluation)) = evaluated.filter(|(evaluated, _)| *evaluated == step) else {
            return BestMark::NotBest;
        };
        let value = which.of(evaluation);
        if !which.is_better(value, self.state.best_metric) {
            return BestMark::NotBest;
        }
        self.best_evaluation = self.last_evaluation.clone();
        self.state.best_metric = Some(value);
        self.state.best_global_step = Some(step);
        let checkpoint = self.folder.checkpoint(step);
        self.state.best_model_checkpoint = Some(checkpoint.display().to_string());
        BestMark::Best
    }

    /// Writes the checkpoint of this step; the best one becomes `best/`, old ones go.
    fn write_checkpoint(&mut self, mark: BestMark) -> Result<PathBuf> {
        let start = Instant::now();
        let step = self.state.global_step;
        let params = self.finite_params()?;
        let optimizer = self.engine.optimizer()?;
        self.state.totals().runtime_seconds = self.runtime();
        self.state.stateful_callbacks.memory = self.memory();
        let checkpoint = self.folder.save_checkpoint(step, |folder| {
            self.job.model_files.save(folder, &params)?;
            optimizer_file::save(folder, self.engine.table(), &optimizer)?;
            let state = folder.join("trainer_state.json");
            files::write_json(state, &self.state, Indent::Two)
        })?;
        self.emit(Event::Saved(Saved {
            step,
            epoch: self.state.epoch,
            checkpoint: checkpoint.clone(),
            mark,
            seconds: rounded(start.elapsed().as_secs_f64(), 4),
        }))?;
        if mark == BestMark::Best {
            self.folder.set_best(step)?;
        }
        self.rotate()?;
        Ok(checkpoint)
    }

    /// Deletes checkpoints beyond the limit.
    pub(super) fn rotate(&self) -> Result<()> {
        match self.job.config.save_total_limit {
            Some(limit) => self.folder.rotate(limit, self.state.best_global_step),
            None => Ok(()),
        }
    }

    /// The parameters, which no file ever gets with a NaN in them.
    pub(super) fn finite_params(&self) -> Result<Vec<f32>> {
        let params = self.engine.params()?;
        let Some(at) = params.iter().position(|p| !p.is_finite()) else {
            return Ok(params);
        };
        let table = self.engine.table();
        let param = table.params.iter().find(|p| p.range.contains(&at));
        let name = param.map_or("", |p| p.name.as_str());
        Err(self.with_what_is_left(Error::Diverged {
            problem: format!(
                "parameter `{name}` holds {} at step {}",
                params[at], self.state.global_step
            ),
            help: "lower the learning rate".into(),
        }))
    }

    /// Saves a checkpoint because somebody asked the run to stop.
    pub(super) fn interrupted(&mut self) -> Error {
        let step = self.state.global_step;
        let existing = self.folder.checkpoint(step);
        let checkpoint = match existing.is_dir() {
            true => existing,
            false => match self.write_checkpoint(BestMark::NotBest) {
                Ok(checkpoint) => checkpoint,
                Err(error) => return error,
            },
        };
        Error::Interrupted {
            problem: format!(
                "interrupted after step {step} of {}; saved in {}",
                self.plan.max_steps,
                checkpoint.display()
            ),
            help: format!(
                "the same command with `--output-dir {} --resume` goes on from there",
                self.folder.path().display()
            ),
        }
    }
}
