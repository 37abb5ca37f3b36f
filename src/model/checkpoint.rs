//! Checkpoints: folders with `config.json` and `model.safetensors`, as Hugging Face's tools write.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use rayon::prelude::*;

use super::arena_file;
use super::config::VitConfig;
use super::head::{self, Head, Offer};
use super::init::{self, HeadInit};
use super::interpolate;
use super::model_type::ModelType;
use super::params::{Param, ParamTable};
use super::tensor_file::TensorFile;
use super::weights::{Tensor, Weights};
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

/// Reads the checkpoint of a backbone or of a classifier: a ViT's, a DeiT's without a distillation
/// token or a DINOv2's (see [`ModelType`]). Whatever it was, it is a
/// plain ViT afterwards.
///
/// An error where a file or tensor is missing, has another shape than `config.json` says, or holds
/// a value that is not finite; nothing of the model's size is allocated before the shapes are
/// checked.
pub fn load(folder: impl AsRef<Path>, options: &LoadOptions) -> Result<Loaded> {
    let Opened {
        mut config,
        from,
        weights,
        head_file,
        head,
        mut notices,
    } = Opened::new(folder.as_ref(), options)?;
    let mut table = ParamTable::new(&config);
    let sources = find_all(&table, &weights, from, head_file.as_ref(), &head)?;
    notices.extend(unused(&weights, from, &sources));
    let mut params = vec![0.0; table.len];
    table
        .split_mut(&mut params)
        .into_par_iter()
        .zip(&sources)
        .enumerate()
        .map(
            |(place, ((param, values), source))| match (source, &options.head) {
                (Some(source), _) => source.read(&param.shape, values),
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
        head::reorder(&mut params[table.head_weight.clone()], rows);
        head::reorder(&mut params[table.head_bias.clone()], rows);
    }

    if let Some(size) = options.image_size.filter(|&size| size != config.image_size) {
        let old = config.clone();
        config.set_image_size(size)?;
        let [before, after] = [&old, &config].map(|c| c.image_size / c.patch_size);
        let at = table.position_embeddings.clone();
        let new = interpolate::positions(&params[at.clone()], before, after, config.hidden_size);
        params.splice(at, new);
        table = ParamTable::new(&config);
        notices.push(format!(
            "image size {size} instead of {}: positions interpolated from {before} × {before} to \
             {after} × {after} patches",
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

/// Whether [`load`] takes the checkpoint in `folder` for data with labels of their own: all is looked
/// at but the values.
pub fn check(folder: &Path) -> Result<()> {
    let options = LoadOptions {
        labels: Some(vec!["one".into(), "other".into()]),
        ..LoadOptions::default()
    };
    let opened = Opened::new(folder, &options)?;
    let table = ParamTable::new(&opened.config);
    find_all(&table, &opened.weights, opened.from, None, &opened.head).map(drop)
}

/// A checkpoint of which nothing of the model's size has been read.
struct Opened {
    /// With its final labels, of the plain ViT that it becomes.
    config: VitConfig,
    from: ModelType,
    weights: Weights,
    head_file: Option<TensorFile>,
    head: Head,
    notices: Vec<String>,
}

impl Opened {
    fn new(folder: &Path, options: &LoadOptions) -> Result<Self> {
        let mut config = read_config(folder)?;
        let mut notices = config_notices(&config);
        let from = std::mem::take(&mut config.model_type);
        let weights = Weights::open(folder)?;
        weights.refuse_distilled()?;
        let head_file = match &options.head {
            HeadInit::File(path) => Some(TensorFile::open(path)?),
            HeadInit::Random | HeadInit::Zero => None,
        };
        let offer = Offer::find(&weights, head_file.as_ref(), from);
        let head = head::settle(&mut config, &offer, options, &mut notices)
            .map_err(|(problem, help)| Error::model(folder, problem, help))?;
        Ok(Self {
            config,
            from,
            weights,
            head_file,
            head,
            notices,
        })
    }
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

/// The configuration of the checkpoint in `folder`, as its file has it.
pub fn read_config(folder: &Path) -> Result<VitConfig> {
    check_folder(folder)?;
    VitConfig::read(folder.join("config.json"))
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
    let help = if inside.is_empty() {
        help.to_owned()
    } else {
        format!("there are models in these folders of it: {}", list(&inside))
    };
    Err(Error::model(folder, "found no config.json", help))
}

/// What there is to say of the configuration alone: what becomes of the model, and what training
/// here does not do.
fn config_notices(config: &VitConfig) -> Vec<String> {
    let mut notices = Vec::new();
    if config.model_type == ModelType::Dinov2 {
        notices.push(format!("a {}", config.model_type.describe()));
    }
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

/// Where a parameter's values are.
struct Source<'a> {
    tensor: Tensor<'a>,
    /// What each row is multiplied by; (C).
    layer_scale: Option<Tensor<'a>>,
}

impl Source<'_> {
    /// Reads the values of a parameter of this shape.
    fn read(&self, shape: &[usize], values: &mut [f32]) -> Result<()> {
        let Tensor { file, name } = &self.tensor;
        file.read(name, shape, values)?;
        let Some(Tensor {
            file: of,
            name: scale,
        }) = &self.layer_scale
        else {
            return Ok(());
        };
        // The product of two f32 is rounded once; of two f16, whose 22 bits f32 holds, not at all.
        let scales = of.read_vec(scale, &shape[..1])?;
        let row = values.len() / scales.len();
        for (values, scale) in values.chunks_exact_mut(row).zip(&scales) {
            values.iter_mut().for_each(|v| *v *= scale);
        }
        if values.iter().all(|v| v.is_finite()) {
            Ok(())
        } else {
            let problem = format!("tensor `{name}` times `{scale}` is beyond f32's range");
            Err(Error::model(file.path(), problem, "the file is damaged"))
        }
    }
}

/// For each parameter where its values are, in tensors of the right shape; none where it is to
/// start anew or is empty.
fn find_all<'a>(
    table: &ParamTable,
    weights: &'a Weights,
    from: ModelType,
    head_file: Option<&'a TensorFile>,
    head: &Head,
) -> Result<Vec<Option<Source<'a>>>> {
    let mut missing = Vec::new();
    let mut find = |name: &str, shape: &[usize]| -> Result<Option<Tensor<'a>>> {
        let spellings = from.spellings(name);
        let found = match head_file {
            Some(file) if is_head(name) => Some(Tensor {
                file,
                name: name.to_owned(),
            }),
            _ => weights.find(&spellings),
        };
        match &found {
            Some(Tensor { file, name }) => file.check(name, shape)?,
            None => missing.push((spellings[0].clone(), shape.to_vec())),
        }
        Ok(found)
    };
    let mut sources = Vec::with_capacity(table.params.len());
    for Param {
        name, shape, range, ..
    } in &table.params
    {
        if range.is_empty() || (is_head(name) && matches!(head, Head::New)) {
            sources.push(None);
            continue;
        }
        let tensor = find(name, shape)?;
        let layer_scale = match from.layer_scale(name) {
            Some(scale) => find(&scale, &shape[..1])?,
            None => None,
        };
        sources.push(tensor.map(|tensor| Source {
            tensor,
            layer_scale,
        }));
    }
    match missing.first() {
        None => Ok(sources),
        Some((name, shape)) => Err(weights.missing(name, shape, missing.len() - 1)),
    }
}

fn is_head(name: &str) -> bool {
    name.starts_with("classifier.")
}

/// What to say about tensors that the model does not use.
fn unused(weights: &Weights, from: ModelType, sources: &[Option<Source>]) -> Vec<String> {
    let used: HashSet<&str> = sources
        .iter()
        .flatten()
        .flat_map(|source| [Some(&source.tensor), source.layer_scale.as_ref()])
        .flatten()
        .map(|tensor| &tensor.name[..])
        .collect();
    // A DINOv2 always has a mask token; that it is dropped is part of what was said of it.
    let is_dropped = |name: &str| {
        is_head(name) || (from == ModelType::Dinov2 && name.ends_with("embeddings.mask_token"))
    };
    let (pooler, others): (Vec<_>, Vec<_>) = weights
        .names()
        .into_iter()
        .filter(|name| !used.contains(&name[..]) && !is_dropped(name))
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
pub(super) fn list(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
