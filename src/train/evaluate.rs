//! Scores of a model on labelled images.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::report::format::rounded;
use crate::report::{Event, Reporter, Scores};

use super::engine::Engine;
use super::source::BatchSource;

/// Images of one class, and what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCount {
    /// Images labelled with the class.
    pub samples: usize,
    /// Images the model put into it.
    pub predicted: usize,
    /// Images of the class that it put into it.
    pub correct: usize,
}

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Mean over the images of −ln p(label), summed in f64; neither label smoothing nor class
    /// weights enter. NaN as soon as one logit is.
    #[serde(deserialize_with = "nan_from_null")]
    pub loss: f64,
    pub samples: usize,
    pub correct: usize,
    /// Batches.
    pub steps: usize,
    /// By label index.
    pub classes: Vec<ClassCount>,
    /// Whole evaluation, waiting for images included.
    pub runtime: Duration,
    /// Time in which the model waited for images.
    pub data_wait: Duration,
}

/// JSON has no NaN: it is written as null.
fn nan_from_null<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}

impl Evaluation {
    /// Share of images whose largest logit is the label's; an image with a NaN logit is wrong.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.samples as f64
    }

    /// The scores as the reference gives them.
    pub fn scores(&self) -> Scores {
        let seconds = self.runtime.as_secs_f64();
        Scores {
            eval_accuracy: self.accuracy(),
            eval_loss: self.loss,
            eval_runtime: rounded(seconds, 4),
            eval_samples_per_second: rounded(self.samples as f64 / seconds, 3),
            eval_steps_per_second: rounded(self.steps as f64 / seconds, 3),
        }
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
    let mut sum = 0.0;
    let mut found = Evaluation {
        loss: f64::NAN,
        samples: 0,
        correct: 0,
        steps: 0,
        classes: vec![ClassCount::default(); classes],
        runtime: Duration::ZERO,
        data_wait: Duration::ZERO,
    };
    let mut batches = data.batches((0..total).collect(), batch_size);
    loop {
        let waiting = Instant::now();
        let batch = batches.next().transpose()?;
        found.data_wait += waiting.elapsed();
        let Some(batch) = batch else { break };
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted {
                problem: format!("interrupted after {} of {total} images", found.samples),
                help: String::new(),
            });
        }
        let logits = engine.logits(&batch)?;
        assert_eq!(logits.len(), batch.len() * classes, "logits are (B, K)");
        for (row, &label) in logits.chunks_exact(classes).zip(&batch.labels) {
            let label = label as usize;
            sum += cross_entropy(row, label);
            found.samples += 1;
            found.classes[label].samples += 1;
            if let Some(class) = argmax(row) {
                found.classes[class].predicted += 1;
                if class == label {
                    found.correct += 1;
                    found.classes[label].correct += 1;
                }
            }
        }
        found.steps += 1;
        reporter.event(&Event::Evaluating {
            done: found.samples,
            total,
        });
    }
    found.loss = sum / found.samples as f64;
    found.runtime = start.elapsed();
    Ok(found)
}

/// −ln softmax(logits)\[label\], in f64, the largest logit taken out first.
fn cross_entropy(logits: &[f32], label: usize) -> f64 {
    let largest = logits.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    let largest = f64::from(largest);
    let sum: f64 = logits.iter().map(|&z| (f64::from(z) - largest).exp()).sum();
    sum.ln() + largest - f64::from(logits[label])
}

/// Index of the largest logit, the first among equals; none if one of them is NaN.
fn argmax(logits: &[f32]) -> Option<usize> {
    if logits.iter().any(|z| z.is_nan()) {
        return None;
    }
    let first_largest = |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
    Some((0..logits.len()).fold(0, first_largest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cross_entropy_survives_large_logits_and_shows_nan() {
        assert_eq!(cross_entropy(&[1e4, -1e4], 0), 0.0);
        assert_eq!(cross_entropy(&[1e4, -1e4], 1), 2e4);
        let even = cross_entropy(&[3.0, 3.0, 3.0, 3.0], 2);
        assert!((even - 4_f64.ln()).abs() < 1e-15);
        assert!(cross_entropy(&[f32::NAN, 0.0], 1).is_nan());
        assert!(cross_entropy(&[f32::INFINITY, 0.0], 1).is_nan());
    }

    #[test]
    fn argmax_keeps_the_first_of_equals_and_refuses_nan() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), Some(1));
        assert_eq!(argmax(&[1.0, f32::NAN]), None);
    }
}
