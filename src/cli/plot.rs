//! `vitcuda plot`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::output::{self, Outcome};
use super::{Global, ending, report};
use vitcuda::report::RunLog;
use vitcuda::report::plot::{Over, charts_of_runs, png_file, svg_file};
use vitcuda::{Result, files};

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
    let runs: Vec<(String, RunLog)> = args
        .runs
        .iter()
        .map(|run| Ok((report::name(run), RunLog::read(run)?)))
        .collect::<Result<_>>()?;
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
    match global.json {
        true => output::json(&serde_json::json!({ "plot": args.output })),
        false => output::result(args.output.display()),
    }
}
