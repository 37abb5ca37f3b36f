//! Names of the Hugging Face hub where DATA or a model is named, and how downloads look.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Global, output};
use vitcuda::data::shards::{Shards, of_configuration};
use vitcuda::data::{Columns, Source};
use vitcuda::hub::{Direction, Hub, Id, Listener, ModelPart, Settings, Transfer};
use vitcuda::{Error, Result};

/// The hub that the environment names.
pub fn hub() -> Result<Hub> {
    Settings::from_environment().and_then(Hub::new)
}

/// The repository that `path` names, where nothing is at that path. What starts with a folder that
/// is here is a path, perhaps misspelled, unless it names a revision: nobody on the network is asked
/// for `photos/trian`.
pub fn id(path: &Path) -> Option<Id> {
    let id = path.to_str().and_then(Id::parse)?;
    let starts_here = path.parent().is_some_and(Path::is_dir);
    let is_meant = !path.exists() && (id.revision.is_some() || !starts_here);
    is_meant.then_some(id)
}

/// The folder with the files of a model of the hub, loaded where they are not in the cache.
pub fn model(id: &Id, part: ModelPart, global: &Global) -> Result<PathBuf> {
    hub()?.model(id, part, &mut Transfers::new(global))
}

/// A data set of the hub, or its part `configuration`, loaded where it is not in the cache.
pub fn dataset(
    id: &Id,
    configuration: Option<&str>,
    columns: &Columns,
    global: &Global,
) -> Result<Source> {
    let choose = |files: Vec<String>| {
        of_configuration(files, configuration).map_err(|names| {
            let problem = match configuration {
                Some(wanted) => format!("it has no data set `{wanted}` (--dataset-config)"),
                None => format!("it holds {} data sets", names.len()),
            };
            let help = format!("choose one with --dataset-config: {}", names.join(", "));
            Error::data(id.to_string(), problem, help)
        })
    };
    let found = hub()?.dataset(id, choose, &mut Transfers::new(global))?;
    let files = found.files.iter().map(|file| found.folder.join(file));
    let shards = Shards::of_files(id.to_string(), &found.folder, files, columns);
    Ok(Source::Parquet(shards))
}

/// Names that data sets of the hub had before each got an owner, and what they are called now.
const LEGACY: [(&str, &str); 8] = [
    ("beans", "AI-Lab-Makerere/beans"),
    ("cats_vs_dogs", "microsoft/cats_vs_dogs"),
    ("cifar10", "uoft-cs/cifar10"),
    ("cifar100", "uoft-cs/cifar100"),
    ("fashion_mnist", "zalando-datasets/fashion_mnist"),
    ("food101", "ethz/food101"),
    ("imagenet-1k", "ILSVRC/imagenet-1k"),
    ("mnist", "ylecun/mnist"),
];

/// Refuses a data set's name without its owner. A single word is a folder, so that a misspelled one
/// is not asked for on the network.
pub fn refuse_legacy_name(path: &Path) -> Result<()> {
    let known = LEGACY.iter().find(|(old, _)| path == Path::new(old));
    match known {
        Some((_, name)) if !path.exists() => Err(Error::data(
            path,
            "there is no such file or folder",
            format!("did you mean the data set {name} of the Hugging Face hub?"),
        )),
        _ => Ok(()),
    }
}

/// `512.3`
fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

/// Time between two lines of progress where there is no terminal to redraw.
const PLAIN_PROGRESS: Duration = Duration::from_secs(30);

/// Shows on stderr what moves: a bar on a terminal, lines elsewhere.
pub struct Transfers<'a> {
    global: &'a Global,
    bar: ProgressBar,
    total: u64,
    last: Instant,
}

impl<'a> Transfers<'a> {
    pub fn new(global: &'a Global) -> Self {
        Self {
            global,
            bar: ProgressBar::hidden(),
            total: 0,
            last: Instant::now(),
        }
    }

    /// A line above the bar, unless there is to be quiet.
    fn line(&self, text: &str) {
        if !self.global.quiet {
            self.bar.suspend(|| output::notice(text));
        }
    }

    fn started(&mut self, line: &str, bytes: u64, present: u64) {
        self.line(line);
        self.total = bytes;
        if !self.global.quiet {
            self.bar = ProgressBar::new(bytes);
        }
        let template =
            "{wide_bar} {binary_bytes}/{binary_total_bytes} · {binary_bytes_per_sec} · {eta} left";
        let style = ProgressStyle::with_template(template).expect("a valid template");
        self.bar.set_style(style);
        self.bar.set_position(present);
        self.bar.reset_eta(); // what was there is no measure of the rate
        self.last = Instant::now();
    }

    fn at(&mut self, bytes: u64) {
        self.bar.set_position(bytes);
        if self.bar.is_hidden() && self.last.elapsed() >= PLAIN_PROGRESS {
            let rate = self.bar.per_sec() as u64;
            let (done, total) = (mebibytes(bytes), mebibytes(self.total));
            self.line(&format!(
                "{done} of {total} MiB · {} MiB/s",
                mebibytes(rate)
            ));
            self.last = Instant::now();
        }
    }
}

impl Listener for Transfers<'_> {
    fn transfer(&mut self, transfer: Transfer) {
        match transfer {
            Transfer::Notice(text) => self.bar.suspend(|| self.global.notice(text)),
            Transfer::Started {
                direction,
                repository,
                files,
                bytes,
                present,
            } => {
                let what = match direction {
                    Direction::Down => "loading",
                    Direction::Up => "pushing",
                };
                let many = if files == 1 { "file" } else { "files" };
                let mut line = format!(
                    "{what} {repository}: {files} {many}, {} MiB",
                    mebibytes(bytes)
                );
                if present > 0 {
                    line += &format!(", of which {} are here", mebibytes(present));
                }
                self.started(&line, bytes, present);
            }
            Transfer::At(bytes) => self.at(bytes),
            Transfer::Finished => self.bar.finish_and_clear(),
        }
    }
}

impl Drop for Transfers<'_> {
    /// An error leaves no half bar.
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
