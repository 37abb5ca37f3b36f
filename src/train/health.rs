//! Noticing that a run is lost: losses that are not finite, and models that learn nothing.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::report::format::learning_rate;
use crate::report::record::Origin;

use super::config::TrainConfig;
use super::engine::{Batch, StepOutput};
use super::learning::{Baseline, Trend};

/// So many steps in a row whose loss, or whose gradient, is not finite end the run. Each of them
/// leaves the parameters alone, so a bad batch is survived; in f16 a loss scale of 2¹⁶ that halves
/// fifty times has left the range of the type altogether.
pub const MAX_NONFINITE: u32 = 50;

/// Steps after the warm-up after which a run is judged.
const JUDGED_AFTER: [u64; 3] = [50, 55, 60];

/// The next ones are twice as far, each time.
const LAST_EARLY: u64 = 60;

/// A model that starts from nothing may sit at chance for long before it learns: it is judged from
/// here on, and not before a quarter of the run.
const PATIENCE_FROM_SCRATCH: u64 = 240;

/// Losses in a judgement: those since the warm-up but the first ones, in which a collapsing run jumps
/// up and comes back; so many at least and at most.
const JUMP: u64 = 20;
const MIN_WINDOW: usize = 40;
const MAX_WINDOW: usize = 240;

/// The first losses of a run, to tell one that has gone nowhere yet from one that is lost.
const FIRST: usize = 10;

/// Standard errors by which the losses must be below chance, or fall, to count as learning. Few, as
/// any sign of learning is enough to say nothing.
const LEARNING: f64 = 0.5;

/// Standard errors by which the losses must lie apart from the first ones.
const MOVED: f64 = 4.0;

/// A mean loss above so many times that of even guesses, or above it by so much, is worse than knowing
/// nothing. A fresh head begins above it, too, by less.
const TIMES_GUESSING: f64 = 1.5;
const ABOVE_GUESSING: f64 = 1.0;

/// Watches the losses of a run.
///
/// Each loss is compared with that of a model that ignores the images and gives each class its
/// share of the training labels, on the same labels: what luck with the labels brings drops out. 50,
/// 55, 60, 120, 240, … steps after the warm-up, a run counts as collapsed
///
/// * when the mean loss is above that of guessing all classes alike, by half or by 1; or
/// * when the losses are not below that model's and do not fall, both by more than half a standard
///   error, and are not those that the run began with. A run from scratch is not judged so before
///   240 steps and a quarter of its length.
///
/// It is said once. `tests/train/learning.rs` plays hundreds of runs.
#[derive(Debug)]
pub struct Health {
    max_steps: u64,
    warmup_steps: u64,
    origin: Origin,
    baseline: Baseline,
    learning_rate: f64,
    memory: Memory,
}

/// What the watch has seen: part of a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Losses above the baseline's on the same labels, those of the first steps and of the last.
    first: Vec<f64>,
    recent: VecDeque<f64>,
    nonfinite_losses: u32,
    nonfinite_gradients: u32,
    collapse: Collapse,
}

impl Memory {
    /// Whether a run that has made `steps` steps can have seen this; it would have ended before as
    /// many steps in a row that are not finite as here are.
    pub(super) fn is_possible(&self, steps: u64) -> bool {
        let nonfinite = self.nonfinite_losses.max(self.nonfinite_gradients);
        nonfinite < MAX_NONFINITE
            && u64::from(nonfinite) <= steps
            && self.first.len() as u64 <= steps
            && self.recent.len() as u64 <= steps
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Collapse {
    #[default]
    Watched,
    Told,
}

impl Health {
    /// A watch over a run of `max_steps`, the first of which warm up, of weights that are pretrained
    /// or not, with so many training images of each class.
    pub fn new(
        config: &TrainConfig,
        max_steps: u64,
        warmup_steps: u64,
        origin: Origin,
        class_counts: &[usize],
    ) -> Self {
        let hyper = &config.hyper;
        let weights = hyper.class_weights.as_deref();
        Self {
            max_steps,
            warmup_steps,
            origin,
            baseline: Baseline::new(class_counts, weights, hyper.label_smoothing),
            learning_rate: config.learning_rate,
            memory: Memory::default(),
        }
    }

    /// What has been seen so far.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Goes on from what an earlier session saw.
    pub fn remember(&mut self, mut memory: Memory) {
        let surplus = memory.recent.len().saturating_sub(MAX_WINDOW);
        memory.recent.drain(..surplus);
        memory.first.truncate(FIRST);
        self.memory = memory;
    }

    /// Whether the last step left the model as it should be, fit to be saved.
    pub fn is_sound(&self) -> bool {
        self.memory.nonfinite_losses == 0
    }

    /// Takes in a step; a returned text is for the person.
    ///
    /// # Errors
    /// [`Error::Diverged`] when nothing finite has come for too long.
    pub fn observe(
        &mut self,
        step: u64,
        batches: &[Batch],
        output: &StepOutput,
    ) -> Result<Option<String>> {
        if !output.loss.is_finite() {
            self.memory.nonfinite_losses += 1;
            return match self.memory.nonfinite_losses {
                MAX_NONFINITE.. => Err(self.diverged(step, "loss", output.loss)),
                1 => Ok(Some(format!(
                    "the loss of step {step} is {}; the step is left out, and nothing is saved until \
                     losses are finite again",
                    output.loss
                ))),
                _ => Ok(None),
            };
        }
        self.memory.nonfinite_losses = 0;
        self.memory.nonfinite_gradients = if output.grad_norm.is_finite() {
            0
        } else {
            self.memory.nonfinite_gradients + 1
        };
        if self.memory.nonfinite_gradients >= MAX_NONFINITE {
            return Err(self.diverged(step, "gradient", output.grad_norm));
        }
        let chance = batches
            .iter()
            .map(|batch| self.baseline.loss(&batch.labels));
        self.memory
            .take(output.loss - chance.sum::<f64>() / batches.len() as f64);
        Ok(self.collapsed(step))
    }

    fn collapsed(&mut self, step: u64) -> Option<String> {
        let since = step.saturating_sub(self.warmup_steps);
        // Labels of one class alone say nothing: their chance is 0.
        if self.memory.collapse == Collapse::Told
            || !is_judged_after(since)
            || self.baseline.chance() == 0.0
        {
            return None;
        }
        let window = since.saturating_sub(JUMP) as usize;
        let window = window.clamp(MIN_WINDOW, MAX_WINDOW);
        let trend = self.memory.trend(window)?;
        let (mean, even) = (self.baseline.chance() + trend.mean, self.baseline.even());
        let problem = if mean > (TIMES_GUESSING * even).min(even + ABOVE_GUESSING) {
            format!(
                "over the last {window} steps the mean loss is {mean:.3}, and guessing all classes \
                 alike gives {even:.3}"
            )
        } else if self.is_judged_by_its_trend(step, since) && self.memory.is_stuck(&trend) {
            format!(
                "over the last {window} steps the loss is {:+.4} ± {:.4} beside what ignoring the \
                 images gives on the same labels, {:.3} in the mean, and it does not fall ({:+.1e} \
                 ± {:.1e} a step)",
                trend.mean,
                trend.mean_error,
                self.baseline.chance(),
                trend.slope,
                trend.slope_error
            )
        } else {
            return None;
        };
        self.memory.collapse = Collapse::Told;
        let weights = match self.origin {
            Origin::Pretrained => " for these weights",
            Origin::Scratch => "",
        };
        Some(format!(
            "the model does not seem to learn: {problem} (step {step} of {}); the learning rate {} \
             may be too high{weights}: try {}",
            self.max_steps,
            learning_rate(self.learning_rate),
            learning_rate(self.learning_rate / 10.0)
        ))
    }

    fn is_judged_by_its_trend(&self, step: u64, since: u64) -> bool {
        match self.origin {
            Origin::Pretrained => true,
            Origin::Scratch => since >= PATIENCE_FROM_SCRATCH && step >= self.max_steps / 4,
        }
    }

    fn diverged(&self, step: u64, what: &str, last: f64) -> Error {
        let first = step + 1 - u64::from(MAX_NONFINITE);
        Error::Diverged {
            problem: format!(
                "the run diverged: the {what} of {MAX_NONFINITE} steps in a row, {first} to {step}, is not \
                 finite (last: {last})"
            ),
            help: format!(
                "lower the learning rate (`--learning-rate {}` instead of {}), or add \
                 `--warmup-ratio 0.1`",
                learning_rate(self.learning_rate / 10.0),
                learning_rate(self.learning_rate)
            ),
        }
    }
}

impl Memory {
    fn take(&mut self, excess: f64) {
        if !excess.is_finite() {
            return; // a batch without weight
        }
        if self.first.len() < FIRST {
            self.first.push(excess);
        }
        self.recent.push_back(excess);
        if self.recent.len() > MAX_WINDOW {
            self.recent.pop_front();
        }
    }

    /// That of the last `window` losses, if there are so many.
    fn trend(&self, window: usize) -> Option<Trend> {
        let start = self.recent.len().checked_sub(window)?;
        let last: Vec<f64> = self.recent.iter().skip(start).copied().collect();
        Some(Trend::of(&last))
    }

    /// Whether a run of which `trend` is the latest is neither learning nor where it began.
    fn is_stuck(&self, trend: &Trend) -> bool {
        !trend.is_below_zero(LEARNING)
            && !trend.falls(LEARNING)
            && trend.apart(&Trend::of(&self.first)) > MOVED
    }
}

/// Whether a run is judged so many steps after its warm-up.
fn is_judged_after(steps: u64) -> bool {
    let doubled = steps / LAST_EARLY;
    JUDGED_AFTER.contains(&steps) || (steps.is_multiple_of(LAST_EARLY) && doubled.is_power_of_two())
}
