//! Runs whose disk fills up, goes away, or which end in the middle of a write.
//!
//! Full disks and kills at a given byte come from a small library (`faults.c`) that stands between
//! the binary and the C library; files that may not grow and folders that go away are real.

use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use vitcuda::rng::{Philox, Purpose};

use super::fault_library::library;
use super::run_files::{content, difference};
use super::support::{Said, vitcuda};

/// Epochs of 15 steps, so that they and the checkpoints fall apart; the best evaluation is not
/// always the last.
const RUN: &str = "train --train-samples 240 --eval-samples 60 --batch-size 16 --max-steps 20 \
                   --lr 0.01 --logging-steps 3 --eval-steps 4 --save-steps 2 --save-total-limit 2 \
                   --output-dir faulty-run";

pub const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
const EDQUOT: i32 = 122;

fn session(folder: &Path, more: &str) -> Command {
    let mut command = vitcuda();
    command
        .env("VITCUDA_DEVICE", "cpu")
        .current_dir(folder)
        .args(RUN.split_whitespace())
        .args(more.split_whitespace());
    command
}

/// A session that `fault` (kill, or an errno) befalls when the counter of `faults.c` is at `at`.
fn faulty(folder: &Path, fault: &str, at: u64, more: &str) -> Command {
    let mut command = session(folder, more);
    command
        .env("LD_PRELOAD", library())
        .env("FAULT", fault)
        .env("FAULT_AT", at.to_string())
        .env("FAULT_IN", "faulty-run");
    command
}

fn said(command: &mut Command) -> Said {
    command.output().expect("the binary starts").into()
}

/// A run that nothing befalls: its folder, and where the counter ends.
static WHOLE: LazyLock<(tempfile::TempDir, u64)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let total = folder.path().join("total");
    let mut run = faulty(folder.path(), "kill", u64::MAX >> 2, "");
    said(run.env("FAULT_TOTAL", &total)).well();
    let total = fs::read_to_string(total).unwrap().parse().unwrap();
    (folder, total)
});

/// Goes on with the run in `folder` on a sound disk, and checks how it ends.
#[track_caller]
fn ends_as_if_nothing_had_happened(folder: &Path) {
    said(&mut session(folder, "--resume")).well();
    let [found, expected] = [folder, WHOLE.0.path()].map(|f| content(&f.join("faulty-run")));
    assert_eq!(difference(&found, &expected), None);
}

fn checkpoints(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder.join("faulty-run")) else {
        return Vec::new();
    };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("checkpoint-")).collect()
}

#[test]
fn killed_in_the_middle_of_writes_it_ends_in_the_same_bits() {
    let total = WHOLE.1;
    assert!(total > 1000, "{total}: the library sees few calls");
    let mut moments = Philox::new(17, Purpose::Test, 0);
    let mut half_written = 0;
    for kill in 0..24 {
        let folder = tempfile::tempdir().unwrap();
        // One in each twenty-fourth of the run, so that its end is among them.
        let share = f64::from(moments.next_u32()) / f64::from(u32::MAX);
        let at = ((kill as f64 + share) / 24.0 * total as f64) as u64;
        let status = faulty(folder.path(), "kill", at, "")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let signal = status.unwrap().signal();
        assert_eq!(signal, Some(libc::SIGKILL), "at {at} of {total}");
        half_written += usize::from(
            checkpoints(folder.path())
                .iter()
                .any(|name| name.ends_with(".partial")),
        );
        ends_as_if_nothing_had_happened(folder.path());
    }
    // Most of what a run writes is checkpoints.
    assert!(
        half_written >= 6,
        "{half_written} of 24 kills met a checkpoint"
    );
}

#[test]
fn a_full_disk_stops_the_run_which_goes_on_when_there_is_room() {
    for (errno, meaning) in [
        (ENOSPC, "No space left on device"),
        (EDQUOT, "quota"),
        (EROFS, "Read-only"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut run = faulty(folder.path(), &errno.to_string(), WHOLE.1 / 2, "");
        let said = said(&mut run).failed(1);
        said.mentions(&[meaning, "help: the last good checkpoint is", "--resume"]);
        let left = checkpoints(folder.path());
        assert!(!left.is_empty() && !left.iter().any(|name| name.ends_with(".partial")));
        ends_as_if_nothing_had_happened(folder.path());
    }
}

#[test]
fn a_disk_that_was_full_for_a_while_costs_checkpoints_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let more = "--on-save-error continue";
    let mut run = faulty(folder.path(), &ENOSPC.to_string(), WHOLE.1 / 2, more);
    run.env("FAULT_TIMES", "2").env("FAULT_IN", "checkpoint-");
    let said = said(run.env("FAULT_AT", "300")).well();
    said.mentions(&["training goes on; the last good checkpoint is"]);
    let [found, expected] = [folder.path(), WHOLE.0.path()].map(|f| {
        let mut files = content(&f.join("faulty-run"));
        // Which checkpoints there were is told in these; all else is the same.
        files.retain(|name, _| {
            let name = name.display().to_string();
            !name.ends_with("trainer_state.json") && !name.ends_with("metrics.jsonl")
        });
        files
    });
    assert_eq!(difference(&found, &expected), None);
}

#[test]
fn a_disk_that_stays_full_is_an_error_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let more = "--on-save-error continue";
    let mut run = faulty(folder.path(), &ENOSPC.to_string(), WHOLE.1 / 2, more);
    let said = said(&mut run).failed(1).mentions(&[
        "training goes on; the last good checkpoint is",
        "error: the final model was not saved: ",
        "No space left on device",
    ]);
    // The full log is told of once, each checkpoint by itself.
    assert_eq!(
        said.stderr.matches("the log could not be written").count(),
        1
    );
    assert!(
        said.stderr.matches("saving at step").count() >= 3,
        "{}",
        said.stderr
    );
    assert!(!folder.path().join("faulty-run/model.safetensors").exists());
    ends_as_if_nothing_had_happened(folder.path());
}

/// A file that may not grow beyond 100 kB, which the model does: the kernel's own refusal.
#[test]
fn a_limit_on_the_size_of_files_stops_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = session(folder.path(), "");
    // SAFETY: both calls may be made between fork and exec.
    unsafe {
        run.pre_exec(|| {
            let limit = libc::rlimit {
                rlim_cur: 100_000,
                rlim_max: 100_000,
            };
            // What a shell starts a program with: the signal kills it without a word.
            libc::signal(libc::SIGXFSZ, libc::SIG_DFL);
            match libc::setrlimit(libc::RLIMIT_FSIZE, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    said(&mut run).failed(1).mentions(&[
        "saving at step 2 failed: ",
        "File too large",
        "help: there is no checkpoint",
    ]);
    assert_eq!(checkpoints(folder.path()), [""; 0]);
}

/// Removes the output folder once the run has a checkpoint; the run must not be over by then.
fn without_its_folder(more: &str) -> (tempfile::TempDir, Said) {
    let folder = tempfile::tempdir().unwrap();
    let line = RUN.replace("--max-steps 20", "--max-steps 400");
    let run = vitcuda()
        .env("VITCUDA_DEVICE", "cpu")
        .current_dir(folder.path())
        .args(line.split_whitespace().chain(more.split_whitespace()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while checkpoints(folder.path()).is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = folder.path().join("faulty-run");
    // The writer may be putting files there at the same time.
    while fs::remove_dir_all(&output).is_err() {}
    let ended: Output = run.wait_with_output().unwrap();
    (folder, ended.into())
}

#[test]
fn a_folder_that_goes_away_stops_the_run() {
    let (_folder, said) = without_its_folder("");
    said.failed(1).mentions(&[
        "saving at step",
        "No such file",
        "help: there is no checkpoint",
    ]);
}

#[test]
fn a_folder_that_goes_away_ends_no_run_that_was_told_to_go_on() {
    let (folder, said) = without_its_folder("--on-save-error continue");
    said.well()
        .mentions(&["training goes on; there is no checkpoint"]);
    // The final model makes its folder anew.
    let model = folder.path().join("faulty-run/model.safetensors");
    assert!(model.is_file());
}
