//! The learning rate of each step.

use std::f64::consts::PI;

use super::config::{Schedule, TrainConfig};

/// Learning rates of a run, as transformers' `get_{linear,cosine,constant}_schedule_with_warmup`.
///
/// With T steps, W of them warm-up, and s updates done, the factor of the base rate is s / W while
/// s < W, then (T − s) / (T − W), (1 + cos(π (s − W) / (T − W))) / 2, or 1.
#[derive(Debug, Clone, PartialEq)]
pub struct LearningRate {
    shape: Schedule,
    base: f64,
    warmup_steps: u64,
    max_steps: u64,
}

impl LearningRate {
    /// The schedule of a run of `max_steps`; `warmup_ratio` counts only where `warmup_steps` is 0.
    pub fn new(config: &TrainConfig, max_steps: u64) -> Self {
        let warmup_steps = match config.warmup_steps {
            0 => (max_steps as f64 * config.warmup_ratio).ceil() as u64,
            steps => steps,
        };
        Self {
            shape: config.schedule,
            base: config.learning_rate,
            warmup_steps,
            max_steps,
        }
    }

    /// Steps of rising learning rate at the start.
    pub fn warmup_steps(&self) -> u64 {
        self.warmup_steps
    }

    /// Learning rate of step `step`, counted from 1.
    pub fn at(&self, step: u64) -> f64 {
        self.base * self.factor(step.saturating_sub(1))
    }

    /// Learning rate that the log shows at `step`: the one of the next step, because the
    /// reference's scheduler has moved on by the time it logs (up to transformers 4.57;
    /// transformers 5 logs the rate of the step itself).
    pub fn logged(&self, step: u64) -> f64 {
        self.at(step + 1)
    }

    fn factor(&self, done: u64) -> f64 {
        if done < self.warmup_steps {
            return done as f64 / self.warmup_steps.max(1) as f64;
        }
        let decay_steps = self.max_steps.saturating_sub(self.warmup_steps).max(1) as f64;
        match self.shape {
            Schedule::Linear => self.max_steps.saturating_sub(done) as f64 / decay_steps,
            Schedule::Cosine => {
                let progress = (done - self.warmup_steps) as f64 / decay_steps;
                (0.5 * (1.0 + (PI * progress).cos())).max(0.0)
            }
            Schedule::Constant => 1.0,
        }
    }
}
