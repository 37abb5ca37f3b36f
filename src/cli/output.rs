//! Writing to the two streams: results on stdout, everything for people on stderr.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use vitcuda::Error;
use vitcuda::report::line::escaped;
use vitcuda::report::{Colours, Line};

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

/// Writes one line to stdout, texts from outside made fit to be read.
pub fn result(line: impl std::fmt::Display) -> Outcome {
    as_it_is(&escaped(&line.to_string()))
}

/// Writes what programs or the terminal are to act on: JSON, pictures.
pub fn as_it_is(line: &str) -> Outcome {
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
    // JSON writes out the control characters of ASCII, and is for programs.
    as_it_is(&serde_json::to_string(value).expect("keys are strings"))
}

/// Writes one line to stderr, texts from outside made fit to be read.
pub fn notice(line: impl std::fmt::Display) {
    write_notice(&Line::new(Colours::LeftOut).plain(&line.to_string()));
}

/// A stderr that is gone is no reason to stop.
fn write_notice(line: &Line) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Prints how a run ended, unless it ended well, and gives the process's exit code.
pub fn exit_code(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) | Err(Stop::ReaderGone) => ExitCode::SUCCESS,
        Err(Stop::Failed(error)) => {
            let line = || Line::new(colours());
            let problem = format!(" {error}");
            write_notice(&line().painted("1;31", "error:").plain(&problem));
            for help in error.help().unwrap_or_default().lines() {
                write_notice(&line().painted("1;36", "help:").plain(" ").plain(help));
            }
            ExitCode::from(error.exit_code())
        }
    }
}

/// Whether stderr is a terminal whose owner does not object (<https://no-color.org>).
fn colours() -> Colours {
    let objects = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    if io::stderr().is_terminal() && !objects {
        Colours::Shown
    } else {
        Colours::LeftOut
    }
}

/// `text` on one line, for a cell or a name in a line.
pub fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// Characters of a name that people get to see: names come from outside and may be of any length.
pub const SHOWN: usize = 120;

/// A name on a line, shortened and without what would leave the line.
pub fn short(name: &str) -> String {
    let is_long = name.chars().nth(SHOWN).is_some();
    let mut shown = String::new();
    for c in name.chars().take(SHOWN - usize::from(is_long)) {
        if c.is_control() {
            shown.extend(c.escape_default())
        } else {
            shown.push(c)
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
        let shown = cells.iter().map(|cell| escaped(&one_line(cell)));
        self.rows.push(shown.collect());
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
