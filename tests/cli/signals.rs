//! What ends a run from outside, and what does not.

use std::fs;
use std::io::{PipeReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use libc::{SIGHUP, SIGINT, SIGKILL, SIGTERM};

use super::support::vitcuda;

/// A run that does not end by itself.
struct Endless {
    child: Child,
    /// What it says, on stdout and stderr.
    said: PipeReader,
    folder: tempfile::TempDir,
}

impl Endless {
    /// Started with these words and these signals ignored; it has said `sign`.
    fn start(words: &str, ignored: &'static [i32], sign: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (said, writer) = std::io::pipe().unwrap();
        let mut command = vitcuda();
        command
            .current_dir(folder.path())
            .args("train --epochs 1000000 --output-dir out --device cpu".split(' '))
            .args(words.split_whitespace())
            .stdout(writer.try_clone().unwrap())
            .stderr(writer);
        // SAFETY: `signal` may be called between fork and exec. Whoever runs the tests may ignore
        // signals, so all are set.
        unsafe {
            command.pre_exec(move || {
                for signal in [SIGINT, SIGTERM, SIGHUP] {
                    let action = if ignored.contains(&signal) {
                        libc::SIG_IGN
                    } else {
                        libc::SIG_DFL
                    };
                    libc::signal(signal, action);
                }
                Ok(())
            })
        };
        let mut run = Self {
            child: command.spawn().unwrap(),
            said,
            folder,
        };
        run.wait_for(sign);
        run
    }

    fn wait_for(&mut self, sign: &str) {
        let mut seen = String::new();
        while !seen.contains(sign) {
            let mut some = [0; 256];
            let n = self.said.read(&mut some).unwrap();
            assert!(n > 0, "{seen}");
            seen.push_str(&String::from_utf8_lossy(&some[..n]));
        }
    }

    fn send(&self, signals: &[i32]) {
        for &signal in signals {
            // SAFETY: the child was not waited for: the id is its own.
            assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
        }
    }

    /// The exit code, and whether there is a checkpoint.
    fn end(&mut self) -> (Option<i32>, bool) {
        std::io::copy(&mut self.said, &mut std::io::sink()).unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), None);
        (status.code(), has_checkpoint(self.folder.path()))
    }
}

fn has_checkpoint(folder: &Path) -> bool {
    let entries = fs::read_dir(folder.join("out")).into_iter().flatten();
    let mut names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.any(|name| name.starts_with("checkpoint-"))
}

/// A row of the table: steps are being made.
const TRAINING: &str = "train loss";

#[test]
fn any_first_signal_saves() {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let mut run = Endless::start("--logging-steps 1", &[], TRAINING);
        run.send(&[signal]);
        assert_eq!(run.end(), (Some(130), true), "{signal}");
        let page = fs::read_to_string(run.folder.path().join("out/report.html")).unwrap();
        assert!(page.contains("The run was interrupted") && page.contains("<polyline"));
    }
}

/// `timeout` signals the program and then its whole group.
#[test]
fn the_same_signal_twice_in_a_moment_is_one() {
    for signals in [[SIGTERM, SIGTERM], [SIGINT, SIGINT], [SIGHUP, SIGTERM]] {
        let mut run = Endless::start("--logging-steps 1", &[], TRAINING);
        run.send(&signals[..1]);
        sleep(Duration::from_millis(1)); // two at once would be one to the system already
        run.send(&signals[1..]);
        assert_eq!(run.end(), (Some(130), true), "{signals:?}");
    }
}

#[test]
fn timeout_ends_a_run_that_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let words = "train --epochs 1000000 --output-dir out --device cpu --quiet";
    let ended = Command::new("timeout")
        .arg("3")
        .arg(vitcuda().get_program())
        .args(words.split(' '))
        .current_dir(folder.path())
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(124), "{ended:?}");
    assert!(has_checkpoint(folder.path()), "{ended:?}");
}

/// `nohup`, and `trap '' INT`.
#[test]
fn an_ignored_signal_stays_ignored() {
    let mut run = Endless::start("--logging-steps 1", &[SIGHUP, SIGINT], TRAINING);
    run.send(&[SIGHUP, SIGINT]);
    sleep(Duration::from_millis(300));
    assert!(run.child.try_wait().unwrap().is_none());
    run.wait_for("  "); // rows go on
    run.send(&[SIGTERM]);
    assert_eq!(run.end(), (Some(130), true));
}

/// A step of some seconds: of the two signals neither finds it done.
#[test]
fn a_second_ctrl_c_leaves_at_once() {
    let words = "--model vit_small_patch16_224 --batch-size 256";
    let mut run = Endless::start(words, &[], "plan ");
    run.send(&[SIGINT]);
    sleep(Duration::from_millis(1200));
    let second = Instant::now();
    run.send(&[SIGTERM, SIGINT]);
    assert_eq!(run.end(), (Some(130), false));
    assert!(second.elapsed() < Duration::from_secs(5));
}

impl Drop for Endless {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.send(&[SIGKILL]);
            let _ = self.child.wait();
        }
    }
}
