//! `config.json` of a ViT, in Hugging Face's words.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Architecture of a ViT; a downloaded `config.json` *is* one.
///
/// Missing keys take the defaults of transformers' `ViTConfig` (the published in21k checkpoints
/// leave out many); unknown keys are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VitConfig {
    pub architectures: Vec<String>,
    pub attention_probs_dropout_prob: f64,
    /// Written as `float32`: weights on disk are f32.
    #[serde(alias = "torch_dtype", skip_deserializing)]
    pub dtype: String,
    pub encoder_stride: usize,
    /// Only `gelu`, the exact erf form, is implemented.
    pub hidden_act: String,
    pub hidden_dropout_prob: f64,
    /// Width C of the residual stream.
    pub hidden_size: usize,
    /// Class names by label index; JSON keys are decimal strings.
    #[serde(with = "by_index")]
    pub id2label: BTreeMap<usize, String>,
    /// Side of the square input in pixels.
    pub image_size: usize,
    /// Standard deviation of newly drawn linear weights.
    pub initializer_range: f64,
    /// Width of the MLP.
    pub intermediate_size: usize,
    pub label2id: BTreeMap<String, usize>,
    pub layer_norm_eps: f64,
    pub model_type: String,
    pub num_attention_heads: usize,
    pub num_channels: usize,
    pub num_hidden_layers: usize,
    /// Side of the square patch in pixels.
    pub patch_size: usize,
    pub problem_type: String,
    pub qkv_bias: bool,
}

impl Default for VitConfig {
    fn default() -> Self {
        Self {
            architectures: vec!["ViTForImageClassification".into()],
            attention_probs_dropout_prob: 0.0,
            dtype: "float32".into(),
            encoder_stride: 16,
            hidden_act: "gelu".into(),
            hidden_dropout_prob: 0.0,
            hidden_size: 768,
            id2label: BTreeMap::new(),
            image_size: 224,
            initializer_range: 0.02,
            intermediate_size: 3072,
            label2id: BTreeMap::new(),
            layer_norm_eps: 1e-12,
            model_type: "vit".into(),
            num_attention_heads: 12,
            num_channels: 3,
            num_hidden_layers: 12,
            patch_size: 16,
            problem_type: "single_label_classification".into(),
            qkv_bias: true,
        }
    }
}

impl VitConfig {
    /// Patches in an image: `(image_size / patch_size)²`.
    pub fn patches(&self) -> usize {
        let side = self.image_size / self.patch_size;
        side * side
    }

    /// Tokens T: the class token and the patches.
    pub fn tokens(&self) -> usize {
        1 + self.patches()
    }

    /// Values in a flattened patch: `num_channels · patch_size²`.
    pub fn patch_values(&self) -> usize {
        self.num_channels * self.patch_size * self.patch_size
    }

    /// Width of one attention head.
    pub fn head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// Number of classes K (0 for a backbone without a head).
    pub fn num_labels(&self) -> usize {
        self.id2label.len()
    }

    /// Sets the class names, both directions.
    pub fn set_labels<S: AsRef<str>>(&mut self, names: &[S]) {
        self.id2label = names
            .iter()
            .enumerate()
            .map(|(i, n)| (i, n.as_ref().to_owned()))
            .collect();
        self.label2id = names
            .iter()
            .enumerate()
            .map(|(i, n)| (n.as_ref().to_owned(), i))
            .collect();
    }

    /// Class names in index order.
    pub fn labels(&self) -> Vec<String> {
        self.id2label.values().cloned().collect()
    }
}

/// `{"0": "cat"}`: JSON has only string keys.
mod by_index {
    use std::collections::BTreeMap;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(
        map: &BTreeMap<usize, String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        map.iter()
            .map(|(k, v)| (k.to_string(), v))
            .collect::<BTreeMap<_, _>>()
            .serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<usize, String>, D::Error> {
        BTreeMap::<String, String>::deserialize(deserializer)?
            .into_iter()
            .map(|(k, v)| {
                let index = k
                    .parse()
                    .map_err(|_| D::Error::custom(format!("id2label key `{k}` is no number")))?;
                Ok((index, v))
            })
            .collect()
    }
}
