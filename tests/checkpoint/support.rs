//! A small model on disk, ways to change its files, and ways to look at an error.

use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Map, Value};
use tempfile::TempDir;
use vitcuda::Error;
use vitcuda::model::checkpoint::{self, LoadOptions, Loaded};
use vitcuda::model::config::VitConfig;
use vitcuda::model::init;
use vitcuda::model::params::ParamTable;

/// A test by name, as a plain function.
pub fn trial(name: &'static str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok::<(), Failed>(())
    })
}

/// 8 × 8 pixels in patches of 4, 5 tokens, width 8, one layer, classes cat and dog.
pub fn tiny() -> VitConfig {
    let mut config = VitConfig {
        hidden_size: 8,
        image_size: 8,
        intermediate_size: 16,
        num_attention_heads: 2,
        num_hidden_layers: 1,
        patch_size: 4,
        ..VitConfig::default()
    };
    config.set_labels(&["cat", "dog"]);
    config
}

/// A saved [`tiny`] model.
pub struct Folder {
    dir: TempDir,
    /// The arena that was saved.
    pub params: Vec<f32>,
}

impl Folder {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = init::params(&ParamTable::new(&tiny()), 7);
        // No bias is left zero and no norm one, so that a tensor in the wrong place shows.
        for (i, value) in params.iter_mut().enumerate() {
            *value += i as f32 / 1024.0;
        }
        checkpoint::save(dir.path(), &tiny(), &params).unwrap();
        Self { dir, params }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn weights(&self) -> PathBuf {
        self.path().join("model.safetensors")
    }

    pub fn load(&self) -> Loaded {
        self.load_with(&LoadOptions::default())
    }

    pub fn load_with(&self, options: &LoadOptions) -> Loaded {
        checkpoint::load(self.path(), options).unwrap()
    }

    /// The error of loading, which must be about a model file.
    pub fn refusal(&self) -> String {
        self.refusal_with(&LoadOptions::default())
    }

    pub fn refusal_with(&self, options: &LoadOptions) -> String {
        let error = match checkpoint::load(self.path(), options) {
            Ok(_) => panic!("a broken model was loaded"),
            Err(error) => error,
        };
        assert_eq!(error.exit_code(), 4, "{error}");
        told(&error)
    }

    /// Writes the weights again, changed.
    pub fn change_tensors(&self, change: impl FnOnce(&mut Vec<Raw>)) {
        let mut tensors = read_raw(&self.weights());
        change(&mut tensors);
        write_raw(&self.weights(), &tensors);
    }

    /// Writes `config.json` again, changed.
    pub fn change_config(&self, change: impl FnOnce(&mut Map<String, Value>)) {
        let path = self.path().join("config.json");
        let mut config = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut config);
        fs::write(path, serde_json::to_string_pretty(&config).unwrap()).unwrap();
    }
}

/// The error and its help, as one text.
pub fn told(error: &Error) -> String {
    format!("{error} | {}", error.help().unwrap_or_default())
}

/// Fails unless `text` holds each of `words`.
pub fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no `{word}` in: {text}");
    }
}

/// A tensor of a file, as bytes.
#[derive(Clone)]
pub struct Raw {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Raw {
    pub fn f32(name: &str, shape: &[usize], values: &[f32]) -> Self {
        Self {
            name: name.into(),
            dtype: Dtype::F32,
            shape: shape.into(),
            bytes: bytemuck::cast_slice(values).to_vec(),
        }
    }

    pub fn values(&self) -> Vec<f32> {
        assert_eq!(self.dtype, Dtype::F32);
        bytemuck::pod_collect_to_vec(&self.bytes)
    }

    /// The same values, each written by `to_bytes`.
    pub fn convert<const N: usize>(&mut self, dtype: Dtype, to_bytes: impl Fn(f32) -> [u8; N]) {
        self.bytes = self.values().into_iter().flat_map(to_bytes).collect();
        self.dtype = dtype;
    }
}

pub fn read_raw(path: &Path) -> Vec<Raw> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<Raw> = file
        .iter()
        .map(|(name, view)| Raw {
            name: name.into(),
            dtype: view.dtype(),
            shape: view.shape().to_vec(),
            bytes: view.data().to_vec(),
        })
        .collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    tensors
}

pub fn write_raw(path: &Path, tensors: &[Raw]) {
    let views = tensors.iter().map(|t| {
        let view = TensorView::new(t.dtype, t.shape.clone(), &t.bytes).unwrap();
        (t.name.clone(), view)
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// The bytes of a safetensors file with this header and so many bytes of data.
pub fn with_header(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}
