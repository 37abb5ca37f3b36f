//! One run of a test binary with one filter.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::super::mutation::VARIABLE;

/// What takes longer hangs: the slowest test takes a tenth of it.
const LIMIT: Duration = Duration::from_secs(300);
/// How often a running test is looked at.
const PAUSE: Duration = Duration::from_millis(20);

pub struct Run<'a> {
    pub binary: &'a Path,
    pub pattern: &'a str,
    pub mutation: Option<&'a str>,
    /// For the output, and the kernels as compiled with the mutation: a cache's keys do not know it.
    pub scratch: &'a Path,
}

/// How a run ended.
pub enum End {
    /// So many tests did.
    Passed {
        tests: usize,
    },
    Failed {
        output: String,
    },
    Hung,
}

impl Run<'_> {
    pub fn wait(&self) -> Result<End, String> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = self.scratch.join(format!("output-{number}"));
        let cache = self.scratch.join(format!("kernels-{number}"));
        let ended = self.spawn(&path, &cache).and_then(in_time);
        let _ = std::fs::remove_dir_all(&cache);
        let ended = ended.map_err(|error| format!("{}: {error}", self.binary.display()))?;
        let output = std::fs::read(&path).unwrap_or_default();
        let output = String::from_utf8_lossy(&output).into_owned();
        Ok(match ended {
            None => End::Hung,
            Some(status) if status.success() => End::Passed {
                tests: passed(&output),
            },
            Some(_) => End::Failed { output },
        })
    }

    fn spawn(&self, output: &Path, cache: &Path) -> std::io::Result<Child> {
        let output = File::create(output)?;
        let mut command = Command::new(self.binary);
        command
            .arg(self.pattern)
            .env("VITCUDA_CACHE", cache)
            .env("VITCUDA_EMULATOR_THREADS", "1")
            .env("VITCUDA_REQUIRE_EMULATOR", "1") // a test that is left out catches nothing
            .env_remove(VARIABLE)
            .stdout(output.try_clone()?)
            .stderr(output);
        if let Some(mutation) = self.mutation {
            command.env(VARIABLE, mutation);
        }
        command.spawn()
    }
}

/// `None` for one that was still running at the limit, and is not any more.
fn in_time(mut child: Child) -> std::io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(PAUSE);
    }
}

/// From `test result: ok. 3 passed; …`; ignored ones have shown nothing.
fn passed(output: &str) -> usize {
    let summary = output.split("test result: ok. ").nth(1);
    let number = summary.and_then(|rest| rest.split(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_were_left_out_do_not_count() {
        let line = |counts: &str| format!("\ntest result: ok. {counts}; 0 measured\n");
        assert_eq!(passed(&line("3 passed; 0 failed; 1 ignored")), 3);
        assert_eq!(passed(&line("0 passed; 0 failed; 2 ignored")), 0);
        assert_eq!(passed("nothing of the kind"), 0);
    }
}
