//! The flags that say which images.

use std::path::{Path, PathBuf};

use clap::Args;

use super::numbers::{count, proper_fraction};
use super::{Global, hub};
use vitcuda::data::Columns;
use vitcuda::data::source::{DataSpec, Source};
use vitcuda::{Error, Result};

#[derive(Debug, Args)]
pub struct ColumnArgs {
    /// Column with the images of a table [default: found by its type and name]
    #[arg(long, value_name = "NAME", alias = "image-column-name")]
    pub image_column: Option<String>,
    /// Column with the labels of a table [default: found by its type and name]
    #[arg(long, value_name = "NAME", alias = "label-column-name")]
    pub label_column: Option<String>,
    /// Which data set of a hub repository that holds several [default: the only one]
    #[arg(long, value_name = "NAME", alias = "dataset-config-name")]
    pub dataset_config: Option<String>,
}

impl ColumnArgs {
    pub fn columns(&self) -> Columns {
        Columns {
            image: self.image_column.clone(),
            label: self.label_column.clone(),
        }
    }

    /// What lies at `data` or has this name on the hub; without one the embedded digits.
    pub fn find(&self, data: Option<&Path>, global: &Global) -> Result<Source> {
        let Some(path) = data else {
            return Ok(Source::Digits);
        };
        let configuration = self.dataset_config.as_deref();
        if let Some(id) = hub::id(path) {
            return hub::dataset(&id, configuration, &self.columns(), global);
        }
        hub::refuse_legacy_name(path)?;
        match configuration {
            None => Source::find(path, &self.columns()),
            Some(name) => Err(Error::usage(
                format!(
                    "--dataset-config {name}: {} is not on the hub",
                    path.display()
                ),
                "leave it out, and name the folder of the data set",
            )),
        }
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Data")]
pub struct SplitArgs {
    #[command(flatten)]
    pub columns: ColumnArgs,
    /// Split to train on [default: train, or the only one]
    #[arg(long, value_name = "NAME")]
    pub train_split: Option<String>,
    /// Images to evaluate on that lie elsewhere than DATA: a folder, Parquet files, a manifest, or
    /// OWNER/NAME of the hub
    #[arg(long, value_name = "DATA")]
    pub validation_dir: Option<PathBuf>,
    /// Split to evaluate on [default: validation or test]
    #[arg(long, value_name = "NAME")]
    pub eval_split: Option<String>,
    /// Photos to train on, drawn as Python's random.sample does [default: all]
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    pub train_samples: Option<usize>,
    /// Photos to evaluate on, drawn from the rest [default: all of the rest]
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    pub eval_samples: Option<usize>,
    /// Share of the photos set aside for evaluation where DATA has no validation part and no
    /// --eval-samples are asked for
    #[arg(long, value_name = "SHARE", default_value_t = 0.15, value_parser = proper_fraction)]
    #[arg(alias = "train-val-split")]
    pub validation_fraction: f64,
    /// Seed of everything random: split, order, new weights
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
}

impl SplitArgs {
    /// What to train and evaluate on of `data`, or of the embedded digits.
    pub fn spec(&self, data: Option<&Path>, global: &Global) -> Result<DataSpec> {
        let elsewhere = self.validation_dir.as_deref();
        let elsewhere = elsewhere.map(|data| self.columns.find(Some(data), global));
        Ok(DataSpec {
            source: self.columns.find(data, global)?,
            validation: elsewhere.transpose()?,
            train_split: self.train_split.clone(),
            eval_split: self.eval_split.clone(),
            train_samples: self.train_samples,
            eval_samples: self.eval_samples,
            validation_fraction: self.validation_fraction,
            seed: self.seed,
        })
    }
}
