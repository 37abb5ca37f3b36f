//! `metrics.jsonl`: each log, evaluation and checkpoint as a line, as soon as it is there.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::report::{Event, write_line};

/// The open file.
pub(super) struct MetricsFile {
    path: PathBuf,
    file: File,
}

impl MetricsFile {
    pub(super) fn append(path: PathBuf) -> Result<Self> {
        match OpenOptions::new().create(true).append(true).open(&path) {
            Ok(file) => Ok(Self { path, file }),
            Err(e) => Err(Error::io(path, "open it", e)),
        }
    }

    pub(super) fn write(&mut self, event: &Event) -> Result<()> {
        write_line(&mut self.file, event).map_err(|e| Error::io(&self.path, "write it", e))
    }
}
