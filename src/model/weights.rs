//! The weights of a checkpoint folder: one safetensors file, or several with an index.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::broken_file::TO_SAFETENSORS;
use super::model_type::PLAIN_DEIT;
use super::tensor_file::TensorFile;
use crate::error::{Error, Result};
use crate::json::JsonFile;

/// A tensor that is there.
pub struct Tensor<'a> {
    pub file: &'a TensorFile,
    pub name: String,
}

/// The open files of one model.
pub struct Weights {
    files: Vec<TensorFile>,
    /// What an error about the whole is about: the only file, or the index.
    path: PathBuf,
}

impl Weights {
    /// Opens `model.safetensors`, or the files that `model.safetensors.index.json` lists.
    pub fn open(folder: &Path) -> Result<Self> {
        let single = folder.join("model.safetensors");
        let index = folder.join("model.safetensors.index.json");
        if single.exists() {
            let files = vec![TensorFile::open(&single)?];
            return Ok(Self {
                files,
                path: single,
            });
        }
        if index.exists() {
            let files = shards(&index)?
                .iter()
                .map(|name| TensorFile::open(folder.join(name)))
                .collect::<Result<_>>()?;
            return Ok(Self { files, path: index });
        }
        let others = [
            "pytorch_model.bin",
            "pytorch_model.bin.index.json",
            "tf_model.h5",
            "flax_model.msgpack",
        ];
        Err(
            match others.iter().find(|name| folder.join(name).exists()) {
                Some(name) => {
                    let problem = format!("found {name}, wanted model.safetensors");
                    Error::model(folder, problem, TO_SAFETENSORS)
                }
                None => Error::model(folder, "found no model.safetensors", ""),
            },
        )
    }

    /// Names of all tensors.
    pub fn names(&self) -> Vec<String> {
        self.files.iter().flat_map(TensorFile::names).collect()
    }

    /// Shape of the tensor with exactly this name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.files.iter().find_map(|file| file.shape(name))
    }

    /// The tensor with the first of these names that there is.
    pub fn find(&self, names: &[String]) -> Option<Tensor<'_>> {
        names.iter().find_map(|name| {
            let file = self.files.iter().find(|f| f.shape(name).is_some())?;
            Some(Tensor {
                file,
                name: name.clone(),
            })
        })
    }

    /// The error for a model with a distillation token, which is one token more than a ViT has.
    pub fn refuse_distilled(&self) -> Result<()> {
        let names = self.names();
        match names.iter().find(|n| n.ends_with("distillation_token")) {
            None => Ok(()),
            Some(name) => {
                let problem = format!("holds `{name}`: a distilled DeiT, wanted a plain one");
                Err(Error::model(&self.path, problem, PLAIN_DEIT))
            }
        }
    }

    /// The error that the tensor `name` is in no file, nor are `more` others.
    pub fn missing(&self, name: &str, shape: &[usize], more: usize) -> Error {
        let others = match more {
            0 => String::new(),
            n => format!(" (nor {n} other tensors of the model)"),
        };
        let problem = format!("no tensor `{name}`{others}, wanted one of shape {shape:?}");
        let has = |part: &str| self.names().iter().any(|n| n.contains(part));
        let help = if has("blocks.0.attn.qkv") {
            "these are timm's names; wanted weights in the form of Hugging Face's ViTModel"
        } else if has("encoder_layer_0") {
            "these are torchvision's names; wanted weights in the form of Hugging Face's ViTModel"
        } else {
            "config.json and the weights must be of the same model"
        };
        Error::model(&self.path, problem, help)
    }
}

/// Names of the files that an index lists.
fn shards(index: &Path) -> Result<BTreeSet<String>> {
    let file = JsonFile::read(index)?;
    let in_folder = |value: &Value| {
        let name = value.as_str()?;
        // A name that leads elsewhere has no business in a downloaded file.
        (Path::new(name).file_name()? == name).then(|| name.to_owned())
    };
    let files = |map: &Value| map.as_object()?.values().map(in_folder).collect();
    let wanted = "tensor names with the names of files in the same folder";
    let shards = file.read_as("weight_map", BTreeSet::new(), wanted, files)?;
    if shards.is_empty() {
        Err(file.refuse("weight_map", &format!("wanted {wanted}"), ""))
    } else {
        Ok(shards)
    }
}
