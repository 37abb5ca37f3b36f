//! Two models on the same images.

use serde::{Deserialize, Serialize};

use super::Prediction;

/// What distinguishes the second of two models from the first, image by image: noise that both
/// share, such as a hard photo, drops out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    pub images: usize,
    /// Images that the first model alone gets right.
    pub only_first: usize,
    /// Images that the second model alone gets right.
    pub only_second: usize,
    /// Mean of the second model's loss less the first one's; none unless all losses are finite.
    pub loss_rise: Option<f64>,
    /// Standard error of that mean; none also for fewer than two images.
    pub loss_rise_error: Option<f64>,
}

impl Paired {
    /// Compares two models' predictions for the same images in the same order; none if the labels
    /// show that they are not.
    pub fn new(first: &[Prediction], second: &[Prediction]) -> Option<Self> {
        let labels = |said: &[Prediction]| said.iter().map(|p| p.label).collect::<Vec<_>>();
        if labels(first) != labels(second) {
            return None;
        }
        let pairs = || std::iter::zip(first, second);
        let rises: Vec<f64> = pairs().map(|(a, b)| b.loss - a.loss).collect();
        let n = rises.len() as f64;
        let mean = rises.iter().sum::<f64>() / n;
        let squares: f64 = rises.iter().map(|rise| (rise - mean).powi(2)).sum();
        let error = (squares / (n - 1.0) / n).sqrt();
        let only = |a: &Prediction, b: &Prediction| a.is_correct() && !b.is_correct();
        Some(Self {
            images: rises.len(),
            only_first: pairs().filter(|(a, b)| only(a, b)).count(),
            only_second: pairs().filter(|(a, b)| only(b, a)).count(),
            loss_rise: mean.is_finite().then_some(mean),
            loss_rise_error: error.is_finite().then_some(error),
        })
    }

    /// What does not fit together in a comparison that was read from a file, if anything does not.
    pub fn contradiction(&self) -> Option<String> {
        // More than anybody has; the exact test goes through them one by one.
        const MOST: usize = 100_000_000;
        let Self {
            images,
            only_first,
            only_second,
            ..
        } = *self;
        let discordant = only_first.checked_add(only_second);
        if images <= MOST && discordant.is_some_and(|n| n <= images) {
            None
        } else {
            Some(format!(
                "{only_first} and {only_second} of {images} images are right at one step alone"
            ))
        }
    }

    /// Two-sided p-value of McNemar's exact test: how likely so uneven a split of the images that
    /// one model alone gets right would be if each were a coin's toss. 1 where there are none.
    pub fn mcnemar(&self) -> f64 {
        let discordant = self.only_first + self.only_second;
        let fewer = self.only_first.min(self.only_second);
        // ln C(n, i) − n ln 2, step by step: the terms themselves leave the range of f64.
        let mut ln_term = -(discordant as f64) * std::f64::consts::LN_2;
        let mut tail = ln_term.exp();
        for i in 0..fewer {
            ln_term += ((discordant - i) as f64 / (i + 1) as f64).ln();
            tail += ln_term.exp();
        }
        (2.0 * tail).min(1.0)
    }

    /// The rise of the loss in standard errors; none where there is no error to divide by.
    pub fn loss_rise_z(&self) -> Option<f64> {
        let error = self.loss_rise_error.filter(|&error| error > 0.0)?;
        Some(self.loss_rise? / error)
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    fn split(only_first: usize, only_second: usize) -> f64 {
        let paired = Paired {
            images: 10_000,
            only_first,
            only_second,
            loss_rise: None,
            loss_rise_error: None,
        };
        paired.mcnemar()
    }

    /// 2 Σ C(n, i) / 2ⁿ by hand.
    #[test]
    fn mcnemar_is_the_exact_binomial_test() {
        assert_eq!(split(0, 0), 1.0);
        assert_eq!(split(3, 3), 1.0);
        assert_abs_diff_eq!(split(0, 5), 0.0625, epsilon = 1e-15);
        assert_abs_diff_eq!(split(10, 2), 158.0 / 4096.0, epsilon = 1e-15);
        assert_eq!(split(10, 2), split(2, 10));
        assert!(split(3000, 5000) < 1e-100 && split(3000, 5000) > 0.0);
    }

    #[test]
    fn losses_are_compared_image_by_image() {
        let said = |losses: [f64; 3]| {
            losses.map(|loss| Prediction {
                label: 0,
                predicted: Some(u32::from(loss > 1.0)),
                confidence: 1.0,
                loss,
                rank: 0,
            })
        };
        let (first, second) = (said([0.5, 2.0, 0.0]), said([1.5, 4.0, 3.0]));
        let paired = Paired::new(&first, &second).unwrap();
        assert_eq!((paired.only_first, paired.only_second), (2, 0));
        // Rises 1, 2, 3: mean 2, standard deviation 1, error 1/√3.
        assert_eq!(paired.loss_rise, Some(2.0));
        let z = paired.loss_rise_z().unwrap();
        assert_abs_diff_eq!(z, 2.0 * 3_f64.sqrt(), epsilon = 1e-15);

        let same = Paired::new(&first, &first).unwrap();
        assert_eq!((same.loss_rise, same.loss_rise_z()), (Some(0.0), None));
        let nan = Paired::new(&first, &said([f64::NAN, 0.0, 0.0])).unwrap();
        assert_eq!((nan.loss_rise, nan.loss_rise_error), (None, None));
        let mut others = first;
        others[1].label = 1;
        assert_eq!(Paired::new(&first, &others), None);
    }
}
