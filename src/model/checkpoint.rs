//! Checkpoints: folders with `config.json` and `model.safetensors`, as Hugging Face's tools write.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use rayon::prelude::*;

use super::arena_file;
use super::config::VitConfig;
use super::init::{self, HeadInit};
use super::interpolate;
use super::params::{Param, ParamTable};
use super::tensor_file::TensorFile;
use super::weights::Weights;
use crate::error::{Error, Result};

/// What may differ between the checkpoint and the model wanted.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Class names of the data; `None` takes the checkpoint's.
    pub labels: Option<Vec<String>>,
    /// Side of the input; `None` takes the checkpoint's.
    pub image_size: Option<usize>,
    pub head: HeadInit,
    /// Of the new head's weights.
    pub seed: u64,
}

/// A model read from a checkpoint.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Of the model as loaded: labels and image size are those asked for. Without labels where
    /// neither the checkpoint nor the options have any: then there is no head.
    pub config: VitConfig,
    pub table: ParamTable,
    /// The arena of `table`.
    pub params: Vec<f32>,
    /// What the user should know about how the file was taken, a sentence each.
    pub notices: Vec<String>,
}

/// Where the head's values come from.
enum Head {
    /// Row `i` is the file's row `rows[i]`.
    Rows(Vec<usize>),
    New,
}

/// Reads a `ViTForImageClassification` or `ViTModel` checkpoint.
///
/// An error where a file or tensor is missing, has another shape than `config.json` says, or holds
/// a value that is not finite; nothing of the model's size is allocated before the shapes are
/// checked.
pub fn load(folder: impl AsRef<Path>, options: &LoadOptions) -> Result<Loaded> {
    let folder = folder.as_ref();
    check_folder(folder)?;
    let mut config = VitConfig::read(folder.join("config.json"))?;
    let mut notices = config_notices(&config);
    let weights = Weights::open(folder)?;
    let head_file = match &options.head {
        HeadInit::File(path) => Some(TensorFile::open(path)?),
        HeadInit::Random | HeadInit::Zero => None,
    };
    let rows = head_rows(&weights, head_file.as_ref());
    let head = settle_labels(&mut config, rows, options, &mut notices);

    let mut table = ParamTable::new(&config);
    let sources = find_all(&table, &weights, head_file.as_ref(), &head)?;
    notices.extend(unused(&weights, &sources));
    let mut params = vec![0.0; table.len];
    table
        .split_mut(&mut params)
        .into_par_iter()
        .zip(&sources)
        .enumerate()
        .map(
            |(place, ((param, values), source))| match (source, &options.head) {
                (Some((file, name)), _) => file.read(name, &param.shape, values),
                (None, HeadInit::Random) => {
                    init::fill(param.init, options.seed, place, values);
                    Ok(())
                }
                (None, HeadInit::Zero | HeadInit::File(_)) => Ok(()),
            },
        )
        .collect::<Vec<_>>() // not straight into a Result: the first error of the table is told
        .into_iter()
        .collect::<Result<()>>()?;
    if let Head::Rows(rows) = &head {
        reorder(&mut params[table.head_weight.clone()], rows);
        reorder(&mut params[table.head_bias.clone()], rows);
    }

    if let Some(size) = options.image_size.filter(|&size| size != config.image_size) {
        let old = config.clone();
        config.set_image_size(size)?;
        let [from, to] = [&old, &config].map(|c| c.image_size / c.patch_size);
        let at = table.position_embeddings.clone();
        let new = interpolate::positions(&params[at.clone()], from, to, config.hidden_size);
        params.splice(at, new);
        table = ParamTable::new(&config);
        notices.push(format!(
            "image size {size} instead of {}: positions interpolated from {from} × {from} to \
             {to} × {to} patches",
            old.image_size
        ));
    }
    Ok(Loaded {
        config,
        table,
        params,
        notices,
    })
}

/// Writes a checkpoint that transformers loads as `ViTForImageClassification`; each file is
/// replaced atomically. Makes the folder where it is missing.
///
/// Panics if `params` is not the arena of `config`'s table, or if `config` has no labels.
pub fn save(folder: impl AsRef<Path>, config: &VitConfig, params: &[f32]) -> Result<()> {
    assert!(config.num_labels() > 0, "a classifier without classes");
    let folder = folder.as_ref();
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create the folder", e))?;
    let config = VitConfig {
        architectures: vec!["ViTForImageClassification".into()],
        ..config.clone()
    };
    let table = ParamTable::new(&config);
    // transformers 4 refuses files whose metadata do not name the framework.
    let metadata = [("format", "pt")];
    let weights = folder.join("model.safetensors");
    arena_file::save(weights, &table.params, &[("", params)], &metadata)?;
    config.write(folder.join("config.json"))
}

/// An error that helps where `folder` holds no model.
fn check_folder(folder: &Path) -> Result<()> {
    let help = "wanted a folder with config.json and model.safetensors";
    if folder.is_file() {
        let problem = "is a file, wanted the folder that holds it";
        return Err(Error::model(folder, problem, help));
    }
    if !folder.is_dir() {
        return Err(Error::model(folder, "no such folder", help));
    }
    if folder.join("config.json").exists() {
        return Ok(());
    }
    let mut inside: Vec<String> = fs::read_dir(folder)
        .map_err(|e| Error::io(folder, "list it", e))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("config.json").exists())
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    inside.sort();
    let help = match inside.is_empty() {
        true => help.to_owned(),
        false => format!("there are models in these folders of it: {}", list(&inside)),
    };
    Err(Error::model(folder, "found no config.json", help))
}

/// What the configuration asks for that training here does not do.
fn config_notices(config: &VitConfig) -> Vec<String> {
    let mut notices = Vec::new();
    if config.hidden_dropout_prob > 0.0 || config.attention_probs_dropout_prob > 0.0 {
        notices.push("config.json asks for dropout, which is not applied".to_owned());
    }
    if config.problem_type != VitConfig::default().problem_type {
        notices.push(format!(
            "config.json says {}; taken as a classification with one label an image",
            config.problem_type
        ));
    }
    notices
}

/// Classes of the head that the files offer.
fn head_rows(weights: &Weights, head_file: Option<&TensorFile>) -> Option<usize> {
    let shape = match head_file {
        Some(file) => file.shape(HEAD_WEIGHT),
        None => weights.shape(HEAD_WEIGHT),
    };
    shape?.first().copied()
}

const HEAD_WEIGHT: &str = "classifier.weight";

/// Gives `config` its final labels, and says which rows of the offered head (of `rows` classes)
/// they take.
fn settle_labels(
    config: &mut VitConfig,
    rows: Option<usize>,
    options: &LoadOptions,
    notices: &mut Vec<String>,
) -> Head {
    // transformers leaves out id2label where it is the default one.
    let unnamed: Vec<String> = (0..rows.unwrap_or(0))
        .map(|i| format!("LABEL_{i}"))
        .collect();
    let stored = match (rows, config.num_labels()) {
        (None, _) | (_, 0) => unnamed.clone(),
        (Some(_), _) => config.labels(),
    };
    let wanted = options.labels.as_ref().unwrap_or(&stored);
    config.set_labels(wanted);
    let in_order = Head::Rows((0..wanted.len()).collect());
    if matches!(options.head, HeadInit::File(_)) {
        return in_order;
    }
    let count = wanted.len();
    match rows {
        None if wanted.is_empty() => {
            notices.push("the checkpoint has no classification head".to_owned());
            in_order
        }
        None => {
            notices.push(format!(
                "new head for {count} classes: the checkpoint has none"
            ));
            Head::New
        }
        // Where the labels are the checkpoint's own, a head of another size is a fault to report.
        Some(found) if found != count && options.labels.is_some() => {
            notices.push(format!(
                "new head for {count} classes: the checkpoint's is for {found}"
            ));
            Head::New
        }
        Some(_) if *wanted == stored => in_order,
        Some(_) if stored == unnamed => {
            notices.push(format!(
                "the checkpoint does not name its {count} classes; taken as {}",
                list(wanted)
            ));
            in_order
        }
        Some(_) => match places(wanted, &stored) {
            Some(rows) => {
                notices.push(format!(
                    "the checkpoint's classes come in another order ({}); its head was reordered",
                    list(&stored)
                ));
                Head::Rows(rows)
            }
            None => {
                notices.push(format!(
                    "the checkpoint's classes are {}, the data's {}; its head was kept, class by \
                     class in this order",
                    list(&stored),
                    list(wanted)
                ));
                in_order
            }
        },
    }
}

/// Where each of `wanted` stands in `stored`, if both hold the same different names.
fn places(wanted: &[String], stored: &[String]) -> Option<Vec<usize>> {
    let place = |name| stored.iter().position(|s| s == name);
    let places: Vec<usize> = wanted.iter().map(place).collect::<Option<_>>()?;
    let different: HashSet<usize> = places.iter().copied().collect();
    (different.len() == stored.len()).then_some(places)
}

/// Moves row `rows[i]` to place `i`.
fn reorder(values: &mut [f32], rows: &[usize]) {
    if rows.is_empty() || rows.is_sorted() {
        return;
    }
    let old = values.to_vec();
    let width = values.len() / rows.len();
    for (new, &row) in values.chunks_exact_mut(width).zip(rows) {
        new.copy_from_slice(&old[row * width..][..width]);
    }
}

/// A tensor's file and its name there.
type Source<'a> = (&'a TensorFile, String);

/// For each parameter its tensor, of the right shape; none where it is to start anew or is empty.
fn find_all<'a>(
    table: &ParamTable,
    weights: &'a Weights,
    head_file: Option<&'a TensorFile>,
    head: &Head,
) -> Result<Vec<Option<Source<'a>>>> {
    let mut missing = Vec::new();
    let mut find = |param: &Param| -> Result<Option<Source<'a>>> {
        let is_head = param.name.starts_with("classifier.");
        let found = match head_file {
            _ if param.range.is_empty() || (is_head && matches!(head, Head::New)) => {
                return Ok(None);
            }
            Some(file) if is_head => Some((file, param.name.clone())),
            _ => weights.find(param),
        };
        match &found {
            Some((file, name)) => file.check(name, &param.shape)?,
            None => missing.push((param.name.clone(), param.shape.clone())),
        }
        Ok(found)
    };
    let sources = table.params.iter().map(&mut find).collect::<Result<_>>()?;
    match missing.first() {
        None => Ok(sources),
        Some((name, shape)) => Err(weights.missing(name, shape, missing.len() - 1)),
    }
}

/// What to say about tensors that the model does not use.
fn unused(weights: &Weights, sources: &[Option<Source>]) -> Vec<String> {
    let used: HashSet<&str> = sources
        .iter()
        .flatten()
        .map(|(_, name)| &name[..])
        .collect();
    let (pooler, others): (Vec<_>, Vec<_>) = weights
        .names()
        .into_iter()
        .filter(|name| !used.contains(&name[..]) && !name.starts_with("classifier."))
        .partition(|name| name.trim_start_matches("vit.").starts_with("pooler."));
    let mut notices = Vec::new();
    if !pooler.is_empty() {
        notices.push("the checkpoint's pooler was dropped: classification does not use it".into());
    }
    if !others.is_empty() {
        notices.push(format!(
            "tensors that the model does not use: {}",
            list(&others)
        ));
    }
    notices
}

/// The first few names.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
