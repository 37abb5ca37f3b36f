//! All scores of one evaluation.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Calibration, Confusion, Prediction, top_k_accuracy, wilson};

/// Classes beyond which the whole confusion matrix is too long to be printed.
const MATRIX_CLASSES: usize = 1000;

/// The scores that follow from the predictions for all images of a set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub samples: usize,
    pub correct: usize,
    /// Mean loss; none if it is not finite.
    pub loss: Option<f64>,
    /// Share of the images whose label is among the five most probable classes.
    pub top5_accuracy: f64,
    pub confusion: Confusion,
    pub calibration: Calibration,
}

impl Summary {
    /// Sums up predictions among `classes` classes.
    pub fn new(predictions: &[Prediction], classes: usize) -> Self {
        let samples = predictions.len();
        let loss = predictions.iter().map(|p| p.loss).sum::<f64>() / samples as f64;
        Self {
            samples,
            correct: predictions.iter().filter(|p| p.is_correct()).count(),
            loss: loss.is_finite().then_some(loss),
            top5_accuracy: top_k_accuracy(predictions, 5),
            confusion: Confusion::new(predictions, classes),
            calibration: Calibration::new(predictions),
        }
    }

    /// What does not fit together in scores that were read from a file, if anything does not.
    pub fn contradiction(&self) -> Option<String> {
        let Self {
            samples, correct, ..
        } = *self;
        if let Some(what) = self.confusion.contradiction() {
            return Some(what);
        }
        let counted = self.confusion.images();
        if counted != samples {
            return Some(format!("{samples} images, {counted} of them in classes"));
        }
        let right: usize = self
            .confusion
            .class_counts()
            .iter()
            .map(|c| c.correct)
            .sum();
        if right != correct {
            return Some(format!(
                "{correct} images are right, {right} of them in classes"
            ));
        }
        self.calibration.contradiction(samples)
    }

    /// Share of the images that were put into their class.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.samples as f64
    }

    /// 95 % Wilson interval of the accuracy.
    pub fn interval(&self) -> (f64, f64) {
        wilson(self.correct, self.samples)
    }

    /// What the reference does not give, named as it would be: `eval_accuracy_interval` (95 %),
    /// `eval_top5_accuracy`, `eval_macro_precision`, `eval_macro_recall`, `eval_macro_f1`,
    /// `eval_calibration_error`, `eval_mean_confidence`, `classes` (an object each) and
    /// `confusion_matrix` (by label, then by prediction). What is not defined is null, and so is a
    /// matrix of more than 1,000 classes.
    pub fn to_keys(&self, names: &[String]) -> Map<String, Value> {
        let (low, high) = self.interval();
        let [precision, recall, f1] = self.confusion.macro_averages();
        let counts = self.confusion.class_counts();
        let classes: Vec<Value> = std::iter::zip(names, &counts)
            .map(|(name, class)| {
                json!({
                    "class": name,
                    "samples": class.samples,
                    "predicted": class.predicted,
                    "correct": class.correct,
                    "precision": class.precision(),
                    "recall": class.recall(),
                    "f1": class.f1(),
                })
            })
            .collect();
        let matrix = (counts.len() <= MATRIX_CLASSES).then(|| self.confusion.rows());
        let keys = json!({
            "eval_accuracy_interval": [low, high],
            "eval_top5_accuracy": self.top5_accuracy,
            "eval_macro_precision": precision,
            "eval_macro_recall": recall,
            "eval_macro_f1": f1,
            "eval_calibration_error": self.calibration.expected_error(),
            "eval_mean_confidence": self.calibration.mean_confidence(),
            "classes": classes,
            "confusion_matrix": matrix,
        });
        match keys {
            Value::Object(keys) => keys,
            other => unreachable!("{other} is no object"),
        }
    }
}
