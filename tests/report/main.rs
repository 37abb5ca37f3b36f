//! What is said about a run after its end: the verdict, the page, the curves.

#[path = "../common/mod.rs"]
mod common;
mod drawn;
mod verdicts;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let trials = [verdicts::trials(), drawn::trials()];
    let trials = trials.into_iter().flatten().collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

pub fn trial(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

/// Runs made up for the tests.
pub mod made {
    use vitcuda::metrics::{Paired, Prediction, Summary};
    use vitcuda::report::RunLog;
    use vitcuda::report::record::{Comparison, Judged, Record};
    use vitcuda::report::run_log::{Scored, Trained};

    /// Training losses and (validation loss, images of 200 that are right), every 10 steps.
    pub fn log(trained: &[f64], scored: &[(f64, usize)]) -> RunLog {
        let step = |i: usize| 10 * (i as u64 + 1);
        let trained = trained.iter().enumerate().map(|(i, &loss)| Trained {
            step: step(i),
            epoch: step(i) as f64 / 63.0,
            loss,
        });
        let scored = scored.iter().enumerate().map(|(i, &(loss, right))| Scored {
            step: step(i),
            epoch: step(i) as f64 / 63.0,
            loss,
            accuracy: Some(right as f64 / 200.0),
            counts: Some((right, 200)),
        });
        RunLog {
            trained: trained.collect(),
            scored: scored.collect(),
        }
    }

    /// 200 images of two classes, half and half, `right` of them right, each with `margin` between
    /// the logits.
    pub fn predictions(right: usize, margin: f32) -> Vec<Prediction> {
        let said = (0..200).map(|i| {
            let label = (i % 2) as u32;
            let answer = if i < right { label } else { 1 - label };
            let mut logits = [0.0; 2];
            logits[answer as usize] = margin;
            Prediction::new(&logits, label)
        });
        said.collect()
    }

    pub fn judged(predictions: &[Prediction]) -> Judged {
        Judged {
            what: "the model of step 60".into(),
            classes: vec!["cat".into(), "dog".into()],
            summary: Summary::new(predictions, 2),
            mistakes: Vec::new(),
        }
    }

    /// A run that ends with `last`, its best evaluation, at step 20, having been `best`.
    pub fn record(best: &[Prediction], last: &[Prediction]) -> Record {
        Record {
            learning_rate: Some(2e-4),
            judged: Some(judged(last)),
            comparison: Some(Comparison {
                best_step: 20,
                last_step: 60,
                paired: Paired::new(best, last).unwrap(),
            }),
            ..Record::default()
        }
    }
}
