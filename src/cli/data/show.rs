//! `vitcuda data show`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::Args;
use rayon::prelude::*;
use serde_json::json;

use super::inline::Protocol;
use crate::cli::Global;
use crate::cli::ending;
use crate::cli::model::{self, Named};
use crate::cli::numbers::count;
use crate::cli::output::{self, Outcome};
use crate::cli::source::ColumnArgs;
use vitcuda::data::decode::Undecodable;
use vitcuda::data::grid::{self, Tile};
use vitcuda::data::source::{self, Labelled, Part};
use vitcuda::data::split::sample;
use vitcuda::data::{Dataset, Preprocessor, Rgb};
use vitcuda::hub::ModelPart;
use vitcuda::{Error, Result, files};

/// Show one image and what a model gets of it, or a grid of random ones
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub struct ShowArgs {
    /// Folder, Parquet file or folder of them, or manifest, as for train [default: the embedded
    /// digits]
    pub data: Option<PathBuf>,
    /// Image of this number, from 0
    #[arg(long, value_name = "N", group = "what")]
    pub index: Option<usize>,
    /// Rows and columns of images, drawn as Python's random.sample does
    #[arg(long, value_name = "RxC", group = "what", value_parser = grid_size)]
    pub grid: Option<(usize, usize)>,
    /// With --index: the values that a model gets
    #[arg(long, requires = "index")]
    pub processed: bool,
    /// With --processed: the model whose preprocessor_config.json to follow [default: 224 × 224,
    /// bilinear, −1…1]
    #[arg(long, short, value_name = "DIR|PRESET", requires = "processed")]
    pub model: Option<String>,
    /// With --grid: seed of the drawing
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
    /// With --grid: the file to write, whose ending, .png or .jpg, says as what; without it, a
    /// terminal that can shows the picture
    #[arg(long, short, value_name = "FILE", requires = "grid")]
    pub output: Option<PathBuf>,
    /// Split to show [default: train, or the only one]
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,
    #[command(flatten)]
    pub columns: ColumnArgs,
}

/// `3x3`, rows by columns.
fn grid_size(text: &str) -> Result<(usize, usize), String> {
    const WANTED: &str = "expected rows and columns such as 3x3, of 100 images at most";
    let (rows, columns) = text.split_once(['x', 'X', '×']).ok_or(WANTED)?;
    let (rows, columns): (usize, usize) = (count(rows)?, count(columns)?);
    if rows.saturating_mul(columns) <= 100 {
        Ok((rows, columns))
    } else {
        Err(WANTED.into())
    }
}

/// A picture as the bytes of a file.
type Encoder = fn(&Rgb) -> Vec<u8>;

/// Kinds of pictures by the endings of their files.
const KINDS: [(&str, Encoder); 3] = [
    ("png", Rgb::to_png),
    ("jpg", Rgb::to_jpeg),
    ("jpeg", Rgb::to_jpeg),
];

/// Where to write a picture, and how.
type Target<'a> = Option<(&'a Path, Encoder)>;

pub fn run(args: &ShowArgs, global: &Global) -> Outcome {
    let target = match &args.output {
        Some(path) => Some((path.as_path(), ending::kind(path, &KINDS)?)),
        None => None,
    };
    let source = args.columns.find(args.data.as_deref(), global)?;
    let part = args.split.clone().map_or(Part::Train, Part::Named);
    let data = source::open_part(&source, part)?;
    for notice in &data.notices {
        global.notice(notice);
    }
    match (args.grid, args.index) {
        (Some((rows, columns)), _) => show_grid(args, &data, (rows, columns), target, global),
        (None, Some(index)) => show_image(args, &data, index, global),
        (None, None) => unreachable!("one of the two is required"),
    }
}

fn show_grid(
    args: &ShowArgs,
    data: &Labelled,
    (rows, columns): (usize, usize),
    target: Target,
    global: &Global,
) -> Outcome {
    let terminal = Protocol::of_terminal().filter(|_| std::io::stdout().is_terminal());
    if target.is_none() && terminal.is_none() {
        return Err(Error::usage(
            "--grid: this terminal shows no pictures, as far as is known",
            "name a file for the picture: -o grid.png",
        )
        .into());
    }
    let chosen = sample(data.dataset.len(), rows * columns, args.seed, "--grid")?;
    let tile = |&i: &usize| {
        let class = class(data, i);
        match data.dataset.image(i) {
            Ok(picture) => Tile {
                title: class.to_owned(),
                picture: Some(picture),
            },
            Err(_) => Tile {
                title: format!("{class}: bad"),
                picture: None,
            },
        }
    };
    let tiles: Vec<Tile> = chosen.par_iter().map(tile).collect();
    let picture = grid::draw(&tiles, columns);
    if let Some((path, encode)) = target {
        files::write_atomically(path, &encode(&picture))?;
    }
    if global.json {
        let images = chosen
            .iter()
            .map(|&i| json!({ "index": i, "name": data.dataset.name(i), "label": class(data, i) }));
        return output::json(&json!({
            "file": target.map(|(path, _)| path.display().to_string()),
            "images": images.collect::<Vec<_>>(),
        }));
    }
    match (terminal, target) {
        (Some(protocol), _) => output::as_it_is(&protocol.show(&picture.to_png())),
        (None, Some((path, _))) => output::result(path.display()),
        (None, None) => Ok(()),
    }
}

fn class(data: &Labelled, i: usize) -> &str {
    &data.classes[data.dataset.label(i) as usize]
}

fn show_image(args: &ShowArgs, data: &Labelled, index: usize, global: &Global) -> Outcome {
    let dataset = &data.dataset;
    if index >= dataset.len() {
        return Err(Error::usage(
            format!("--index {index}: there are {} images", dataset.len()),
            format!("give a number from 0 to {}", dataset.len() - 1),
        )
        .into());
    }
    let name = dataset.name(index);
    let label = dataset.label(index);
    let picture = dataset
        .image(index)
        .map_err(|reason| bad(dataset, index, reason))?;
    let (width, height) = (picture.width, picture.height);
    let processed = if args.processed {
        let (preprocessor, origin) = preprocessor(args.model.as_deref(), global)?;
        Some(Processed::new(preprocessor, origin, |p| p.apply(&picture)))
    } else {
        None
    };
    if global.json {
        let mut object = json!({
            "index": index,
            "name": name,
            "label": label,
            "class": class(data, index),
            "width": width,
            "height": height,
        });
        if let Some(processed) = processed {
            object["processed"] = processed.as_json();
        }
        return output::json(&object);
    }
    output::result(format_args!("image      {index}: {name}"))?;
    output::result(format_args!("label      {label}: {}", class(data, index)))?;
    output::result(format_args!("size       {width} × {height}"))?;
    processed.map_or(Ok(()), |processed| processed.print())
}

fn bad(dataset: &Dataset, index: usize, reason: Undecodable) -> Error {
    let name = dataset.name(index);
    let reason = match reason.reason(|| name.clone()) {
        Ok(reason) => reason,
        Err(short_of_memory) => return short_of_memory,
    };
    let path = dataset.path(index).unwrap_or(Path::new(&name));
    Error::data(
        path,
        reason,
        "it is left out in training; vitcuda data stats lists all such images",
    )
}

/// The settings of the model called `name`, and where they come from.
fn preprocessor(name: Option<&str>, global: &Global) -> Result<(Preprocessor, String)> {
    let Some(name) = name else {
        return Ok((Preprocessor::new(224), "the defaults".into()));
    };
    match model::find(name, ModelPart::Settings, global)? {
        Named::Preset(name, config) => Ok((
            Preprocessor::new(config.image_size),
            format!("the defaults of {name}"),
        )),
        Named::Folder { path: folder, .. } => {
            let path = folder.join(model::PREPROCESSOR);
            Ok((Preprocessor::read(&path)?, path.display().to_string()))
        }
    }
}

/// What a model gets of one image.
struct Processed {
    preprocessor: Preprocessor,
    /// Where the settings come from.
    origin: String,
    /// (3, H, W).
    values: Vec<f32>,
}

/// Values of each channel that are shown.
const FIRST: usize = 6;

impl Processed {
    fn new(
        preprocessor: Preprocessor,
        origin: String,
        apply: impl FnOnce(&Preprocessor) -> Vec<u8>,
    ) -> Self {
        let planes = apply(&preprocessor);
        let lookup = preprocessor.lookup();
        let plane = planes.len() / 3;
        let value = |(i, &v): (usize, &u8)| lookup[i / plane][usize::from(v)];
        Self {
            values: planes.iter().enumerate().map(value).collect(),
            preprocessor,
            origin,
        }
    }

    fn range(&self) -> (f32, f32, f64) {
        let least = self.values.iter().copied().fold(f32::INFINITY, f32::min);
        let most = self
            .values
            .iter()
            .copied()
            .fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = self.values.iter().copied().map(f64::from).sum();
        (least, most, sum / self.values.len() as f64)
    }

    fn shape(&self) -> [usize; 3] {
        let size = self.preprocessor.output_size();
        [3, size.height, size.width]
    }

    fn first(&self) -> impl Iterator<Item = &[f32]> {
        let plane = self.values.len() / 3;
        self.values
            .chunks_exact(plane)
            .map(move |channel| &channel[..FIRST.min(plane)])
    }

    fn as_json(&self) -> serde_json::Value {
        let settings: serde_json::Value =
            serde_json::from_str(&self.preprocessor.to_json()).expect("it was written as JSON");
        let (least, most, mean) = self.range();
        json!({
            "settings_from": self.origin,
            "settings": settings,
            "shape": self.shape(),
            "dtype": "float32",
            "min": least,
            "max": most,
            "mean": mean,
            "first_values": self.first().collect::<Vec<_>>(),
        })
    }

    fn print(&self) -> Outcome {
        let (least, most, mean) = self.range();
        let [_, height, width] = self.shape();
        output::result(format_args!("\nsettings   from {}", self.origin))?;
        output::result(self.preprocessor.to_json().trim_end())?;
        output::result(format_args!("\nshape      (3, {height}, {width}), float32"))?;
        output::result(format_args!(
            "range      {least:.4} … {most:.4}, mean {mean:.4}"
        ))?;
        for (channel, values) in ["red", "green", "blue"].iter().zip(self.first()) {
            let shown: Vec<String> = values.iter().map(|v| format!("{v:.4}")).collect();
            output::result(format_args!("{channel:<9}  {} …", shown.join(", ")))?;
        }
        Ok(())
    }
}
