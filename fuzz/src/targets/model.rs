//! The files of a model's folder.

use std::fs;
use std::path::Path;

use vitcuda::data::{Preprocessor, Rgb};
use vitcuda::model::checkpoint::{self, LoadOptions};
use vitcuda::model::config::VitConfig;
use vitcuda::model::cost::{self, Pass};
use vitcuda::model::model_type::ModelType;

use super::write;
use crate::{Input, make};

/// Largest side of images that are resized and cropped here.
const MAX_SIDE: usize = 64;

/// A model of 1,274 parameters.
pub fn tiny_config() -> VitConfig {
    let mut config = VitConfig {
        hidden_size: 8,
        image_size: 8,
        intermediate_size: 16,
        num_attention_heads: 2,
        num_hidden_layers: 1,
        patch_size: 4,
        encoder_stride: 4,
        ..VitConfig::default()
    };
    config.set_labels(&["cat", "dog"]);
    config
}

/// The same as a DINOv2, which has no head that is taken.
pub fn dinov2_config() -> VitConfig {
    let mut config = VitConfig {
        model_type: ModelType::Dinov2,
        ..tiny_config()
    };
    config.set_labels::<&str>(&[]);
    config
}

/// Folders for weights in one file, for those of a DINOv2, and for an index of files.
pub fn prepare_weights(folder: &Path) {
    for (name, config) in [
        ("vit", tiny_config()),
        ("dinov2", dinov2_config()),
        ("index", tiny_config()),
    ] {
        let folder = folder.join(name);
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("config.json"), make::model::config(&config)).expect("written");
    }
    let shard = folder.join("index/a.safetensors");
    fs::write(shard, make::model::weights(&tiny_config())).expect("written");
}

pub fn weights(input: &Input, folder: &Path) -> bool {
    let (model, file) = if input.name.ends_with(".index.json") {
        ("index", "model.safetensors.index.json")
    } else if input.name.contains("dinov2") {
        ("dinov2", "model.safetensors")
    } else {
        ("vit", "model.safetensors")
    };
    let folder = folder.join(model);
    write(&folder, file, input);
    let options = LoadOptions {
        image_size: Some(12),
        ..LoadOptions::default()
    };
    let _ = checkpoint::load(&folder, &options);
    checkpoint::load(&folder, &LoadOptions::default()).is_ok()
}

pub fn prepare_config(folder: &Path) {
    let weights = make::model::weights(&tiny_config());
    fs::write(folder.join("model.safetensors"), weights).expect("written");
}

pub fn config(input: &Input, folder: &Path) -> bool {
    let path = write(folder, "config.json", input);
    let Ok(config) = VitConfig::read(&path) else {
        return false;
    };
    cost::Parameters::of(&config).total();
    let (tokens, width) = (config.tokens() as f64, config.hidden_size as f64);
    let attention = 4.0 * tokens * tokens * width * config.num_hidden_layers as f64;
    for pass in [Pass::Inference, Pass::Training] {
        let counted = cost::flops_per_image(&config, pass) as f64;
        assert!(counted >= 0.999 * attention, "too many operations to count");
        cost::activation_values(&config, 8, pass);
        cost::memory_bytes(&config, 8, pass);
    }
    cost::hugging_face_total_flos(&config, 8);
    let _ = config.clone().set_image_size(2 * config.patch_size);
    let _ = checkpoint::load(folder, &LoadOptions::default());
    true
}

pub fn preprocessor(input: &Input, folder: &Path) -> bool {
    let path = write(folder, "preprocessor_config.json", input);
    let Ok(found) = Preprocessor::read(&path) else {
        return false;
    };
    fs::write(&path, found.to_json()).expect("written");
    let again = Preprocessor::read(&path).expect("what is written is read");
    assert_eq!(again, found, "what is written is what was read");
    found.lookup();
    for other in [found.with_image_size(8), found] {
        let size = other.output_size();
        let resized = match other.target {
            vitcuda::data::preprocess::Target::Squash(size) => size.height.max(size.width),
            vitcuda::data::preprocess::Target::ShortestEdge(side) => side,
        };
        if resized <= MAX_SIDE {
            let image = Rgb::new(7, 5, vec![128; 3 * 7 * 5]);
            let pixels = other.apply(&image);
            assert_eq!(pixels.len(), 3 * size.height * size.width);
        }
    }
    true
}
