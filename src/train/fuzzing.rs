//! Ways for the fuzzer (`fuzz/`) to the files of a run that only a resumed run reads. Not part of the
//! library's interface.

use std::path::Path;

use super::config::BestMetric;
use super::evaluations::Evaluations;
use super::metrics_file::MetricsFile;
use crate::error::Result;
use crate::metrics::Paired;

/// Reads `evaluations.json` of a checkpoint, of a model of so many classes, and judges by it as the end
/// of a run does.
pub fn evaluations(checkpoint: &Path, classes: usize) -> Result<()> {
    let mut found = Evaluations::load(checkpoint, classes)?;
    for metric in [BestMetric::EvalLoss, BestMetric::EvalAccuracy] {
        if let (Some((_, best)), Some((_, last))) = (found.best(metric), found.last()) {
            best.summary();
            let paired = Paired::new(&best.predictions, &last.predictions);
            paired.map(|paired| paired.mcnemar());
        }
    }
    found.prune(BestMetric::EvalLoss, &[]);
    Ok(())
}

/// Goes back in `metrics.jsonl` to `step`.
pub fn metrics(file: &Path, step: u64) -> Result<()> {
    MetricsFile::append(file.to_owned())?.rewind(step).map(drop)
}
