//! The files of small models.

use std::fs;

use serde_json::{Value, json};
use vitcuda::data::Preprocessor;
use vitcuda::model::config::VitConfig;
use vitcuda::model::model_type::ModelType;
use vitcuda::model::params::ParamTable;
use vitcuda::model::presets;
use vitcuda::model::tensor_file::{self, Tensor};
use vitcuda::train::engine::{LossScale, OptimizerState};
use vitcuda::train::optimizer_file;

use super::{Made, made};
use crate::targets::{dinov2_config, tiny_config};

pub fn all() -> Vec<Made> {
    let index = json!({
        "metadata": { "total_size": 5096 },
        "weight_map": { "vit.embeddings.cls_token": "a.safetensors" },
    });
    let mut files = vec![
        made("safetensors", "vit", weights(&tiny_config())),
        made("safetensors", "half", half(&weights(&tiny_config()))),
        made("safetensors", "dinov2", weights(&dinov2_config())),
        made(
            "safetensors",
            "model.safetensors.index.json",
            index.to_string(),
        ),
        made("state", "optimizer.safetensors", optimizer()),
    ];
    for (name, config) in [
        ("vit", tiny_config()),
        ("dinov2", dinov2_config()),
        (
            "base",
            presets::preset("vit_base_patch16_224").expect("a preset"),
        ),
    ] {
        files.push(made(
            "config",
            format!("{name}.json"),
            self::config(&config),
        ));
    }
    let fields = r#"{"model_type": "deit", "architectures": ["DeiTForImageClassification"],
        "image_size": [8, 8], "patch_size": 4.0, "hidden_size": 8, "num_attention_heads": 2,
        "num_hidden_layers": 1, "intermediate_size": 16, "hidden_dropout_prob": 0.1,
        "problem_type": "multi_label_classification", "id2label": {"0": "a", "1": "b", "2": "a"}}"#;
    files.push(made("config", "deit.json", fields));
    files.extend(preprocessors());
    files
}

fn preprocessors() -> Vec<Made> {
    let texts = [
        ("vit", Preprocessor::new(8).to_json()),
        (
            "clip",
            r#"{"crop_size": {"height": 8, "width": 8}, "do_center_crop": true, "do_convert_rgb": true,
            "image_mean": [0.4, 0.5, 0.6], "image_processor_type": "CLIPImageProcessorFast",
            "image_std": [0.2, 0.3, 0.4], "resample": 3, "rescale_factor": 0.00392156862745098,
            "size": {"shortest_edge": 10}}"#
                .into(),
        ),
        (
            "old",
            r#"{"do_normalize": true, "do_resize": true, "feature_extractor_type":
            "ViTFeatureExtractor", "image_mean": 0.5, "image_std": 0.5, "resample": 2, "size": 8}"#
                .into(),
        ),
        (
            "deit",
            r#"{"do_center_crop": false, "feature_extractor_type": "DeiTFeatureExtractor",
            "size": [12, 9], "resample": 1, "do_rescale": false, "do_normalize": null}"#
                .into(),
        ),
    ];
    let files = texts.into_iter();
    files
        .map(|(name, text)| made("preprocessor", format!("{name}.json"), text))
        .collect()
}

/// `config.json` as it would be saved, a DINOv2's as it is published.
pub fn config(config: &VitConfig) -> String {
    let mut value = serde_json::to_value(config).expect("a map");
    if config.model_type == ModelType::Dinov2 {
        value["mlp_ratio"] = json!(config.intermediate_size / config.hidden_size);
        value["use_swiglu_ffn"] = json!(false);
        value["apply_layernorm"] = Value::Bool(true);
    }
    value.to_string()
}

/// A tensor's name, shape and values.
type Named = (String, Vec<usize>, Vec<f32>);

/// A safetensors file with all tensors of a model.
pub fn weights(config: &VitConfig) -> Vec<u8> {
    let from = config.model_type;
    let mut tensors: Vec<Named> = Vec::new();
    let table = ParamTable::new(config);
    for param in table.params.iter().filter(|param| !param.range.is_empty()) {
        let value = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 100.0;
        let values = (0..param.range.len()).map(value).collect();
        let name = from.spellings(&param.name).swap_remove(0);
        tensors.push((name, param.shape.clone(), values));
        if let Some(scale) = from
            .layer_scale(&param.name)
            .filter(|_| param.name.ends_with(".weight"))
        {
            let name = from.spellings(&scale).swap_remove(0);
            tensors.push((name, vec![param.shape[0]], vec![0.5; param.shape[0]]));
        }
    }
    let mut tensors: Vec<Tensor> = tensors
        .iter()
        .map(|(name, shape, values)| Tensor {
            name: name.clone(),
            shape,
            values,
        })
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    tensor_file::write(&path, &mut tensors, &[("format", "pt")]).expect("written");
    fs::read(path).expect("it was written")
}

/// The same file with f16 for f32; the numbers are others.
fn half(file: &[u8]) -> Vec<u8> {
    let (length, rest) = file.split_first_chunk::<8>().expect("a length");
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let mut header: Value = serde_json::from_slice(header).expect("a header");
    let tensors = header.as_object_mut().expect("an object").iter_mut();
    for (i, (_, tensor)) in tensors
        .filter(|(name, _)| *name != "__metadata__")
        .enumerate()
    {
        tensor["dtype"] = json!(if i % 2 == 0 { "F16" } else { "BF16" });
        for offset in tensor["data_offsets"].as_array_mut().expect("two numbers") {
            *offset = json!(offset.as_u64().expect("a number") / 2);
        }
    }
    let header = header.to_string().into_bytes();
    let data = vec![0; data.len() / 2];
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

fn optimizer() -> Vec<u8> {
    let table = ParamTable::new(&tiny_config());
    let folder = tempfile::tempdir().expect("a folder");
    let state = OptimizerState {
        step: 2,
        first: vec![0.25; table.len],
        second: vec![0.5; table.len],
        loss_scale: Some(LossScale {
            factor: 65536.0,
            good_steps: 2,
        }),
    };
    optimizer_file::save(folder.path(), &table, &state).expect("written");
    fs::read(folder.path().join("optimizer.safetensors")).expect("it was written")
}
