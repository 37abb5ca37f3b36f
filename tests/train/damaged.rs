//! Damaged files of a run: whatever is in them, they are taken or refused, in an end and without a
//! panic. `VITCUDA_MUTATIONS` says how many damages of each file are tried.

use std::fs;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use tempfile::TempDir;
use vitcuda::metrics::{Paired, Prediction, Summary};
use vitcuda::report::model_card::ModelCard;
use vitcuda::report::plot::{Over, charts_of_runs, svg_file};
use vitcuda::report::record::{Comparison, Judged, Mistake, RECORD};
use vitcuda::report::verdict::judge;
use vitcuda::report::{MetricsCsv, Record, RunLog, page};
use vitcuda::rng::{Philox, Purpose};
use vitcuda::train::config::{Changes, Interval, Resume};
use vitcuda::train::resume;

use crate::play::Play;
use crate::records::play_to;
use crate::resuming::{bounded, resume as resumed};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("damaged states are taken or refused", states),
        trial("damaged reports and logs are taken or refused", reports),
        trial(
            "a report that contradicts itself is refused",
            contradictions,
        ),
    ]
}

fn mutations() -> u64 {
    let set = std::env::var("VITCUDA_MUTATIONS").ok();
    set.map_or(120, |count| count.parse().unwrap())
}

/// In memory where there is such a place: a run syncs its files many times.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// What numbers are replaced by.
const VALUES: [&str; 26] = [
    "0",
    "1",
    "-1",
    "2",
    "7",
    "1000",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "0.5",
    "-0.0",
    "1e308",
    "-1e308",
    "5e-324",
    "1e999",
    "null",
    "\"\"",
    "[]",
    "{}",
];

/// Words and numbers.
fn tokens(bytes: &[u8]) -> Vec<Range<usize>> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._".contains(byte);
    let mut tokens = Vec::new();
    let mut start = None;
    for (at, byte) in bytes.iter().chain(b" ").enumerate() {
        match (is_part(byte), start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                tokens.push(from..at);
                start = None;
            }
            _ => {}
        }
    }
    tokens
}

fn below(random: &mut Philox, end: usize) -> usize {
    random.next_u32() as usize % end.max(1)
}

/// `bytes` with one to three damages.
fn damaged(bytes: &[u8], random: &mut Philox) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=below(random, 3) {
        let tokens = tokens(&bytes);
        if tokens.is_empty() {
            break;
        }
        let numbers: Vec<_> = tokens
            .iter()
            .filter(|t| bytes[t.start].is_ascii_digit() || bytes[t.start] == b'-')
            .collect();
        match below(random, 10) {
            0 => {
                let at = below(random, bytes.len());
                bytes[at] ^= 1 << below(random, 8);
            }
            1 => bytes.truncate(below(random, bytes.len())),
            2 | 3 => {
                let [a, b] = [0; 2].map(|_| tokens[below(random, tokens.len())].clone());
                let (a, b) = if a.start < b.start { (a, b) } else { (b, a) };
                let [first, second] = [&a, &b].map(|t| bytes[t.clone()].to_vec());
                bytes.splice(b, first);
                bytes.splice(a, second);
            }
            4 => drop(bytes.drain(tokens[below(random, tokens.len())].clone())),
            _ if !numbers.is_empty() => {
                let number = numbers[below(random, numbers.len())].clone();
                let value = VALUES[below(random, VALUES.len())];
                bytes.splice(number, value.bytes());
            }
            _ => {}
        }
    }
    bytes
}

/// Every damage of `file` in `folder`, one at a time, is survived by `look`, which is told where.
fn all_survived(folder: &Path, file: &str, look: impl Fn(&Path)) {
    let sound = fs::read(folder.join(file)).unwrap();
    let seed = file.bytes().map(u64::from).sum();
    let mut random = Philox::new(seed, Purpose::Test, 0);
    for count in 0..mutations() {
        let bytes = damaged(&sound, &mut random);
        let copy = scratch();
        copy_all(folder, copy.path());
        fs::write(copy.path().join(file), &bytes).unwrap();
        let survived = catch_unwind(AssertUnwindSafe(|| look(copy.path())));
        assert!(
            survived.is_ok(),
            "damage {count} of {file}:\n{}",
            String::from_utf8_lossy(&bytes)
        );
    }
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copy = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_all(&path, &copy);
        } else {
            fs::copy(&path, &copy).unwrap();
        }
    }
}

/// A run of 12 steps with checkpoints of steps 4, 8 and 12; the run goes on from step 8.
fn run() -> Play {
    let mut play = Play::new().every(4);
    play.config.logging = Interval::Steps(3);
    play.config.max_steps = Some(12);
    play.config.save_total_limit = Some(2);
    play.config.early_stopping_patience = Some(5);
    play
}

fn states() {
    let base = scratch();
    let mut play = run();
    play.config.output_dir = base.path().join("run");
    play.run(&mut bounded()).unwrap();
    fs::remove_dir_all(play.output().join("checkpoint-12")).unwrap();
    let look = |folder: &Path, changes: Changes| {
        let mut play = run();
        play.config.output_dir = folder.to_owned();
        play.config.load_best_model_at_end = true;
        play.config.resume = resumed(changes);
        let asked: Resume = play.config.resume.clone().unwrap();
        let _ = resume::batch_size(folder, &asked);
        let _ = play.run(&mut bounded());
    };
    for file in [
        "checkpoint-8/trainer_state.json",
        "checkpoint-8/evaluations.json",
        "checkpoint-8/optimizer.safetensors",
        "run.json",
        "metrics.jsonl",
    ] {
        for changes in [Changes::Refuse, Changes::Accept] {
            all_survived(play.output(), file, |folder| look(folder, changes));
        }
    }
}

/// Three images of three classes, one of them mistaken.
fn predictions() -> [Prediction; 3] {
    let of = |logits: [f32; 3], label| Prediction::new(&logits, label);
    [
        of([3.0, 0.5, 0.1], 0),
        of([0.2, 2.0, 0.3], 1),
        of([1.5, 0.1, 0.7], 2),
    ]
}

fn record() -> Record {
    let said = predictions();
    let mut first = said;
    first[0] = Prediction::new(&[0.0, 1.0, 0.0], 0);
    Record {
        notices: vec!["a notice".into()],
        learning_rate: Some(1e-3),
        judged: Some(Judged {
            what: "the model of step 12".into(),
            classes: ["a", "b", "c"].map(String::from).to_vec(),
            summary: Summary::new(&said, 3),
            mistakes: vec![Mistake {
                name: "third".into(),
                label: 2,
                predicted: Some(0),
                confidence: Some(said[2].confidence),
                label_probability: Some(0.2),
                thumbnail: None,
            }],
        }),
        comparison: Paired::new(&first, &said).map(|paired| Comparison {
            best_step: 8,
            last_step: 12,
            paired,
        }),
        ..Record::default()
    }
}

/// All that is shown of a run.
fn show(folder: &Path) {
    let log = RunLog::read(folder).unwrap_or_default();
    let record = Record::read(folder).ok().flatten().unwrap_or_default();
    page("run", &log, &record, &judge(&log, &record));
    let card = ModelCard {
        name: "run".into(),
        model: String::new(),
        base_model: None,
        data: String::new(),
        dataset: None,
        license: None,
        classes: &[],
        arguments: serde_json::Map::new(),
        log: &log,
        summary: record.judged.map(|judged| judged.summary),
        command: String::new(),
    };
    card.text();
    let runs = [("run".to_owned(), log)];
    for over in [Over::Steps, Over::Epochs] {
        svg_file(&charts_of_runs(&runs, over));
    }
}

/// A folder with a run and its record.
fn shown() -> (TempDir, PathBuf, Play) {
    let base = scratch();
    let mut play = run();
    play.config.output_dir = base.path().join("run");
    play.run(&mut bounded()).unwrap();
    record().write(play.output()).unwrap();
    (base, play.output().to_owned(), play)
}

fn reports() {
    let (_base, folder, play) = shown();
    let read = Record::read(&folder).unwrap();
    assert_eq!(read, Some(record()));
    all_survived(&folder, RECORD, show);
    all_survived(&folder, "metrics.jsonl", |folder| {
        show(folder);
        play_to(MetricsCsv::new(folder), &play.events);
    });
    fs::remove_file(folder.join("metrics.jsonl")).unwrap();
    all_survived(&folder, "trainer_state.json", show);
}

/// Each of these ended in a panic, or in no end.
fn contradictions() {
    let (_base, folder, _) = shown();
    let file = folder.join(RECORD);
    let sound: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    for (place, value) in [
        ("/judged/classes", "[]"),
        ("/judged/mistakes/0/label", "3"),
        ("/judged/mistakes/0/predicted", "3"),
        ("/judged/summary/correct", "4"),
        ("/judged/summary/samples", "0"),
        ("/judged/summary/confusion/samples", "[1, 1]"),
        (
            "/judged/summary/confusion/samples/0",
            "18446744073709551615",
        ),
        ("/judged/summary/confusion/cells/0/0", "3"),
        ("/judged/summary/confusion/cells/0/1", "3"),
        ("/judged/summary/confusion/cells/0/2", "9"),
        ("/judged/summary/calibration/bins/14/correct", "9"),
        ("/comparison/paired/only_first", "9223372036854775807"),
        ("/comparison/paired/images", "0"),
    ] {
        let mut record = sound.clone();
        let at = record
            .pointer_mut(place)
            .unwrap_or_else(|| panic!("{place}"));
        *at = serde_json::from_str(value).unwrap();
        fs::write(&file, record.to_string()).unwrap();
        let error = Record::read(&folder).unwrap_err();
        assert_eq!(error.exit_code(), 3, "{place}");
        assert!(error.to_string().contains("contradicts itself"), "{error}");
        show(&folder);
    }
}
