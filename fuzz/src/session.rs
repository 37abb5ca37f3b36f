//! Many inputs for one parser.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::coverage::Reached;
use crate::judge::{Fault, Verdict, judge};
use crate::mutate::mutate;
use crate::rng::Rng;
use crate::targets::Target;
use crate::{Input, corpus, guard};

/// How long an input with a fault is made smaller.
const SHRINKING: Duration = Duration::from_secs(5);

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    Runs(u64),
    Elapsed(Duration),
}

pub struct Session {
    pub target: &'static Target,
    pub seed: u64,
    /// Where inputs with a fault go.
    pub found: PathBuf,
    /// Where inputs are kept that reached something new, for the next session.
    pub keep: Option<PathBuf>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Tally {
    pub name: &'static str,
    pub runs: u64,
    pub accepted: u64,
    pub gave_up: u64,
    /// Files to start from, and inputs that reached something new.
    pub files: (usize, usize),
    pub branches: usize,
    pub elapsed: Duration,
    /// By kind, those of `fuzz/known.txt`: how many.
    pub known: BTreeMap<String, u64>,
    /// By kind, the others: how many, and where the first is.
    pub faults: BTreeMap<String, (u64, Fault, PathBuf)>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |n: u64| 100.0 * n as f64 / self.runs.max(1) as f64;
        write!(
            f,
            "{:<12} {:>9} inputs in {:>5.0} s, {:>6.0}/s: {:>4.1} % accepted, {:.1} % given up by other \
             crates; {} files",
            self.name,
            self.runs,
            self.elapsed.as_secs_f64(),
            self.runs as f64 / self.elapsed.as_secs_f64(),
            share(self.accepted),
            share(self.gave_up),
            self.files.0,
        )?;
        if self.branches > 0 {
            write!(f, " and {} found, {} branches", self.files.1, self.branches)?;
        }
        write!(f, "; {} faults", self.faults.len())?;
        match self.known.values().sum::<u64>() {
            0 => Ok(()),
            count => write!(f, ", {count} inputs with a known one"),
        }
    }
}

/// A folder for a parser's files, in memory where the system has such.
pub fn folder(target: &Target) -> TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    let folder = folder.expect("a folder");
    (target.prepare)(folder.path());
    folder
}

impl Session {
    pub fn run(&self, until: Until) -> Tally {
        let folder = folder(self.target);
        guard::watch(&self.found);
        let known = corpus::known();
        let is_known =
            |input: &Input| known.contains_key(&format!("{}/{}", self.target.name, input.name));
        let (known, mut pool): (Vec<Input>, Vec<Input>) =
            corpus::seeds(self.target).into_iter().partition(is_known);
        assert!(!pool.is_empty(), "{}: no corpus", self.target.name);
        let files = pool.len();
        pool.extend(self.keep.iter().flat_map(|keep| corpus::files(keep)));
        let mut tally = Tally {
            name: self.target.name,
            files: (files, 0),
            ..Tally::default()
        };
        for input in &known {
            if let Verdict::Fault(fault) = judge(self.target, input, folder.path()) {
                tally.known.insert(fault.kind, 0);
            }
        }
        let mut reached = Reached::default();
        for input in &pool {
            self.judge(input, folder.path(), &mut tally);
            reached.add();
        }
        let start = Instant::now();
        loop {
            let is_done = match until {
                Until::Runs(runs) => tally.runs >= runs,
                Until::Elapsed(most) => start.elapsed() >= most,
            };
            if is_done {
                break;
            }
            let mut rng = Rng::new(self.seed, tally.runs);
            let (first, other) = (rng.pick(&pool), rng.pick(&pool));
            let input = Input {
                name: first.name.clone(),
                bytes: mutate(self.target.format, &first.bytes, &other.bytes, &mut rng),
            };
            tally.runs += 1;
            match self.judge(&input, folder.path(), &mut tally) {
                Verdict::Accepted => tally.accepted += 1,
                Verdict::GaveUp => tally.gave_up += 1,
                Verdict::Refused | Verdict::Fault(_) => {}
            }
            if reached.add() {
                pool.push(input);
            }
        }
        tally.elapsed = start.elapsed();
        tally.branches = reached.edges();
        tally.files.1 = pool.len() - files;
        self.keep_found(&pool[files..]);
        tally
    }

    fn judge(&self, input: &Input, folder: &Path, tally: &mut Tally) -> Verdict {
        guard::begin(input);
        let verdict = judge(self.target, input, folder);
        guard::finish();
        if let Verdict::Fault(fault) = &verdict {
            if let Some(count) = tally.known.get_mut(&fault.kind) {
                *count += 1;
                return verdict;
            }
            match tally.faults.get_mut(&fault.kind) {
                Some((count, ..)) => *count += 1,
                None => {
                    let path = self.save(input, fault, folder);
                    eprintln!(
                        "FAULT {}: {}: {}",
                        self.target.name,
                        fault.text,
                        path.display()
                    );
                    tally
                        .faults
                        .insert(fault.kind.clone(), (1, fault.clone(), path));
                }
            }
        }
        verdict
    }

    /// Writes an input with a fault, as small as it gets with the same one.
    fn save(&self, input: &Input, fault: &Fault, folder: &Path) -> PathBuf {
        let sum = crc32fast::hash(&input.bytes);
        let path = |what: &str| self.found.join(format!("{sum:08x}{what}-{}", input.name));
        fs::write(path(""), &input.bytes).expect("the folder takes files");
        if fault.kind == "time" {
            return path("");
        }
        let small = shrink(self.target, input, fault, folder);
        fs::write(path("-small"), &small.bytes).expect("the folder takes files");
        path("-small")
    }

    fn keep_found(&self, found: &[Input]) {
        let Some(keep) = &self.keep else { return };
        fs::create_dir_all(keep).expect("a folder");
        for input in found {
            let start = input.name.rsplit("--").next().unwrap_or_default();
            let name = format!("{:08x}--{start}", crc32fast::hash(&input.bytes));
            fs::write(keep.join(name), &input.bytes).expect("the folder takes files");
        }
    }
}

/// The input with parts left out, as long as the fault stays.
fn shrink(target: &Target, input: &Input, fault: &Fault, folder: &Path) -> Input {
    let mut best = input.clone();
    let mut size = best.bytes.len() / 2;
    let start = Instant::now();
    while size > 0 && start.elapsed() < SHRINKING {
        let mut at = 0;
        let mut got_smaller = false;
        while at < best.bytes.len() && start.elapsed() < SHRINKING {
            let mut next = best.clone();
            next.bytes.drain(at..(at + size).min(next.bytes.len()));
            match judge(target, &next, folder) {
                Verdict::Fault(other) if other.kind == fault.kind => {
                    best = next;
                    got_smaller = true;
                }
                _ => at += size,
            }
        }
        if !got_smaller || size > 1 {
            size /= 2;
        }
    }
    best
}
