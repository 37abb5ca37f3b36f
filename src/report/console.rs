//! The run as a person sees it: the table on stdout or stderr, all else on stderr.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use terminal_size::terminal_size_of;

use super::event::{
    BestMark, Evaluated, Event, Fact, Finished, Logged, Progress, Reporter, SavingCost, TimeSpent,
};
use super::format::{accuracy, bytes, hours, metrics_block, scientific, thousands};
use super::line::{Colours, Line};
use super::table::{Columns, STAR};

/// What the text is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// A terminal with colours: progress bar, bold and coloured text.
    Coloured,
    /// A terminal whose person wants no colours (`NO_COLOR`, `TERM=dumb`): progress bar.
    Monochrome,
    /// A file or a pipe: plain lines, progress now and then.
    None,
}

impl Terminal {
    /// What stderr is.
    pub fn of_stderr() -> Self {
        Self::of(&io::stderr())
    }

    /// What `stream` is. <https://no-color.org>: `NO_COLOR` counts when it is not empty.
    fn of(stream: &impl IsTerminal) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        match (stream.is_terminal(), refused) {
            (true, false) => Self::Coloured,
            (true, true) => Self::Monochrome,
            (false, _) => Self::None,
        }
    }
}

/// Time between two lines of progress where there is no terminal to redraw.
const PLAIN_PROGRESS: Duration = Duration::from_secs(30);

/// Header, progress bar, table of steps and closing block.
pub struct Console {
    text: Stream,
    /// Where the table goes, if not among the text.
    table: Option<Stream>,
    bar: ProgressBar,
    /// A logged row that waits for the evaluation of its step.
    pending: Option<Logged>,
    columns: Columns,
    header: Header,
    last_progress: Instant,
}

/// Something that lines are written to.
struct Stream {
    out: Box<dyn Write>,
    terminal: Terminal,
    /// Characters of a line, where it is shown on a terminal.
    width: Option<usize>,
}

impl Stream {
    fn line(&self) -> Line {
        Line::new(match self.terminal {
            Terminal::Coloured => Colours::Shown,
            Terminal::Monochrome | Terminal::None => Colours::LeftOut,
        })
    }
}

/// Whether the table's header was written.
#[derive(PartialEq)]
enum Header {
    Due,
    Written,
}

impl Console {
    /// A console on stderr.
    pub fn stderr() -> Self {
        let width = terminal_size_of(io::stderr()).map(|(width, _)| width.0.into());
        Self::new(io::stderr(), Terminal::of_stderr(), width)
    }

    /// A console on stderr whose table goes to stdout.
    pub fn with_table_on_stdout() -> Self {
        let width = terminal_size_of(io::stdout()).map(|(width, _)| width.0.into());
        let mut console = Self::stderr();
        console.table = Some(Stream {
            out: Box::new(io::stdout()),
            terminal: Terminal::of(&io::stdout()),
            width,
        });
        console
    }

    /// A console that writes to `out`, on which a line has `width` characters; the bar of a `terminal`
    /// is drawn on stderr.
    pub fn new(out: impl Write + 'static, terminal: Terminal, width: Option<usize>) -> Self {
        let target = match terminal {
            Terminal::None => ProgressDrawTarget::hidden(),
            _ => ProgressDrawTarget::stderr(),
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let style = ProgressStyle::with_template("{wide_bar} {msg}").expect("a valid template");
        bar.set_style(style);
        Self {
            text: Stream {
                out: Box::new(out),
                terminal,
                width,
            },
            table: None,
            bar,
            pending: None,
            columns: Columns::new(0, width),
            header: Header::Due,
            last_progress: Instant::now(),
        }
    }

    /// Writes a line above the bar. A stream that is gone is no reason to end the run.
    fn write(&mut self, line: &Line) {
        let Self { text, bar, .. } = self;
        bar.suspend(|| {
            let _ = writeln!(text.out, "{line}");
        });
    }

    fn line(&mut self, text: &str) {
        let line = self.text.line().plain(text);
        self.write(&line);
    }

    /// Writes a line of the table.
    fn table_line(&mut self, line: &Line) {
        let Self {
            text, table, bar, ..
        } = self;
        let stream = table.as_mut().unwrap_or(text);
        bar.suspend(|| {
            let _ = writeln!(stream.out, "{line}").and_then(|()| stream.out.flush());
        });
    }

    fn table(&self) -> &Stream {
        self.table.as_ref().unwrap_or(&self.text)
    }

    fn facts(&mut self, facts: &[Fact]) {
        let width = facts.iter().map(|f| f.name.len()).max().unwrap_or(0);
        for fact in facts {
            let line = self
                .text
                .line()
                .painted("1", &format!("{:<width$}", fact.name));
            self.write(&line.plain("  ").plain(&fact.text));
        }
    }

    fn started(&mut self, facts: &[Fact], max_steps: u64) {
        self.bar.set_length(max_steps);
        self.columns = Columns::new(max_steps, self.table().width);
        self.facts(facts);
        self.line("");
    }

    fn progress(&mut self, p: &Progress) {
        self.flush_pending();
        let left = hours(p.remaining_seconds);
        let left = left.split('.').next().unwrap_or(&left);
        let text = format!(
            "step {}/{} · loss {:.4} · {:.1} img/s · {left} left",
            p.step, p.max_steps, p.loss, p.images_per_second
        );
        self.bar.set_length(p.max_steps);
        self.bar.set_position(p.step);
        self.now_and_then(text);
    }

    /// How far something is: beside the bar, or where there is none in a line, not too often.
    fn now_and_then(&mut self, text: String) {
        if self.text.terminal == Terminal::None && self.last_progress.elapsed() >= PLAIN_PROGRESS {
            self.line(&text);
            self.last_progress = Instant::now();
        }
        self.bar.set_message(text);
    }

    /// Writes the waiting row by itself: its step was not evaluated.
    fn flush_pending(&mut self) {
        if let Some(logged) = self.pending.take() {
            self.row(logged.step, logged.epoch, Some(&logged), None);
        }
    }

    fn row(
        &mut self,
        step: u64,
        epoch: f64,
        logged: Option<&Logged>,
        evaluated: Option<&Evaluated>,
    ) {
        if self.header == Header::Due {
            let header = self.table().line().painted("1", &self.columns.header());
            self.table_line(&header);
            self.header = Header::Written;
        }
        let shown = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let cells = [
            step.to_string(),
            format!("{epoch:.2}"),
            shown(logged.map(|l| format!("{:.4}", l.loss))),
            shown(evaluated.map(|e| format!("{:.4}", e.scores.eval_loss))),
            shown(evaluated.map(|e| accuracy(e.correct, e.samples))),
            shown(logged.map(|l| scientific(l.learning_rate))),
            shown(logged.map(|l| format!("{:.1}", l.images_per_second))),
            shown(logged.map(|l| format!("{:.0}%", 100.0 * l.data_wait))),
        ];
        let mut line = self.table().line().plain(&self.columns.line(&cells));
        if evaluated.is_some_and(|e| e.mark == BestMark::Best) {
            line = line.plain(" ").painted("32", STAR);
        }
        if let Some(l) = logged.filter(|l| l.nonfinite_losses > 0) {
            let note = format!("  {} losses not finite", l.nonfinite_losses);
            let filled = self.columns.width() + note.len();
            if self.table().width.is_some_and(|width| filled > width) {
                self.table_line(&line);
                line = self.table().line();
            }
            line = line.painted("31", &note);
        }
        self.table_line(&line);
        self.last_progress = Instant::now();
    }

    /// The bar is the evaluation's, until the next step.
    fn evaluating(&mut self, done: usize, total: usize) {
        let text = format!("evaluating batch {done}/{total}");
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
        self.now_and_then(text);
    }

    fn evaluated(&mut self, e: &Evaluated) {
        let logged = self.pending.take();
        let same_step = logged.as_ref().filter(|l| l.step == e.step);
        self.row(e.step, e.epoch, same_step, Some(e));
    }

    fn notice(&mut self, text: &str) {
        self.flush_pending();
        let line = self.text.line().painted("33", "notice:");
        self.write(&line.plain(" ").plain(text));
    }

    fn finished(&mut self, f: &Finished) {
        self.flush_pending();
        self.bar.finish_and_clear();
        if let Some(reason) = &f.early_stop {
            self.line(&format!("\nstopped early: {reason}"));
        }
        self.line("");
        for (split, metrics) in [("train", &f.train), ("eval", &f.eval)] {
            if !metrics.is_empty() {
                self.line(metrics_block(split, metrics).trim_end());
            }
        }
        self.line("");
        if let Some(best) = &f.best {
            let place = if best.step == f.step {
                "the final model"
            } else {
                "kept in best/"
            };
            let text = format!("step {}, {} {:.4}", best.step, best.metric, best.value);
            self.fact("best", &format!("{text}, {place}"));
        }
        self.fact("time", &time(&f.time));
        if f.saving.bytes > 0 {
            self.fact("saved", &saved(&f.saving, &f.time));
        }
        if f.nonfinite_losses > 0 {
            let count = thousands(f.nonfinite_losses);
            self.fact(
                "loss",
                &format!("{count} steps had a loss that is not finite"),
            );
        }
        self.fact("output", &f.output_dir.display().to_string());
        for (i, command) in f.next.iter().enumerate() {
            self.fact(if i == 0 { "next" } else { "" }, command);
        }
    }

    fn fact(&mut self, name: &str, text: &str) {
        let line = self.text.line().painted("1", &format!("{name:<6}"));
        self.write(&line.plain("  ").plain(text));
    }
}

/// The parts of a run's time, the largest of which should be the first.
fn time(t: &TimeSpent) -> String {
    let evaluation = if t.evaluation_seconds > 0.0 {
        format!(", evaluations {:.1}", t.evaluation_seconds)
    } else {
        String::new()
    };
    format!(
        "{:.1} s: training steps {:.1}{evaluation}, waiting for images {:.1}, held by saving {:.1}, \
         other {:.1}; {:.1} % over bare steps and evaluations",
        t.total_seconds,
        t.training_seconds,
        t.data_wait_seconds,
        t.saving_seconds,
        t.other_seconds(),
        100.0 * t.overhead()
    )
}

fn saved(saving: &SavingCost, time: &TimeSpent) -> String {
    let what = match saving.checkpoints {
        0 => "best/".to_owned(),
        1 => "1 checkpoint".to_owned(),
        count => format!("{} checkpoints", thousands(count)),
    };
    format!(
        "{what}, {} written in {:.1} s beside the training, which was held for {:.1} s",
        bytes(saving.bytes),
        saving.write_seconds,
        time.saving_seconds
    )
}

impl Reporter for Console {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Planned { facts } => self.facts(facts),
            Event::RunStarted { facts, max_steps } => self.started(facts, *max_steps),
            Event::Progress(progress) => self.progress(progress),
            Event::Evaluating { done, total } => self.evaluating(*done, *total),
            Event::Logged(logged) => {
                self.flush_pending();
                self.pending = Some(logged.clone());
            }
            Event::Evaluated(evaluated) => self.evaluated(evaluated),
            Event::Saved(_) => {}
            Event::Notice { text } => self.notice(text),
            Event::Finished(finished) => self.finished(finished),
        }
    }
}

impl Drop for Console {
    /// A run that ended in an error leaves no half bar and no unwritten row.
    fn drop(&mut self) {
        self.flush_pending();
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_counts_what_is_under_way() {
        let mut console = Console::new(io::sink(), Terminal::None, None);
        let at = |console: &Console| (console.bar.position(), console.bar.length());
        let step = |step| {
            Event::Progress(Progress {
                step,
                max_steps: 500,
                epoch: 0.0,
                loss: 1.0,
                images_per_second: 1.0,
                remaining_seconds: 1.0,
            })
        };
        console.event(&step(100));
        assert_eq!(at(&console), (100, Some(500)));
        console.event(&Event::Evaluating { done: 3, total: 25 });
        assert_eq!(at(&console), (3, Some(25)));
        assert_eq!(console.bar.message(), "evaluating batch 3/25");
        console.event(&step(101));
        assert_eq!(at(&console), (101, Some(500)));
    }
}
