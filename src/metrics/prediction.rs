//! What a model said about one image.

use serde::{Deserialize, Deserializer, Serialize};

/// What a model said about one labelled image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    pub label: u32,
    /// Class of the largest logit, the first among equals; none if a logit is NaN.
    pub predicted: Option<u32>,
    /// Softmax probability of the class with the largest logit; NaN if a logit is.
    #[serde(deserialize_with = "null_is_nan")]
    pub confidence: f64,
    /// −ln softmax(logits)\[label\]; NaN if a logit is.
    #[serde(deserialize_with = "null_is_nan")]
    pub loss: f64,
    /// Classes that come before the label when they are ordered by falling logit, equals by index;
    /// all of them if a logit is NaN.
    pub rank: u32,
}

impl Prediction {
    /// Judges the logits (K) of an image of class `label`, in f64, the largest logit taken out of
    /// each exponential.
    ///
    /// # Panics
    /// If `label` is not below K.
    pub fn new(logits: &[f32], label: u32) -> Self {
        let own = logits[label as usize];
        let predicted = argmax(logits);
        let largest = f64::from(logits.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b)));
        let sum: f64 = logits.iter().map(|&z| (f64::from(z) - largest).exp()).sum();
        let before = |&(class, &z): &(usize, &f32)| z > own || (z == own && class < label as usize);
        Self {
            label,
            predicted: predicted.map(|class| class as u32),
            confidence: 1.0 / sum,
            loss: sum.ln() + largest - f64::from(own),
            rank: match predicted {
                Some(_) => logits.iter().enumerate().filter(before).count() as u32,
                None => logits.len() as u32,
            },
        }
    }

    /// Whether the predicted class is the label.
    pub fn is_correct(&self) -> bool {
        self.predicted == Some(self.label)
    }
}

/// JSON has no NaN; `null` stands for it.
fn null_is_nan<'de, D: Deserializer<'de>>(value: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or(f64::NAN))
}

/// Index of the largest logit, the first among equals; none if one of them is NaN.
fn argmax(logits: &[f32]) -> Option<usize> {
    if logits.iter().any(|z| z.is_nan()) {
        return None;
    }
    let first_largest = |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
    Some((0..logits.len()).fold(0, first_largest))
}

/// Share of the images whose label is among the `k` classes with the largest logits.
pub fn top_k_accuracy(predictions: &[Prediction], k: u32) -> f64 {
    let within = predictions.iter().filter(|p| p.rank < k).count();
    within as f64 / predictions.len() as f64
}

/// Places of at most `most` wrong predictions, the largest loss first, equals in order.
pub fn worst_mistakes(predictions: &[Prediction], most: usize) -> Vec<usize> {
    let wrong = |&i: &usize| !predictions[i].is_correct();
    let mut places: Vec<usize> = (0..predictions.len()).filter(wrong).collect();
    places.sort_by(|&a, &b| predictions[b].loss.total_cmp(&predictions[a].loss));
    places.truncate(most);
    places
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    fn loss(logits: &[f32], label: u32) -> f64 {
        Prediction::new(logits, label).loss
    }

    #[test]
    fn the_loss_survives_large_logits_and_shows_nan() {
        assert_eq!(loss(&[1e4, -1e4], 0), 0.0);
        assert_eq!(loss(&[1e4, -1e4], 1), 2e4);
        assert_abs_diff_eq!(loss(&[3.0; 4], 2), 4_f64.ln(), epsilon = 1e-15);
        assert!(loss(&[f32::NAN, 0.0], 1).is_nan());
        assert!(loss(&[f32::INFINITY, 0.0], 1).is_nan());
    }

    #[test]
    fn the_first_of_equals_is_predicted_and_ranks_agree() {
        let of = |label| Prediction::new(&[1.0, 3.0, 3.0, 2.0], label);
        assert_eq!(of(1).predicted, Some(1));
        assert_eq!([of(0), of(1), of(2), of(3)].map(|p| p.rank), [3, 0, 1, 2]);
        assert!(of(1).is_correct() && !of(2).is_correct());
        // p = e³ / (e + e² + 2 e³)
        let expected = 1.0 / ((-2_f64).exp() + (-1_f64).exp() + 2.0);
        assert_abs_diff_eq!(of(0).confidence, expected, epsilon = 1e-15);
    }

    #[test]
    fn nan_is_never_right() {
        let nan = Prediction::new(&[1.0, f32::NAN], 0);
        assert_eq!((nan.predicted, nan.rank), (None, 2));
        assert!(nan.confidence.is_nan() && !nan.is_correct());
        assert_eq!(top_k_accuracy(&[nan], 1), 0.0);
        let kept = serde_json::to_string(&nan).unwrap();
        let back: Prediction = serde_json::from_str(&kept).unwrap();
        assert!(back.loss.is_nan() && back.confidence.is_nan());
        assert_eq!((back.label, back.predicted, back.rank), (0, None, 2));
    }

    #[test]
    fn the_worst_mistakes_come_first() {
        let said = [
            Prediction::new(&[2.0, 0.0], 0),
            Prediction::new(&[2.0, 0.0], 1),
            Prediction::new(&[5.0, 0.0], 1),
            Prediction::new(&[2.0, 0.0], 1),
        ];
        assert_eq!(worst_mistakes(&said, 10), [2, 1, 3]);
        assert_eq!(worst_mistakes(&said, 2), [2, 1]);
        assert_eq!(top_k_accuracy(&said, 1), 0.25);
        assert_eq!(top_k_accuracy(&said, 2), 1.0);
    }
}
