//! Event files for TensorBoard, under the tags of Hugging Face's `TensorBoardCallback`.
//!
//! `OUT/runs/<Mon dd_HH-MM-SS_host>/events.out.tfevents.…`, the time being UTC. A resumed run adds
//! a file to its folder; TensorBoard then drops the points that the first session made after the
//! checkpoint.

mod event_file;
mod proto;
mod record;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::event::{Event, Reporter};
use super::format::file_time;
use crate::error::{Error, Result};
use event_file::EventFile;

/// Writes the scalars of a run for TensorBoard. The first failure ends the writing and is kept for
/// [`TensorBoard::failure`]; the run goes on.
pub struct TensorBoard {
    output_dir: PathBuf,
    /// Name and text, shown on TensorBoard's page of texts.
    texts: Vec<(&'static str, String)>,
    file: Option<EventFile>,
    session: Session,
    step: u64,
    failure: Option<Error>,
}

/// Whether points of an earlier session of the run may have to be dropped.
#[derive(PartialEq)]
enum Session {
    First,
    /// Resumed; the next scalar's step is where the points of the earlier session end.
    Resumed,
}

impl TensorBoard {
    /// A writer below `output_dir`, which need not exist before the run starts, with `texts` to
    /// show beside the curves.
    pub fn new(output_dir: &Path, texts: Vec<(&'static str, String)>) -> Self {
        Self {
            output_dir: output_dir.to_owned(),
            texts,
            file: None,
            session: Session::First,
            step: 0,
            failure: None,
        }
    }

    /// Why there is no event file, or only a part of one.
    pub fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    fn open(&mut self) -> Result<()> {
        let runs = self.output_dir.join("runs");
        let metrics = fs::metadata(self.output_dir.join("metrics.jsonl"));
        let earlier = if metrics.is_ok_and(|file| file.len() > 0) {
            latest_folder(&runs)
        } else {
            None
        };
        if earlier.is_some() {
            self.session = Session::Resumed;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or(Duration::ZERO).as_secs();
        let host = host_name();
        let new_folder = || runs.join(format!("{}_{host}", file_time(now)));
        let folder = earlier.unwrap_or_else(new_folder);
        fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, "create the folder", e))?;
        let name = format!("events.out.tfevents.{now}.{host}.{}", std::process::id());
        let mut file = EventFile::create(&folder, &name)?;
        if self.session == Session::First {
            for (name, text) in &self.texts {
                file.text(name, text);
            }
        }
        file.flush()?;
        self.file = Some(file);
        Ok(())
    }

    fn write(&mut self, event: &Event) -> Result<()> {
        let (step, scalars) = match event {
            Event::RunStarted { .. } => return self.open(),
            Event::Logged(logged) => (logged.step, scalars_of(logged, &LOGGED)),
            Event::Evaluated(evaluated) => (evaluated.step, scalars_of(evaluated, &EVALUATED)),
            Event::Finished(finished) => (self.step, scalars_of(&finished.train, &FINISHED)),
            _ => return Ok(()),
        };
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        self.step = step;
        if self.session == Session::Resumed {
            file.session_start(step);
            self.session = Session::First;
        }
        for (tag, value) in scalars {
            file.scalar(tag, value, step);
        }
        file.flush()
    }
}

/// Keys of a row and the tags that the reference gives them.
type Tags = [(&'static str, &'static str)];

const LOGGED: [(&str, &str); 4] = [
    ("loss", "train/loss"),
    ("grad_norm", "train/grad_norm"),
    ("learning_rate", "train/learning_rate"),
    ("epoch", "train/epoch"),
];

/// The reference takes the epoch for a training scalar here too.
const EVALUATED: [(&str, &str); 6] = [
    ("eval_loss", "eval/loss"),
    ("eval_accuracy", "eval/accuracy"),
    ("eval_runtime", "eval/runtime"),
    ("eval_samples_per_second", "eval/samples_per_second"),
    ("eval_steps_per_second", "eval/steps_per_second"),
    ("epoch", "train/epoch"),
];

const FINISHED: [(&str, &str); 6] = [
    ("train_runtime", "train/train_runtime"),
    ("train_samples_per_second", "train/train_samples_per_second"),
    ("train_steps_per_second", "train/train_steps_per_second"),
    ("total_flos", "train/total_flos"),
    ("train_loss", "train/train_loss"),
    ("epoch", "train/epoch"),
];

/// The values of `row` that `tags` knows; a null, which stands for a value that is not finite, as
/// NaN.
fn scalars_of(row: &impl serde::Serialize, tags: &'static Tags) -> Vec<(&'static str, f32)> {
    let row = match serde_json::to_value(row) {
        Ok(Value::Object(row)) => row,
        _ => Map::new(),
    };
    let value = |key: &str| Some(row.get(key)?.as_f64().unwrap_or(f64::NAN) as f32);
    let scalar = |&(key, tag): &(&str, &'static str)| Some((tag, value(key)?));
    tags.iter().filter_map(scalar).collect()
}

/// The folder below `runs` with the youngest event file.
fn latest_folder(runs: &Path) -> Option<PathBuf> {
    let folders = fs::read_dir(runs).ok()?.flatten().map(|entry| entry.path());
    let youngest = |folder: PathBuf| Some((youngest_event_file(&folder)?, folder));
    folders.filter_map(youngest).max().map(|(_, folder)| folder)
}

/// Seconds since 1970 in the name of the youngest event file of `folder`.
fn youngest_event_file(folder: &Path) -> Option<u64> {
    let names = fs::read_dir(folder).ok()?.flatten().map(|e| e.file_name());
    let seconds = names.filter_map(|name| {
        let name = name.into_string().ok()?;
        let rest = name.strip_prefix("events.out.tfevents.")?;
        rest.split('.').next()?.parse().ok()
    });
    seconds.max()
}

/// The machine's name, as far as it fits a file name.
pub fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .or_else(|| std::env::var("COMPUTERNAME").ok())
        .unwrap_or_default();
    let fits = |c: &char| c.is_ascii_alphanumeric() || "-_".contains(*c);
    let name: String = name.trim().chars().filter(fits).collect();
    if name.is_empty() {
        "localhost".into()
    } else {
        name
    }
}

impl Reporter for TensorBoard {
    fn event(&mut self, event: &Event) {
        if self.failure.is_none() {
            self.failure = self.write(event).err();
        }
    }
}
