//! `fuzz`: see `fuzz/README.md`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use vitcuda_fuzz::allocator::Counting;
use vitcuda_fuzz::judge::{Verdict, judge};
use vitcuda_fuzz::session::{Session, Until, folder};
use vitcuda_fuzz::targets::{TARGETS, Target, called};
use vitcuda_fuzz::{Input, corpus, make};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Feed mutated files to vitcuda's parsers
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the parsers
    List,
    /// Feed inputs to a parser; exit code 1 if one shows a fault
    Run {
        #[arg(value_parser = target)]
        target: &'static Target,
        /// How many inputs
        #[arg(long, conflicts_with = "seconds", required_unless_present = "seconds")]
        runs: Option<u64>,
        /// For how long
        #[arg(long)]
        seconds: Option<u64>,
        /// The same seed, corpus and build make the same inputs
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Where inputs with a fault are written
        #[arg(long, default_value = "target/fuzz/found")]
        found: PathBuf,
        /// A folder for inputs that reach something new, from one session to the next
        #[arg(long)]
        keep: Option<PathBuf>,
    },
    /// Feed these files to a parser and say how it took them
    Judge {
        #[arg(value_parser = target)]
        target: &'static Target,
        files: Vec<PathBuf>,
    },
    /// Make the corpus in fuzz/corpus
    Corpus {
        /// The program, which makes what runs leave
        #[arg(long, default_value = "target/release/vitcuda")]
        vitcuda: PathBuf,
    },
}

fn target(name: &str) -> Result<&'static Target, String> {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    called(name).ok_or_else(|| format!("the parsers are {}", names.join(", ")))
}

fn main() -> ExitCode {
    // SAFETY: no other thread runs yet. Parsers that would use all cores leave them to other parsers.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", "1") };
    let mut faults = 0;
    match Arguments::parse().command {
        Command::List => TARGETS
            .iter()
            .for_each(|target| println!("{}", target.name)),
        Command::Run {
            target,
            runs,
            seconds,
            seed,
            found,
            keep,
        } => {
            let session = Session {
                target,
                seed,
                found: found.join(target.name),
                keep,
            };
            let seconds = seconds.map(|s| Until::Elapsed(Duration::from_secs(s)));
            let until = runs.map(Until::Runs).or(seconds).expect("one is required");
            let tally = session.run(until);
            println!("{tally}");
            for (count, fault, path) in tally.faults.values() {
                println!("{:<12} {count} × {fault}: {}", "", path.display());
            }
            faults = tally.faults.len();
        }
        Command::Judge { target, files } => {
            let folder = folder(target);
            for path in files {
                let bytes = std::fs::read(&path).expect("a file");
                let name = path.file_name().unwrap_or_default();
                let name = name.to_string_lossy().into_owned();
                let verdict = judge(target, &Input { name, bytes }, folder.path());
                println!("{}: {verdict:?}", path.display());
                faults += usize::from(matches!(verdict, Verdict::Fault(_)));
            }
        }
        Command::Corpus { vitcuda } => {
            let vitcuda = vitcuda
                .canonicalize()
                .expect("the program: cargo build --release");
            corpus::write(&make::all(&vitcuda));
        }
    }
    match faults {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
