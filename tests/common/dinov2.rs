//! Small DINOv2 folders, as Hugging Face's tools write them.

use std::path::Path;

use serde_json::json;
use vitcuda::model::config::VitConfig;
use vitcuda::model::init;
use vitcuda::model::params::ParamTable;
use vitcuda::model::tensor_file::{self, Tensor};

/// The weights of a DINOv2, with layer scale not folded.
pub struct Dinov2 {
    /// Of the same model as a plain ViT with the positions that are stored.
    pub table: ParamTable,
    /// The arena of `table`.
    pub params: Vec<f32>,
    /// λ₁ and λ₂ of each layer, (C) each.
    pub scales: Vec<[Vec<f32>; 2]>,
}

impl Dinov2 {
    /// Width 64, two layers, patches of 14, positions of a 42 × 42 image; weights from a seed, none
    /// of them zero.
    pub fn new() -> Self {
        let config = VitConfig {
            encoder_stride: 14,
            hidden_size: 64,
            image_size: 42,
            intermediate_size: 128,
            layer_norm_eps: 1e-6,
            num_attention_heads: 4,
            num_hidden_layers: 2,
            patch_size: 14,
            ..VitConfig::default()
        };
        let table = ParamTable::new(&config);
        let mut params = init::params(&table, 3);
        for (i, value) in params.iter_mut().enumerate() {
            *value = 3.0 * *value + (i % 97) as f32 / 4096.0;
        }
        let scale = |seed: usize| (0..64).map(move |i| ((7 * i + seed) % 37) as f32 / 29.0 - 0.3);
        let scales = (0..2).map(|layer| [scale(layer).collect(), scale(11 + layer).collect()]);
        Self {
            table,
            params,
            scales: scales.collect(),
        }
    }

    /// Names, shapes and values of the file.
    pub fn tensors(&self) -> Vec<Tensor<'_>> {
        let mut tensors = Vec::new();
        for param in self.table.params.iter().filter(|p| !p.range.is_empty()) {
            tensors.push(Tensor {
                name: hub_name(&param.name),
                shape: &param.shape,
                values: &self.params[param.range.clone()],
            });
        }
        for (layer, scales) in self.scales.iter().enumerate() {
            for (values, number) in scales.iter().zip(["1", "2"]) {
                tensors.push(Tensor {
                    name: format!("encoder.layer.{layer}.layer_scale{number}.lambda1"),
                    shape: &[64],
                    values,
                });
            }
        }
        tensors.push(Tensor {
            name: "embeddings.mask_token".into(),
            shape: &[1, 64],
            values: &[0.25; 64],
        });
        tensors
    }

    /// The `config.json`.
    pub fn config_json(&self) -> serde_json::Value {
        json!({
            "architectures": ["Dinov2Model"], "model_type": "dinov2", "hidden_size": 64,
            "image_size": 42, "mlp_ratio": 2, "num_attention_heads": 4, "num_hidden_layers": 2,
            "patch_size": 14, "use_swiglu_ffn": false, "dtype": "float32",
        })
    }

    /// Writes the folder's two files.
    pub fn write(&self, folder: &Path) {
        write(folder, &self.config_json(), &mut self.tensors());
    }
}

/// Writes `config.json` and `model.safetensors`.
pub fn write(folder: &Path, config: &serde_json::Value, tensors: &mut [Tensor]) {
    std::fs::write(folder.join("config.json"), config.to_string()).expect("a file");
    let weights = folder.join("model.safetensors");
    tensor_file::write(weights, tensors, &[("format", "pt")]).expect("a file");
}

/// What a `Dinov2Model` of the Hub calls the tensor that a ViT calls `name`.
fn hub_name(name: &str) -> String {
    let name = name.trim_start_matches("vit.");
    match name.split_once(".output.dense") {
        Some((layer, kind)) if !layer.ends_with("attention") => format!("{layer}.mlp.fc2{kind}"),
        _ => name
            .replace("layernorm_before", "norm1")
            .replace("layernorm_after", "norm2")
            .replace("intermediate.dense", "mlp.fc1"),
    }
}
