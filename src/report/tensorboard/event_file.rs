//! One event file.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{proto, record};
use crate::error::{Error, Result};

/// An open event file. Records are gathered and written whole by [`EventFile::flush`].
pub struct EventFile {
    path: PathBuf,
    file: File,
    gathered: Vec<u8>,
}

impl EventFile {
    /// Creates `name.N` in `folder`, N being the first number that is free, with the record that
    /// every event file begins with.
    pub fn create(folder: &Path, name: &str) -> Result<Self> {
        let mut number = 0;
        let (path, file) = loop {
            let path = folder.join(format!("{name}.{number}"));
            match File::create_new(&path) {
                Ok(file) => break (path, file),
                Err(e) if e.kind() == ErrorKind::AlreadyExists => number += 1,
                Err(e) => return Err(Error::io(path, "create it", e)),
            }
        };
        let mut file = Self {
            path,
            file,
            gathered: Vec::new(),
        };
        file.add(proto::file_version(now()));
        file.flush()?;
        Ok(file)
    }

    /// Adds a point to the curve `tag`.
    pub fn scalar(&mut self, tag: &str, value: f32, step: u64) {
        self.add(proto::scalar(now(), step, tag, value));
    }

    /// Adds a text.
    pub fn text(&mut self, name: &str, text: &str) {
        self.add(proto::text(now(), name, text));
    }

    /// Declares points of `step` and later ones in older files void.
    pub fn session_start(&mut self, step: u64) {
        self.add(proto::session_start(now(), step));
    }

    fn add(&mut self, event: proto::Message) {
        record::append(&mut self.gathered, &event.finish());
    }

    /// Hands everything to the operating system, so that TensorBoard sees it.
    pub fn flush(&mut self) -> Result<()> {
        let written = self.file.write_all(&self.gathered);
        self.gathered.clear();
        written.map_err(|e| Error::io(&self.path, "write it", e))
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |time| time.as_secs_f64())
}
