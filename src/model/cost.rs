//! What a model costs: parameters, floating-point operations, memory.

use super::config::VitConfig;
use super::params::ParamTable;

/// What the model is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Forward alone.
    Inference,
    /// Forward and backward.
    Training,
}

/// Numbers of parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// Class token, positions, patch projection.
    pub embeddings: u64,
    /// Query, key, value and output projections of all layers.
    pub attention: u64,
    /// Both matrices of all layers.
    pub mlp: u64,
    /// All layer norms.
    pub norms: u64,
    /// The classifier.
    pub head: u64,
}

impl Parameters {
    /// Counts the parameters of `config`.
    pub fn of(config: &VitConfig) -> Self {
        let table = ParamTable::new(config);
        let count = |of: &dyn Fn(&str) -> bool| -> u64 {
            let named = table.params.iter().filter(|p| of(&p.name));
            named.map(|p| p.range.len() as u64).sum()
        };
        let attention = |name: &str| name.contains(".attention.");
        let norm = |name: &str| name.contains("layernorm");
        let layer = |name: &str| name.contains(".layer.");
        Self {
            embeddings: count(&|name| name.contains(".embeddings.")),
            attention: count(&attention),
            mlp: count(&|name| layer(name) && !attention(name) && !norm(name)),
            norms: count(&norm),
            head: count(&|name| name.starts_with("classifier.")),
        }
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.embeddings + self.attention + self.mlp + self.norms + self.head
    }
}

/// Floating-point operations of one image's matrix products, a multiply-add counted as two.
///
/// Each product costs as much again for each of its two gradients; the patch embedding needs only
/// one of them, for an image has no use for its gradient. Norms, softmax and GELU (under 1 %) are
/// left out, as is usual.
pub fn flops_per_image(config: &VitConfig, pass: Pass) -> u64 {
    let [c, f, t, layers] = [
        config.hidden_size,
        config.intermediate_size,
        config.tokens(),
        config.num_hidden_layers,
    ]
    .map(|n| n as u64);
    let patch_embed = 2 * config.patches() as u64 * config.patch_values() as u64 * c;
    let projections = 2 * t * (4 * c * c + 2 * c * f);
    let attention = 2 * 2 * t * t * c; // scores, and the weighted sum of values
    let head = 2 * c * config.num_labels() as u64;
    let forward = patch_embed + layers * (projections + attention) + head;
    match pass {
        Pass::Inference => forward,
        Pass::Training => 3 * forward - patch_embed,
    }
}

/// What Hugging Face's Trainer reports as `total_flos` after so many training images.
///
/// Its formula is 6 · pixel values · parameters, which takes every pixel for a token: several
/// hundred times [`flops_per_image`] of training. Given for comparison with its logs only.
pub fn hugging_face_total_flos(config: &VitConfig, images: u64) -> f64 {
    let pixels = config.num_channels * config.image_size * config.image_size;
    6.0 * pixels as f64 * images as f64 * Parameters::of(config).total() as f64
}

/// f32 values that the activations of a batch take.
///
/// A layer holds, for each of B·T rows, the residual stream before and after attention (2C), both
/// norms' outputs (2C), query, key and value (3C), attention's output (C), the MLP before the GELU
/// (F; the values behind it are computed again), two means and two reciprocal deviations (4), and the softmax's log-sum-exp of
/// each head. Training holds every layer and the gradients of one; inference one layer.
pub fn activation_values(config: &VitConfig, batch: usize, pass: Pass) -> u64 {
    let [c, f, heads, layers, b, t] = [
        config.hidden_size,
        config.intermediate_size,
        config.num_attention_heads,
        config.num_hidden_layers,
        batch,
        config.tokens(),
    ]
    .map(|n| n as u64);
    let layer = b * t * (8 * c + f + 4 + heads);
    let patches = b * (config.patches() * config.patch_values()) as u64;
    let last = b * (t * c + c + config.num_labels() as u64); // residual, norm and logits
    let held = match pass {
        Pass::Inference => 1,
        Pass::Training => layers + 1,
    };
    patches + held * layer + last
}

/// Bytes of f32 arenas on the CPU: parameters, in training also their gradients and both AdamW
/// moments, and the activations of a batch.
pub fn memory_bytes(config: &VitConfig, batch: usize, pass: Pass) -> u64 {
    let arenas = match pass {
        Pass::Inference => 1,
        Pass::Training => 4,
    };
    let values = arenas * Parameters::of(config).total() + activation_values(config, batch, pass);
    values * size_of::<f32>() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::presets::preset;

    fn with_classes(name: &str, classes: usize) -> VitConfig {
        let mut config = preset(name).unwrap();
        let names: Vec<String> = (0..classes).map(|i| i.to_string()).collect();
        config.set_labels(&names);
        config
    }

    /// Counted by hand for 197 tokens and 1000 classes.
    #[test]
    fn flops_of_the_common_sizes() {
        for (name, forward, training) in [
            ("vit_small_patch16_224", "9.198", "27.478"),
            ("vit_base_patch16_224", "35.128", "105.152"),
            ("vit_large_patch16_224", "123.109", "369.020"),
        ] {
            let config = with_classes(name, 1000);
            let giga = |pass| format!("{:.3}", flops_per_image(&config, pass) as f64 / 1e9);
            assert_eq!(giga(Pass::Inference), forward, "{name}");
            assert_eq!(giga(Pass::Training), training, "{name}");
        }
    }

    /// Trainer printed 144340078GF (units of 2³⁰) for 1000 images, two epochs, two classes.
    #[test]
    fn total_flos_are_the_trainers() {
        let config = with_classes("vit_base_patch16_224", 2);
        assert_eq!(Parameters::of(&config).total(), 85_800_194);
        let flos = hugging_face_total_flos(&config, 2000);
        assert_eq!((flos as u64) >> 30, 144_340_078);
    }

    #[test]
    fn groups_add_up_to_the_table() {
        let config = with_classes("vit_tiny_patch16_224", 10);
        let total = Parameters::of(&config).total();
        assert_eq!(total, ParamTable::new(&config).len as u64);
    }

    #[test]
    fn memory_grows_by_the_same_for_each_image() {
        let config = with_classes("vit_small_patch16_224", 2);
        for pass in [Pass::Inference, Pass::Training] {
            let bytes = |batch| memory_bytes(&config, batch, pass);
            assert_eq!(bytes(2) - bytes(1), bytes(9) - bytes(8));
        }
        assert_eq!(
            memory_bytes(&config, 0, Pass::Training),
            16 * Parameters::of(&config).total()
        );
    }
}
