//! `vitcuda plot`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::output::{self, Outcome};
use super::{Global, ending, report};
use vitcuda::report::RunLog;
use vitcuda::report::plot::{Over, charts_of_runs, png_file, svg_file};
use vitcuda::{Error, Result, files};

/// Draw the curves of runs into one SVG or PNG file
#[derive(Debug, Args)]
pub struct PlotArgs {
    /// Output folders of `vitcuda train`, or of Hugging Face's Trainer
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// Where to write the curves; the ending, .svg or .png, says as what
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

#[derive(Debug, Clone, Copy)]
enum Kind {
    Svg,
    Png,
}

pub fn run(args: &PlotArgs, global: &Global) -> Outcome {
    let kind = ending::kind(&args.output, &[("svg", Kind::Svg), ("png", Kind::Png)])?;
    let runs = logs(&args.runs, global)?;
    let over = match args.x {
        X::Step => Over::Steps,
        X::Epoch => Over::Epochs,
    };
    let charts = charts_of_runs(&runs, over);
    let file = match kind {
        Kind::Svg => svg_file(&charts).into_bytes(),
        Kind::Png => png_file(&charts)?,
    };
    files::write_atomically(&args.output, &file)?;
    if global.json {
        output::json(&serde_json::json!({ "plot": args.output }))
    } else {
        output::result(args.output.display())
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
    if found.is_empty() && !missing.is_empty() {
        return Err(missing.remove(0));
    }
    for error in missing {
        global.notice(format_args!("{error}; it is not drawn"));
    }
    Ok(found)
}
