//! Which class was taken for which.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Prediction;

/// Images of one class, and what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClassCount {
    /// Images labelled with the class.
    pub samples: usize,
    /// Images the model put into it.
    pub predicted: usize,
    /// Images of the class that it put into it.
    pub correct: usize,
}

impl ClassCount {
    /// Share of the images put into the class that belong there; none if there are none.
    pub fn precision(&self) -> Option<f64> {
        share(self.correct, self.predicted)
    }

    /// Share of the class's images that were put into it; none if it has none.
    pub fn recall(&self) -> Option<f64> {
        share(self.correct, self.samples)
    }

    /// Harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN); none for a class that has
    /// neither images nor predictions.
    pub fn f1(&self) -> Option<f64> {
        share(2 * self.correct, self.samples + self.predicted)
    }
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The confusion matrix of K classes, of which only what is not 0 is held: of 21,841 classes all of
/// it would be 477 million counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// (K): images of each class. Those whose logits held a NaN are in no cell.
    samples: Vec<usize>,
    /// (label, predicted class, images), in this order.
    cells: Vec<(usize, usize, usize)>,
}

impl Confusion {
    /// Counts predictions among `classes` classes.
    pub fn new(predictions: &[Prediction], classes: usize) -> Self {
        let mut samples = vec![0; classes];
        let mut cells = BTreeMap::new();
        for prediction in predictions {
            let label = prediction.label as usize;
            samples[label] += 1;
            if let Some(class) = prediction.predicted {
                *cells.entry((label, class as usize)).or_insert(0) += 1;
            }
        }
        let cells = cells.into_iter();
        Self {
            samples,
            cells: cells
                .map(|((label, class), images)| (label, class, images))
                .collect(),
        }
    }

    /// What does not fit together in a matrix that was read from a file, if anything does not.
    pub(super) fn contradiction(&self) -> Option<String> {
        let sum = |sum: usize, images: usize| sum.checked_add(images);
        if self.samples.iter().copied().try_fold(0, sum).is_none() {
            return Some("more images than can be counted".into());
        }
        let mut left = self.samples.clone();
        for &(label, class, images) in &self.cells {
            if label.max(class) >= self.classes() {
                let classes = self.classes();
                return Some(format!("class {} of {classes}, from 0", label.max(class)));
            }
            match left[label].checked_sub(images) {
                Some(rest) => left[label] = rest,
                None => {
                    return Some(format!(
                        "more images in the row of class {label} than it has"
                    ));
                }
            }
        }
        None
    }

    /// Images of all classes.
    pub fn images(&self) -> usize {
        self.samples.iter().sum()
    }

    /// Number of classes, K.
    pub fn classes(&self) -> usize {
        self.samples.len()
    }

    /// The whole matrix (K, K): images of the row's class that were put into the column's.
    pub fn rows(&self) -> Vec<Vec<usize>> {
        let mut rows = vec![vec![0; self.classes()]; self.classes()];
        for &(label, class, images) in &self.cells {
            rows[label][class] = images;
        }
        rows
    }

    /// By class.
    pub fn class_counts(&self) -> Vec<ClassCount> {
        let of_class = |&samples: &usize| ClassCount {
            samples,
            ..ClassCount::default()
        };
        let mut counts: Vec<ClassCount> = self.samples.iter().map(of_class).collect();
        for &(label, class, images) in &self.cells {
            counts[class].predicted += images;
            if label == class {
                counts[class].correct += images;
            }
        }
        counts
    }

    /// Precision, recall and F1, each a plain mean over the classes that have images or
    /// predictions, 0 where it is not defined: scikit-learn's `average="macro"`,
    /// `zero_division=0`.
    pub fn macro_averages(&self) -> [f64; 3] {
        let counts = self.class_counts();
        let seen = |c: &&ClassCount| c.samples + c.predicted > 0;
        let seen: Vec<&ClassCount> = counts.iter().filter(seen).collect();
        [ClassCount::precision, ClassCount::recall, ClassCount::f1].map(|score| {
            let sum: f64 = seen.iter().map(|c| score(c).unwrap_or(0.0)).sum();
            sum / seen.len() as f64
        })
    }

    /// Pairs (label, class taken for it, images) of different classes, the most images first,
    /// equals by label and class.
    pub fn confused(&self) -> Vec<(usize, usize, usize)> {
        let wrong = |(label, class, _): &(usize, usize, usize)| label != class;
        let mut pairs: Vec<_> = self.cells.iter().copied().filter(wrong).collect();
        pairs.sort_by_key(|&(_, _, images)| std::cmp::Reverse(images));
        pairs
    }

    /// Loss of a model that ignores the images and gives each class its share f of the labels:
    /// −Σ f ln f.
    pub fn label_entropy(&self) -> f64 {
        let total: usize = self.samples.iter().sum();
        let shares = self.samples.iter().map(|&n| n as f64 / total as f64);
        shares.filter(|&f| f > 0.0).map(|f| -f * f.ln()).sum()
    }

    /// The class with the most images, the first among equals.
    pub fn largest_class(&self) -> Option<(usize, ClassCount)> {
        let counts = self.class_counts().into_iter().enumerate();
        counts.reduce(|best, other| {
            if other.1.samples > best.1.samples {
                other
            } else {
                best
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    /// Logits that say `predicted`, or NaN.
    fn said(label: u32, predicted: Option<u32>) -> Prediction {
        let mut logits = [0.0; 4];
        match predicted {
            Some(class) => logits[class as usize] = 1.0,
            None => logits[0] = f32::NAN,
        }
        Prediction::new(&logits, label)
    }

    /// y_true = [0, 1, 2, 0, 1, 2], y_pred = [0, 2, 1, 0, 0, 1], the example of scikit-learn's
    /// documentation: macro precision 2/9, recall 1/3, F1 4/15. The fourth class is not seen.
    #[test]
    fn macro_averages_are_scikit_learns() {
        let labels = [0, 1, 2, 0, 1, 2];
        let guesses = [0, 2, 1, 0, 0, 1];
        let said: Vec<_> = std::iter::zip(labels, guesses)
            .map(|(label, guess)| said(label, Some(guess)))
            .collect();
        let confusion = Confusion::new(&said, 4);
        let expected = [2.0 / 9.0, 1.0 / 3.0, 4.0 / 15.0];
        for (found, expected) in confusion.macro_averages().iter().zip(expected) {
            assert_abs_diff_eq!(*found, expected, epsilon = 1e-15);
        }
        assert_eq!(confusion.rows()[1], [1, 0, 1, 0]);
        assert_eq!(confusion.confused(), [(2, 1, 2), (1, 0, 1), (1, 2, 1)]);
        assert_abs_diff_eq!(confusion.label_entropy(), 3_f64.ln(), epsilon = 1e-15);
        let class = confusion.class_counts()[3];
        assert_eq!(
            (class.precision(), class.recall(), class.f1()),
            (None, None, None)
        );
    }

    #[test]
    fn an_image_that_cannot_be_judged_counts_against_recall_alone() {
        let confusion = Confusion::new(&[said(1, Some(1)), said(1, None)], 4);
        let class = confusion.class_counts()[1];
        assert_eq!(class.recall(), Some(0.5));
        assert_eq!(class.precision(), Some(1.0));
        assert_eq!(confusion.rows()[1], [0, 1, 0, 0]);
        assert_eq!(confusion.largest_class(), Some((1, class)));
    }
}
