//! What a run shows, in words, each with the statistics and the rule it rests on.

use super::format::learning_rate;
use super::record::{Comparison, Judged, Origin, Record};
use super::run_log::{RunLog, Scored, Trained};
use crate::metrics::wilson;

/// A loss of at least this share of chance, with an accuracy that is not above chance either, counts
/// as nothing learnt. The best of several evaluations of a model that knows nothing lies a little
/// below chance.
const COLLAPSE_SHARE: f64 = 0.95;

/// Steps below which a run that has learnt nothing is a short one, not a collapsed one: those after
/// which `train::health` begins to judge.
const MIN_STEPS: u64 = 50;

/// Evaluations in a row of which each is better than the one before: of four in an order by chance,
/// one in 24 is so.
const IMPROVING: usize = 4;

/// The share of the validation loss that those must have taken off.
const IMPROVEMENT: f64 = 0.05;

/// Standard errors that a difference must exceed to count: the two-sided 5 % of a normal
/// distribution.
const SIGNIFICANT: f64 = 1.96;

/// A p-value below this counts.
const ALPHA: f64 = 0.05;

/// How a finding is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Good,
    Neutral,
    Warning,
}

/// One thing that a run shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub tone: Tone,
    /// A few words.
    pub title: String,
    /// Sentences.
    pub text: String,
}

impl Finding {
    fn new(tone: Tone, title: impl Into<String>, text: impl Into<String>) -> Self {
        let (title, text) = (title.into(), text.into());
        Self { tone, title, text }
    }
}

/// What the curves and the record of a run show, the most important first.
pub fn judge(log: &RunLog, record: &Record) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(failure) = &record.failure {
        findings.push(Finding::new(Tone::Warning, "The run failed", failure));
    }
    if let Some(interruption) = &record.interruption {
        let title = "The run was interrupted";
        findings.push(Finding::new(Tone::Neutral, title, interruption));
    }
    findings.extend(record.judged.as_ref().map(accuracy));
    let at_chance = record.judged.as_ref().filter(|judged| is_at_chance(judged));
    if let Some(judged) = at_chance {
        findings.push(nothing_learnt(judged, record, log.last_step()));
    } else {
        findings.extend(improving(&log.scored));
        findings.extend(overfitting(log, record.comparison.as_ref()));
        findings.extend(checkpoints(record.comparison.as_ref()));
        findings.extend(wobble(&log.scored));
        findings.extend(record.judged.as_ref().and_then(confusions));
        findings.extend(record.judged.as_ref().and_then(confidence));
    }
    findings
}

/// `97.0 %`
fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn accuracy(judged: &Judged) -> Finding {
    let summary = &judged.summary;
    let (low, high) = summary.interval();
    let mut text = format!(
        "{} of {} validation images are right ({}); with 95 % confidence the true accuracy lies \
         between {} and {} (Wilson interval).",
        summary.correct,
        summary.samples,
        judged.what,
        percent(low),
        percent(high)
    );
    let Some((class, count)) = summary.confusion.largest_class() else {
        return Finding::new(Tone::Neutral, "No validation images", "");
    };
    let share = count.samples as f64 / summary.samples as f64;
    text += &format!(
        " Always answering `{}` would be right for {}.",
        judged.classes[class],
        percent(share)
    );
    let title = format!("Accuracy {}", percent(summary.accuracy()));
    if low > share {
        return Finding::new(Tone::Good, title, text);
    }
    text += if summary.accuracy() > share {
        " The interval contains that, so these images do not show that the model is better."
    } else {
        " The model is not better than that."
    };
    Finding::new(Tone::Warning, title, text)
}

/// Whether a model does no better than one that ignores the images.
fn is_at_chance(judged: &Judged) -> bool {
    let chance = judged.summary.confusion.label_entropy();
    let loss = judged.summary.loss.unwrap_or(f64::INFINITY);
    // With a single class there is nothing to know: chance is 0.
    if chance == 0.0 || loss < COLLAPSE_SHARE * chance {
        return false;
    }
    let Some((_, count)) = judged.summary.confusion.largest_class() else {
        return false;
    };
    let share = count.samples as f64 / judged.summary.samples as f64;
    // Right more often than chance, and only too sure of the rest: overfitted, not at chance.
    let (low, _) = judged.summary.interval();
    low <= share
}

/// What to change about a run of `steps` that has learnt nothing.
fn nothing_learnt(judged: &Judged, record: &Record, steps: u64) -> Finding {
    let loss = match judged.summary.loss {
        Some(loss) => format!("{loss:.3}"),
        None => "not a number".into(),
    };
    let measured = format!(
        "The validation loss is {loss}; a model that ignores the images and gives each class its \
         share reaches {:.3}.",
        judged.summary.confusion.label_entropy()
    );
    let rule = format!(
        "the loss is at least {:.0} % of that, and the accuracy's interval does not lie above the \
         largest class's share",
        100.0 * COLLAPSE_SHARE
    );
    if steps < MIN_STEPS {
        let title = "Not yet better than chance";
        let text = format!(
            "{measured} {steps} steps are too few to tell why: train longer. (Rule: {rule}, after \
             fewer than {MIN_STEPS} steps.)"
        );
        return Finding::new(Tone::Warning, title, text);
    }
    let again = match record.learning_rate {
        Some(rate) => format!(
            "with `--learning-rate {}` instead of {}, and with `--warmup-ratio 0.1`",
            learning_rate(rate / 10.0),
            learning_rate(rate)
        ),
        None => "with a tenth of it, and with `--warmup-ratio 0.1`".into(),
    };
    let advice = match record.origin {
        Some(Origin::Pretrained) => format!(
            "The usual cause is a learning rate that destroys the pretrained weights in the first \
             steps: train again {again}."
        ),
        Some(Origin::Scratch) => format!(
            "A model that starts from nothing may need a longer run; or the learning rate is too \
             high: train again {again}."
        ),
        None => format!("The usual cause is too high a learning rate: train again {again}."),
    };
    let text = format!("{measured} {advice} (Rule: {rule}, after at least {MIN_STEPS} steps.)");
    Finding::new(Tone::Warning, "Collapsed to chance", text)
}

/// Whether the run ended while it was still getting better.
fn improving(scored: &[Scored]) -> Option<Finding> {
    let last = &scored[scored.len().checked_sub(IMPROVING)?..];
    let falls = last.windows(2).all(|pair| pair[1].loss < pair[0].loss);
    let (before, after) = (last[0].loss, last[IMPROVING - 1].loss);
    if !falls || after > (1.0 - IMPROVEMENT) * before {
        return None;
    }
    let text = format!(
        "At the last {IMPROVING} evaluations the validation loss fell from each to the next, from \
         {before:.4} to {after:.4}: more `--epochs` may bring more. (Rule: it falls so, and by at \
         least {:.0} % in all.)",
        100.0 * IMPROVEMENT
    );
    let title = "Still improving: train longer";
    Some(Finding::new(Tone::Neutral, title, text))
}

const OVERFITTING_RULE: &str = "(Rule: overfitting is when, from the best evaluation to the last, \
    the validation loss rises by more than 1.96 standard errors, image by image, while the mean \
    training loss of the logs after it is below that of as many before.)";

fn overfitting(log: &RunLog, comparison: Option<&Comparison>) -> Option<Finding> {
    let best = log.best()?;
    let last = log.scored.last().filter(|_| log.scored.len() > 1)?;
    let Some(comparison) = comparison else {
        return Some(if best.step == last.step {
            Finding::new(
                Tone::Good,
                "No sign of overfitting",
                format!(
                    "The last evaluation, at step {}, has the lowest validation loss of all, \
                     {:.4}. {OVERFITTING_RULE}",
                    last.step, last.loss
                ),
            )
        } else {
            Finding::new(
                Tone::Neutral,
                "Overfitting is not judged",
                format!(
                    "The validation loss was lowest at step {} ({:.4}) and {:.4} at step {}; \
                     whether that is noise cannot be told without the losses of each image, which \
                     this run does not have for both.",
                    best.step, best.loss, last.loss, last.step
                ),
            )
        });
    };
    let Comparison {
        best_step,
        last_step,
        paired,
    } = comparison;
    let (Some(rise), Some(z)) = (paired.loss_rise, paired.loss_rise_z()) else {
        let text = "The losses of the images are not finite, or all the same at both steps.";
        return Some(Finding::new(
            Tone::Neutral,
            "Overfitting is not judged",
            text,
        ));
    };
    let mut text = format!(
        "From step {best_step}, the best evaluation, to step {last_step}, the last, the validation \
         loss changes by {rise:+.4} an image ({z:+.1} standard errors, the same {} images)",
        paired.images
    );
    let fall = training_loss_around(log, *best_step);
    if let Some((before, after)) = fall {
        text += &format!(", the training loss goes from {before:.4} to {after:.4}");
    }
    text += ". ";
    let significant = z > SIGNIFICANT;
    let falls = fall.is_some_and(|(before, after)| after < before);
    let (tone, title, conclusion) = match (significant, falls) {
        (false, _) => (
            Tone::Good,
            "No significant overfitting",
            "Such a rise is what chance alone brings. ",
        ),
        (true, true) => (
            Tone::Warning,
            "Overfitting",
            "The model learns its training images by heart. Stop earlier \
             (`--early-stopping-patience`), end with the best checkpoint \
             (`--load-best-model-at-end`), or bring more images. ",
        ),
        (true, false) => (
            Tone::Warning,
            "Worse at the end than before",
            "The training loss does not fall meanwhile, so it is not overfitting: the run is \
             unstable. A lower learning rate helps. ",
        ),
    };
    text += conclusion;
    text += OVERFITTING_RULE;
    Some(Finding::new(tone, title, text))
}

/// Mean training loss of the logs after `step`, and of as many up to it.
fn training_loss_around(log: &RunLog, step: u64) -> Option<(f64, f64)> {
    let finite = log.trained.iter().filter(|t| t.loss.is_finite());
    let (before, after): (Vec<_>, Vec<_>) = finite.partition(|t| t.step <= step);
    let count = before.len().min(after.len());
    let mean = |logs: &[&Trained]| logs.iter().map(|t| t.loss).sum::<f64>() / logs.len() as f64;
    (count > 0).then(|| (mean(&before[before.len() - count..]), mean(&after)))
}

fn checkpoints(comparison: Option<&Comparison>) -> Option<Finding> {
    let Comparison {
        best_step,
        last_step,
        paired,
    } = comparison?;
    let p = paired.mcnemar();
    let shown = if p < 1e-4 {
        format!("{p:.1e}")
    } else {
        format!("{p:.4}")
    };
    let text = format!(
        "{} images are right at step {best_step} alone, {} at step {last_step} alone (exact \
         McNemar test on {} images: p = {shown}). ",
        paired.only_first, paired.only_second, paired.images
    );
    Some(if p < ALPHA {
        let better = if paired.only_first > paired.only_second {
            best_step
        } else {
            last_step
        };
        let title = format!("Step {better} is the more accurate one");
        Finding::new(
            Tone::Neutral,
            title,
            text + "The difference is significant.",
        )
    } else {
        Finding::new(
            Tone::Neutral,
            format!("No evidence of a difference ({} images)", paired.images),
            text + "The best and the last checkpoint may be equally accurate, or differ by less \
                    than so many images show.",
        )
    })
}

/// How much of the course of the accuracy is chance.
fn wobble(scored: &[Scored]) -> Option<Finding> {
    let last = scored.last()?;
    let (correct, samples) = last.counts?;
    let accuracies: Vec<f64> = scored.iter().filter_map(|s| s.accuracy).collect();
    if accuracies.len() < 3 {
        return None;
    }
    // The first evaluations show learning, not noise.
    let settled = &accuracies[accuracies.len() / 2..];
    let low = settled.iter().copied().fold(f64::INFINITY, f64::min);
    let high = settled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let interval = wilson(correct, samples);
    let width = interval.1 - interval.0;
    let text = format!(
        "Over the last {} evaluations the accuracy moves between {} and {}; the 95 % interval of a \
         single one of {samples} images is {:.1} points wide. ",
        settled.len(),
        percent(low),
        percent(high),
        100.0 * width
    );
    Some(if high - low <= width {
        Finding::new(
            Tone::Neutral,
            "Ups and downs are within chance",
            text + "Do not read a trend into them.",
        )
    } else {
        Finding::new(
            Tone::Neutral,
            "The accuracy is still moving",
            text + "That is more than chance.",
        )
    })
}

/// The pair of classes that is confused more often than any other, if there is one.
fn confusions(judged: &Judged) -> Option<Finding> {
    let pairs = judged.summary.confusion.confused();
    let &(label, class, images) = pairs.first()?;
    if pairs.get(1).is_some_and(|&(_, _, second)| second == images) {
        return None;
    }
    let counts = judged.summary.confusion.class_counts();
    let text = format!(
        "{images} of the {} images of `{}` are taken for `{}`, more than of any other pair.",
        counts[label].samples, judged.classes[label], judged.classes[class]
    );
    Some(Finding::new(Tone::Neutral, "Most frequent mistake", text))
}

fn confidence(judged: &Judged) -> Option<Finding> {
    let calibration = &judged.summary.calibration;
    let (sure, error) = (calibration.mean_confidence(), calibration.expected_error());
    if !sure.is_finite() {
        return None;
    }
    let (low, high) = judged.summary.interval();
    let title = match sure {
        sure if sure > high => "The model is too sure of itself",
        sure if sure < low => "The model is less sure than it could be",
        _ => "Confidence matches accuracy",
    };
    let text = format!(
        "Its mean confidence is {}, its accuracy {} ({} to {}); expected calibration error {} \
         (15 bins; with few images it is never near 0).",
        percent(sure),
        percent(judged.summary.accuracy()),
        percent(low),
        percent(high),
        percent(error)
    );
    Some(Finding::new(Tone::Neutral, title, text))
}
