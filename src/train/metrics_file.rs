//! `metrics.jsonl`: each log, evaluation and checkpoint as a line, as soon as it is there.

use std::fs::{self, File, OpenOptions};
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::files;
use crate::report::{Event, write_line};

use super::resume::keep_line;

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

    /// Drops what was written after `step`; whether a line says that its checkpoint was.
    pub(super) fn rewind(&mut self, step: u64) -> Result<bool> {
        let text = fs::read_to_string(&self.path);
        let text = text.map_err(|e| Error::io(&self.path, "read it", e))?;
        let mut kept = String::new();
        let mut saved = false;
        for line in text.lines() {
            let (keep, says_saved) = keep_line(line, step);
            if keep {
                kept.push_str(line);
                kept.push('\n');
            }
            saved |= says_saved;
        }
        if kept != text {
            files::write_atomically(&self.path, kept.as_bytes())?;
            *self = Self::append(self.path.clone())?;
        }
        Ok(saved)
    }

    pub(super) fn write(&mut self, event: &Event) -> Result<()> {
        write_line(&mut self.file, event).map_err(|e| Error::io(&self.path, "write it", e))
    }
}
