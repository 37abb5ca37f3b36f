//! `vitcuda report`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::Global;
use super::output::{self, Outcome};
use vitcuda::report::verdict::{Finding, judge};
use vitcuda::report::{Record, RunLog, page};
use vitcuda::{Result, files};

/// Name of the page in a run's folder.
pub const PAGE: &str = "report.html";

/// Write the report of a run again, and say its verdict
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Output folder of `vitcuda train`, or of Hugging Face's Trainer
    pub run: PathBuf,
    /// Where to write the page [default: RUN/report.html]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

pub fn run(args: &ReportArgs, global: &Global) -> Outcome {
    let log = RunLog::read(&args.run)?;
    let record = Record::read(&args.run)?.unwrap_or_default();
    let file = args.output.clone().unwrap_or(args.run.join(PAGE));
    let findings = write(&file, &name(&args.run), &log, &record)?;
    if global.json {
        let finding = |f: &Finding| json!({ "title": f.title, "text": f.text });
        let findings: Vec<_> = findings.iter().map(finding).collect();
        return output::json(&json!({ "report": file, "verdict": findings }));
    }
    for finding in &findings {
        output::result(format_args!("{}: {}", finding.title, finding.text))?;
    }
    output::result(file.display())
}

/// What a run in the folder `run` is called: the folder's name.
pub fn name(run: &Path) -> String {
    let whole = run.canonicalize().unwrap_or(run.to_owned());
    let name = whole.file_name().unwrap_or(run.as_os_str());
    name.to_string_lossy().into_owned()
}

/// Writes the page `file` about a run, and says what it shows.
pub fn write(file: &Path, name: &str, log: &RunLog, record: &Record) -> Result<Vec<Finding>> {
    let findings = judge(log, record);
    let page = page(name, log, record, &findings);
    files::write_atomically(file, page.as_bytes())?;
    Ok(findings)
}
