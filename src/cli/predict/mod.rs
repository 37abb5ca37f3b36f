//! `vitcuda predict`.

mod inputs;
mod rows;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use inputs::{Finder, Input};
use rayon::prelude::*;
use rows::{Lines, Row, Sink};

use super::numbers::{count, probability};
use super::output::{self, Outcome};
use super::source::ColumnArgs;
use super::{Global, model};
use vitcuda::data::Preprocessor;
use vitcuda::data::decode::{READ, Undecodable};
use vitcuda::report::format::accuracy;
use vitcuda::train::config::Hyper;
use vitcuda::train::engine::{Batch, Capacity, Engine};
use vitcuda::train::engines;
use vitcuda::{Error, Result};

/// Name the class of photos
#[derive(Debug, Args)]
pub struct PredictArgs {
    /// Folder with config.json and model.safetensors, or OWNER/NAME of the Hugging Face hub
    pub checkpoint: PathBuf,
    /// Image files, folders to search for them, patterns ('photos/*.jpg'), URLs of images, Parquet
    /// files, manifests (.csv, .tsv, .jsonl), data sets of the hub (OWNER/NAME); - takes an image or
    /// a list of such names from stdin
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
    /// Name only classes of at least this probability
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = probability)]
    pub threshold: f64,
    /// Write the rows into a file: FILE.csv, FILE.jsonl or FILE.parquet
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Images computed at once
    #[arg(long, short, value_name = "N", default_value_t = 8, value_parser = count::<usize>)]
    #[arg(aliases = ["batch", "bs"])]
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
    for notice in &loaded.notices {
        global.notice(notice);
    }
    let labels = loaded.config.labels();
    let inputs = Finder::new(&args.columns, global, &labels).find(&args.images)?;
    let mut sinks = sinks(args, global, &inputs, labels.len())?;
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
    let mut tally = Tally::default();
    for chunk in inputs.chunks(args.batch_size) {
        for (input, probabilities) in
            chunk
                .iter()
                .zip(probabilities(engine.as_mut(), chunk, &preprocessor)?)
        {
            let row = row(input, probabilities, &labels, args, &mut tally);
            sinks.iter_mut().try_for_each(|sink| sink.row(&row))?;
        }
    }
    sinks.into_iter().try_for_each(|sink| sink.finish())?;
    for notice in engine.take_notices() {
        global.notice(notice);
    }
    if tally.bad == inputs.len() {
        let help = format!("{READ} files are read, whatever their names");
        let problem = format!("none of the {} images can be used", tally.bad);
        return Err(Error::data(&args.images[0], problem, help).into());
    }
    tally.tell(inputs.len(), args, global);
    Ok(())
}

/// Where the rows go: to the file that is asked for, to stdout where there is none or JSON is asked
/// for, too.
fn sinks(
    args: &PredictArgs,
    global: &Global,
    inputs: &[Input],
    classes: usize,
) -> Result<Vec<Box<dyn Sink>>> {
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    if let Some(path) = &args.output {
        sinks.push(rows::file(path, args.top_k.min(classes))?);
    }
    let is_json = global.json || args.format == Format::Json;
    if is_json || args.output.is_none() {
        let width = |input: &Input| input.name.chars().count();
        sinks.push(Box::new(if is_json {
            Lines::Json
        } else {
            Lines::Text {
                name_width: inputs
                    .iter()
                    .map(width)
                    .max()
                    .unwrap_or(0)
                    .min(output::SHOWN),
            }
        }));
    }
    Ok(sinks)
}

/// Decodes the images of `chunk` on all threads and asks the model: for each the probabilities of
/// the classes, or why there are none.
fn probabilities(
    engine: &mut dyn Engine,
    chunk: &[Input],
    preprocessor: &Preprocessor,
) -> Result<Vec<Result<Vec<f64>, String>>> {
    let decoded: Vec<_> = chunk
        .par_iter()
        .map(|input| input.image().map(|image| preprocessor.apply(&image)))
        .collect();
    let mut batch = Batch::default();
    for planes in decoded.iter().flatten() {
        batch.images.extend(planes);
        batch.labels.push(0);
    }
    let logits = if batch.is_empty() {
        Vec::new()
    } else {
        engine.logits(&batch)?
    };
    let classes = engine.config().num_labels();
    let mut rows = logits.chunks_exact(classes);
    let one = |(input, decoded): (&Input, Result<_, Undecodable>)| match decoded {
        Ok(_) => Ok(Ok(softmax(rows.next().expect("a row for each image")))),
        Err(reason) => reason.reason(|| input.name.clone()).map(Err),
    };
    chunk.iter().zip(decoded).map(one).collect()
}

/// The most probable classes of an image, counted in `tally`.
fn row(
    input: &Input,
    probabilities: Result<Vec<f64>, String>,
    labels: &[String],
    args: &PredictArgs,
    tally: &mut Tally,
) -> Row {
    let found = probabilities.map(|probabilities| {
        let mut order: Vec<usize> = (0..probabilities.len()).collect();
        // Stable: of equals the first label comes first.
        order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
        let first = order[0];
        // A class that the model does not know it cannot be blamed for.
        if let Some(truth) = input.truth.as_ref().filter(|truth| labels.contains(truth)) {
            let is_right = labels[first] == *truth;
            tally.count(is_right, probabilities[first] >= args.threshold);
        }
        let shown = order.into_iter().take(args.top_k);
        let shown = shown.filter(|&k| probabilities[k] >= args.threshold);
        shown
            .map(|k| (labels[k].clone(), probabilities[k]))
            .collect()
    });
    tally.bad += usize::from(found.is_err());
    Row {
        image: input.name.clone(),
        truth: input.truth.clone(),
        found,
    }
}

/// What came of all images.
#[derive(Default)]
struct Tally {
    /// Inputs that are no images.
    bad: usize,
    /// Images whose class is known, and those that the model got right.
    known: usize,
    right: usize,
    /// The same of those whose first class is at the threshold or above.
    certain: usize,
    certain_right: usize,
}

impl Tally {
    fn count(&mut self, is_right: bool, is_certain: bool) {
        self.known += 1;
        self.right += usize::from(is_right);
        self.certain += usize::from(is_certain);
        self.certain_right += usize::from(is_right && is_certain);
    }

    /// Of `all` inputs.
    fn tell(&self, all: usize, args: &PredictArgs, global: &Global) {
        if self.bad > 0 {
            global.notice(format_args!(
                "{} of {all} inputs could not be used, see their rows",
                self.bad
            ));
        }
        if self.known > 0 {
            let mut text = format!(
                "accuracy {} of {} images whose class is known",
                accuracy(self.right, self.known),
                self.known
            );
            if args.threshold > 0.0 && self.certain > 0 {
                text += &format!(
                    "; {} of the {} at {} or above",
                    accuracy(self.certain_right, self.certain),
                    self.certain,
                    args.threshold
                );
            }
            output::notice(text);
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
