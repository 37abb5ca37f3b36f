//! `vitcuda plot`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::output::{self, Outcome};
use super::{Global, report};
use vitcuda::report::RunLog;
use vitcuda::report::plot::{Over, charts_of_runs, svg_file};
use vitcuda::{Error, Result, files};

/// Draw the curves of runs into one SVG file
#[derive(Debug, Args)]
pub struct PlotArgs {
    /// Output folders of `vitcuda train`, or of Hugging Face's Trainer
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// Where to write the curves
    #[arg(long, short, value_name = "FILE", default_value = "curves.svg")]
    pub output: PathBuf,
    /// What the curves run over: epochs compare runs of different batch sizes
    #[arg(long, value_name = "WHAT", default_value = "step")]
    pub x: X,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum X {
    Step,
    Epoch,
}

pub fn run(args: &PlotArgs, global: &Global) -> Outcome {
    let runs = logs(&args.runs, global)?;
    let over = match args.x {
        X::Step => Over::Steps,
        X::Epoch => Over::Epochs,
    };
    let svg = svg_file(&charts_of_runs(&runs, over));
    files::write_atomically(&args.output, svg.as_bytes())?;
    match global.json {
        true => output::json(&serde_json::json!({ "plot": args.output })),
        false => output::result(args.output.display()),
    }
}

/// The names and the logs of `runs`. One without a log does not keep the others from being drawn.
fn logs(runs: &[PathBuf], global: &Global) -> Result<Vec<(String, RunLog)>> {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for run in runs {
        match RunLog::read(run) {
            Ok(log) => found.push((report::name(run), log)),
            Err(error @ Error::Data { .. }) => missing.push(error),
            Err(error) => return Err(error),
        }
    }
    match missing.pop() {
        Some(error) if found.is_empty() => return Err(error),
        last => missing.extend(last),
    }
    for error in missing {
        global.notice(format_args!("{error}; it is not drawn"));
    }
    Ok(found)
}
