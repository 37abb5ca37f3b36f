//! `config.json` of a ViT, in Hugging Face's words.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::model_type::ModelType;
use crate::error::{Error, Result};
use crate::files::{self, Indent};
use crate::json::{self, JsonFile};

/// Widest MLP taken seriously.
const MAX_MLP: usize = 1 << 20;

/// Most patches across an image: attention over their square, squared, is still a number of
/// operations that can be counted.
const MAX_PATCHES_ACROSS: usize = 512;

/// Architecture of a ViT; a downloaded `config.json` *is* one.
///
/// Fields stand in the order in which Hugging Face's tools write them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VitConfig {
    pub architectures: Vec<String>,
    pub attention_probs_dropout_prob: f64,
    /// Written as `float32`: weights on disk are f32.
    pub dtype: String,
    pub encoder_stride: usize,
    /// Only `gelu`, the exact erf form, is implemented.
    pub hidden_act: String,
    pub hidden_dropout_prob: f64,
    /// Width C of the residual stream.
    pub hidden_size: usize,
    /// Class names by label index; JSON keys are decimal strings.
    pub id2label: BTreeMap<usize, String>,
    /// Side of the square input in pixels.
    pub image_size: usize,
    /// Standard deviation of newly drawn linear weights.
    pub initializer_range: f64,
    /// Width of the MLP.
    pub intermediate_size: usize,
    pub label2id: BTreeMap<String, usize>,
    pub layer_norm_eps: f64,
    /// Of the file it was read from; a model that was loaded is a plain ViT.
    pub model_type: ModelType,
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
            model_type: ModelType::Vit,
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
    /// Reads and checks a `config.json`.
    ///
    /// Missing keys take the defaults of transformers' `ViTConfig` or `Dinov2Config` (the published
    /// in21k checkpoints leave out many), except that no labels stay no labels; unknown keys are
    /// ignored. A DINOv2's `mlp_ratio` gives the `intermediate_size`.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let file = JsonFile::read(path)?;
        let model_type = ModelType::read(&file)?;
        let d = Self::defaults(model_type);
        let side = |key, default| {
            file.read_as(
                key,
                default,
                "a whole number, or a list of two equal ones",
                square,
            )
        };
        let mut config = Self {
            architectures: file.read_as("architectures", vec![], "a list of names", names)?,
            attention_probs_dropout_prob: file.number(
                "attention_probs_dropout_prob",
                d.attention_probs_dropout_prob,
            )?,
            encoder_stride: file.whole("encoder_stride", d.encoder_stride)?,
            hidden_act: file.string("hidden_act", &d.hidden_act)?,
            hidden_dropout_prob: file.number("hidden_dropout_prob", d.hidden_dropout_prob)?,
            hidden_size: file.whole("hidden_size", d.hidden_size)?,
            image_size: side("image_size", d.image_size)?,
            initializer_range: file.number("initializer_range", d.initializer_range)?,
            intermediate_size: file.whole("intermediate_size", d.intermediate_size)?,
            layer_norm_eps: file.number("layer_norm_eps", d.layer_norm_eps)?,
            num_attention_heads: file.whole("num_attention_heads", d.num_attention_heads)?,
            num_channels: file.whole("num_channels", d.num_channels)?,
            num_hidden_layers: file.whole("num_hidden_layers", d.num_hidden_layers)?,
            patch_size: side("patch_size", d.patch_size)?,
            problem_type: file.string("problem_type", &d.problem_type)?,
            qkv_bias: file.truth("qkv_bias", d.qkv_bias)?,
            ..d
        };
        if model_type == ModelType::Dinov2 {
            config.encoder_stride = config.patch_size;
            config.intermediate_size = mlp_width(&file, config.hidden_size)?;
        }
        let wanted = "names under \"0\", \"1\", … without a gap";
        config.set_labels(&file.read_as("id2label", vec![], wanted, labels)?);
        config.check(|key, wanted, help| file.refuse(key, wanted, help))?;
        Ok(config)
    }

    /// What transformers takes where a file of this type leaves out a key.
    fn defaults(model_type: ModelType) -> Self {
        let vit = Self {
            model_type,
            ..Self::default()
        };
        match model_type {
            ModelType::Vit | ModelType::Deit => vit,
            ModelType::Dinov2 => Self {
                layer_norm_eps: 1e-6,
                patch_size: 14,
                ..vit
            },
        }
    }

    /// Writes a `config.json` that transformers reads, atomically.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        files::write_json(path, self, Indent::Two)
    }

    /// Changes the side of the input; an error where the patches do not fill it.
    pub fn set_image_size(&mut self, image_size: usize) -> Result<()> {
        let changed = Self {
            image_size,
            ..self.clone()
        };
        changed.check(|_, wanted, help| {
            Error::usage(format!("image size {image_size}: {wanted}"), help)
        })?;
        *self = changed;
        Ok(())
    }

    /// Checks what the engine takes for granted, before anything is allocated. `refuse` makes the
    /// error from a key, what is wanted of it, and help.
    fn check(&self, refuse: impl Fn(&str, &str, &str) -> Error) -> Result<()> {
        if !matches!(self.hidden_act.as_str(), "gelu" | "gelu_python") {
            let wanted = "wanted \"gelu\" (the exact erf form), the only one implemented";
            let help = "weights trained with another activation give wrong results under this one";
            return Err(refuse("hidden_act", wanted, help));
        }
        let sizes = [
            ("hidden_size", self.hidden_size, 1 << 16),
            ("intermediate_size", self.intermediate_size, MAX_MLP),
            ("num_hidden_layers", self.num_hidden_layers, 1 << 10),
            ("num_attention_heads", self.num_attention_heads, 1 << 10),
            ("image_size", self.image_size, 1 << 14),
            ("patch_size", self.patch_size, 1 << 10),
        ];
        for (key, found, most) in sizes {
            if found == 0 || found > most {
                return Err(refuse(key, &format!("wanted 1 to {most}"), ""));
            }
        }
        if self.num_channels != 3 {
            let wanted = "wanted 3: every image is taken as RGB";
            return Err(refuse("num_channels", wanted, ""));
        }
        let heads = self.num_attention_heads;
        if !self.hidden_size.is_multiple_of(heads) {
            let wanted = format!("wanted a multiple of num_attention_heads ({heads})");
            return Err(refuse("hidden_size", &wanted, ""));
        }
        let patch = self.patch_size;
        if !self.image_size.is_multiple_of(patch) {
            let near = (self.image_size / patch).max(1) * patch;
            let wanted = format!("wanted a multiple of the patch size ({patch})");
            let help = format!("the nearest are {near} and {}", near + patch);
            return Err(refuse("image_size", &wanted, &help));
        }
        if self.image_size / patch > MAX_PATCHES_ACROSS {
            let wanted = format!(
                "wanted at most {MAX_PATCHES_ACROSS} patches of side {patch} across an image"
            );
            return Err(refuse("image_size", &wanted, ""));
        }
        for (key, found) in [
            ("layer_norm_eps", self.layer_norm_eps),
            ("initializer_range", self.initializer_range),
        ] {
            if !(0.0..=1.0).contains(&found) {
                return Err(refuse(key, "wanted 0 to 1", ""));
            }
        }
        self.check_parameters(refuse)
    }

    /// No tensor, nor all of them, can be too large to count: 2³⁴ parameters are 64 GiB.
    fn check_parameters(&self, refuse: impl Fn(&str, &str, &str) -> Error) -> Result<()> {
        let [c, f, l] = [
            self.hidden_size,
            self.intermediate_size,
            self.num_hidden_layers,
        ]
        .map(|n| n as u128);
        let embeddings = c * (self.patch_values() + self.tokens()) as u128;
        let parameters = embeddings + l * (4 * c * c + 2 * c * f) + c * self.num_labels() as u128;
        if parameters > 1 << 34 {
            let wanted = format!(
                "wanted a model of at most 2^34 parameters, this one would have {parameters}"
            );
            return Err(refuse("hidden_size", &wanted, ""));
        }
        Ok(())
    }

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

    /// The same, of one class where there is none: no training step goes without a head.
    #[must_use]
    pub fn with_a_head(mut self) -> Self {
        if self.num_labels() == 0 {
            self.set_labels(&["LABEL_0"]);
        }
        self
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

/// Width of a DINOv2's MLP, which its file gives as a multiple of `hidden_size`; cut to a whole
/// number as in transformers.
fn mlp_width(file: &JsonFile, hidden_size: usize) -> Result<usize> {
    let width = file.number("mlp_ratio", 4.0)? * hidden_size as f64;
    if (1.0..=MAX_MLP as f64).contains(&width) {
        Ok(width as usize)
    } else {
        let wanted = format!("wanted an MLP 1 to {MAX_MLP} wide, this one would have {width}");
        Err(file.refuse("mlp_ratio", &wanted, ""))
    }
}

/// A side: a number, or `[height, width]` of a square.
fn square(value: &Value) -> Option<usize> {
    match value.as_array() {
        None => json::whole(value),
        Some(sides) => match &sides[..] {
            [height, width] if height == width => json::whole(height),
            _ => None,
        },
    }
}

fn names(value: &Value) -> Option<Vec<String>> {
    let name = |v: &Value| v.as_str().map(str::to_owned);
    value.as_array()?.iter().map(name).collect()
}

/// `{"0": "cat", "1": "dog"}` in index order; JSON has only string keys.
fn labels(value: &Value) -> Option<Vec<String>> {
    let map = value.as_object()?;
    let name = |i: usize| Some(map.get(&i.to_string())?.as_str()?.to_owned());
    (0..map.len()).map(name).collect()
}
