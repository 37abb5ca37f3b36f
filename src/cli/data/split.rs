//! `vitcuda data split`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::Global;
use crate::cli::output::{self, Outcome};
use crate::cli::source::SplitArgs;
use vitcuda::data::{manifest, source};
use vitcuda::report::format::thousands;

/// Write down which images `train` would train and evaluate on
#[derive(Debug, Args)]
#[command(after_help = "\
The manifest takes the place of DATA and of these flags:
  vitcuda data split photos --train-samples 1000 --eval-samples 200 -o split.jsonl
  vitcuda train split.jsonl --model …")]
pub struct SplitCommandArgs {
    /// Folder, Parquet file or folder of them, manifest, or OWNER/NAME of the hub, as for train
    pub data: PathBuf,
    /// Manifest to write, .jsonl or .csv
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    #[command(flatten)]
    pub split: SplitArgs,
}

pub fn run(args: &SplitCommandArgs, global: &Global) -> Outcome {
    let splits = source::open(&args.split.spec(Some(&args.data), global)?)?;
    for notice in &splits.notices {
        global.notice(notice);
    }
    manifest::write(&args.output, &splits)?;
    let (train, validation) = (splits.train.len(), splits.validation.len());
    if global.json {
        output::json(&json!({
            "manifest": args.output.display().to_string(),
            "classes": splits.classes,
            "train": train,
            "validation": validation,
        }))
    } else {
        output::result(format_args!(
            "{}: train {}, validation {}",
            args.output.display(),
            thousands(train as u64),
            thousands(validation as u64)
        ))
    }
}
