//! Scores of a model on labelled images.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::metrics::{Prediction, Summary};
use crate::report::format::rounded;
use crate::report::{Event, Reporter, Scores};

use super::engine::Engine;
use super::source::BatchSource;

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Batches.
    pub steps: usize,
    /// Number of classes.
    pub classes: usize,
    /// By image, in the data's order.
    pub predictions: Vec<Prediction>,
    /// Whole evaluation, waiting for images included.
    pub runtime: Duration,
    /// Time in which the model waited for images.
    pub data_wait: Duration,
}

impl Evaluation {
    /// Mean over the images of −ln p(label), summed in f64; neither label smoothing nor class
    /// weights enter. NaN as soon as one logit is.
    pub fn loss(&self) -> f64 {
        let sum: f64 = self.predictions.iter().map(|p| p.loss).sum();
        sum / self.samples() as f64
    }

    /// Images.
    pub fn samples(&self) -> usize {
        self.predictions.len()
    }

    /// Images whose largest logit is the label's.
    pub fn correct(&self) -> usize {
        self.predictions.iter().filter(|p| p.is_correct()).count()
    }

    /// Share of images whose largest logit is the label's; an image with a NaN logit is wrong.
    pub fn accuracy(&self) -> f64 {
        self.correct() as f64 / self.samples() as f64
    }

    /// The scores as the reference gives them.
    pub fn scores(&self) -> Scores {
        let seconds = self.runtime.as_secs_f64();
        Scores {
            eval_accuracy: self.accuracy(),
            eval_loss: self.loss(),
            eval_runtime: rounded(seconds, 4),
            eval_samples_per_second: rounded(self.samples() as f64 / seconds, 3),
            eval_steps_per_second: rounded(self.steps as f64 / seconds, 3),
        }
    }

    /// All scores that follow from the predictions.
    pub fn summary(&self) -> Summary {
        Summary::new(&self.predictions, self.classes)
    }

    /// The keys `eval_accuracy`, `eval_loss`, `eval_runtime`, `eval_samples_per_second` and
    /// `eval_steps_per_second`.
    pub fn to_hf_keys(&self) -> Map<String, Value> {
        self.scores().to_map()
    }
}

/// Runs the model over all of `data`, in its own order, and scores it.
///
/// # Errors
/// What the engine and the data report; [`Error::Interrupted`] once `stop` is set.
///
/// # Panics
/// If a label is not below the number of classes.
pub fn evaluate(
    engine: &mut dyn Engine,
    data: &dyn BatchSource,
    batch_size: usize,
    reporter: &mut dyn Reporter,
    stop: &AtomicBool,
) -> Result<Evaluation> {
    let start = Instant::now();
    let classes = engine.config().num_labels();
    let total = data.len();
    let mut found = Evaluation {
        steps: 0,
        classes,
        predictions: Vec::with_capacity(total),
        runtime: Duration::ZERO,
        data_wait: Duration::ZERO,
    };
    let mut batches = data.batches(0, (0..total).collect(), batch_size);
    loop {
        let waiting = Instant::now();
        let batch = batches.next().transpose()?;
        found.data_wait += waiting.elapsed();
        let Some(batch) = batch else { break };
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted {
                problem: format!("interrupted after {} of {total} images", found.samples()),
                help: String::new(),
            });
        }
        let logits = engine.logits(&batch)?;
        assert_eq!(logits.len(), batch.len() * classes, "logits are (B, K)");
        for (row, &label) in logits.chunks_exact(classes).zip(&batch.labels) {
            found.predictions.push(Prediction::new(row, label));
        }
        found.steps += 1;
        reporter.event(&Event::Evaluating {
            done: found.steps,
            total: total.div_ceil(batch_size),
        });
    }
    found.runtime = start.elapsed();
    Ok(found)
}
