//! The curves of a run, read back from what it left.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::json::JsonFile;

/// A log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trained {
    pub step: u64,
    pub epoch: f64,
    /// NaN if no step since the last log had a finite loss.
    pub loss: f64,
}

/// An evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    pub step: u64,
    pub epoch: f64,
    pub loss: f64,
    /// None where the run measured none.
    pub accuracy: Option<f64>,
    /// Images that are right, and all; none in a run of Hugging Face's Trainer.
    pub counts: Option<(usize, usize)>,
}

/// Logs and evaluations by rising step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunLog {
    pub trained: Vec<Trained>,
    pub scored: Vec<Scored>,
}

impl RunLog {
    /// Reads `metrics.jsonl` of the folder `run`; else `trainer_state.json` there or in its last
    /// checkpoint, which Hugging Face's Trainer leaves too.
    ///
    /// # Errors
    /// [`Error::Data`] for a folder with none of them or with nothing in them.
    pub fn read(run: &Path) -> Result<Self> {
        let help = "give the output folder of `vitcuda train`, or of Hugging Face's Trainer";
        let lines = run.join("metrics.jsonl");
        let rows = if lines.exists() {
            read_lines(&lines)?
        } else if let Some(state) = trainer_state(run) {
            JsonFile::read(state)?.read_as("log_history", vec![], "a list of rows", rows)?
        } else {
            let problem = "holds no run: there is no metrics.jsonl and no trainer_state.json";
            return Err(Error::data(run, problem, help));
        };
        let log = Self::of_rows(&rows);
        if log.trained.is_empty() && log.scored.is_empty() {
            Err(Error::data(
                run,
                "holds a run without a log or evaluation",
                help,
            ))
        } else {
            Ok(log)
        }
    }

    /// Of several rows of a step, as a resumed run may leave them, the last one counts.
    fn of_rows(rows: &[Map<String, Value>]) -> Self {
        let (mut trained, mut scored) = (BTreeMap::new(), BTreeMap::new());
        for row in rows {
            let number = |key: &str| row.get(key).and_then(Value::as_f64);
            let count = |key: &str| row.get(key).and_then(Value::as_u64).map(|n| n as usize);
            let Some(step) = row.get("step").and_then(Value::as_u64) else {
                continue;
            };
            let epoch = number("epoch").unwrap_or(f64::NAN);
            if row.contains_key("loss") {
                let loss = number("loss").unwrap_or(f64::NAN);
                trained.insert(step, Trained { step, epoch, loss });
            }
            if row.contains_key("eval_loss") {
                let evaluation = Scored {
                    step,
                    epoch,
                    loss: number("eval_loss").unwrap_or(f64::NAN),
                    accuracy: number("eval_accuracy"),
                    // Of a damaged line, none rather than more right than there are.
                    counts: count("correct")
                        .zip(count("samples"))
                        .filter(|(correct, samples)| correct <= samples),
                };
                scored.insert(step, evaluation);
            }
        }
        Self {
            trained: trained.into_values().collect(),
            scored: scored.into_values().collect(),
        }
    }

    /// The last step that was logged or evaluated; 0 without any.
    pub fn last_step(&self) -> u64 {
        let trained = self.trained.last().map_or(0, |t| t.step);
        trained.max(self.scored.last().map_or(0, |s| s.step))
    }

    /// The evaluation with the lowest loss, the first among equals.
    pub fn best(&self) -> Option<&Scored> {
        let finite = self.scored.iter().filter(|s| s.loss.is_finite());
        finite.min_by(|a, b| a.loss.total_cmp(&b.loss))
    }
}

/// The objects of a file with one a line. A last line that a kill cut short is left out, and so is
/// one that is damaged.
fn read_lines(path: &Path) -> Result<Vec<Map<String, Value>>> {
    let bytes = crate::files::read_regular(path).map_err(|e| Error::io(path, "read it", e))?;
    let lines = bytes.split(|&byte| byte == b'\n');
    let lines = lines.map(serde_json::from_slice);
    Ok(lines.filter_map(std::result::Result::ok).collect())
}

fn trainer_state(run: &Path) -> Option<PathBuf> {
    let own = run.join("trainer_state.json");
    if own.exists() {
        return Some(own);
    }
    let names = fs::read_dir(run)
        .ok()?
        .flatten()
        .map(|entry| entry.file_name());
    let step = |name: std::ffi::OsString| -> Option<u64> {
        name.to_str()?.strip_prefix("checkpoint-")?.parse().ok()
    };
    let last = names.filter_map(step).max()?;
    Some(run.join(format!("checkpoint-{last}/trainer_state.json")))
}

fn rows(value: &Value) -> Option<Vec<Map<String, Value>>> {
    let row = |v: &Value| v.as_object().cloned();
    value.as_array()?.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_and_evaluations_are_told_apart_and_later_rows_win() {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"event":"logged","step":10,"epoch":0.5,"loss":0.7}
{"event":"evaluated","step":10,"epoch":0.5,"eval_loss":0.6,"eval_accuracy":0.75,"correct":3,"samples":4}
{"event":"saved","step":10,"epoch":0.5}
{"event":"logged","step":20,"epoch":1.0,"loss":null}
{"event":"logged","step":10,"epoch":0.5,"loss":0.8}
{"event":"logged","ste"#;
        fs::write(folder.path().join("metrics.jsonl"), text).unwrap();
        let log = RunLog::read(folder.path()).unwrap();
        assert_eq!(log.trained.len(), 2);
        assert_eq!((log.trained[0].step, log.trained[0].loss), (10, 0.8));
        assert!(log.trained[1].loss.is_nan());
        assert_eq!(log.scored.len(), 1);
        assert_eq!(log.best().unwrap().counts, Some((3, 4)));
    }

    #[test]
    fn a_folder_without_a_run_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = RunLog::read(folder.path()).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        fs::write(folder.path().join("metrics.jsonl"), "").unwrap();
        assert_eq!(RunLog::read(folder.path()).unwrap_err().exit_code(), 3);
    }
}
