//! Architectures by name, for training from scratch and for benchmarks.
//!
//! Names are timm's; sizes are those of Dosovitskiy et al., "An Image is Worth 16x16 Words" (2021)
//! and, for `tiny` and `small`, of Touvron et al., "Training data-efficient image transformers"
//! (2021). timm has no `patch14_384`: 14 does not divide 384.

use super::config::VitConfig;

/// (width, layers, heads); the MLP is four times as wide.
type Size = (usize, usize, usize);

const TINY: Size = (192, 12, 3);
const SMALL: Size = (384, 12, 6);
const BASE: Size = (768, 12, 12);
const LARGE: Size = (1024, 24, 16);
/// For the 8 × 8 digits: a minute of training on two cores.
const DIGITS: Size = (64, 3, 4);

/// What `train` builds when it is told nothing.
pub const DIGITS_PRESET: &str = "vit_digits_patch2_8";

/// Name, size, patch side, image side.
const PRESETS: [(&str, Size, usize, usize); 21] = [
    (DIGITS_PRESET, DIGITS, 2, 8),
    ("vit_tiny_patch14_224", TINY, 14, 224),
    ("vit_tiny_patch16_224", TINY, 16, 224),
    ("vit_tiny_patch16_384", TINY, 16, 384),
    ("vit_tiny_patch32_224", TINY, 32, 224),
    ("vit_tiny_patch32_384", TINY, 32, 384),
    ("vit_small_patch14_224", SMALL, 14, 224),
    ("vit_small_patch16_224", SMALL, 16, 224),
    ("vit_small_patch16_384", SMALL, 16, 384),
    ("vit_small_patch32_224", SMALL, 32, 224),
    ("vit_small_patch32_384", SMALL, 32, 384),
    ("vit_base_patch14_224", BASE, 14, 224),
    ("vit_base_patch16_224", BASE, 16, 224),
    ("vit_base_patch16_384", BASE, 16, 384),
    ("vit_base_patch32_224", BASE, 32, 224),
    ("vit_base_patch32_384", BASE, 32, 384),
    ("vit_large_patch14_224", LARGE, 14, 224),
    ("vit_large_patch16_224", LARGE, 16, 224),
    ("vit_large_patch16_384", LARGE, 16, 384),
    ("vit_large_patch32_224", LARGE, 32, 224),
    ("vit_large_patch32_384", LARGE, 32, 384),
];

/// Names that [`preset`] knows.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|(name, ..)| *name)
}

/// The architecture called `name`, without labels.
pub fn preset(name: &str) -> Option<VitConfig> {
    let &(_, (width, layers, heads), patch_size, image_size) =
        PRESETS.iter().find(|(known, ..)| *known == name)?;
    let default = VitConfig::default();
    Some(VitConfig {
        encoder_stride: patch_size,
        hidden_size: width,
        image_size,
        // So narrow a model hardly learns from weights drawn at Hugging Face's 0.02.
        initializer_range: match name {
            DIGITS_PRESET => 0.1,
            _ => default.initializer_range,
        },
        intermediate_size: 4 * width,
        num_attention_heads: heads,
        num_hidden_layers: layers,
        patch_size,
        ..default
    })
}
