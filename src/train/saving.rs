//! Checkpoints: when one is begun, what becomes of it, and what happens when it could not be
//! written.

use std::path::PathBuf;
use std::time::Instant;

use crate::error::{Error, Result};
use crate::report::format::rounded;
use crate::report::{BestMark, Event, Saved};

use super::config::OnSaveError;
use super::state::TrainerState;
use super::trainer::Run;
use super::writer::{Snapshot, Work, Written};

/// What belongs to the checkpoint that is being written.
pub(super) enum Begun {
    Checkpoint {
        step: u64,
        epoch: f64,
        /// None unless it is the best so far.
        best: Option<BestCheckpoint>,
        held_seconds: f64,
    },
    /// Of a run without checkpoints: `best/` alone.
    Best(BestCheckpoint),
}

impl Begun {
    fn step(&self) -> u64 {
        match self {
            Self::Checkpoint { step, .. } | Self::Best(BestCheckpoint { step, .. }) => *step,
        }
    }
}

/// What the state of a run says about its best model.
#[derive(Clone)]
pub(super) struct BestCheckpoint {
    step: u64,
    metric: f64,
    path: PathBuf,
}

impl BestCheckpoint {
    fn enter(self, state: &mut TrainerState) {
        state.best_metric = Some(self.metric);
        state.best_global_step = Some(self.step);
        state.best_model_checkpoint = Some(self.path.display().to_string());
    }
}

impl Run<'_> {
    /// Begins the checkpoint of this step, unless its loss shows that something is wrong.
    pub(super) fn save(&mut self) -> Result<()> {
        if !self.health.is_sound() {
            return Ok(()); // as was said at the first such step
        }
        self.settle()?;
        let best = self.best_checkpoint();
        self.begin_checkpoint(best)
    }

    /// What the checkpoint of this step would be as the best one, if it is. Only steps that are
    /// evaluated and saved can be; among equals the first one stays.
    fn best_checkpoint(&self) -> Option<BestCheckpoint> {
        let (step, which) = (
            self.state.global_step,
            self.job.config.metric_for_best_model,
        );
        let metric = which.of(self.evaluations.at(step)?);
        which
            .is_better(metric, self.state.best_metric)
            .then(|| BestCheckpoint {
                step,
                metric,
                path: self.folder.checkpoint(step),
            })
    }

    /// Where the best checkpoint is. There may be a best model all the same: of a run without
    /// checkpoints it is in `best/` alone.
    pub(super) fn best_checkpoint_folder(&self) -> Option<PathBuf> {
        let folder = self.folder.checkpoint(self.state.best_global_step?);
        folder.is_dir().then_some(folder)
    }

    /// Takes a snapshot and hands it to the writer, which is idle.
    fn begin_checkpoint(&mut self, best: Option<BestCheckpoint>) -> Result<()> {
        let start = Instant::now();
        let params = self.finite_params()?;
        let optimizer = if self.job.config.save_only_model {
            None
        } else {
            Some(self.engine.optimizer()?)
        };
        self.state.totals().time.total_seconds = self.runtime();
        self.state.stateful_callbacks.health = self.health.memory().clone();
        let is_over = self.is_over();
        let mut state = self.state.clone();
        state.export_callbacks(self.job.config, is_over);
        let mark = match best.clone() {
            Some(best) => {
                best.enter(&mut state);
                BestMark::Best
            }
            None => BestMark::NotBest,
        };
        let metric = self.job.config.metric_for_best_model;
        self.evaluations.prune(metric, &[state.best_global_step]);
        let held_seconds = start.elapsed().as_secs_f64();
        self.state.totals().time.saving_seconds += held_seconds;
        let begun = Begun::Checkpoint {
            step: state.global_step,
            epoch: state.epoch,
            best,
            held_seconds,
        };
        let snapshot = Snapshot {
            params,
            optimizer,
            evaluations: self.evaluations.clone(),
            state,
            mark,
        };
        self.writer
            .begin(Work::Checkpoint(Box::new(snapshot)), begun);
        Ok(())
    }

    /// Begins to write `best/`, where no checkpoint becomes it; its metric is `metric`.
    pub(super) fn save_best_alone(&mut self, metric: f64) -> Result<()> {
        if !self.health.is_sound() {
            return Ok(());
        }
        self.settle()?;
        let start = Instant::now();
        let params = self.finite_params()?;
        self.state.totals().time.saving_seconds += start.elapsed().as_secs_f64();
        let best = BestCheckpoint {
            step: self.state.global_step,
            metric,
            path: self.folder.best(),
        };
        self.writer.begin(Work::Best(params), Begun::Best(best));
        Ok(())
    }

    /// Forgets the evaluations that neither the end of the run nor a checkpoint needs.
    pub(super) fn prune_evaluations(&mut self) {
        let being_written = self.writer.tag().map(Begun::step);
        let metric = self.job.config.metric_for_best_model;
        let checkpoints = [self.state.best_global_step, being_written];
        self.evaluations.prune(metric, &checkpoints);
    }

    /// Takes in what has been written meanwhile; does not wait.
    pub(super) fn look_at_writer(&mut self) -> Result<()> {
        let done = self.writer.poll();
        let written = self.take_in(done);
        self.by_policy(written)
    }

    /// Waits until nothing is being written.
    pub(super) fn settle(&mut self) -> Result<()> {
        let written = self.wait_for_writer();
        self.by_policy(written)
    }

    /// Waits until nothing is being written; a checkpoint that could not be is an error whatever
    /// the person chose.
    pub(super) fn wait_for_writer(&mut self) -> Result<()> {
        let start = Instant::now();
        let done = self.writer.wait();
        self.state.totals().time.saving_seconds += start.elapsed().as_secs_f64();
        self.take_in(done)
    }

    fn take_in(&mut self, done: Option<(Begun, Result<Written>)>) -> Result<()> {
        let Some((begun, written)) = done else {
            return Ok(());
        };
        let written = match written {
            Ok(written) => written,
            Err(error) => {
                let what = format!("saving at step {} failed", begun.step());
                return Err(self.not_saved(&what, &error));
            }
        };
        let saving = &mut self.state.totals().saving;
        saving.bytes += written.bytes;
        saving.write_seconds += written.seconds;
        let (step, epoch, best, held_seconds) = match begun {
            Begun::Checkpoint {
                step,
                epoch,
                best,
                held_seconds,
            } => (step, epoch, best, held_seconds),
            Begun::Best(best) => {
                best.enter(&mut self.state);
                return Ok(());
            }
        };
        saving.checkpoints += 1;
        // Only now: what is not there cannot be the best.
        let mark = match best {
            Some(best) => {
                best.enter(&mut self.state);
                BestMark::Best
            }
            None => BestMark::NotBest,
        };
        self.emit(Event::Saved(Saved {
            step,
            epoch,
            checkpoint: self.folder.checkpoint(step),
            mark,
            seconds: rounded(written.seconds, 4),
            held_seconds: rounded(held_seconds, 4),
            bytes: written.bytes,
        }))
    }

    /// Ends the run, or says what happened and goes on, as the person chose.
    pub(super) fn by_policy(&mut self, written: Result<()>) -> Result<()> {
        match (written, self.job.config.on_save_error) {
            (Err(Error::NotSaved { problem, .. }), OnSaveError::Continue) => {
                let left = self.what_is_left();
                let text = format!("{problem}; training goes on; {left}");
                self.emit(Event::Notice { text })
            }
            (written, _) => written,
        }
    }

    /// The error that `what` could not be written because of `error`.
    pub(super) fn not_saved(&self, what: &str, error: &Error) -> Error {
        let help = "make room and go on with the same command and `--resume`, or train on whatever \
                    happens to checkpoints with `--on-save-error continue`";
        Error::NotSaved {
            problem: format!("{what}: {error}"),
            help: format!("{}; {help}", self.what_is_left()),
        }
    }

    /// Which checkpoint a run can fall back on.
    fn what_is_left(&self) -> String {
        let steps = self.folder.checkpoints().unwrap_or_default();
        match steps.last() {
            Some(&step) => format!(
                "the last good checkpoint is {}",
                self.folder.checkpoint(step).display()
            ),
            None => "there is no checkpoint".to_owned(),
        }
    }

    /// Adds to the help of a run that diverged which checkpoint is left of it.
    pub(super) fn with_what_is_left(&mut self, error: Error) -> Error {
        let Error::Diverged { problem, help } = error else {
            return error;
        };
        let _ = self.wait_for_writer(); // the divergence is what the person has to know
        let help = format!("{help}; {}", self.what_is_left());
        Error::Diverged { problem, help }
    }

    /// The parameters, which no file ever gets with a NaN in them.
    pub(super) fn finite_params(&mut self) -> Result<Vec<f32>> {
        let params = self.engine.params()?;
        let Some(at) = params.iter().position(|p| !p.is_finite()) else {
            return Ok(params);
        };
        let table = self.engine.table();
        let param = table.params.iter().find(|p| p.range.contains(&at));
        let name = param.map_or("", |p| p.name.as_str());
        let error = Error::Diverged {
            problem: format!(
                "parameter `{name}` holds {} at step {}",
                params[at], self.state.global_step
            ),
            help: "lower the learning rate".into(),
        };
        Err(self.with_what_is_left(error))
    }

    /// Saves a checkpoint because somebody asked the run to stop.
    pub(super) fn interrupted(&mut self) -> Error {
        let step = self.state.global_step;
        let checkpoint = self.folder.checkpoint(step);
        if let Err(error) = self.save_now() {
            return error;
        }
        Error::Interrupted {
            problem: format!(
                "interrupted after step {step} of {}; saved in {}",
                self.plan.max_steps,
                checkpoint.display()
            ),
            help: if self.job.config.save_only_model {
                format!(
                    "it is a model (`--save-only-model`): `--model {}` starts a run from its weights",
                    checkpoint.display()
                )
            } else {
                format!(
                    "the same command with `--output-dir {} --resume` goes on from there",
                    self.folder.path().display()
                )
            },
        }
    }

    /// Makes sure that there is a checkpoint of this step, whatever became of the one before.
    fn save_now(&mut self) -> Result<()> {
        if let Err(error) = self.wait_for_writer() {
            let text = error.to_string();
            self.emit(Event::Notice { text })?;
        }
        if self.folder.checkpoint(self.state.global_step).is_dir() {
            return Ok(());
        }
        self.begin_checkpoint(None)?;
        self.wait_for_writer()
    }
}
