//! Whether a model is right as often as it is sure.

use serde::{Deserialize, Serialize};

use super::Prediction;

/// Bins of equal width that probabilities are sorted into, as Guo et al. do.
const BINS: usize = 15;

/// The images whose confidence lies in one fifteenth of (0, 1].
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    pub images: usize,
    pub correct: usize,
    /// Sum of the probabilities of the predicted classes.
    pub confidence: f64,
}

/// Predictions sorted by confidence (Guo, Pleiss, Sun, Weinberger: "On Calibration of Modern Neural
/// Networks", 2017).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    bins: Vec<Bin>,
    /// Images whose logits held a NaN, which have no confidence.
    unjudged: usize,
}

impl Calibration {
    /// Sorts the predictions: bin b holds the confidences in (b / 15, (b + 1) / 15].
    pub fn new(predictions: &[Prediction]) -> Self {
        let mut calibration = Self {
            bins: vec![Bin::default(); BINS],
            unjudged: 0,
        };
        for prediction in predictions {
            let confidence = prediction.confidence;
            if confidence.is_nan() {
                calibration.unjudged += 1;
                continue;
            }
            let place = (confidence * BINS as f64).ceil() as usize;
            let bin = &mut calibration.bins[place.clamp(1, BINS) - 1];
            bin.images += 1;
            bin.correct += usize::from(prediction.is_correct());
            bin.confidence += confidence;
        }
        calibration
    }

    /// What does not fit together in bins of `samples` images that were read from a file, if anything
    /// does not.
    pub(super) fn contradiction(&self, samples: usize) -> Option<String> {
        let images = self.bins.iter().map(|bin| bin.images);
        let images = images
            .chain([self.unjudged])
            .try_fold(0_usize, |sum, images| sum.checked_add(images));
        let fits = |bin: &Bin| bin.correct <= bin.images;
        if images == Some(samples) && self.bins.iter().all(fits) {
            None
        } else {
            Some(format!(
                "the bins of confidence are not of {samples} images"
            ))
        }
    }

    /// From the least to the most confident.
    pub fn bins(&self) -> &[Bin] {
        &self.bins
    }

    /// Expected calibration error: Σ n_b / n · |accuracy_b − mean confidence_b|; NaN as soon as one
    /// image could not be judged, or without images.
    pub fn expected_error(&self) -> f64 {
        let gap = |bin: &Bin| (bin.correct as f64 - bin.confidence).abs();
        self.mean(self.bins.iter().map(gap).sum())
    }

    /// Mean probability of the predicted classes; NaN as above.
    pub fn mean_confidence(&self) -> f64 {
        self.mean(self.bins.iter().map(|bin| bin.confidence).sum())
    }

    fn mean(&self, sum: f64) -> f64 {
        let images: usize = self.bins.iter().map(|bin| bin.images).sum();
        match self.unjudged {
            0 => sum / images as f64,
            _ => f64::NAN,
        }
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    fn sure(confidence: f64, correct: bool) -> Prediction {
        Prediction {
            label: 0,
            predicted: Some(u32::from(!correct)),
            confidence,
            loss: 0.0,
            rank: u32::from(!correct),
        }
    }

    #[test]
    fn the_expected_error_is_the_weighted_gap() {
        // Two images at 0.9, one right: |0.5 − 0.9|; two at 0.6, both right: |1 − 0.6|.
        let said = [(0.9, true), (0.9, false), (0.6, true), (0.6, true)];
        let calibration = Calibration::new(&said.map(|(p, right)| sure(p, right)));
        assert_abs_diff_eq!(calibration.expected_error(), 0.4, epsilon = 1e-15);
        assert_abs_diff_eq!(calibration.mean_confidence(), 0.75, epsilon = 1e-15);
        let filled: Vec<usize> = (0..BINS)
            .filter(|&b| calibration.bins()[b].images > 0)
            .collect();
        assert_eq!(filled, [8, 13]);
    }

    #[test]
    fn bins_hold_their_upper_end_and_nan_stays() {
        let ends = [sure(1.0, true), sure(1.0 / 15.0, true)];
        let calibration = Calibration::new(&ends);
        assert_eq!(calibration.bins()[14].images, 1);
        assert_eq!(calibration.bins()[0].images, 1);
        let nan = Calibration::new(&[sure(1.0, true), sure(f64::NAN, false)]);
        assert!(nan.expected_error().is_nan());
        assert!(Calibration::new(&[]).expected_error().is_nan());
    }
}
