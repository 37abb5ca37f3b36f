//! Atomic writing.

use std::fs;
use std::io;

use libtest_mimic::Trial;
use serde_json::json;
use vitcuda::files::{self, Indent};

use super::support::{Folder, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a failed write leaves the old file and nothing else",
            failed_write,
        ),
        trial("a written file replaces a longer one", replaces),
        trial("files have mode 0644 less the umask", mode),
        trial(
            "a missing folder is an error that names the file",
            missing_folder,
        ),
        trial("JSON is indented as Hugging Face's tools do", indents),
    ]
}

fn failed_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.json");
    files::write_atomically(&path, b"good").unwrap();
    let error = files::write_atomically_with(&path, |file| {
        file.write_all(b"half")?;
        Err(io::Error::other("disk full"))
    })
    .unwrap_err();
    assert!(error.to_string().contains("state.json") && error.to_string().contains("disk full"));
    assert_eq!(fs::read(&path).unwrap(), b"good");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

fn replaces() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.json");
    files::write_atomically(&path, b"a longer text").unwrap();
    files::write_atomically(&path, b"short").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"short");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[cfg(unix)]
fn mode() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    // A file that the system's default mode made shows the umask.
    fs::File::create(folder.path().join("plain")).unwrap();
    let mode = |name: &str| {
        let metadata = fs::metadata(folder.path().join(name)).unwrap();
        metadata.permissions().mode() & 0o777
    };
    for name in ["model.safetensors", "config.json"] {
        assert_eq!(mode(name), mode("plain") & 0o644, "{name}");
    }
}

#[cfg(not(unix))]
fn mode() {
    let _ = Folder::new();
}

fn missing_folder() {
    let dir = tempfile::tempdir().unwrap();
    let error = files::write_atomically(dir.path().join("no/state.json"), b"").unwrap_err();
    assert!(error.to_string().contains("state.json"), "{error}");
}

fn indents() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.json");
    files::write_json(&path, &json!({"b": [1], "a": {}}), Indent::Two).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text, "{\n  \"b\": [\n    1\n  ],\n  \"a\": {}\n}\n");
    files::write_json(&path, &json!({"b": 1.0}), Indent::Four).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\n    \"b\": 1.0\n}\n");
}
