//! Several processes and one output folder.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use super::fault_library::library;
use super::support::{Said, run_in, vitcuda};

/// A run that does not end by itself, in the folder `out`, after its first line of the table.
fn endless(folder: &Path) -> Child {
    let words = "train --epochs 1000000 --logging-steps 1 --output-dir out --device cpu";
    let mut child = vitcuda()
        .current_dir(folder)
        .args(words.split(' '))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdout = child.stdout.as_mut().unwrap();
    let mut seen = String::new();
    while !seen.contains("train loss") {
        let mut some = [0; 256];
        let n = stdout.read(&mut some).unwrap();
        assert!(n > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&some[..n]));
    }
    child
}

fn train(folder: &Path, more: &str) -> Said {
    let words = "train --max-steps 2 --output-dir out".split(' ');
    let words: Vec<&str> = words.chain(more.split_whitespace()).collect();
    run_in(folder, &words)
}

#[test]
fn a_folder_is_one_processes_until_that_ends() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = endless(folder.path());
    let holder = format!("process {} on ", first.id());
    for more in ["", "--overwrite-output-dir", "--resume"] {
        train(folder.path(), more).failed(2).mentions(&[
            &holder,
            "output folder out",
            "help: wait until it has ended",
        ]);
    }
    first.kill().unwrap();
    first.wait().unwrap();
    train(folder.path(), "--overwrite-output-dir").well();
    assert!(!folder.path().join("out/.lock").exists());
}

/// Between seeing that a name is free and taking it there is time for all of them to see it.
#[test]
fn runs_that_start_at_once_get_a_folder_each() {
    let folder = tempfile::tempdir().unwrap();
    let start = || -> Child {
        let mut command: Command = vitcuda();
        command
            .env("VITCUDA_DEVICE", "cpu")
            .env("LD_PRELOAD", library())
            .env("FAULT", "slow")
            .env("FAULT_IN", "digits")
            .current_dir(folder.path())
            .args(["train", "--max-steps", "1", "--quiet"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let running: Vec<Child> = (0..4).map(|_| start()).collect();
    let mut folders: Vec<String> = running
        .into_iter()
        .map(|child| {
            let ended: Output = child.wait_with_output().unwrap();
            let said = Said::from(ended).well();
            said.stdout.lines().next().unwrap().to_owned()
        })
        .collect();
    folders.sort();
    folders.dedup();
    assert_eq!(folders.len(), 4, "{folders:?}");
    assert_eq!(folders[0], "runs/digits");
    let there = fs::read_dir(folder.path().join("runs")).unwrap().count();
    assert_eq!(there, 4);
}
