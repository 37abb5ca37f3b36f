//! `vitcuda eval`.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clap::Args;

use super::images::{self, BadImagesArg};
use super::numbers::count;
use super::output::{self, Outcome, Table};
use super::source::ColumnArgs;
use super::{Global, model, report, thumbnail};
use vitcuda::data::Augmentation;
use vitcuda::data::source::{self, Labelled, Part, some_of};
use vitcuda::metrics::Summary;
use vitcuda::report::format::thousands;
use vitcuda::report::{Console, Record, Reporters, RunLog};
use vitcuda::train::config::Hyper;
use vitcuda::train::engine::Capacity;
use vitcuda::train::engines;
use vitcuda::train::evaluate::{Evaluation, evaluate};
use vitcuda::{Error, Result};

/// Evaluate a checkpoint on labelled photos
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Folder with config.json and model.safetensors, or OWNER/NAME of the Hugging Face hub
    pub checkpoint: PathBuf,
    /// Folder with one folder of images for each class, or with validation/ inside; Parquet file or
    /// folder of them; manifest (.csv, .tsv, .jsonl); OWNER/NAME[@REVISION] of the hub [default: the embedded digits' validation part]
    pub data: Option<PathBuf>,
    /// Split to evaluate on [default: validation or test, or else the only one]
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,
    #[command(flatten)]
    pub columns: ColumnArgs,
    /// Photos computed at once
    #[arg(long, short, value_name = "N", default_value_t = 8, value_parser = count::<usize>)]
    #[arg(aliases = ["per-device-eval-batch-size", "eval-batch-size", "batch", "bs"])]
    pub batch_size: usize,
    /// Files that cannot be read as images: leave them out and list them, or list them and stop
    #[arg(long, value_name = "WHAT", default_value = "skip")]
    pub bad_images: BadImagesArg,
    /// Write a page with the scores, the confusion matrix and the worst mistakes as pictures
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

pub fn run(args: &EvalArgs, global: &Global) -> Outcome {
    let device = global.device()?;
    let (mut loaded, preprocessor) =
        model::load_classifier(&model::folder(&args.checkpoint, global)?)?;
    let data = labelled(args, &loaded.config.labels(), global)?;
    loaded.config.set_labels(&data.classes);
    for notice in loaded.notices.iter().chain(&data.notices) {
        global.notice(notice);
    }
    let images = images::open(
        "reading images",
        data.dataset,
        &preprocessor,
        args.bad_images,
        Augmentation::None,
        global,
    )?;
    for notice in images.notices() {
        global.notice(notice);
    }
    let mut engine = engines::load(
        device,
        loaded.config,
        loaded.params,
        preprocessor.lookup(),
        Hyper::default(),
        Capacity {
            training: None,
            inference: args.batch_size,
        },
    )?;
    let mut reporters = Reporters::default();
    if !global.quiet {
        reporters.0.push(Box::new(Console::stderr()));
    }
    let never = AtomicBool::new(false);
    let evaluation = evaluate(
        engine.as_mut(),
        &images,
        args.batch_size,
        &mut reporters,
        &never,
    )?;
    for notice in engine.take_notices() {
        global.notice(notice);
    }
    if let Some(file) = &args.report {
        let what = args.checkpoint.display().to_string();
        let judged = thumbnail::judged(what, &evaluation, images.dataset(), &data.classes);
        let record = Record {
            judged: Some(judged),
            ..Record::default()
        };
        let name = report::name(&args.checkpoint);
        report::write(file, &name, &RunLog::default(), &record)?;
    }
    if global.json {
        let mut keys = evaluation.to_hf_keys();
        keys.extend(evaluation.summary().to_keys(&data.classes));
        output::json(&keys)
    } else {
        print(&evaluation, &data.classes)
    }
}

/// The photos, labelled by their place among the model's `classes`.
fn labelled(args: &EvalArgs, classes: &[String], global: &Global) -> Result<Labelled> {
    let source = args.columns.find(args.data.as_deref(), global)?;
    let name = source.to_string();
    let root = Path::new(&name);
    let part = args.split.clone().map_or(Part::Validation, Part::Named);
    let mut data = source::open_part(&source, part)?;
    if !unnamed(classes) {
        return data.with_classes(classes, root);
    }
    let (found, wanted) = (data.classes.len(), classes.len());
    if found != wanted {
        return Err(Error::data(
            root,
            format!("has {found} classes, the model {wanted}, which it does not name"),
            "use photos of the classes it was trained on, or set id2label in its config.json",
        ));
    }
    data.notices.push(format!(
        "the model does not name its {wanted} classes; taken as {}, in this order",
        some_of(&data.classes)
    ));
    Ok(data)
}

/// Whether the names are those that transformers gives to classes without one.
fn unnamed(classes: &[String]) -> bool {
    let mut numbered = classes.iter().enumerate();
    numbered.all(|(i, name)| *name == format!("LABEL_{i}"))
}

/// Classes of which the confusion matrix still fits a terminal.
const MATRIX_CLASSES: usize = 12;

/// Confused pairs shown in place of a larger matrix.
const CONFUSED_PAIRS: usize = 10;

fn print(evaluation: &Evaluation, classes: &[String]) -> Outcome {
    let summary = evaluation.summary();
    scores(evaluation, &summary).print()?;
    output::result("")?;
    by_class(&summary, classes).print()?;
    if summary.correct == summary.samples {
        return Ok(());
    }
    output::result("")?;
    if classes.len() <= MATRIX_CLASSES {
        matrix(&summary, classes).print()
    } else {
        confused(&summary, classes).print()
    }
}

fn percent(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}

fn scores(evaluation: &Evaluation, summary: &Summary) -> Table {
    let (low, high) = summary.interval();
    let mut scores = Table::new(&["", "", "95 % interval"]);
    scores.row(vec![
        "accuracy %".into(),
        percent(evaluation.accuracy()),
        format!("{} … {}", percent(low), percent(high)),
    ]);
    let mut row = |name: &str, value: String| scores.row(vec![name.into(), value, String::new()]);
    if evaluation.classes > 5 {
        row("in the top 5 %", percent(summary.top5_accuracy));
    }
    row("loss", format!("{:.4}", evaluation.loss()));
    let calibration = &summary.calibration;
    row("macro F1 %", percent(summary.confusion.macro_averages()[2]));
    row("confidence %", percent(calibration.mean_confidence()));
    row("calibration error %", percent(calibration.expected_error()));
    row("images", thousands(evaluation.samples() as u64));
    let rate = evaluation.samples() as f64 / evaluation.runtime.as_secs_f64();
    row("images/s", format!("{rate:.1}"));
    scores
}

fn by_class(summary: &Summary, classes: &[String]) -> Table {
    let mut table = Table::new(&[
        "class",
        "images",
        "correct",
        "recall %",
        "precision %",
        "F1 %",
    ]);
    for (name, class) in classes.iter().zip(summary.confusion.class_counts()) {
        let shown = |share: Option<f64>| share.map_or("-".into(), percent);
        table.row(vec![
            name.clone(),
            class.samples.to_string(),
            class.correct.to_string(),
            shown(class.recall()),
            shown(class.precision()),
            shown(class.f1()),
        ]);
    }
    table
}

fn matrix(summary: &Summary, classes: &[String]) -> Table {
    let mut head = vec!["is \\ taken for"];
    head.extend(classes.iter().map(String::as_str));
    let mut table = Table::new(&head);
    for (name, row) in classes.iter().zip(summary.confusion.rows()) {
        let mut cells = vec![name.clone()];
        cells.extend(row.iter().map(usize::to_string));
        table.row(cells);
    }
    table
}

fn confused(summary: &Summary, classes: &[String]) -> Table {
    let mut table = Table::new(&["is", "taken for", "images"]);
    let pairs = summary.confusion.confused();
    for (label, class, images) in pairs.into_iter().take(CONFUSED_PAIRS) {
        let (label, class) = (classes[label].clone(), classes[class].clone());
        table.row(vec![label, class, images.to_string()]);
    }
    table
}
