//! The output folder of a run: its checkpoints, `best/` and `last/`, and who may write there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::run_owner::{OWNER_FILE, Owner, Stage};
use crate::error::{Error, Result};
use crate::files;

/// What may happen to another run in the same folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    Keep,
    Overwrite,
}

/// Files that only a run leaves, the checkpoints aside.
const RUN_FILES: [&str; 10] = [
    OWNER_FILE,
    "trainer_state.json",
    "metrics.jsonl",
    "metrics.csv",
    "report.json",
    "report.html",
    "all_results.json",
    "train_results.json",
    "eval_results.json",
    "model.safetensors",
];

/// Model files of a checkpoint, which `best/` and `last/` share with it.
const MODEL_FILES: [&str; 3] = [
    "config.json",
    "preprocessor_config.json",
    "model.safetensors",
];

/// A folder that belongs to one run.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// The folder at `path`, as it is.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Takes the folder for the run of these `settings`, if no other run is in it; it is created
    /// where it is missing. Files that no run writes do not matter and stay.
    ///
    /// With [`Existing::Overwrite`] the other run's checkpoints, `best/`, `last/` and records are
    /// deleted, so that none of them can be taken for one of this run; its final model stays until it is
    /// replaced.
    ///
    /// # Errors
    /// [`Error::Usage`] naming what shows that another run is there.
    pub fn claim(&self, existing: Existing, settings: &Map<String, Value>) -> Result<()> {
        let path = &self.path;
        fs::create_dir_all(path).map_err(|e| Error::io(path, "create the folder", e))?;
        let owner = |stage| Owner {
            stage,
            settings: settings.clone(),
        };
        match (self.trace()?, existing) {
            (None, _) => {}
            (Some(found), Existing::Keep) => return Err(self.refuse(&found)),
            (Some(_), Existing::Overwrite) => {
                // First: whatever a kill leaves of the other run is not gone on with.
                owner(Stage::Clearing).write(path)?;
                self.clear()?;
            }
        }
        self.clear_partial()?;
        owner(Stage::Begun).write(path)
    }

    /// Something that only a run leaves, if there is such a thing.
    fn trace(&self) -> Result<Option<PathBuf>> {
        let newest = self.checkpoints()?.last().map(|&s| self.checkpoint(s));
        let mut files = RUN_FILES.iter().map(|name| self.path.join(name));
        Ok(newest.or_else(|| files.find(|file| file.exists())))
    }

    fn refuse(&self, found: &Path) -> Error {
        let path = &self.path;
        Error::usage(
            format!(
                "the output folder {} holds another run ({})",
                path.display(),
                found.strip_prefix(path).unwrap_or(found).display()
            ),
            "choose another `--output-dir`, go on with that run with `--resume`, or add \
             `--overwrite-output-dir`",
        )
    }

    fn clear(&self) -> Result<()> {
        for step in self.checkpoints()? {
            self.remove_checkpoint(step)?;
        }
        let links = [self.best(), self.last()];
        let model = links
            .iter()
            .flat_map(|link| MODEL_FILES.iter().map(|name| link.join(name)));
        let stays = [OWNER_FILE, MODEL_FILES[2]];
        let records = RUN_FILES.iter().filter(|name| !stays.contains(name));
        for file in model.chain(records.map(|name| self.path.join(name))) {
            match fs::remove_file(&file) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io(&file, "delete it", e));
                }
                _ => {}
            }
        }
        for link in &links {
            files::remove_temporaries(link)?;
            let _ = fs::remove_dir(link); // unless something of somebody else's is in it
        }
        Ok(())
    }

    /// Deletes what a kill left half done.
    pub fn clear_partial(&self) -> Result<()> {
        for step in self.numbered(".checkpoint-", ".partial")? {
            remove_folder(&self.hidden(step))?;
        }
        for step in self.numbered(".checkpoint-", ".replaced")? {
            remove_folder(&self.replaced(step))?;
        }
        let folders = [self.path.clone(), self.best(), self.last()];
        folders
            .iter()
            .try_for_each(|f| files::remove_temporaries(f))
    }

    /// Gives checkpoints their names back that a kill caught while a new one of the same step was to take
    /// their place.
    pub fn recover(&self) -> Result<()> {
        if !self.path.is_dir() {
            return Ok(());
        }
        for step in self.numbered(".checkpoint-", ".replaced")? {
            let checkpoint = self.checkpoint(step);
            if !checkpoint.exists() {
                fs::rename(self.replaced(step), &checkpoint)
                    .map_err(|e| Error::io(&checkpoint, "create it", e))?;
            }
        }
        Ok(())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the checkpoint of `step` is, or would be.
    pub fn checkpoint(&self, step: u64) -> PathBuf {
        self.path.join(format!("checkpoint-{step}"))
    }

    /// Where a checkpoint is while it is being written or deleted.
    fn hidden(&self, step: u64) -> PathBuf {
        self.path.join(format!(".checkpoint-{step}.partial"))
    }

    /// Where the old checkpoint of `step` is while a new one takes its name.
    fn replaced(&self, step: u64) -> PathBuf {
        self.path.join(format!(".checkpoint-{step}.replaced"))
    }

    /// Where the best model is, or would be.
    pub fn best(&self) -> PathBuf {
        self.path.join("best")
    }

    /// Where the newest model is, or would be.
    pub fn last(&self) -> PathBuf {
        self.path.join("last")
    }

    /// Steps of the finished checkpoints, ascending.
    pub fn checkpoints(&self) -> Result<Vec<u64>> {
        self.numbered("checkpoint-", "")
    }

    /// The numbers of the folders in this one whose name is a number between `start` and `end`.
    fn numbered(&self, start: &str, end: &str) -> Result<Vec<u64>> {
        let listing = |e| Error::io(&self.path, "list the folder", e);
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(listing)? {
            let entry = entry.map_err(listing)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let inner = name.strip_prefix(start).and_then(|n| n.strip_suffix(end));
            // `checkpoint-007` and `checkpoint-+7` are numbers too, but not of our writing.
            let number = inner
                .and_then(|n| n.parse().ok())
                .filter(|n| format!("{start}{n}{end}") == name);
            if let Some(number) = number.filter(|_| entry.path().is_dir()) {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Writes the checkpoint of `step`: `write` fills a hidden folder, which then takes the
    /// checkpoint's name, so that a checkpoint is there whole or not at all. An older one of this step
    /// is there until then.
    pub fn save_checkpoint(
        &self,
        step: u64,
        write: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let (hidden, replaced) = (self.hidden(step), self.replaced(step));
        remove_folder(&hidden)?;
        remove_folder(&replaced)?;
        fs::create_dir(&hidden).map_err(|e| Error::io(&hidden, "create the folder", e))?;
        let checkpoint = self.checkpoint(step);
        let named = || {
            move_away(&checkpoint, &replaced)
                .and_then(|()| fs::rename(&hidden, &checkpoint))
                .and_then(|()| files::sync_name(&checkpoint))
                .map_err(|e| Error::io(&checkpoint, "create it", e))
        };
        let written = write(&hidden).and_then(|()| named());
        if written.is_err() {
            // Best effort: the error worth telling is the first one.
            let _ = self.recover();
            let _ = fs::remove_dir_all(&hidden);
        }
        written?;
        remove_folder(&replaced)?;
        Ok(checkpoint)
    }

    /// Makes `best/` hold the model of the folder `from`.
    pub fn set_best(&self, from: &Path) -> Result<()> {
        link_model(from, &self.make_best()?)
    }

    /// Makes `last/` hold the model of the folder `from`.
    pub fn set_last(&self, from: &Path) -> Result<()> {
        let last = self.last();
        make_folder(&last)?;
        link_model(from, &last)
    }

    /// `best/`, created where it is missing.
    pub fn make_best(&self) -> Result<PathBuf> {
        let best = self.best();
        make_folder(&best)?;
        Ok(best)
    }

    /// Deletes the oldest checkpoints until `limit` are left; the newest and the one of step `best`
    /// are never deleted, so that two may be left where `limit` is 1 (transformers ≥ 4.46).
    pub fn rotate(&self, limit: usize, best: Option<u64>) -> Result<()> {
        let steps = self.checkpoints()?;
        let Some(&newest) = steps.last() else {
            return Ok(());
        };
        let is_protected = |step: &u64| *step == newest || Some(*step) == best;
        let kept = limit.max(steps.iter().filter(|s| is_protected(s)).count());
        let surplus = steps.len().saturating_sub(kept);
        let old = steps.iter().filter(|s| !is_protected(s)).take(surplus);
        old.copied()
            .try_for_each(|step| self.remove_checkpoint(step))
    }

    /// Deletes the checkpoint of `step`.
    pub fn remove_checkpoint(&self, step: u64) -> Result<()> {
        // Hidden first: what a kill leaves of it is no checkpoint any more.
        let (checkpoint, hidden) = (self.checkpoint(step), self.hidden(step));
        remove_folder(&hidden)?;
        fs::rename(&checkpoint, &hidden).map_err(|e| Error::io(&checkpoint, "delete it", e))?;
        remove_folder(&hidden)
    }
}

/// Makes the folder `to` hold the model files of `from`, as further names of the same files where
/// the file system knows such (no space, no time, and they outlive the checkpoint), as copies where
/// not. Each name changes in one go.
fn link_model(from: &Path, to: &Path) -> Result<()> {
    for name in MODEL_FILES {
        let (from, to) = (from.join(name), to.join(name));
        let hidden = files::temporary_beside(&to);
        if !from.exists() {
            continue;
        }
        fs::hard_link(&from, &hidden)
            .or_else(|_| fs::copy(&from, &hidden).map(|_| ()))
            .and_then(|()| fs::rename(&hidden, &to))
            .and_then(|()| files::sync_name(&to))
            .map_err(|e| Error::io(&to, "write it", e))?;
        // Where both were names of one file already, the renaming did nothing (POSIX).
        let _ = fs::remove_file(&hidden);
    }
    Ok(())
}

fn make_folder(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::io(path, "create the folder", e))
        }
        _ => Ok(()),
    }
}

/// Renames a folder that may not be there.
fn move_away(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Deletes a folder that may not be there.
fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(path, "delete it", e)),
        _ => Ok(()),
    }
}
