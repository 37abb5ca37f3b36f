//! Writing files so that a kill at any moment leaves either the old one or the new one, and
//! recognising files that are not what their name says.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::memory;

/// Opens a regular file to read it. Anything else is refused before it is opened: to open a pipe
/// waits for its writer, and to read a device may never end.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_file() {
        File::open(path)
    } else {
        Err(io::Error::other(format!(
            "it is {}, not a regular file",
            kind_name(kind)
        )))
    }
}

/// All bytes of a regular file; memory that the system refuses is an [`io::ErrorKind::OutOfMemory`].
pub fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = open_regular(path)?;
    let mut bytes = memory::with_capacity(file.metadata()?.len())?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a regular file.
pub fn read_text(path: &Path) -> io::Result<String> {
    let text = String::from_utf8(read_regular(path)?);
    text.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.utf8_error()))
}

#[cfg(unix)]
fn kind_name(kind: fs::FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match kind {
        _ if kind.is_dir() => "a folder",
        _ if kind.is_fifo() => "a pipe (FIFO)",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    }
}

#[cfg(not(unix))]
fn kind_name(kind: fs::FileType) -> &'static str {
    if kind.is_dir() {
        "a folder"
    } else {
        "something else"
    }
}

/// Writes `bytes` to `path` through [`write_atomically_with`].
pub fn write_atomically(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    write_atomically_with(path, |file| file.write_all(bytes))
}

/// Writes `path` beside itself, syncs, renames, and syncs the folder, which must exist.
///
/// The new file has mode 0644, less the process's umask, whatever an old file had.
pub fn write_atomically_with(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let path = path.as_ref();
    let temporary = temporary_beside(path);
    let written = write_synced(&temporary, write)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| sync_name(path));
    if written.is_err() {
        // Best effort: the error worth telling is the first one.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(|e| Error::io(path, "write it", e))
}

/// Spaces a level of nesting is indented by, in the JSON files that Hugging Face's tools write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indent {
    /// `config.json`, `preprocessor_config.json`, `trainer_state.json`.
    Two,
    /// `all_results.json` and its parts.
    Four,
}

/// Writes `value` as indented JSON with a final newline, atomically. Keys stay in `value`'s order.
pub fn write_json(path: impl AsRef<Path>, value: &impl Serialize, indent: Indent) -> Result<()> {
    let spaces: &[u8] = match indent {
        Indent::Two => b"  ",
        Indent::Four => b"    ",
    };
    write_atomically_with(path, |file| {
        let formatter = serde_json::ser::PrettyFormatter::with_indent(spaces);
        value.serialize(&mut serde_json::Serializer::with_formatter(
            &mut *file, formatter,
        ))?;
        file.write_all(b"\n")
    })
}

/// What `start`, the first bytes of a file, shows it to be, among the things that are found in
/// place of model files: `"an HTML page"`, `"a git-lfs pointer"`…
pub fn recognise(start: &[u8]) -> Option<&'static str> {
    let text = start.trim_ascii_start();
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let page = |tag: &[u8]| text.len() >= tag.len() && text[..tag.len()].eq_ignore_ascii_case(tag);
    let known = [
        (start.is_empty(), "an empty file"),
        (text.starts_with(b"version https://git-lfs"), GIT_LFS),
        (page(b"<!doctype html") || page(b"<html"), "an HTML page"),
        (page(b"<?xml"), "an XML document"),
        (text.starts_with(b"{"), "a JSON document"),
        (
            start.starts_with(b"PK\x03\x04"),
            "a zip archive, as of torch.save",
        ),
        (
            matches!(start, [0x80, 2..=5, third, ..] if *third != 0),
            "a Python pickle, as of torch.save",
        ),
        (start.starts_with(b"\x1f\x8b"), "a gzip archive"),
        (start.starts_with(b"\x89HDF"), "an HDF5 file"),
        (start.starts_with(b"GGUF"), "a GGUF file"),
    ];
    known.iter().find(|(is, _)| *is).map(|(_, what)| *what)
}

/// What [`recognise`] calls the text file that stands for a large one in a git repository.
pub const GIT_LFS: &str = "a git-lfs pointer";

/// A name no other writer uses, in the same folder (a rename does not cross file systems) and
/// hidden, so that nobody takes a half-written file for a finished one.
pub fn temporary_beside(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(
        ".{}-{}.tmp",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    ));
    path.with_file_name(name)
}

/// Deletes what writers that were killed have left in `folder`, which need not exist.
pub fn remove_temporaries(folder: &Path) -> Result<()> {
    let listing = |e| Error::io(folder, "list the folder", e);
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(listing)?,
    };
    for entry in entries {
        let entry = entry.map_err(listing)?;
        if is_temporary(&entry.file_name().to_string_lossy()) {
            let file = entry.path();
            fs::remove_file(&file).map_err(|e| Error::io(&file, "delete it", e))?;
        }
    }
    Ok(())
}

/// Whether [`temporary_beside`] gives such names: `.NAME.PROCESS-COUNT.tmp`.
fn is_temporary(name: &str) -> bool {
    let numbers = || {
        let (_, numbers) = name
            .strip_prefix('.')?
            .strip_suffix(".tmp")?
            .rsplit_once('.')?;
        numbers.split_once('-')
    };
    let is_number = |text: &str| text.parse::<u64>().is_ok();
    numbers().is_some_and(|(process, count)| is_number(process) && is_number(count))
}

fn write_synced(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o644);
    let mut file = BufWriter::with_capacity(1 << 20, options.open(path)?);
    write(&mut file)?;
    file.into_inner()?.sync_all()
}

/// Makes the name that `path` has just got last through a power failure.
#[cfg(unix)]
pub fn sync_name(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(not(unix))]
pub fn sync_name(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Bytes that this user may still write to the file system of `path`; none where it cannot be told.
#[cfg(unix)]
pub fn free_space(path: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut found = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends in a zero, and the call fills what it is given when it returns 0.
    let found = unsafe {
        if libc::statvfs(path.as_ptr(), found.as_mut_ptr()) != 0 {
            return None;
        }
        found.assume_init()
    };
    Some(found.f_bavail * found.f_frsize)
}

#[cfg(not(unix))]
pub fn free_space(_path: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_writer_leaves_is_known_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let ours = temporary_beside(&folder.path().join("config.json"));
        let others = [".notes.tmp", "a.1-2.tmp", ".vimrc", ".a.1-x.tmp"];
        let others = others.map(|name| folder.path().join(name));
        for file in others.iter().chain([&ours]) {
            fs::write(file, "").unwrap();
        }
        remove_temporaries(folder.path()).unwrap();
        assert!(!ours.exists());
        assert!(others.iter().all(|file| file.exists()));
        remove_temporaries(&folder.path().join("absent")).unwrap();
    }
}
