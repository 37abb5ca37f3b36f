//! Runs that end, or meet a full disk, at any of their calls to the file system: the same command
//! with `--resume` ends in the bits of a run that nothing befell.
//!
//! All of these moments take long; the tests go through them at a stride, and
//! `scripts/kill_everywhere.sh` through each.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use super::fault_library::library;
use super::faults::ENOSPC;
use super::run_files::{content, difference};
use super::support::{Said, vitcuda};

const RUN: &str = "train --train-samples 64 --eval-samples 30 --batch-size 16 --max-steps 6 \
                   --lr 0.01 --logging-steps 2 --eval-steps 2 --output-dir faulty-run";

/// Of the run that is there before one that overwrites it.
const OLDER: &str = "--seed 7 --max-steps 8 --save-steps 2";

/// A unit of the counter in `faults.c`: each call has one, a write one at its half, too.
const UNIT: u64 = 4;

/// Moments that one test of these goes through, unless `VITCUDA_KILL_STRIDE` says at which stride it
/// goes through all.
const MOMENTS: u64 = 6;

/// What befalls a run.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Kill,
    Signal,
    FullDisk,
}

/// A kind of run.
struct Case {
    /// What the output folder holds before.
    before: Before,
    flags: &'static str,
}

#[derive(Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    /// A finished run of other settings.
    Older,
    /// The same run, killed half-way: the fault falls into a session that goes on with it.
    Half,
}

fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

fn session(folder: &Path, more: &[&str]) -> Command {
    let mut command = vitcuda();
    let words = more.iter().flat_map(|flags| flags.split_whitespace());
    command
        .env("VITCUDA_DEVICE", "cpu")
        .env("VITCUDA_THREADS", "1")
        .env("LD_PRELOAD", library())
        .env("FAULT_IN", "faulty-run")
        .current_dir(folder)
        .args(RUN.split_whitespace().chain(words));
    command
}

fn said(command: &mut Command) -> Said {
    command.output().expect("the binary starts").into()
}

fn fault(command: &mut Command, fault: Fault, at: u64) {
    let name = match fault {
        Fault::Kill => "kill".to_owned(),
        Fault::Signal => "term".to_owned(),
        Fault::FullDisk => ENOSPC.to_string(),
    };
    command.env("FAULT", name).env("FAULT_AT", at.to_string());
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

impl Case {
    /// A folder as it is before the session that a fault befalls.
    fn prepared(&self) -> TempDir {
        let folder = scratch();
        match self.before {
            Before::Nothing => {}
            Before::Older => {
                // Later flags of the same name would be refused.
                let line = RUN.replace("--max-steps 6 ", "");
                let mut older = vitcuda();
                let words = line.split_whitespace().chain(OLDER.split_whitespace());
                older.env("VITCUDA_DEVICE", "cpu").current_dir(&folder);
                said(older.args(words)).well();
            }
            Before::Half => {
                let total = self.total(&folder, &[self.flags]);
                fs::remove_dir_all(folder.path().join("faulty-run")).unwrap();
                let mut half = session(folder.path(), &[self.flags]);
                fault(&mut half, Fault::Kill, total / 2 / UNIT * UNIT);
                assert_eq!(half.output().unwrap().status.code(), None);
            }
        }
        folder
    }

    /// The flags of the session that a fault befalls.
    fn faulty_flags(&self) -> Vec<&'static str> {
        match self.before {
            Before::Nothing => vec![self.flags],
            Before::Older => vec![self.flags, "--overwrite-output-dir"],
            Before::Half => vec![self.flags, "--resume"],
        }
    }

    /// Runs the session to its end, and says where the counter is then.
    fn total(&self, folder: &TempDir, flags: &[&str]) -> u64 {
        let total = folder.path().join("total");
        let mut run = session(folder.path(), flags);
        fault(&mut run, Fault::Kill, u64::MAX >> 2);
        said(run.env("FAULT_TOTAL", &total)).well();
        let found = fs::read_to_string(&total).unwrap().parse().unwrap();
        fs::remove_file(&total).unwrap();
        found
    }

    /// Goes through the moments of a session, on two threads.
    fn check(&self, kind: Fault) {
        let whole = scratch();
        said(&mut session(whole.path(), &[self.flags])).well();
        let expected = content(&whole.path().join("faulty-run"));
        let prepared = self.prepared();
        let sample = scratch();
        copy_all(prepared.path(), sample.path());
        let total = self.total(&sample, &self.faulty_flags());
        assert!(total > 200, "{total}: the library sees few calls");

        let moments = moments(total, kind as u64);
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while let Some(&at) = moments.get(next.fetch_add(1, Ordering::Relaxed)) {
                        self.check_at(kind, at, prepared.path(), &expected);
                    }
                });
            }
        });
    }

    fn check_at(
        &self,
        kind: Fault,
        at: u64,
        prepared: &Path,
        expected: &BTreeMap<PathBuf, Vec<u8>>,
    ) {
        let folder = scratch();
        copy_all(prepared, folder.path());
        let flags = self.faulty_flags();
        let mut run = session(folder.path(), &flags);
        fault(&mut run, kind, at);
        let ended = run.output().unwrap();
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        let place = format!("{kind:?} at {at} of `{}`: {told}", flags.join(" "));
        match kind {
            Fault::Kill => assert_eq!(ended.status.code(), None, "{place}"),
            Fault::Signal => {
                // The handler is not there at once, and late signals find the run at its end.
                let codes = [None, Some(130), Some(0)];
                assert!(codes.contains(&ended.status.code()), "{place}");
            }
            Fault::FullDisk => {
                // What is only for people, and what comes last, ends no run.
                let is_told = told.contains("No space left on device");
                let code = ended.status.code();
                assert!(code == Some(0) || (code == Some(1) && is_told), "{place}");
            }
        }
        let mut again = flags.clone();
        again.retain(|&flag| flag != "--resume");
        again.push("--resume");
        let again = said(&mut session(folder.path(), &again));
        let rest = format!("{place}\nthen: {}", again.stderr);
        assert_eq!(again.code, Some(0), "{rest}");
        assert!(
            !told.contains("panicked") && !rest.contains("panicked"),
            "{rest}"
        );
        let found = content(&folder.path().join("faulty-run"));
        let difference = match kind {
            Fault::Signal => difference(
                &without_checkpoints(found),
                &without_checkpoints(expected.clone()),
            ),
            Fault::Kill | Fault::FullDisk => difference(&found, expected),
        };
        assert_eq!(difference, None, "{rest}");
    }
}

/// A run that was stopped has a checkpoint of the step at which it was, and tells of it.
fn without_checkpoints(mut files: BTreeMap<PathBuf, Vec<u8>>) -> BTreeMap<PathBuf, Vec<u8>> {
    files.retain(|name, _| {
        let name = name.display().to_string();
        !name.starts_with("checkpoint-")
            && !name.ends_with("trainer_state.json")
            && !name.ends_with("metrics.jsonl")
    });
    files
}

/// The moments to go through, other ones for each kind of fault.
fn moments(total: u64, kind: u64) -> Vec<u64> {
    let all = total / UNIT;
    let stride = match std::env::var("VITCUDA_KILL_STRIDE") {
        Ok(stride) => stride.parse().unwrap(),
        Err(_) => all.div_ceil(MOMENTS),
    };
    let first = (1 + kind) * stride / 4;
    (first..all)
        .step_by(stride as usize)
        .map(|n| n * UNIT)
        .collect()
}

const CHECKPOINTS: &str = "--save-steps 2";
const LIMITED: &str = "--save-steps 2 --save-total-limit 1";
const BEST: &str = "--save-steps 2 --save-total-limit 1 --load-best-model-at-end";
const NO_CHECKPOINTS: &str = "--save-strategy no";

fn check(before: Before, flags: &'static str) {
    for kind in [Fault::Kill, Fault::Signal, Fault::FullDisk] {
        Case { before, flags }.check(kind);
    }
}

#[test]
fn with_checkpoints() {
    check(Before::Nothing, CHECKPOINTS);
}

#[test]
fn with_one_checkpoint() {
    check(Before::Nothing, LIMITED);
}

#[test]
fn with_the_best_checkpoint() {
    check(Before::Nothing, BEST);
}

#[test]
fn without_any_checkpoint() {
    check(Before::Nothing, NO_CHECKPOINTS);
}

#[test]
fn over_an_older_run() {
    check(Before::Older, CHECKPOINTS);
}

#[test]
fn over_an_older_run_without_any_checkpoint() {
    check(Before::Older, NO_CHECKPOINTS);
}

#[test]
fn while_going_on() {
    check(Before::Half, CHECKPOINTS);
}

#[test]
fn while_going_on_with_one_checkpoint() {
    check(Before::Half, LIMITED);
}
