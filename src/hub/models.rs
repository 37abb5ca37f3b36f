//! Models of the hub.

use std::path::PathBuf;

use super::asked::ModelPart;
use super::repository::{Kind, Repository};
use super::{Hub, Id, Listener};
use crate::error::{Error, Result};

const CONFIG: &str = "config.json";
const SETTINGS: [&str; 2] = [CONFIG, "preprocessor_config.json"];
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Names of weights in forms that are not read.
const OTHER_WEIGHTS: [&str; 4] = [
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "tf_model.h5",
    "flax_model.msgpack",
];

impl Hub {
    /// The folder, in the cache, with the files of a model: those of `part` that the repository has.
    ///
    /// [`Error::Model`] for a repository without `config.json`, or without safetensors where weights
    /// are wanted; [`Error::Hub`] for whatever keeps its files from being loaded.
    pub fn model(&self, id: &Id, part: ModelPart, listener: &mut dyn Listener) -> Result<PathBuf> {
        let repository = Repository::of(Kind::Model, id);
        let revision = id.revision();
        let listing = self
            .list(&repository, revision, listener)
            .map_err(|unlisted| self.explain(&repository, revision, unlisted))?;
        let names: Vec<&str> = listing.files.iter().map(String::as_str).collect();
        if !names.contains(&CONFIG) {
            let help = "wanted the repository of a Vision Transformer for transformers";
            return Err(Error::model(id.to_string(), "holds no config.json", help));
        }
        let mut files = SETTINGS.to_vec();
        files.retain(|name| names.contains(name));
        // Whoever wants to know about a model is told here, too, where it cannot be loaded.
        let weights = weights(id, &names)?;
        if part == ModelPart::Whole {
            files.extend(weights);
        }
        let files: Vec<String> = files.into_iter().map(str::to_owned).collect();
        self.fetch(&repository, revision, &listing, &files, listener)
    }
}

/// The files with the weights: one, or an index and all its shards.
fn weights<'n>(id: &Id, names: &[&'n str]) -> Result<Vec<&'n str>> {
    let is_shard = |name: &&&str| {
        let number = name.strip_prefix("model-");
        number.is_some_and(|rest| rest.ends_with(".safetensors") && !rest.contains('/'))
    };
    if let Some(single) = names.iter().find(|name| **name == WEIGHTS) {
        return Ok(vec![single]);
    }
    if let Some(index) = names.iter().find(|name| **name == INDEX) {
        let shards = names.iter().filter(is_shard).copied();
        return Ok(shards.chain([*index]).collect());
    }
    let path = id.to_string();
    Err(
        match OTHER_WEIGHTS.iter().find(|name| names.contains(*name)) {
            Some(found) => Error::model(
                path,
                format!("holds its weights as {found} alone, wanted {WEIGHTS}; only that is read"),
                format!(
                    "perhaps a pull request of the repository has {WEIGHTS}: {}@refs/pr/N;\n\
                 or convert it once: python -c \"from transformers import AutoModel; \
                 AutoModel.from_pretrained('{}').save_pretrained('FOLDER')\"",
                    id.name, id.name
                ),
            ),
            None => Error::model(path, format!("holds no {WEIGHTS}"), ""),
        },
    )
}
