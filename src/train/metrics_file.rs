//! `metrics.jsonl`: each log, evaluation and checkpoint as a line, as soon as it is there.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::files;
use crate::report::{Event, write_line};

/// The open file.
pub(super) struct MetricsFile {
    path: PathBuf,
    file: File,
    /// What the disk has not taken yet: it goes before the next line.
    behind: Vec<u8>,
}

impl MetricsFile {
    pub(super) fn append(path: PathBuf) -> Result<Self> {
        match OpenOptions::new().create(true).append(true).open(&path) {
            Ok(file) => Ok(Self {
                path,
                file,
                behind: Vec::new(),
            }),
            Err(e) => Err(Error::io(path, "open it", e)),
        }
    }

    /// Drops what was written after `step`; whether a line says that its checkpoint was.
    pub(super) fn rewind(&mut self, step: u64) -> Result<bool> {
        let bytes = crate::files::read_regular(&self.path)
            .map_err(|e| Error::io(&self.path, "read it", e))?;
        let text = String::from_utf8_lossy(&bytes);
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
        if kept.as_bytes() != bytes {
            files::write_atomically(&self.path, kept.as_bytes())?;
            *self = Self::append(self.path.clone())?;
        }
        Ok(saved)
    }

    /// Whether lines are missing from the file.
    pub(super) fn is_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Adds a line. What cannot be written is written before the next one, so that a disk that was
    /// full for a while costs no line and leaves no half one.
    pub(super) fn write(&mut self, event: &Event) -> Result<()> {
        write_line(&mut self.behind, event).expect("memory takes it");
        while !self.behind.is_empty() {
            match self.file.write(&self.behind) {
                Ok(written) => drop(self.behind.drain(..written)),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io(&self.path, "write it", e)),
            }
        }
        Ok(())
    }
}

/// Whether a line belongs to the steps up to `step`, and whether it says that the checkpoint of
/// `step` was written.
fn keep_line(line: &str, step: u64) -> (bool, bool) {
    let Ok(value) = serde_json::from_str::<Value>(line) else {
        return (false, false); // cut short by the end of the run
    };
    let at = value.get("step").and_then(Value::as_u64);
    let saved = value.get("checkpoint").is_some() && at == Some(step);
    (at.is_some_and(|at| at <= step), saved)
}
