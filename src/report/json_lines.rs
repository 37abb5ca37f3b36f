//! Events as JSON, one a line.

use std::io::{self, Write};

use super::event::{Event, Reporter};

/// Writes each event but the progress within steps and evaluations as a line of JSON, and flushes
/// it.
///
/// A reader that goes away (`vitcuda train --json | head`) does not end the run: after the first
/// failure nothing more is written, and [`JsonLines::finish`] tells of it.
pub struct JsonLines<W: Write> {
    out: W,
    failure: Option<io::Error>,
}

impl<W: Write> JsonLines<W> {
    /// A reporter that writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out, failure: None }
    }

    /// The writer, or the first error it gave.
    pub fn finish(self) -> io::Result<W> {
        match self.failure {
            Some(error) => Err(error),
            None => Ok(self.out),
        }
    }
}

/// Writes `event` as one line and flushes it.
pub fn write_line(out: &mut impl Write, event: &Event) -> io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}

impl<W: Write> Reporter for JsonLines<W> {
    fn event(&mut self, event: &Event) {
        if self.failure.is_none() && !matches!(event, Event::Progress(_) | Event::Evaluating { .. })
        {
            self.failure = write_line(&mut self.out, event).err();
        }
    }
}
