//! What losses are measured against, and whether they fall.

/// The best model that ignores the images: it gives each class its share of the training labels.
#[derive(Debug, Clone)]
pub struct Baseline {
    /// (K): what an image of each class adds to the sum of its losses.
    terms: Vec<f64>,
    /// (K): what it adds to the sum that is divided by.
    weights: Vec<f64>,
    chance: f64,
    even: f64,
}

impl Baseline {
    /// Of a training set with so many images of each class, the loss weighted and smoothed as
    /// `ops::cross_entropy` does it.
    pub fn new(class_counts: &[usize], class_weights: Option<&[f32]>, smoothing: f64) -> Self {
        let classes = class_counts.len();
        let weights: Vec<f64> = match class_weights {
            Some(weights) => weights.iter().map(|&w| f64::from(w)).collect(),
            None => vec![1.0; classes],
        };
        let images: usize = class_counts.iter().sum();
        let (kept, spread) = (1.0 - smoothing, smoothing / classes as f64);
        let counts = class_counts.iter().zip(&weights);
        let mass: Vec<f64> = counts
            .map(|(&n, w)| w * (kept * n as f64 + spread * images as f64))
            .collect();
        let whole: f64 = mass.iter().sum();
        // A class of no share is one of no label and no weight.
        let surprise = |m: &f64| if *m > 0.0 { -(m / whole).ln() } else { 0.0 };
        let surprises: Vec<f64> = mass.iter().map(surprise).collect();
        let weighted = weights.iter().zip(&surprises).map(|(w, s)| w * s);
        let spread_sum: f64 = spread * weighted.clone().sum::<f64>();
        let terms: Vec<f64> = weighted.map(|term| kept * term + spread_sum).collect();
        let sum = |values: &[f64]| -> f64 {
            class_counts
                .iter()
                .zip(values)
                .map(|(&n, v)| n as f64 * v)
                .sum()
        };
        Self {
            chance: sum(&terms) / sum(&weights),
            even: (classes as f64).ln() * whole / sum(&weights),
            terms,
            weights,
        }
    }

    /// Its mean loss over the training images.
    pub fn chance(&self) -> f64 {
        self.chance
    }

    /// The mean loss of a model that gives all classes the same share.
    pub fn even(&self) -> f64 {
        self.even
    }

    /// Its loss on a batch of images with these labels.
    pub fn loss(&self, labels: &[u32]) -> f64 {
        let sum = |of: &[f64]| -> f64 { labels.iter().map(|&label| of[label as usize]).sum() };
        sum(&self.terms) / sum(&self.weights)
    }
}

/// A straight line through values at equal distances, by least squares, with standard errors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    pub mean: f64,
    pub mean_error: f64,
    /// From one value to the next.
    pub slope: f64,
    pub slope_error: f64,
}

impl Trend {
    /// Of at least three values.
    pub fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares = n * (n * n - 1.0) / 12.0;
        let points = || {
            (0..)
                .zip(values)
                .map(|(i, v)| (f64::from(i) - (n - 1.0) / 2.0, v - mean))
        };
        let slope = points().map(|(x, y)| x * y).sum::<f64>() / squares;
        let rest: f64 = points().map(|(x, y)| (y - slope * x).powi(2)).sum();
        let variance = rest / (n - 2.0);
        Self {
            mean,
            mean_error: (variance / n).sqrt(),
            slope,
            slope_error: (variance / squares).sqrt(),
        }
    }
}

impl Trend {
    /// Whether the mean is below 0 by more than `errors` standard errors.
    pub fn is_below_zero(&self, errors: f64) -> bool {
        self.mean < -errors * self.mean_error
    }

    /// Whether the slope is below 0 by more than `errors` standard errors.
    pub fn falls(&self, errors: f64) -> bool {
        self.slope < -errors * self.slope_error
    }

    /// How many standard errors the means of the two lie apart.
    pub fn apart(&self, other: &Self) -> f64 {
        (self.mean - other.mean).abs() / self.mean_error.hypot(other.mean_error)
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;
    use crate::ops::cross_entropy::{Target, forward_backward};

    /// Beside the loss itself, of logits that are the logarithms of the shares.
    #[test]
    fn chance_is_the_least_loss_of_a_model_that_ignores_the_images() {
        let counts = [6, 3, 1];
        let labels: Vec<u32> = vec![0, 0, 0, 0, 0, 0, 1, 1, 1, 2];
        let weights = [0.5_f32, 1.0, 3.0];
        for (weights, smoothing) in [(None, 0.0), (None, 0.2), (Some(&weights[..]), 0.1)] {
            let baseline = Baseline::new(&counts, weights, smoothing);
            let loss = |logits: [f64; 3]| {
                let target = Target {
                    labels: &labels,
                    weights,
                    smoothing,
                };
                let rows = logits.repeat(labels.len());
                let mut gradient = vec![0.0; rows.len()];
                let loss = forward_backward(&mut gradient, &rows, target, 1.0);
                let by_class = |c: usize| gradient.iter().skip(c).step_by(3).sum::<f64>();
                (loss, [0, 1, 2].map(by_class))
            };
            assert_abs_diff_eq!(baseline.even(), loss([0.0; 3]).0, epsilon = 1e-12);
            let mut logits = [0.0; 3];
            for _ in 0..10_000 {
                let (_, gradient) = loss(logits);
                logits = [0, 1, 2].map(|c| logits[c] - gradient[c]);
            }
            assert_abs_diff_eq!(baseline.chance(), loss(logits).0, epsilon = 1e-9);
            assert_abs_diff_eq!(baseline.chance(), baseline.loss(&labels), epsilon = 1e-12);
        }
        assert_eq!(Baseline::new(&[5, 0], None, 0.0).chance(), 0.0);
    }

    /// 1, 2, 4, 5: slope 1.4, residuals 0.1, −0.3, 0.3, −0.1.
    #[test]
    fn trends_have_the_errors_of_least_squares() {
        let trend = Trend::of(&[1.0, 2.0, 4.0, 5.0]);
        assert_abs_diff_eq!(trend.mean, 3.0, epsilon = 1e-12);
        assert_abs_diff_eq!(trend.slope, 1.4, epsilon = 1e-12);
        assert_abs_diff_eq!(trend.mean_error, (0.1_f64 / 4.0).sqrt(), epsilon = 1e-12);
        assert_abs_diff_eq!(trend.slope_error, (0.1_f64 / 5.0).sqrt(), epsilon = 1e-12);
    }
}
