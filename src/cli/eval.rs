//! `vitcuda eval`.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clap::Args;

use super::images::{self, BadImagesArg};
use super::numbers::count;
use super::output::{self, Outcome, Table};
use super::source::ColumnArgs;
use super::{Global, model};
use vitcuda::data::source::{self, Labelled, Part};
use vitcuda::report::format::{thousands, wilson};
use vitcuda::report::{Console, Reporters};
use vitcuda::train::engine::{Capacity, Hyper};
use vitcuda::train::engines;
use vitcuda::train::evaluate::{Evaluation, evaluate};
use vitcuda::{Error, Result};

/// Evaluate a checkpoint on labelled photos
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Folder with config.json and model.safetensors
    pub checkpoint: PathBuf,
    /// Folder with one folder of images for each class, or with validation/ inside; Parquet file or
    /// folder of them; manifest (.csv, .tsv, .jsonl) [default: the embedded digits' validation part]
    pub data: Option<PathBuf>,
    /// Split to evaluate on [default: validation or test, or else the only one]
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,
    #[command(flatten)]
    pub columns: ColumnArgs,
    /// Photos computed at once
    #[arg(long, short, value_name = "N", default_value_t = 8, value_parser = count::<usize>)]
    #[arg(aliases = ["per-device-eval-batch-size", "eval-batch-size"])]
    pub batch_size: usize,
    /// Files that cannot be read as images: leave them out and list them, or list them and stop
    #[arg(long, value_name = "WHAT", default_value = "skip")]
    pub bad_images: BadImagesArg,
}

pub fn run(args: &EvalArgs, global: &Global) -> Outcome {
    let device = global.device()?;
    let (mut loaded, preprocessor) = model::load_classifier(&args.checkpoint)?;
    let data = labelled(args, &loaded.config.labels())?;
    loaded.config.set_labels(&data.classes);
    for notice in loaded.notices.iter().chain(&data.notices) {
        global.notice(notice);
    }
    let images = images::open(
        "reading images",
        data.dataset,
        &preprocessor,
        args.bad_images,
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
    )?
    .engine;
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
    match global.json {
        true => output::json(&evaluation.to_hf_keys()),
        false => print(&evaluation, &data.classes),
    }
}

/// The photos, labelled by their place among the model's `classes`.
fn labelled(args: &EvalArgs, classes: &[String]) -> Result<Labelled> {
    let source = args.columns.find(args.data.as_deref())?;
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
        data.classes.join(", ")
    ));
    Ok(data)
}

/// Whether the names are those that transformers gives to classes without one.
fn unnamed(classes: &[String]) -> bool {
    let mut numbered = classes.iter().enumerate();
    numbered.all(|(i, name)| *name == format!("LABEL_{i}"))
}

fn print(evaluation: &Evaluation, classes: &[String]) -> Outcome {
    let percent = |share: f64| format!("{:.1}", 100.0 * share);
    let seconds = evaluation.runtime.as_secs_f64();
    let (low, high) = wilson(evaluation.correct, evaluation.samples);
    let mut scores = Table::new(&["", "", "95 % interval"]);
    scores.row(vec![
        "accuracy %".into(),
        percent(evaluation.accuracy()),
        format!("{} … {}", percent(low), percent(high)),
    ]);
    for (name, value) in [
        ("loss", format!("{:.4}", evaluation.loss)),
        ("images", thousands(evaluation.samples as u64)),
        (
            "images/s",
            format!("{:.1}", evaluation.samples as f64 / seconds),
        ),
    ] {
        scores.row(vec![name.into(), value, String::new()]);
    }
    scores.print()?;
    output::result("")?;
    let mut by_class = Table::new(&["class", "images", "correct", "recall %", "precision %"]);
    for (name, class) in classes.iter().zip(&evaluation.classes) {
        let share = |of: usize| match of {
            0 => "-".into(),
            _ => percent(class.correct as f64 / of as f64),
        };
        by_class.row(vec![
            name.clone(),
            class.samples.to_string(),
            class.correct.to_string(),
            share(class.samples),
            share(class.predicted),
        ]);
    }
    by_class.print()
}
