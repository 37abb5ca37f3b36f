//! Noticing that a run is lost: losses that are not finite, and models that learn nothing.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::report::format::learning_rate;

use super::config::TrainConfig;
use super::engine::{Batch, StepOutput};

/// So many steps in a row whose loss, or whose gradient, is not finite end the run. Each of them
/// leaves the parameters alone, so a bad batch is survived; in f16 a loss scale of 2¹⁶ that halves
/// fifty times has left the range of the type altogether.
pub const MAX_NONFINITE: u32 = 50;

/// A mean loss above this share of chance counts as nothing learnt.
pub const COLLAPSE_SHARE: f64 = 0.98;

/// Steps below which a run is too short to be judged.
const MIN_STEPS: u64 = 20;

/// Watches the losses of a run.
///
/// A run counts as collapsed when, at a quarter of its steps or later and not before the warm-up
/// is over, the mean loss over the last tenth of the run (at least 10 steps) is above 98 % of
/// chance. Chance is the loss of a model that ignores the image and gives each class its share of
/// the labels seen so far: −Σ f ln f, which is ln K for K classes of one size. It is said once.
#[derive(Debug)]
pub struct Health {
    max_steps: u64,
    first_judged: u64,
    window: usize,
    label_smoothing: f64,
    class_weights: Option<Vec<f32>>,
    learning_rate: f64,
    memory: Memory,
}

/// What the watch has seen: part of a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    recent: VecDeque<f64>,
    label_counts: Vec<u64>,
    nonfinite_losses: u32,
    nonfinite_gradients: u32,
    collapse: Collapse,
}

impl Memory {
    /// Whether a run that has made `steps` steps can have seen this; it would have ended before as
    /// many steps in a row that are not finite as here are.
    pub(super) fn is_possible(&self, steps: u64) -> bool {
        let nonfinite = self.nonfinite_losses.max(self.nonfinite_gradients);
        let labels = self
            .label_counts
            .iter()
            .try_fold(0_u64, |sum, &n| sum.checked_add(n));
        nonfinite < MAX_NONFINITE
            && u64::from(nonfinite) <= steps
            && self.recent.len() as u64 <= steps
            && labels.is_some_and(|n| n < 1 << 53)
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
    /// A watch over a run of `max_steps` with `classes` classes.
    pub fn new(config: &TrainConfig, max_steps: u64, warmup_steps: u64, classes: usize) -> Self {
        let window = max_steps.div_ceil(10).max(10);
        Self {
            max_steps,
            first_judged: max_steps.div_ceil(4).max(warmup_steps + window),
            window: window as usize,
            label_smoothing: config.hyper.label_smoothing,
            class_weights: config.hyper.class_weights.clone(),
            learning_rate: config.learning_rate,
            memory: Memory {
                label_counts: vec![0; classes],
                ..Memory::default()
            },
        }
    }

    /// What has been seen so far.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Goes on from what an earlier session saw; of another number of classes, it is forgotten.
    pub fn remember(&mut self, mut memory: Memory) {
        if memory.label_counts.len() == self.memory.label_counts.len() {
            // The window is another one where the run's length has changed.
            let surplus = memory.recent.len().saturating_sub(self.window);
            memory.recent.drain(..surplus);
            self.memory = memory;
        }
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
        for &label in batches.iter().flat_map(|batch| &batch.labels) {
            self.memory.label_counts[label as usize] += 1;
        }
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
        self.memory.nonfinite_gradients = match output.grad_norm.is_finite() {
            true => 0,
            false => self.memory.nonfinite_gradients + 1,
        };
        if self.memory.nonfinite_gradients >= MAX_NONFINITE {
            return Err(self.diverged(step, "gradient", output.grad_norm));
        }
        self.memory.recent.push_back(output.loss);
        if self.memory.recent.len() > self.window {
            self.memory.recent.pop_front();
        }
        Ok(self.collapsed(step))
    }

    fn collapsed(&mut self, step: u64) -> Option<String> {
        let judged = self.max_steps >= MIN_STEPS
            && step >= self.first_judged
            && self.memory.recent.len() == self.window
            && self.memory.collapse == Collapse::Watched;
        let mean = self.memory.recent.iter().sum::<f64>() / self.memory.recent.len() as f64;
        let chance = self.chance();
        // Labels of one class alone say nothing: their chance is 0.
        if !judged || chance == 0.0 || mean <= COLLAPSE_SHARE * chance {
            return None;
        }
        self.memory.collapse = Collapse::Told;
        Some(format!(
            "the model does not seem to learn: over the last {} steps the mean loss is {mean:.3}, \
             and {chance:.3} is what ignoring the images gives (step {step} of {}); the learning \
             rate {} may be too high for these weights: try {}",
            self.window,
            self.max_steps,
            learning_rate(self.learning_rate),
            learning_rate(self.learning_rate / 10.0)
        ))
    }

    /// Entropy of the labels seen, weighted and smoothed as the loss is.
    fn chance(&self) -> f64 {
        let weight = |class: usize| match &self.class_weights {
            Some(weights) => f64::from(weights[class]),
            None => 1.0,
        };
        let counts = self.memory.label_counts.iter().enumerate();
        let weighted: Vec<f64> = counts.map(|(k, &n)| n as f64 * weight(k)).collect();
        let total: f64 = weighted.iter().sum();
        let even = 1.0 / weighted.len() as f64;
        let shares = weighted.iter().map(|w| {
            let share = w / total;
            share + self.label_smoothing * (even - share)
        });
        shares.filter(|&p| p > 0.0).map(|p| p * -p.ln()).sum()
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
