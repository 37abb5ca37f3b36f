//! `evaluations.json`: the evaluations that the end of a run looks back at, image by image, so that
//! a resumed run is judged as one that was never stopped.

use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::config::BestMetric;
use super::evaluate::Evaluation;
use crate::error::{Error, Result};
use crate::files;
use crate::metrics::Prediction;

/// Name of the file in a checkpoint.
pub(super) const EVALUATIONS_FILE: &str = "evaluations.json";

/// The last evaluation, the best one, and those of the best checkpoints: by rising step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Evaluations(Vec<Kept>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Kept {
    step: u64,
    #[serde(flatten)]
    evaluation: Evaluation,
}

impl Evaluations {
    /// Takes in the evaluation of `step`, which is later than all that are kept.
    pub(super) fn push(&mut self, step: u64, evaluation: Evaluation) {
        self.0.push(Kept { step, evaluation });
    }

    /// Forgets all but the last, the best by `metric` and those of the steps `checkpoints`.
    pub(super) fn prune(&mut self, metric: BestMetric, checkpoints: &[Option<u64>]) {
        let last = self.last().map(|(step, _)| step);
        let best = self.best(metric).map(|(step, _)| step);
        let is_wanted = |step| [last, best].contains(&step) || checkpoints.contains(&step);
        self.0.retain(|kept| is_wanted(Some(kept.step)));
    }

    /// The evaluation of `step`, if it is kept.
    pub(super) fn at(&self, step: u64) -> Option<&Evaluation> {
        let kept = self.0.iter().find(|kept| kept.step == step)?;
        Some(&kept.evaluation)
    }

    /// The last evaluation and its step.
    pub(super) fn last(&self) -> Option<(u64, &Evaluation)> {
        let kept = self.0.last()?;
        Some((kept.step, &kept.evaluation))
    }

    /// The best evaluation and its step, the first among equals; NaN is never the best.
    pub(super) fn best(&self, metric: BestMetric) -> Option<(u64, &Evaluation)> {
        let mut best: Option<&Kept> = None;
        for kept in &self.0 {
            let so_far = best.map(|best| metric.of(&best.evaluation));
            if metric.is_better(metric.of(&kept.evaluation), so_far) {
                best = Some(kept);
            }
        }
        best.map(|kept| (kept.step, &kept.evaluation))
    }

    /// Writes them into `folder`, on one line: a prediction has more keys than is worth a line each.
    pub(super) fn save(&self, folder: &Path) -> Result<()> {
        files::write_atomically_with(folder.join(EVALUATIONS_FILE), |file| {
            serde_json::to_writer(&mut *file, self)?;
            file.write_all(b"\n")
        })
    }

    /// Reads them, of a model with `classes` classes, from the checkpoint `folder`. Without the file
    /// there are none: the run goes on all the same, and its verdict rests on what comes.
    pub(super) fn load(folder: &Path, classes: usize) -> Result<Self> {
        let path = folder.join(EVALUATIONS_FILE);
        let bytes = match files::read_regular(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            read => read.map_err(|e| Error::io(&path, "read it", e))?,
        };
        let read = serde_json::from_slice(&bytes).map_err(|e| e.to_string());
        let checked = read.and_then(|all: Self| match all.fault(classes) {
            Some(fault) => Err(fault),
            None => Ok(all),
        });
        checked.map_err(|fault| {
            Error::model(
                path,
                format!("it holds no evaluations of this run: {fault}"),
                "delete it: the run goes on without, and is not judged against its best evaluation",
            )
        })
    }

    /// What shows that these are no evaluations of a model with `classes` classes, if anything does.
    fn fault(&self, classes: usize) -> Option<String> {
        let steps = self.0.iter().map(|kept| kept.step);
        if !steps.is_sorted_by(|a, b| a < b) {
            return Some("their steps do not rise".into());
        }
        self.0.iter().find_map(|Kept { step, evaluation }| {
            let is_class = |class: u32| (class as usize) < classes;
            let fits = |p: &Prediction| is_class(p.label) && p.predicted.is_none_or(is_class);
            let fault = if evaluation.classes != classes {
                format!("{} classes, wanted {classes}", evaluation.classes)
            } else if evaluation.predictions.is_empty() {
                "no predictions".into()
            } else if !evaluation.predictions.iter().all(fits) {
                format!("a class beyond the {classes} there are")
            } else {
                return None;
            };
            Some(format!("that of step {step} has {fault}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use std::fs;

    use super::*;

    fn of_loss(loss: f64) -> Evaluation {
        let prediction = Prediction {
            label: 1,
            predicted: Some(0),
            confidence: 0.1 + 0.2, // not a short number
            loss,
            rank: 1,
        };
        Evaluation {
            steps: 1,
            classes: 2,
            predictions: vec![prediction],
            runtime: Duration::from_nanos(1_234_567_891),
            data_wait: Duration::ZERO,
        }
    }

    fn of_losses(losses: &[f64]) -> Evaluations {
        let mut all = Evaluations::default();
        for (i, &loss) in losses.iter().enumerate() {
            all.push(i as u64 + 1, of_loss(loss));
        }
        all
    }

    #[test]
    fn the_last_the_best_and_the_best_checkpoints_are_kept() {
        let mut all = of_losses(&[0.4, 0.2, f64::NAN, 0.2, 0.3, 0.5]);
        assert_eq!(all.best(BestMetric::EvalLoss).unwrap().0, 2);
        all.prune(BestMetric::EvalLoss, &[Some(1)]);
        let steps: Vec<u64> = all.0.iter().map(|kept| kept.step).collect();
        assert_eq!(steps, [1, 2, 6]);
        assert_eq!(all.last().unwrap().0, 6);
        assert_eq!(all.at(1).unwrap().loss(), 0.4);
        assert_eq!(all.at(4), None);
        assert_eq!(of_losses(&[f64::NAN]).best(BestMetric::EvalLoss), None);
    }

    #[test]
    fn they_come_back_to_the_last_bit() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            Evaluations::load(folder.path(), 2).unwrap(),
            Evaluations::default()
        );
        let all = of_losses(&[1.0 / 3.0, 0.1]);
        all.save(folder.path()).unwrap();
        assert_eq!(Evaluations::load(folder.path(), 2).unwrap(), all);
        fs::write(folder.path().join(EVALUATIONS_FILE), "[{}]").unwrap();
        let error = Evaluations::load(folder.path(), 2).unwrap_err();
        assert_eq!(error.exit_code(), 4);
    }

    #[test]
    fn those_of_another_model_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |all: &Evaluations, classes| {
            all.save(folder.path()).unwrap();
            Evaluations::load(folder.path(), classes)
                .unwrap_err()
                .to_string()
        };
        let all = of_losses(&[0.5]);
        assert!(refused(&all, 3).contains("step 1 has 2 classes, wanted 3"));
        let mut beyond = all.clone();
        beyond.0[0].evaluation.predictions[0].predicted = Some(2);
        assert!(refused(&beyond, 2).contains("a class beyond the 2 there are"));
        beyond.0[0].evaluation.predictions.clear();
        assert!(refused(&beyond, 2).contains("no predictions"));
        let mut twice = all;
        twice.push(1, of_loss(0.5));
        assert!(refused(&twice, 2).contains("do not rise"));
    }
}
