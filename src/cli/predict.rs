//! `vitcuda predict`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use rayon::prelude::*;
use serde_json::json;

use super::numbers::count;
use super::output::{self, Outcome};
use super::source::ColumnArgs;
use super::{Global, model};
use vitcuda::data::{Dataset, Preprocessor, Source, source};
use vitcuda::train::engine::{Batch, Capacity, Engine, Hyper};
use vitcuda::train::engines;
use vitcuda::{Error, Result};

/// Name the class of photos
#[derive(Debug, Args)]
pub struct PredictArgs {
    /// Folder with config.json and model.safetensors, or OWNER/NAME of the Hugging Face hub
    pub checkpoint: PathBuf,
    /// Image files, folders to search for them, Parquet files, manifests (.csv, .tsv, .jsonl), data
    /// sets of the hub (OWNER/NAME)
    #[arg(required = true, value_name = "IMAGE|FOLDER")]
    pub images: Vec<PathBuf>,
    #[command(flatten)]
    pub columns: ColumnArgs,
    /// Classes to name for each image, most probable first
    #[arg(long, short = 'k', value_name = "K", default_value_t = 5, value_parser = count::<usize>)]
    #[arg(alias = "top")]
    pub top_k: usize,
    /// For each image a line of text, or a JSON object on a line (as with --json)
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
    /// Images computed at once
    #[arg(long, short, value_name = "N", default_value_t = 8, value_parser = count::<usize>)]
    pub batch_size: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    #[value(aliases = ["jsonl", "jsonlines"])]
    Json,
}

pub fn run(args: &PredictArgs, global: &Global) -> Outcome {
    let device = global.device()?;
    let (loaded, preprocessor) = model::load_classifier(&model::folder(&args.checkpoint, global)?)?;
    let (images, notices) = source::open_unlabelled(&sources(args, global)?)?;
    for notice in loaded.notices.iter().chain(&notices) {
        global.notice(notice);
    }
    let labels = loaded.config.labels();
    let printer = Printer {
        labels: &labels,
        top_k: args.top_k.min(labels.len()),
        format: match global.json {
            true => Format::Json,
            false => args.format,
        },
        name_width: (0..images.len())
            .map(|i| name(&images, i).chars().count())
            .max()
            .unwrap_or(0)
            .min(output::SHOWN),
    };
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
    let mut bad = Vec::new();
    let all: Vec<usize> = (0..images.len()).collect();
    for chunk in all.chunks(args.batch_size) {
        let (good, batch) = decode(&images, chunk, &preprocessor, &mut bad)?;
        predict(engine.as_mut(), &images, &good, &batch, &printer)?;
    }
    for notice in engine.take_notices() {
        global.notice(notice);
    }
    for (i, reason) in &bad {
        output::notice(format_args!("skipped {}: {reason}", name(&images, *i)));
    }
    match bad.len() == images.len() {
        false => Ok(()),
        true => Err(Error::data(
            &args.images[0],
            format!("none of the {} images can be used", bad.len()),
            "JPEG, PNG, GIF, BMP and WebP files are read, whatever their names",
        )
        .into()),
    }
}

/// What the arguments name.
fn sources(args: &PredictArgs, global: &Global) -> Result<Vec<Source>> {
    let columns = &args.columns;
    let paths = args.images.iter();
    paths.map(|path| columns.find(Some(path), global)).collect()
}

/// The path of image `i`, as it was given or found.
fn name(images: &Dataset, i: usize) -> String {
    match images.path(i) {
        Some(path) => path.display().to_string(),
        None => images.name(i),
    }
}

/// Decodes the images `chunk` on all threads: the good ones and a batch of them; the others go to
/// `bad`.
fn decode(
    images: &Dataset,
    chunk: &[usize],
    preprocessor: &Preprocessor,
    bad: &mut Vec<(usize, String)>,
) -> Result<(Vec<usize>, Batch)> {
    let decoded: Vec<_> = chunk
        .par_iter()
        .map(|&i| images.image(i).map(|image| preprocessor.apply(&image)))
        .collect();
    let (mut good, mut batch) = (Vec::new(), Batch::default());
    for (&i, result) in chunk.iter().zip(decoded) {
        match result {
            Ok(planes) => {
                good.push(i);
                batch.images.extend(planes);
                batch.labels.push(0);
            }
            Err(reason) => bad.push((i, reason.reason(|| name(images, i))?)),
        }
    }
    Ok((good, batch))
}

fn predict(
    engine: &mut dyn Engine,
    images: &Dataset,
    good: &[usize],
    batch: &Batch,
    printer: &Printer,
) -> Outcome {
    if batch.is_empty() {
        return Ok(());
    }
    let logits = engine.logits(batch)?;
    for (&i, row) in good.iter().zip(logits.chunks_exact(printer.labels.len())) {
        printer.print(&name(images, i), &softmax(row))?;
    }
    Ok(())
}

/// How results are written.
struct Printer<'a> {
    labels: &'a [String],
    top_k: usize,
    format: Format,
    name_width: usize,
}

impl Printer<'_> {
    fn print(&self, name: &str, probabilities: &[f64]) -> Outcome {
        let mut order: Vec<usize> = (0..probabilities.len()).collect();
        // Stable: of equals the first label comes first.
        order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
        let top = order[..self.top_k]
            .iter()
            .map(|&k| (&self.labels[k], probabilities[k]));
        match self.format {
            Format::Json => {
                let predictions: Vec<_> = top
                    .map(|(label, score)| json!({ "label": label, "score": score }))
                    .collect();
                output::json(&json!({ "image": name, "predictions": predictions }))
            }
            Format::Table => {
                let mut line = format!("{name:<0$}", self.name_width);
                for (label, score) in top {
                    line += &format!("  {label} {:5.1}%", 100.0 * score);
                }
                output::result(line)
            }
        }
    }
}

/// exp(z) / Σ exp(z), the largest logit taken out first.
fn softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    let exponentials = logits.iter().map(|&z| f64::from(z - largest).exp());
    let exponentials: Vec<f64> = exponentials.collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.into_iter().map(|e| e / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::softmax;

    #[test]
    fn softmax_sums_to_one_and_survives_large_logits() {
        let p = softmax(&[1e4, 1e4, -1e4]);
        assert_eq!(p, [0.5, 0.5, 0.0]);
    }
}
