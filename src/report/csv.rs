//! `metrics.csv`: a row for each step that was logged or evaluated, for spreadsheets.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::event::{Event, Reporter};
use crate::error::Error;

/// The columns, under the names of `metrics.jsonl`.
const COLUMNS: [&str; 15] = [
    "step",
    "epoch",
    "loss",
    "grad_norm",
    "learning_rate",
    "nonfinite_losses",
    "images_per_second",
    "data_wait",
    "eval_loss",
    "eval_accuracy",
    "correct",
    "samples",
    "eval_runtime",
    "eval_samples_per_second",
    "eval_steps_per_second",
];

/// Writes `metrics.csv`. The first failure ends the writing and is kept for
/// [`MetricsCsv::failure`]; the run goes on.
pub struct MetricsCsv {
    output_dir: PathBuf,
    file: Option<File>,
    /// The row of the present step, to which an evaluation may still be added.
    row: Map<String, Value>,
    failure: Option<Error>,
}

impl MetricsCsv {
    /// A writer below `output_dir`, which need not exist before the run starts.
    pub fn new(output_dir: &Path) -> Self {
        Self {
            output_dir: output_dir.to_owned(),
            file: None,
            row: Map::new(),
            failure: None,
        }
    }

    /// Why there is no file, or only a part of one.
    pub fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    fn path(&self) -> PathBuf {
        self.output_dir.join("metrics.csv")
    }

    /// Begins the file. Of a resumed run, the rows so far come from `metrics.jsonl`, which ends at
    /// the checkpoint.
    fn open(&mut self) -> io::Result<()> {
        let earlier = match fs::read(self.output_dir.join("metrics.jsonl")) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let mut file = File::create(self.path())?;
        writeln!(file, "{}", COLUMNS.join(","))?;
        self.file = Some(file);
        for line in earlier.split(|&byte| byte == b'\n') {
            if let Ok(Value::Object(row)) = serde_json::from_slice(line) {
                self.add(row)?;
            }
        }
        Ok(())
    }

    /// Takes in the keys of a log or an evaluation.
    fn add(&mut self, keys: Map<String, Value>) -> io::Result<()> {
        let event = keys.get("event").and_then(Value::as_str);
        if !matches!(event, Some("logged" | "evaluated")) {
            return Ok(());
        }
        if self.row.get("step") != keys.get("step") {
            self.end_row()?;
        }
        self.row.extend(keys);
        Ok(())
    }

    fn end_row(&mut self) -> io::Result<()> {
        let (Some(file), false) = (&mut self.file, self.row.is_empty()) else {
            return Ok(());
        };
        // Numbers and nothing else, so nothing needs quotes; what is not finite stays empty.
        let cell = |column: &&str| match self.row.get(*column) {
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        let cells: Vec<String> = COLUMNS.iter().map(cell).collect();
        self.row.clear();
        // One write: the row is there whole or not at all.
        file.write_all(format!("{}\n", cells.join(",")).as_bytes())
    }

    fn write(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::RunStarted { .. } => self.open(),
            Event::Logged(_) | Event::Evaluated(_) => match serde_json::to_value(event)? {
                Value::Object(keys) => self.add(keys),
                other => unreachable!("{other} is no object"),
            },
            Event::Finished(_) => self.end_row(),
            _ => Ok(()),
        }
    }
}

impl Reporter for MetricsCsv {
    fn event(&mut self, event: &Event) {
        if self.failure.is_none() {
            let failure = self.write(event).err();
            self.failure = failure.map(|e| Error::io(self.path(), "write it", e));
        }
    }
}

impl Drop for MetricsCsv {
    /// A run that ended in an error keeps the row of its last step.
    fn drop(&mut self) {
        let _ = self.end_row();
    }
}
