//! Going on with a run that ended before its time, as if it had not: the same steps, the same
//! images, the same numbers to the last bit.
//!
//! A checkpoint holds parameters, AdamW's state, `trainer_state.json` and the evaluations that the
//! end of the run looks back at. The place in the data
//! follows from the number of steps: the order of an epoch is drawn from the seed, and the images
//! already seen are its first ones. A run without a checkpoint starts anew, by the settings that
//! `run.json` has kept.

use std::path::Path;

use rayon::prelude::*;
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::fnv::fnv1a;
use crate::report::{BestMark, Event, Fact, Saved};

use super::config::{Changes, Resume, Resumed, TrainConfig};
use super::engine::Engine;
use super::evaluations::Evaluations;
use super::foreign;
use super::optimizer_file::{self, OPTIMIZER_FILE};
use super::run_folder::{Existing, RunFolder};
use super::run_owner::{Owner, Stage};
use super::state::TrainerState;
use super::trainer::{Flow, Job, Run};
use super::writer;

/// Where a run begins.
pub(super) enum Beginning {
    New,
    /// At its first step although it was to be resumed, for this reason.
    Anew(String),
    At(Box<Point>),
}

/// A checkpoint to go on from.
pub(super) struct Point {
    step: u64,
    state: TrainerState,
    /// Settings that are not those of the run so far, in words.
    changed: Vec<String>,
}

/// The folder of the run of these `settings`, taken for it, and where in the run to begin.
pub(super) fn open(
    config: &TrainConfig,
    settings: &Map<String, Value>,
) -> Result<(RunFolder, Beginning)> {
    let folder = RunFolder::at(&config.output_dir);
    let existing = if config.overwrite_output_dir {
        Existing::Overwrite
    } else {
        Existing::Keep
    };
    let beginning = match &config.resume {
        None => Beginning::New,
        Some(resume) => find(&folder, resume, existing, settings)?,
    };
    match &beginning {
        Beginning::New => folder.claim(existing, settings)?,
        Beginning::Anew(_) => folder.claim(Existing::Overwrite, settings)?,
        Beginning::At(_) => folder.clear_partial()?,
    }
    Ok((folder, beginning))
}

/// Where the run in `folder` is to go on; with [`Existing::Overwrite`] a run of other settings is no
/// obstacle, but makes way.
fn find(
    folder: &RunFolder,
    resume: &Resume,
    existing: Existing,
    settings: &Map<String, Value>,
) -> Result<Beginning> {
    let place = folder.path().display();
    folder.recover()?;
    let owner = Owner::read(folder.path())?;
    let step = step_of(resume, folder, owner.as_ref())?;
    let state = step.map(|step| state_at(folder, step)).transpose()?;
    let then = match (&state, &owner) {
        // What settings a run of the Trainer had is told when it is taken over.
        (Some(state), _) if state.is_foreign() && existing == Existing::Keep => {
            foreign::check(state, &folder.checkpoint(state.global_step), resume.changes)?;
            None
        }
        (Some(state), _) => Some(&state.stateful_callbacks.settings),
        (None, owner) => owner.as_ref().map(|owner| &owner.settings),
    };
    let changed = then.map_or(Vec::new(), |then| differences(then, settings));
    if !changed.is_empty() && resume.changes == Changes::Refuse {
        if existing == Existing::Overwrite {
            let text = format!("the run in {place} had other settings and is overwritten");
            return Ok(Beginning::Anew(text));
        }
        return Err(Error::usage(
            format!(
                "the run in {place} had other settings:\n  {}",
                changed.join("\n  ")
            ),
            "give the settings it was started with, or add `--resume-with-changes`",
        ));
    }
    if let Some((step, state)) = step.zip(state) {
        let point = Point {
            step,
            state,
            changed,
        };
        return Ok(Beginning::At(Box::new(point)));
    }
    let has_model = folder.path().join("model.safetensors").exists();
    if owner.is_none() && has_model && existing == Existing::Keep {
        return Err(Error::usage(
            format!("{place} holds a model, but no checkpoint of a run"),
            "leave out `--resume` and choose another `--output-dir`, or add \
             `--overwrite-output-dir`",
        ));
    }
    let text = format!("there is no checkpoint in {place}: the run starts anew");
    Ok(Beginning::Anew(text))
}

fn state_at(folder: &RunFolder, step: u64) -> Result<TrainerState> {
    TrainerState::read(&folder.checkpoint(step), step)
}

/// The batch size of the run in `output` that `resume` goes on with; `None` where it starts again.
///
/// # Errors
/// Those of going on with it.
pub fn batch_size(output: &Path, resume: &Resume) -> Result<Option<usize>> {
    let folder = RunFolder::at(output);
    folder.recover()?;
    let owner = Owner::read(output)?;
    if let Some(step) = step_of(resume, &folder, owner.as_ref())? {
        let images = state_at(&folder, step)?.train_batch_size;
        return Ok(Some(images as usize).filter(|&images| images > 0));
    }
    let kept = owner.and_then(|owner| owner.settings.get("--batch-size")?.as_u64());
    Ok(kept
        .map(|images| images as usize)
        .filter(|&images| images > 0))
}

/// The step of the checkpoint that is asked for.
fn step_of(resume: &Resume, folder: &RunFolder, owner: Option<&Owner>) -> Result<Option<u64>> {
    let steps = match owner {
        // What is there is an older run's.
        Some(owner) if owner.stage == Stage::Clearing => Vec::new(),
        _ => folder.checkpoints()?,
    };
    let Some(wanted) = &resume.checkpoint else {
        return Ok(steps.last().copied());
    };
    let same = |step: &&u64| {
        let there = folder.checkpoint(**step).canonicalize().ok();
        there.is_some() && there == wanted.canonicalize().ok()
    };
    match steps.iter().find(same) {
        Some(&step) => Ok(Some(step)),
        None => Err(Error::usage(
            format!(
                "{} is no checkpoint of the run in {}",
                wanted.display(),
                folder.path().display()
            ),
            format!("its checkpoints are of the steps {steps:?}"),
        )),
    }
}

/// Tells the weights that a run starts from from others.
pub fn fingerprint(params: &[f32]) -> String {
    let parts = params.par_chunks(1 << 16);
    let parts: Vec<_> = parts
        .map(|part| fnv1a(bytemuck::cast_slice(part)).to_le_bytes())
        .collect();
    format!("{:032x}", fnv1a(parts.as_flattened()))
}

/// What two sessions of a run must have in common, by flag.
pub(super) fn settings(
    job: &Job,
    engine: &dyn Engine,
    images: (usize, usize),
) -> Map<String, Value> {
    let mut settings = Map::new();
    let data = format!("{} + {} images", images.0, images.1);
    settings.insert("DATA".into(), json!(data));
    settings.insert("--model".into(), json!(engine.config()));
    let of_config = job.config.settings().into_iter();
    let same = of_config.filter(|setting| setting.resumed == Resumed::Same);
    settings.extend(same.map(|setting| (setting.flag.to_owned(), setting.value)));
    let identity = job.identity.iter();
    settings.extend(identity.map(|(flag, value)| ((*flag).to_owned(), json!(value))));
    settings
}

/// The settings that differ, one a line; long values are not shown.
fn differences(then: &Map<String, Value>, now: &Map<String, Value>) -> Vec<String> {
    let differing = now
        .iter()
        .filter(|(key, value)| then.get(*key) != Some(value));
    let shown = |value: Option<&Value>| {
        let text = value.map_or("not known".into(), Value::to_string);
        (text.len() < 60).then_some(text)
    };
    differing
        .map(
            |(key, value)| match (shown(then.get(key)), shown(Some(value))) {
                (Some(then), Some(now)) => format!("{key}: {then} then, {now} now"),
                _ => format!("{key} differs"),
            },
        )
        .collect()
}

/// What is trained stays the same within a run: AdamW has moments of nothing else.
fn same_frozen(
    then: &Map<String, Value>,
    now: &Map<String, Value>,
    checkpoint: &Path,
) -> Result<()> {
    match (then.get("--freeze"), &now["--freeze"]) {
        (Some(then), now) if then != now => Err(Error::usage(
            format!("`--freeze` cannot change within a run: {then} then, {now} now"),
            format!(
                "start a new run from what this one learned: --model {}",
                checkpoint.display()
            ),
        )),
        _ => Ok(()),
    }
}

/// A checkpoint without the state of an optimiser is a model and no more.
fn has_optimizer(checkpoint: &Path) -> Result<()> {
    if checkpoint.join(OPTIMIZER_FILE).exists() {
        Ok(())
    } else {
        Err(Error::usage(
            format!(
                "{} is a model without the state of its optimiser (`--save-only-model`): no run \
                 goes on from it",
                checkpoint.display()
            ),
            format!(
                "start a new run from its weights: `--model {}` and another `--output-dir`",
                checkpoint.display()
            ),
        ))
    }
}

impl Run<'_> {
    /// Takes over everything the checkpoint holds, and undoes what was done after it.
    pub(super) fn restore(&mut self, point: Point) -> Result<()> {
        let Point {
            step,
            mut state,
            changed,
        } = point;
        let checkpoint = self.folder.checkpoint(step);
        let is_foreign = state.is_foreign();
        let changed = if is_foreign {
            foreign::adopt(&mut state, &self.plan, self.job.config, &self.folder);
            differences(&foreign::settings(&state), &foreign::settings(&self.state))
        } else {
            changed
        };
        if !is_foreign {
            has_optimizer(&checkpoint)?;
            let then = &state.stateful_callbacks.settings;
            same_frozen(then, &self.state.stateful_callbacks.settings, &checkpoint)?;
        }
        let params = self.job.model_files.load(&checkpoint)?;
        self.engine.set_params(&params)?;
        if !is_foreign {
            let trained = self.engine.table().starting_at(self.engine.trained().start);
            let optimizer = optimizer_file::load(&checkpoint, trained, step)?;
            self.engine.set_optimizer(&optimizer)?;
        }

        let new = &self.state;
        state.stateful_callbacks.settings = new.stateful_callbacks.settings.clone();
        (state.eval_steps, state.save_steps) = (new.eval_steps, new.save_steps);
        (state.max_steps, state.logging_steps) = (new.max_steps, new.logging_steps);
        state.num_train_epochs = new.num_train_epochs;
        state.train_batch_size = new.train_batch_size;
        self.health
            .remember(state.stateful_callbacks.health.clone());
        let classes = self.engine.config().num_labels();
        self.evaluations = Evaluations::load(&checkpoint, classes)?;
        self.state = state;
        self.first_step = step;
        self.seconds_before = self.state.totals().time.total_seconds;
        self.early_stop = self.early_stop_reason();
        // Its own cost was not known when it was written.
        let bytes = writer::size(&checkpoint)?;
        let saving = &mut self.state.totals().saving;
        (saving.checkpoints, saving.bytes) = (saving.checkpoints + 1, saving.bytes + bytes);

        for later in self.folder.checkpoints()?.into_iter().filter(|&s| s > step) {
            self.folder.remove_checkpoint(later)?;
        }
        self.folder.set_last(&checkpoint)?;
        if let Some(best) = self.best_checkpoint_folder() {
            self.folder.set_best(&best)?;
        }
        if let Some(limit) = self.job.config.save_total_limit {
            self.folder.rotate(limit, self.state.best_global_step)?;
        }
        if is_foreign {
            self.metrics.begin_with(&self.state.log_history)?;
        }
        let saved = self.metrics.rewind(step)?;
        if !saved {
            let mark = if self.state.best_global_step == Some(step) {
                BestMark::Best
            } else {
                BestMark::NotBest
            };
            let epoch = self.state.epoch;
            self.metrics.write(&Event::Saved(Saved {
                step,
                epoch,
                checkpoint,
                mark,
                // Not known: the run ended before it could say.
                seconds: 0.0,
                held_seconds: 0.0,
                bytes,
            }))?;
        }
        for change in changed {
            let text = format!("going on with another setting: {change}");
            self.emit(Event::Notice { text })?;
        }
        if is_foreign {
            self.emit(Event::Notice {
                text: foreign::NOTICE.into(),
            })
        } else {
            Ok(())
        }
    }

    /// Does what was left of the step at which the run ended: Ctrl-C comes between a step and its
    /// evaluation.
    pub(super) fn catch_up(&mut self) -> Result<Flow> {
        let step = self.state.global_step;
        if step == 0 {
            return Ok(Flow::Continue);
        }
        let due = self.plan.due(step);
        if due.evaluate && self.state.last_evaluated() != Some(step) {
            self.evaluate_and_save(due)
        } else if self.is_over() {
            Ok(Flow::Stop)
        } else {
            Ok(Flow::Continue)
        }
    }

    /// A line for the header of the report.
    pub(super) fn resumed_at(&self) -> Option<Fact> {
        let (step, all) = (self.first_step, self.plan.max_steps);
        let text = || format!("after step {step} of {all}");
        (step > 0).then(|| Fact::new("resumed", text()))
    }
}
