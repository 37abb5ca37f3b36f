//! The files for other tools: event files and the table.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use libtest_mimic::{Failed, Trial};
use vitcuda::report::{Event, MetricsCsv, Reporter, TensorBoard};
use vitcuda::train::engine::StepOutput;

use crate::common::with_shared;
use crate::fakes::{Scripted, tiny_config};
use crate::play::Play;
use crate::{read_json, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("event files hold the reference's tags", tags),
        trial(
            "a resumed run voids the points after its checkpoint",
            resumed_events,
        ),
        trial("the table has a row for each step", table),
        trial(
            "a resumed run's table begins with the earlier rows",
            resumed_table,
        ),
        trial("a folder that cannot be written costs no run", refused),
        with_shared(
            "the tags are those of a run of the reference",
            "golden/hf_trainer_run/lr2e-5-ep1/tensorboard_tags.json",
            reference_tags,
        ),
    ]
}

/// A run of 20 steps, logged every 5, evaluated and saved every 10; the loss of step 7 is NaN.
fn events() -> Vec<Event> {
    let mut play = Play::new().every(10);
    play.config.max_steps = Some(20);
    play.config.logging_steps = 5;
    let mut engine = Scripted::new(tiny_config(2));
    engine.on_step = |step| StepOutput {
        loss: if step == 7 { f64::NAN } else { step as f64 },
        grad_norm: 2.0,
    };
    play.run(&mut engine).unwrap();
    play.events
}

/// A record of an event file, as far as these tests look.
#[derive(Debug, PartialEq)]
enum Record {
    Version(String),
    SessionStart(u64),
    Scalar(String, u64, f32),
    Text(String, String),
}

/// CRC-32C bit by bit, masked as TensorFlow does.
fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A field's number, its whole number, and its bytes.
type Field<'a> = (u64, u64, &'a [u8]);

fn fields(mut bytes: &[u8]) -> Vec<Field<'_>> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let length = 1 + bytes.iter().position(|b| b & 0x80 == 0).unwrap();
        let (digits, rest) = bytes.split_at(length);
        *bytes = rest;
        let digits = digits.iter().rev().map(|b| u64::from(b & 0x7f));
        digits.fold(0, |value, digit| value << 7 | digit)
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let (number, length) = match key & 7 {
            0 => (varint(&mut bytes), 0),
            1 => (0, 8),
            2 => (0, varint(&mut bytes) as usize),
            5 => (0, 4),
            other => panic!("wire type {other}"),
        };
        let (value, rest) = bytes.split_at(length);
        fields.push((key >> 3, number, value));
        bytes = rest;
    }
    fields
}

fn field<'a>(message: &'a [u8], number: u64) -> Option<Field<'a>> {
    fields(message).into_iter().find(|field| field.0 == number)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn record(event: &[u8]) -> Record {
    let seconds = f64::from_le_bytes(field(event, 1).unwrap().2.try_into().unwrap());
    assert!(seconds > 1.7e9, "{seconds}");
    let step = field(event, 2).unwrap().1;
    if let Some((_, _, version)) = field(event, 3) {
        return Record::Version(text(version));
    }
    if let Some((_, _, session)) = field(event, 7) {
        assert_eq!(field(session, 1).unwrap().1, 1, "START");
        return Record::SessionStart(step);
    }
    let value = field(field(event, 5).unwrap().2, 1).unwrap().2;
    let tag = text(field(value, 1).unwrap().2);
    match (field(value, 2), field(value, 8)) {
        (Some((_, _, number)), None) => {
            Record::Scalar(tag, step, f32::from_le_bytes(number.try_into().unwrap()))
        }
        (None, Some((_, _, tensor))) => Record::Text(tag, text(field(tensor, 8).unwrap().2)),
        other => panic!("{other:?}"),
    }
}

/// The records of a file, lengths and checksums checked.
fn records(file: &Path) -> Vec<Record> {
    let bytes = fs::read(file).unwrap();
    let mut rest = &bytes[..];
    let mut records = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_at(8);
        let (length_checksum, after) = after.split_at(4);
        assert_eq!(length_checksum, checksum(length).to_le_bytes());
        let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
        let (event, after) = after.split_at(length);
        let (event_checksum, after) = after.split_at(4);
        assert_eq!(event_checksum, checksum(event).to_le_bytes());
        records.push(record(event));
        rest = after;
    }
    records
}

/// The event files below `run`, which must lie in one folder.
fn event_files(run: &Path) -> Vec<std::path::PathBuf> {
    let list = |folder: &Path| {
        let entries = fs::read_dir(folder).unwrap();
        let mut paths: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let folders = list(&run.join("runs"));
    assert_eq!(folders.len(), 1, "{folders:?}");
    list(&folders[0])
}

pub fn play_to(mut reporter: impl Reporter, events: &[Event]) {
    for event in events {
        reporter.event(event);
    }
}

fn tags() {
    let run = tempfile::tempdir().unwrap();
    let texts = vec![("args", "{}".to_owned())];
    let mut tensorboard = TensorBoard::new(run.path(), texts);
    play_to(&mut tensorboard, &events());
    assert!(tensorboard.failure().is_none());
    let [file] = &event_files(run.path())[..] else {
        panic!("one file")
    };
    let records = records(file);
    assert_eq!(records[0], Record::Version("brain.Event:2".into()));
    assert_eq!(
        records[1],
        Record::Text("args/text_summary".into(), "{}".into())
    );
    let points = |wanted: &str| -> Vec<(u64, f32)> {
        let points = records.iter().filter_map(|record| match record {
            Record::Scalar(tag, step, value) if tag == wanted => Some((*step, *value)),
            _ => None,
        });
        points.collect()
    };
    // Means of 1 … 5, of 6, 8, 9, 10, of 11 … 15 and of 16 … 20.
    let losses = [(5, 3.0), (10, 8.25), (15, 13.0), (20, 18.0)];
    assert_eq!(points("train/loss"), losses);
    // 2e-4 · (20 − 9) / 20: the step that was left out does not advance the rate.
    assert_eq!(points("train/learning_rate")[1], (10, 1.1e-4));
    assert_eq!(points("eval/accuracy"), [(10, 1.0), (20, 1.0)]);
    assert_eq!(points("eval/loss")[0].0, 10);
    // Each log and each evaluation gives the epoch, and so do the results.
    assert_eq!(points("train/epoch").len(), 4 + 2 + 1);
    for tag in [
        "train/train_loss",
        "train/total_flos",
        "train/train_runtime",
    ] {
        assert_eq!(points(tag).len(), 1, "{tag}");
        assert_eq!(points(tag)[0].0, 20, "{tag}");
    }
}

/// The events after step 10's checkpoint, led by the start of a session.
fn after_step_10(events: &[Event]) -> Vec<Event> {
    let is_later = |event: &&Event| match event {
        Event::RunStarted { .. } | Event::Finished(_) => true,
        other => step_of(other).is_some_and(|step| step > 10),
    };
    events.iter().filter(is_later).cloned().collect()
}

/// The step of a line of `metrics.jsonl`.
fn step_of(event: &Event) -> Option<u64> {
    match event {
        Event::Logged(logged) => Some(logged.step),
        Event::Evaluated(evaluated) => Some(evaluated.step),
        Event::Saved(saved) => Some(saved.step),
        _ => None,
    }
}

/// `metrics.jsonl` as it is when the run resumes from step 10.
fn write_metrics(run: &Path, events: &[Event]) {
    let kept = events
        .iter()
        .filter(|event| step_of(event).is_some_and(|step| step <= 10));
    let lines: Vec<String> = kept
        .map(|e| serde_json::to_string(e).unwrap() + "\n")
        .collect();
    fs::write(run.join("metrics.jsonl"), lines.concat()).unwrap();
}

fn resumed_events() {
    let run = tempfile::tempdir().unwrap();
    let events = events();
    play_to(TensorBoard::new(run.path(), vec![]), &events);
    write_metrics(run.path(), &events);
    play_to(
        TensorBoard::new(run.path(), vec![]),
        &after_step_10(&events),
    );
    let [first, second] = &event_files(run.path())[..] else {
        panic!("two files")
    };
    let is_start = |record: &&Record| matches!(record, Record::SessionStart(_));
    assert_eq!(records(first).iter().find(is_start), None);
    assert_eq!(records(second)[1], Record::SessionStart(15));
}

fn rows(run: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(run.join("metrics.csv")).unwrap();
    let row = |line: &str| line.split(',').map(str::to_owned).collect();
    text.lines().map(row).collect()
}

/// The cells of `column`, without its name.
fn column(rows: &[Vec<String>], column: &str) -> Vec<String> {
    let at = rows[0].iter().position(|name| name == column).unwrap();
    rows[1..].iter().map(|row| row[at].clone()).collect()
}

fn table() {
    let run = tempfile::tempdir().unwrap();
    play_to(MetricsCsv::new(run.path()), &events());
    let rows = rows(run.path());
    assert!(
        rows.iter().all(|row| row.len() == rows[0].len()),
        "{rows:?}"
    );
    assert_eq!(column(&rows, "step"), ["5", "10", "15", "20"]);
    assert_eq!(column(&rows, "loss"), ["3.0", "8.25", "13.0", "18.0"]);
    assert_eq!(column(&rows, "nonfinite_losses"), ["", "1", "", ""]);
    assert_eq!(column(&rows, "eval_accuracy"), ["", "1.0", "", "1.0"]);
}

fn resumed_table() {
    let (whole, resumed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let events = events();
    play_to(MetricsCsv::new(whole.path()), &events);
    write_metrics(resumed.path(), &events);
    play_to(MetricsCsv::new(resumed.path()), &after_step_10(&events));
    assert_eq!(rows(resumed.path()), rows(whole.path()));
}

fn refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let (mut tensorboard, mut csv) = (TensorBoard::new(&file, vec![]), MetricsCsv::new(&file));
    play_to(&mut tensorboard, &events());
    play_to(&mut csv, &events());
    let failures = [tensorboard.failure(), csv.failure()].map(|f| f.unwrap().to_string());
    assert!(
        failures.iter().all(|text| text.contains("file/")),
        "{failures:?}"
    );
}

/// Both files of theirs are of one folder; the first one is the run's.
fn reference_tags(golden: &Path) -> Result<(), Failed> {
    let golden = read_json(golden);
    let (_, theirs) = golden.as_object().unwrap().iter().next().unwrap();
    let scalars = theirs["scalars"].as_object().unwrap().keys();
    let texts = theirs["tensors"].as_array().unwrap();
    let texts = texts.iter().map(|tag| tag.as_str().unwrap().to_owned());
    let theirs: BTreeSet<String> = scalars.cloned().chain(texts).collect();

    let run = tempfile::tempdir()?;
    let texts = vec![("args", String::new()), ("model_config", String::new())];
    play_to(TensorBoard::new(run.path(), texts), &events());
    let ours = records(&event_files(run.path())[0]).into_iter();
    let ours = ours.filter_map(|record| match record {
        Record::Scalar(tag, ..) | Record::Text(tag, _) => Some(tag),
        Record::Version(_) | Record::SessionStart(_) => None,
    });
    assert_eq!(ours.collect::<BTreeSet<String>>(), theirs);
    Ok(())
}
