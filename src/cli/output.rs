//! Writing to the two streams: results on stdout, everything for people on stderr.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use vitcuda::Error;

/// Why a subcommand ended early.
#[derive(Debug)]
pub enum Stop {
    Failed(Error),
    /// Whoever read stdout has left (`vitcuda predict … | head`); nobody waits for the rest.
    ReaderGone,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What subcommands return.
pub type Outcome<T = ()> = Result<T, Stop>;

/// Writes one line to stdout.
pub fn result(line: impl std::fmt::Display) -> Outcome {
    let mut stdout = io::stdout().lock();
    to_stdout(writeln!(stdout, "{line}").and_then(|()| stdout.flush()))
}

/// What comes of having written to stdout.
pub fn to_stdout(written: io::Result<()>) -> Outcome {
    match written {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(Stop::ReaderGone),
        Err(e) => Err(Error::io("stdout", "write to it", e).into()),
    }
}

/// Writes one value to stdout, as JSON on a line.
pub fn json(value: &impl serde::Serialize) -> Outcome {
    result(serde_json::to_string(value).expect("keys are strings"))
}

/// Writes one line to stderr; a stderr that is gone is no reason to stop.
pub fn notice(line: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Prints how a run ended, unless it ended well, and gives the process's exit code.
pub fn exit_code(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) | Err(Stop::ReaderGone) => ExitCode::SUCCESS,
        Err(Stop::Failed(error)) => {
            let (red, cyan, plain) = match colours() {
                true => ("\x1b[1;31m", "\x1b[1;36m", "\x1b[0m"),
                false => ("", "", ""),
            };
            notice(format_args!("{red}error:{plain} {error}"));
            for line in error.help().unwrap_or_default().lines() {
                notice(format_args!("{cyan}help:{plain} {line}"));
            }
            ExitCode::from(error.exit_code())
        }
    }
}

/// Whether stderr is a terminal whose owner does not object (<https://no-color.org>).
fn colours() -> bool {
    let objects = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    io::stderr().is_terminal() && !objects
}

/// Characters of a name that people get to see: names come from outside and may be of any length.
pub const SHOWN: usize = 120;

/// A name on a line, shortened and without what would leave the line.
pub fn short(name: &str) -> String {
    let is_long = name.chars().nth(SHOWN).is_some();
    let mut shown = String::new();
    for c in name.chars().take(SHOWN - usize::from(is_long)) {
        match c.is_control() {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    if is_long {
        shown.push('…');
    }
    shown
}

/// A table for people: the first column left-aligned, the others right-aligned under their heads.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: &[&str]) -> Self {
        Self {
            rows: vec![head.iter().map(|&h| h.to_owned()).collect()],
        }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Writes it to stdout.
    pub fn print(&self) -> Outcome {
        let shown = |row: &Vec<String>| row.iter().map(|cell| short(cell)).collect::<Vec<_>>();
        let rows: Vec<Vec<String>> = self.rows.iter().map(shown).collect();
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
        for row in &rows {
            let mut line = format!("{:<1$}", row[0], widths[0]);
            for (cell, width) in row.iter().zip(&widths).skip(1) {
                line.push_str(&format!("  {cell:>width$}"));
            }
            result(line.trim_end())?;
        }
        Ok(())
    }
}
