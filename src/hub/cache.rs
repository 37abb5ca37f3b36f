//! The cache of one repository, laid out as Python's `huggingface_hub` has it, so that either finds
//! what the other loaded:
//!
//! ```text
//! datasets--OWNER--NAME/refs/main                     the commit that `main` stood for
//! datasets--OWNER--NAME/blobs/ETAG                    a file's bytes; ETAG.incomplete while they come
//! datasets--OWNER--NAME/snapshots/COMMIT/PATH         a link to its blob
//! .locks/datasets--OWNER--NAME/ETAG.lock              held by whoever loads it
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::id::is_safe;
use super::repository::{Listing, ListingSource, Repository, is_commit};
use crate::error::{Error, Result};
use crate::files::{temporary_beside, write_atomically};

/// The cached files of one repository.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    locks: PathBuf,
}

impl Cache {
    /// The part of the cache at `root` that is `repository`'s; nothing is created.
    pub fn new(root: &Path, repository: &Repository) -> Self {
        let name = repository.name.replace('/', "--");
        let name = format!("{}--{name}", repository.plural());
        Self {
            locks: root.join(".locks").join(&name),
            folder: root.join(name),
        }
    }

    pub fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// Where a blob's bytes are while they come.
    pub fn incomplete(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(format!("{etag}.incomplete"))
    }

    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// Waits until nobody else loads this blob; the lock lasts as long as the file.
    pub fn lock(&self, etag: &str) -> Result<File> {
        let path = self.locks.join(format!("{etag}.lock"));
        create_parent(&path)?;
        let file = File::create(&path).map_err(|e| unwritable(&path, e))?;
        match file.lock() {
            // Some network file systems have no locks; two who load at once then load twice.
            Err(e) if e.kind() != io::ErrorKind::Unsupported => Err(unwritable(&path, e)),
            _ => Ok(file),
        }
    }

    /// A folder in which `path` is another name of what comes of the blob, which is there already.
    pub fn landing(&self, path: &str, etag: &str) -> Result<Landing> {
        let landing = Landing(self.folder.join("landing").join(etag));
        let incomplete = self.incomplete(etag);
        let other = landing.0.join(path);
        let _ = fs::remove_dir_all(&landing.0); // what somebody left who was killed
        create_parent(&other)?;
        let relative = format!("{}blobs/{etag}.incomplete", up_from(path));
        link_to(&relative, &incomplete, &other).map_err(|e| unwritable(&other, e))?;
        Ok(landing)
    }

    /// Shows the blob as file `path` of `commit`.
    pub fn link(&self, commit: &str, path: &str, etag: &str) -> Result<()> {
        let pointer = self.snapshot(commit).join(path);
        create_parent(&pointer)?;
        let up = up_from(path);
        // Under another name first: somebody else may link the same file at the same time.
        let temporary = temporary_beside(&pointer);
        link_to(&format!("{up}blobs/{etag}"), &self.blob(etag), &temporary)
            .and_then(|()| fs::rename(&temporary, &pointer))
            .map_err(|e| unwritable(&pointer, e))
    }

    /// Notes that `revision` stands for `commit`.
    pub fn set_reference(&self, revision: &str, commit: &str) -> Result<()> {
        let path = self.folder.join("refs").join(revision);
        if is_commit(revision) || self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        create_parent(&path)?;
        write_atomically(&path, commit.as_bytes())
    }

    /// The commit that `revision` stood for when it was loaded.
    fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let text = fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        let commit = text.trim();
        is_commit(commit).then(|| commit.to_owned())
    }

    /// The files of `revision` that are here; `None` if there are none.
    pub fn listing(&self, revision: &str) -> Option<Listing> {
        let commit = self.commit(revision)?;
        let mut files = Vec::new();
        walk(&self.snapshot(&commit), "", &mut files);
        files.sort();
        (!files.is_empty()).then_some(Listing {
            commit,
            files,
            source: ListingSource::Cache,
        })
    }
}

/// The folder of [`Cache::landing`]; it lasts as long as this.
pub(super) struct Landing(PathBuf);

impl Landing {
    pub fn folder(&self) -> &Path {
        &self.0
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
        let _ = self.0.parent().map(fs::remove_dir); // unless others land, too
    }
}

/// The way up from `path` in a folder of a folder of the repository's.
fn up_from(path: &str) -> String {
    "../".repeat(path.split('/').count() + 1)
}

/// Adds the files below `folder`; links that lead nowhere are no files.
fn walk(folder: &Path, below: &str, files: &mut Vec<String>) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let path = match below {
            "" => name,
            _ => format!("{below}/{name}"),
        };
        match fs::metadata(entry.path()) {
            Ok(kind) if kind.is_dir() => walk(&entry.path(), &path, files),
            Ok(_) if is_safe(&path) => files.push(path),
            _ => {}
        }
    }
}

/// A link to `relative`, so that the cache can be moved.
#[cfg(unix)]
fn link_to(relative: &str, _blob: &Path, pointer: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(relative, pointer)
}

/// Symbolic links need a privilege here; a second name does not.
#[cfg(not(unix))]
fn link_to(_relative: &str, blob: &Path, pointer: &Path) -> io::Result<()> {
    fs::hard_link(blob, pointer)
}

/// Creates the folder that `path` lies in.
pub(super) fn create_parent(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(|e| unwritable(parent, e))
}

/// The error that the cache cannot be written.
pub(super) fn unwritable(path: &Path, error: io::Error) -> Error {
    let (problem, help) = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (
            format!("the disk is full: {error}"),
            "free some space, or set HF_HOME to a folder on another disk; what was loaded is kept",
        ),
        _ => (
            format!("the cache cannot be written: {error}"),
            "set HF_HOME to a folder that you may write to",
        ),
    };
    Error::hub(format!("{}: {problem}", path.display()), help)
}
