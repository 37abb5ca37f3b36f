//! Which of two evaluations is the better one.

use super::config::BestMetric;
use super::evaluate::Evaluation;

impl BestMetric {
    /// The reference's name.
    pub fn name(self) -> &'static str {
        match self {
            BestMetric::EvalLoss => "eval_loss",
            BestMetric::EvalAccuracy => "eval_accuracy",
        }
    }

    /// Its value in `evaluation`.
    pub fn of(self, evaluation: &Evaluation) -> f64 {
        match self {
            BestMetric::EvalLoss => evaluation.loss(),
            BestMetric::EvalAccuracy => evaluation.accuracy(),
        }
    }

    /// Whether `value` is strictly better than the best so far; NaN never is.
    pub fn is_better(self, value: f64, best: Option<f64>) -> bool {
        match self {
            BestMetric::EvalLoss => value < best.unwrap_or(f64::INFINITY),
            BestMetric::EvalAccuracy => value > best.unwrap_or(f64::NEG_INFINITY),
        }
    }
}
