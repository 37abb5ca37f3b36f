//! The evaluations of a run: their place in the log, which is the best, when enough is enough.

use crate::error::{Error, Result};
use crate::report::{BestMark, Evaluated, Event};

use super::config::SaveStrategy;
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

    /// Evaluates what the run starts from. The row is there to be read; as in the reference it is
    /// no candidate for the best.
    pub(super) fn evaluate_start(&mut self) -> Result<()> {
        let scored = self.score().map_err(|error| match error {
            Error::Interrupted { .. } => Error::Interrupted {
                problem: "interrupted before the first step".into(),
                help: String::new(),
            },
            other => other,
        });
        let Some(evaluation) = scored? else {
            return Ok(());
        };
        self.tell(&evaluation, BestMark::NotBest)
    }

    /// Evaluates after a step; says whether it is better than all evaluations before.
    pub(super) fn evaluate_step(&mut self) -> Result<BestMark> {
        let Some(evaluation) = self.score()? else {
            return Ok(BestMark::NotBest);
        };
        let config = self.job.config;
        let metric = config.metric_for_best_model;
        let step = self.state.global_step;
        let value = metric.of(&evaluation);
        let totals = self.state.totals();
        let mark = if metric.is_better(value, totals.best_evaluation) {
            totals.best_evaluation = Some(value);
            totals.evaluations_since_best = 0;
            BestMark::Best
        } else {
            totals.evaluations_since_best += 1;
            BestMark::NotBest
        };
        self.early_stop = self.early_stop_reason();
        self.evaluations.push(step, evaluation.clone());
        self.prune_evaluations();
        self.tell(&evaluation, mark)?;
        if mark == BestMark::Best && config.save == SaveStrategy::Never {
            self.save_best_alone(value)?;
        }
        Ok(mark)
    }

    /// Enters an evaluation into the log.
    fn tell(&mut self, evaluation: &Evaluation, mark: BestMark) -> Result<()> {
        let evaluated = Evaluated {
            step: self.state.global_step,
            epoch: self.state.epoch,
            scores: evaluation.scores(),
            correct: evaluation.correct(),
            samples: evaluation.samples(),
            mark,
        };
        self.state.push_evaluated(&evaluated);
        self.emit(Event::Evaluated(evaluated))
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
