//! Who may write into an output folder: one process at a time.
//!
//! The operating system holds the lock and lets go of it when the process ends, however it ends; the
//! file alone locks nothing and says only who was there.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::report::host_name;

/// Name of the file in the output folder, while somebody writes there.
pub(super) const LOCK_FILE: &str = ".lock";

/// The right to write into a folder. It ends with this value, or with the process.
#[derive(Debug)]
pub struct RunLock {
    folder: PathBuf,
    file: File,
    /// Whether the folder was not there before.
    made: bool,
}

impl RunLock {
    /// Takes the folder, which is created where it is missing; one that is left empty goes again in
    /// the end.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the process that has it.
    pub fn take(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        let made = make(&folder)?;
        Self::lock(folder, made)
    }

    /// Takes the first of `folders` that does not exist: of several processes at once each gets
    /// another one.
    ///
    /// # Panics
    /// If `folders` has an end and all of them exist.
    pub fn take_new(folders: impl IntoIterator<Item = PathBuf>) -> Result<Self> {
        for folder in folders {
            if make(&folder)? {
                return Self::lock(folder, true);
            }
        }
        panic!("some number is free");
    }

    /// The folder that is locked.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn lock(folder: PathBuf, made: bool) -> Result<Self> {
        let path = folder.join(LOCK_FILE);
        loop {
            let mut options = OpenOptions::new();
            let options = options.read(true).write(true).create(true).truncate(false);
            let mut file = match options.open(&path) {
                // Its last owner has just taken the empty folder away.
                Err(e) if e.kind() == io::ErrorKind::NotFound && make(&folder)? => continue,
                opened => opened.map_err(|e| Error::io(&path, "create it", e))?,
            };
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => return Err(in_use(&folder, &mut file)),
                // A file system without locks is no reason to train nothing.
                Ok(()) | Err(TryLockError::Error(_)) => {}
            }
            // Whoever had it before may have deleted it between the two calls.
            if is_at(&file, &path) {
                let _ = sign(&mut file); // for people: the lock holds without
                return Ok(Self { folder, file, made });
            }
        }
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        let path = self.folder.join(LOCK_FILE);
        // The folder may have gone meanwhile, and come back as somebody else's.
        if is_at(&self.file, &path) {
            let _ = fs::remove_file(&path);
        }
        if self.made {
            let _ = fs::remove_dir(&self.folder); // unless there is something in it
        }
    }
}

/// Creates a folder and those above it; whether it was not there.
fn make(folder: &Path) -> Result<bool> {
    let parent = folder.parent().filter(|p| !p.as_os_str().is_empty());
    let made = parent
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::create_dir(folder));
    match made {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(false),
        // `..` and the like, which the parent's creation has made.
        Err(_) if folder.is_dir() => Ok(false),
        Err(e) => Err(Error::io(folder, "create the folder", e)),
    }
}

fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    writeln!(file, "{} on {}", std::process::id(), host_name())
}

fn in_use(folder: &Path, file: &mut File) -> Error {
    let mut holder = String::new();
    let _ = file.read_to_string(&mut holder);
    let who = match holder.trim() {
        "" => "another process".to_owned(), // it has not signed yet
        holder => format!("process {holder}"),
    };
    Error::usage(
        format!("{who} is writing to the output folder {}", folder.display()),
        "wait until it has ended, or choose another `--output-dir`",
    )
}

/// Whether the open `file` is the one at `path`.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let [open, there] = [file.metadata(), fs::metadata(path)].map(|m| m.ok().map(identity));
    open.is_some() && open == there
}

#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_at_a_time_and_keeps_no_trace() {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("runs/one");
        let lock = RunLock::take(&folder).unwrap();
        let error = RunLock::take(&folder).unwrap_err();
        let process = format!("process {} on ", std::process::id());
        assert!(error.to_string().starts_with(&process), "{error}");
        assert_eq!(error.exit_code(), 2);
        drop(lock);
        assert!(!folder.exists());

        fs::create_dir(&folder).unwrap();
        // As a killed process leaves it.
        fs::write(folder.join(LOCK_FILE), "4711 on earth\n").unwrap();
        drop(RunLock::take(&folder).unwrap());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }

    #[test]
    fn of_numbered_folders_each_is_taken_once() {
        let above = tempfile::tempdir().unwrap();
        let names = || (1..).map(|n| above.path().join(n.to_string()));
        let locks: Vec<RunLock> = std::thread::scope(|scope| {
            let take = || RunLock::take_new(names()).unwrap();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let mut folders: Vec<_> = locks.iter().map(|lock| lock.folder().to_owned()).collect();
        folders.sort();
        folders.dedup();
        assert_eq!(folders.len(), 8);
    }
}
