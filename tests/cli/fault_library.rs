//! The library that stands between the binary and the C library (`faults.c`), built once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

static LIBRARY: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let [source, library] = ["faults.c", "faults.so"].map(|name| folder.path().join(name));
    fs::write(&source, include_str!("faults.c")).unwrap();
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .status();
    assert!(status.expect("a C compiler").success());
    (folder, library)
});

/// For `LD_PRELOAD`.
pub fn library() -> &'static Path {
    &LIBRARY.1
}
