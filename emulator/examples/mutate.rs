//! Tries mutations of the kernels: what `scripts/mutate.sh` runs, which describes the arguments.
//!
//! Each mutation runs in processes of its own: the test binary, with a filter of its record at a time,
//! until one fails. A mutation is caught by that failure; one that no filter catches has survived.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

#[path = "../src/nvrtc/mutation.rs"]
mod mutation;

mod mutate {
    pub mod arguments;
    pub mod outcome;
    pub mod process;
    pub mod table;
}

use mutate::arguments::{Arguments, Choice};
use mutate::outcome::Outcome;
use mutate::process::{End, Run};
use mutate::table::{Row, table};
use mutation::{Filter, Mutation};

fn main() -> ExitCode {
    match Arguments::parse(std::env::args().skip(1)).and_then(run) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(wrong) => {
            eprintln!("mutate: {wrong}");
            ExitCode::from(2)
        }
    }
}

/// Whether all is as the list says.
fn run(arguments: Arguments) -> Result<bool, String> {
    let chosen = chosen(mutation::all()?, &arguments.choice)?;
    println!("{} mutations", chosen.len());
    if let Choice::Sample { seed, .. } = arguments.choice {
        let names: Vec<&str> = chosen.iter().map(|one| one.name.as_str()).collect();
        println!("drawn by {seed}: {}", names.join(" "));
    }
    let scratch = Scratch::new(&arguments.target)?;
    let runner = Runner {
        binaries: &arguments.binaries,
        scratch: &scratch.0,
    };
    let started = Instant::now();
    runner.control(&chosen)?;
    println!("without a mutation all their tests pass");
    let rows = side_by_side(&chosen, |mutation| {
        let row = runner.try_out(mutation);
        println!("{}", row.line());
        row
    });
    let wrong = rows.iter().filter(|row| row.wrong().is_some()).count();
    let text = table(&rows, started.elapsed());
    let path = arguments.target.join("mutations.md");
    std::fs::write(&path, &text).map_err(|error| format!("{}: {error}", path.display()))?;
    println!("\n{text}\nThis table is {}.", path.display());
    for row in &rows {
        if let Some(wrong) = row.wrong() {
            println!("{}: {wrong}", row.name);
        }
    }
    Ok(wrong == 0)
}

/// The mutations asked for, in the order of the list.
fn chosen(all: Vec<Mutation>, choice: &Choice) -> Result<Vec<Mutation>, String> {
    let names: BTreeSet<String> = match choice {
        Choice::All => return Ok(all),
        Choice::Sample { count, seed } => sample(all.len(), *count, *seed)
            .into_iter()
            .map(|i| all[i].name.clone())
            .collect(),
        Choice::Named(names) => names.iter().cloned().collect(),
    };
    let known = |name: &&String| !all.iter().any(|one| one.name == **name);
    if let Some(unknown) = names.iter().find(known) {
        return Err(format!("`{unknown}` is not in emulator/mutations.txt"));
    }
    let found = all.into_iter().filter(|one| names.contains(&one.name));
    Ok(found.collect())
}

/// `count` different numbers below `all`, the same for the same seed.
fn sample(all: usize, count: usize, seed: u64) -> Vec<usize> {
    let mut state = seed;
    let mut draw = || {
        // SplitMix64 (Steele, Lea and Flood 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let mut left: Vec<usize> = (0..all).collect();
    let draws = 0..count.min(all);
    draws
        .map(|_| left.swap_remove((draw() % left.len() as u64) as usize))
        .collect()
}

/// `work` for each, a core each at a time; results in the order of `items`.
fn side_by_side<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores.min(items.len()) {
            scope.spawn(|| {
                while let Some((i, item)) = {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    items.get(i).map(|item| (i, item))
                } {
                    let result = work(item);
                    results.lock().expect("no panic").insert(i, result);
                }
            });
        }
    });
    let results = results.into_inner().expect("no panic");
    results.into_values().collect()
}

/// A folder for caches and outputs, gone at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(target: &Path) -> Result<Self, String> {
        let folder = target.join(format!("mutate-{}", std::process::id()));
        match std::fs::create_dir_all(&folder) {
            Ok(()) => Ok(Self(folder)),
            Err(error) => Err(format!("{}: {error}", folder.display())),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Runner<'a> {
    binaries: &'a BTreeMap<String, PathBuf>,
    scratch: &'a Path,
}

impl Runner<'_> {
    /// Every filter of `mutations` without one: it must pass, and name a test.
    fn control(&self, mutations: &[Mutation]) -> Result<(), String> {
        let filters = mutations.iter().flat_map(|one| &one.tests);
        let filters: Vec<&Filter> = filters.collect::<BTreeSet<_>>().into_iter().collect();
        let ends = side_by_side(&filters, |filter| self.run(None, filter));
        for (filter, end) in filters.iter().zip(ends) {
            let Filter { binary, pattern } = filter;
            match end? {
                End::Passed { tests: 1.. } => {}
                End::Passed { tests: 0 } => {
                    return Err(format!("`{binary}` has no test named `{pattern}`"));
                }
                End::Hung => return Err(format!("`{pattern}` hangs without a mutation")),
                End::Failed { output } => {
                    return Err(format!("`{pattern}` fails without a mutation:\n{output}"));
                }
            }
        }
        Ok(())
    }

    fn try_out(&self, mutation: &Mutation) -> Row {
        let started = Instant::now();
        let outcome = self.outcome(mutation);
        Row {
            name: mutation.name.clone(),
            file: mutation.file.clone(),
            outcome,
            equivalent: mutation.equivalent.clone(),
            took: started.elapsed(),
        }
    }

    fn outcome(&self, mutation: &Mutation) -> Outcome {
        for filter in &mutation.tests {
            match self.run(Some(mutation), filter) {
                Err(wrong) => return Outcome::NotTried(wrong),
                Ok(End::Passed { .. }) => {}
                Ok(End::Hung) => return Outcome::hangs(),
                Ok(End::Failed { output }) => return Outcome::of(&output),
            }
        }
        Outcome::Survived
    }

    fn run(&self, mutation: Option<&Mutation>, filter: &Filter) -> Result<End, String> {
        let Some(binary) = self.binaries.get(&filter.binary) else {
            return Err(format!("no binary `{}` was built", filter.binary));
        };
        let run = Run {
            binary,
            pattern: &filter.pattern,
            mutation: mutation.map(|one| one.name.as_str()),
            scratch: self.scratch,
        };
        run.wait()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_different_ones() {
        let drawn = sample(200, 10, 20_261_124);
        assert_eq!(drawn, sample(200, 10, 20_261_124));
        assert_ne!(drawn, sample(200, 10, 20_261_125));
        let different: BTreeSet<_> = drawn.iter().collect();
        assert!(different.len() == 10 && drawn.iter().all(|&i| i < 200));
        let mut whole = sample(7, 10, 1);
        whole.sort();
        assert_eq!(whole, [0, 1, 2, 3, 4, 5, 6], "no more than there are");
    }

    #[test]
    fn names_are_looked_up() {
        let all: Vec<Mutation> = ["a", "b", "c"]
            .map(|name| Mutation {
                name: name.into(),
                ..Mutation::default()
            })
            .into();
        let named = |names: &[&str]| {
            let names = names.iter().map(|&name| name.to_owned());
            chosen(all.clone(), &Choice::Named(names.collect()))
        };
        let found = named(&["c", "a"]).expect("both are there");
        let found: Vec<&str> = found.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(found, ["a", "c"], "in the order of the list");
        let refused = named(&["a", "z"]).expect_err("there is no z");
        assert!(refused.contains("`z`"), "{refused}");
    }

    #[test]
    fn results_keep_the_order_of_the_items() {
        let numbers: Vec<usize> = (0..50).collect();
        let doubled: Vec<usize> = numbers.iter().map(|n| 2 * n).collect();
        assert_eq!(side_by_side(&numbers, |n| 2 * n), doubled);
    }
}
