//! The evaluations of a run: their place in the log, which is the best, when enough is enough.

use crate::error::Result;
use crate::report::{BestMark, Evaluated, Event};

use super::config::Interval;
use super::evaluate::{Evaluation, evaluate};
use super::trainer::Run;

impl Run<'_> {
    /// Scores the validation images with the present parameters.
    pub(super) fn score(&mut self) -> Result<Option<Evaluation>> {
        let Some(validation) = self.validation else {
            return Ok(None);
        };
        let batch_size = self.job.config.eval_batch_size;
        let evaluation = evaluate(
            self.engine,
            validation,
            batch_size,
            self.reporter,
            self.job.stop,
        )?;
        let waiting = evaluation.data_wait.as_secs_f64();
        let time = &mut self.state.totals().time;
        time.data_wait_seconds += waiting;
        time.evaluation_seconds += evaluation.runtime.as_secs_f64() - waiting;
        Ok(Some(evaluation))
    }

    /// Evaluates after a step.
    pub(super) fn evaluate_step(&mut self) -> Result<()> {
        let Some(evaluation) = self.score()? else {
            return Ok(());
        };
        let config = self.job.config;
        let metric = config.metric_for_best_model;
        let step = self.state.global_step;
        let value = metric.of(&evaluation);
        let totals = self.state.totals();
        let mark = match metric.is_better(value, totals.best_evaluation) {
            true => {
                totals.best_evaluation = Some(value);
                totals.evaluations_since_best = 0;
                BestMark::Best
            }
            false => {
                totals.evaluations_since_best += 1;
                BestMark::NotBest
            }
        };
        self.early_stop = self.early_stop_reason();
        let evaluated = Evaluated {
            step,
            epoch: self.state.epoch,
            scores: evaluation.scores(),
            correct: evaluation.correct(),
            samples: evaluation.samples(),
            mark,
        };
        self.evaluations.push(step, evaluation);
        self.prune_evaluations();
        self.state.push_evaluated(&evaluated);
        self.emit(Event::Evaluated(evaluated))?;
        match mark == BestMark::Best && config.save == Interval::Never {
            true => self.save_best_alone(),
            false => Ok(()),
        }
    }

    /// Why the run ends before its time, if it does.
    pub(super) fn early_stop_reason(&mut self) -> Option<String> {
        let (config, step) = (self.job.config, self.state.global_step);
        let totals = self.state.totals();
        let (since_best, best) = (totals.evaluations_since_best, totals.best_evaluation);
        let stops = |patience| since_best >= patience;
        config
            .early_stopping_patience
            .filter(|&p| stops(p))
            .map(|_| {
                format!(
                    "no better {} than {} in the last {since_best} evaluations (step {step})",
                    config.metric_for_best_model.name(),
                    best.map_or("none".into(), |b| format!("{b:.4}")),
                )
            })
    }
}
