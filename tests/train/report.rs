//! What a person and a program read of a run.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use libtest_mimic::Trial;
use serde_json::Value;
use vitcuda::report::{Console, Event, Fact, JsonLines, Reporter, Reporters, Terminal};
use vitcuda::train::config::Interval;

use crate::fakes::{Scripted, tiny_config};
use crate::play::Play;
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial(
            "the console's table has a row for each log and evaluation",
            table,
        ),
        trial("on 60 columns no row of the table wraps", narrow),
        trial("the console colours only a terminal's text", colours),
        trial("JSON lines hold all events but progress", json_lines),
        trial("a reader that goes away does not end the run", reader_gone),
    ]
}

/// A writer whose text the test keeps.
#[derive(Clone, Default)]
struct Text(Rc<RefCell<Vec<u8>>>);

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Text {
    fn read(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).unwrap()
    }
}

/// The events of a short run, those that depend on the clock put right.
fn events() -> Vec<Event> {
    let mut play = Play::new().every(10);
    play.config.max_steps = Some(25);
    play.config.logging = Interval::Steps(5);
    play.run(&mut Scripted::new(tiny_config(2))).unwrap();
    for event in &mut play.events {
        match event {
            Event::Logged(l) => (l.images_per_second, l.data_wait) = (12.34, 0.056),
            Event::RunStarted { facts, .. } => facts.insert(0, Fact::new("data", "pictures")),
            _ => {}
        }
    }
    play.events
}

fn shown(terminal: Terminal) -> String {
    let text = Text::default();
    let mut console = Console::new(text.clone(), terminal, None);
    for event in events() {
        console.event(&event);
    }
    drop(console);
    text.read()
}

fn table() {
    let text = shown(Terminal::None);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "data    pictures");
    assert_eq!(
        lines[1],
        "plan    25 steps: 0.4 epochs of 1,000 images, 16 at a time, 200 images evaluated \
          every 10 steps, checkpoints every 10 steps"
    );
    assert!(
        lines[2].starts_with("saving  3 checkpoints of "),
        "{}",
        lines[2]
    );
    let expected = [
        " step  epoch  train loss  val loss   accuracy [95% CI]        lr   img/s  wait",
        "    5   0.08      0.2500         -                   -  1.60e-04    12.3    6%",
        "   10   0.16      0.2500    0.1000 100.0% [98.1,100.0]  1.20e-04    12.3    6% ★",
        "   15   0.24      0.2500         -                   -  8.00e-05    12.3    6%",
        "   20   0.32      0.2500    0.0500 100.0% [98.1,100.0]  4.00e-05    12.3    6% ★",
        "   25   0.40      0.2500    0.0400 100.0% [98.1,100.0]  0.00e+00    12.3    6% ★",
    ];
    assert_eq!(lines[4..10], expected);
    assert!(
        text.contains("***** train metrics *****\n  epoch "),
        "{text}"
    );
    assert!(
        text.contains("***** eval metrics *****\n  epoch "),
        "{text}"
    );
    assert!(
        text.contains("best    step 25, eval_loss 0.0400, the final model\n"),
        "{text}"
    );
    assert!(
        text.contains(" s: training steps 0.0, evaluations 0.0, "),
        "{text}"
    );
    assert!(text.contains("\nsaved   3 checkpoints, "), "{text}");
    assert!(text.ends_with("next    vitcuda predict\n"), "{text}");
    assert!(!text.contains('\x1b'), "{text}");
}

fn narrow() {
    let text = Text::default();
    let mut console = Console::new(text.clone(), Terminal::None, Some(60));
    for event in events() {
        console.event(&event);
    }
    let text = text.read();
    let table = text
        .lines()
        .skip_while(|line| !line.contains("step  epoch"));
    let table: Vec<&str> = table.take_while(|line| !line.is_empty()).collect();
    assert_eq!(
        table[0],
        " step  epoch  train loss  val loss   accuracy [95% CI]"
    );
    assert_eq!(table.len(), 6);
    assert!(
        table.iter().all(|line| line.chars().count() <= 60),
        "{text}"
    );
}

fn colours() {
    assert!(!shown(Terminal::Monochrome).contains('\x1b'));
    let text = shown(Terminal::Coloured);
    assert!(text.contains("\x1b[32m★\x1b[0m"), "{text}");
}

fn json_lines() {
    let (first, second) = (Text::default(), Text::default());
    let mut both = Reporters(vec![
        Box::new(JsonLines::new(first.clone())),
        Box::new(JsonLines::new(second.clone())),
    ]);
    for event in events() {
        both.event(&event);
    }
    assert_eq!(first.read(), second.read());
    let text = first.read();
    let lines = text
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap());
    let lines: Vec<Value> = lines.collect();
    let names: Vec<&str> = lines.iter().map(|l| l["event"].as_str().unwrap()).collect();
    assert_eq!(names.first(), Some(&"run_started"));
    assert_eq!(names.last(), Some(&"finished"));
    assert_eq!(names.iter().filter(|&&n| n == "logged").count(), 5);
    assert!(!names.contains(&"progress") && !names.contains(&"evaluating"));
    let evaluated = lines.iter().find(|l| l["event"] == "evaluated").unwrap();
    assert_eq!(evaluated["eval_accuracy"], 1.0);
    assert_eq!(evaluated["mark"], "best");
    assert!(lines.last().unwrap()["train"]["train_loss"].is_f64());
}

/// A pipe without a reader.
struct Gone;

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn reader_gone() {
    let mut lines = JsonLines::new(Gone);
    let mut console = Console::new(Gone, Terminal::None, None);
    for event in events() {
        lines.event(&event);
        console.event(&event);
    }
    let failure = lines.finish().map(|_| ()).unwrap_err();
    assert_eq!(failure.kind(), io::ErrorKind::BrokenPipe);
}
