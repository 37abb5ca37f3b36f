//! The families of checkpoints that can be taken as a plain ViT, and what each calls its tensors.
//!
//! | `model_type` | what differs from a ViT | how it is taken |
//! | --- | --- | --- |
//! | `vit` | nothing | as it is |
//! | `deit` | names start with `deit.` | with other names, unless it is distilled: a distillation token is one token more |
//! | `dinov2` | names; layer scale; positions of a larger image | layer scale folded into the projections before it, positions resampled |
//!
//! What was loaded is a plain ViT from there on, and is saved as one.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::json::JsonFile;

/// `model_type` of a `config.json`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelType {
    #[default]
    Vit,
    Deit,
    Dinov2,
}

/// What to do with a distilled DeiT.
pub const PLAIN_DEIT: &str = "use the plain DeiT of the same size: facebook/deit-tiny-patch16-224, \
                              facebook/deit-small-patch16-224 or facebook/deit-base-patch16-224";

/// What to do with a DINOv2 of another build.
const PLAIN_DINOV2: &str = "use facebook/dinov2-small, facebook/dinov2-base or facebook/dinov2-large, \
                            which have neither registers nor SwiGLU";

impl ModelType {
    /// The type that `file`, a `config.json`, names.
    ///
    /// # Errors
    /// Every model that cannot be taken as a plain ViT, by name where it is a known one.
    pub fn read(file: &JsonFile) -> Result<Self> {
        let taken = match file.string("model_type", "")?.as_str() {
            "vit" => Self::Vit,
            "deit" => Self::Deit,
            "dinov2" => Self::Dinov2,
            other => return Err(unknown(file, other)),
        };
        let architectures = file.get("architectures").map(ToString::to_string);
        if architectures
            .is_some_and(|names| names.contains("DeiTForImageClassificationWithTeacher"))
        {
            let wanted = "wanted a model without a distillation token";
            return Err(file.refuse("architectures", wanted, PLAIN_DEIT));
        }
        if taken == Self::Dinov2 && file.truth("use_swiglu_ffn", false)? {
            let wanted = "wanted false: SwiGLU in place of the MLP is not supported";
            return Err(file.refuse("use_swiglu_ffn", wanted, PLAIN_DINOV2));
        }
        Ok(taken)
    }

    /// What a model of this type is, and what becomes of it, in words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Vit => "ViT",
            Self::Deit => "DeiT, taken as a plain ViT",
            Self::Dinov2 => {
                "DINOv2, taken as a plain ViT: layer scale folded into the weights, mask token dropped"
            }
        }
    }

    /// Every name that a checkpoint of this type may give the tensor that a
    /// `ViTForImageClassification` calls `name`, the Hub's own first: those of the Hub's files and
    /// those of transformers 5's modules (its `conversion_mapping.py`, "ViTModel" and
    /// "Dinov2Model"), with and without the prefix that the backbone has inside a classifier.
    pub fn spellings(self, name: &str) -> Vec<String> {
        let Some(inner) = name.strip_prefix(VIT) else {
            return vec![name.to_owned()]; // the head, which stands outside the backbone
        };
        let (prefix, namings) = match self {
            Self::Vit => (VIT, VIT_NAMINGS),
            Self::Deit => ("deit.", VIT_NAMINGS),
            Self::Dinov2 => ("dinov2.", DINOV2_NAMINGS),
        };
        let mut names = Vec::new();
        for naming in namings {
            let spelled = naming.spell(inner);
            for name in [format!("{prefix}{spelled}"), spelled] {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// The layer scale (C) that multiplies what the tensor `name` gives, under the name that it
    /// would have in a `ViTForImageClassification`.
    ///
    /// `x + λ₁ ⊙ (W a + b)` after attention and `x + λ₂ ⊙ (W m + b)` after the MLP: `W` (C, …) and
    /// `b` (C) of the output projections are the tensors that have one (Touvron et al., "Going
    /// deeper with Image Transformers", 2021, §2).
    pub fn layer_scale(self, name: &str) -> Option<String> {
        if self != Self::Dinov2 {
            return None;
        }
        let (layer, part) = layer_and_part(name.strip_prefix(VIT)?)?;
        let which = match part.rsplit_once('.')?.0 {
            "attention.output.dense" => "layer_scale1",
            "output.dense" => "layer_scale2",
            _ => return None,
        };
        Some(format!("{VIT}{LAYERS}{layer}.{which}.lambda1"))
    }
}

/// What the names of a ViT's backbone start with, and those of its layers after that.
const VIT: &str = "vit.";
const LAYERS: &str = "encoder.layer.";

/// The number of the layer that a tensor is of, and its name within the layer.
fn layer_and_part(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(LAYERS)?.split_once('.')
}

/// How the Hub's names of a ViT are turned into others.
struct Naming {
    layers: &'static str,
    /// Old and new starts of the names within a layer.
    parts: &'static [&'static [(&'static str, &'static str)]],
}

impl Naming {
    /// The new name of the backbone's tensor `name`.
    fn spell(&self, name: &str) -> String {
        let Some((layer, part)) = layer_and_part(name) else {
            return name.to_owned();
        };
        let renamed = self.parts.iter().copied().flatten().find_map(|(old, new)| {
            let rest = part.strip_prefix(old)?;
            Some(format!("{new}{rest}"))
        });
        let part = renamed.as_deref().unwrap_or(part);
        format!("{}{layer}.{part}", self.layers)
    }
}

const PROJECTIONS: &[(&str, &str)] = &[
    ("attention.attention.query.", "attention.q_proj."),
    ("attention.attention.key.", "attention.k_proj."),
    ("attention.attention.value.", "attention.v_proj."),
    ("attention.output.dense.", "attention.o_proj."),
];
const MLP: &[(&str, &str)] = &[
    ("intermediate.dense.", "mlp.fc1."),
    ("output.dense.", "mlp.fc2."),
];
const NORMS: &[(&str, &str)] = &[
    ("layernorm_before.", "norm1."),
    ("layernorm_after.", "norm2."),
];

/// The Hub's, then transformers 5's.
const VIT_NAMINGS: &[Naming] = &[
    Naming {
        layers: LAYERS,
        parts: &[],
    },
    Naming {
        layers: "layers.",
        parts: &[PROJECTIONS, MLP],
    },
];
const DINOV2_NAMINGS: &[Naming] = &[
    Naming {
        layers: LAYERS,
        parts: &[NORMS, MLP],
    },
    Naming {
        layers: LAYERS,
        parts: &[NORMS, MLP, PROJECTIONS],
    },
];

/// The refusal of a `model_type` that is none of ours.
fn unknown(file: &JsonFile, found: &str) -> Error {
    let what = match found {
        "" if file.get("pretrained_cfg").is_some() => "a timm configuration",
        "" => "",
        "dinov2_with_registers" => "a DINOv2 with registers",
        "dinov3_vit" => "a DINOv3",
        "clip" | "clip_vision_model" => "a CLIP",
        "siglip" | "siglip_vision_model" | "siglip2" | "siglip2_vision_model" => "a SigLIP",
        "beit" | "data2vec-vision" => "a BEiT",
        "vit_mae" => "a masked autoencoder (ViTMAE)",
        "vit_msn" => "a ViTMSN",
        "swin" | "swinv2" => "a Swin Transformer",
        "resnet" | "convnext" | "convnextv2" | "efficientnet" => "a convolutional network",
        _ => "another kind of model",
    };
    let wanted = match what {
        "" => "wanted \"vit\", \"deit\" or \"dinov2\"".to_owned(),
        what => format!(
            "wanted \"vit\", \"deit\" or \"dinov2\": this is {what}, which is not supported yet"
        ),
    };
    let help = match found {
        "dinov2_with_registers" => PLAIN_DINOV2,
        _ => {
            "use a ViT, a DeiT or a DINOv2, such as google/vit-base-patch16-224-in21k, \
             facebook/deit-base-patch16-224 or facebook/dinov2-base"
        }
    };
    file.refuse("model_type", &wanted, help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dinov2_has_its_own_names() {
        let spelled =
            |name: &str| ModelType::Dinov2.spellings(&format!("vit.encoder.layer.7.{name}"));
        let both = |names: &[&str]| -> Vec<String> {
            let with_prefix = |name: &&str| {
                ["dinov2.", ""].map(|prefix| format!("{prefix}encoder.layer.7.{name}"))
            };
            names.iter().flat_map(with_prefix).collect()
        };
        assert_eq!(spelled("layernorm_after.bias"), both(&["norm2.bias"]));
        assert_eq!(spelled("output.dense.weight"), both(&["mlp.fc2.weight"]));
        assert_eq!(
            spelled("attention.output.dense.weight"),
            both(&["attention.output.dense.weight", "attention.o_proj.weight"])
        );
        assert_eq!(
            ModelType::Dinov2.spellings("classifier.bias"),
            ["classifier.bias"]
        );
    }

    #[test]
    fn layer_scale_is_of_the_output_projections() {
        let scale =
            |name: &str| ModelType::Dinov2.layer_scale(&format!("vit.encoder.layer.3.{name}"));
        let lambda = |n| Some(format!("vit.encoder.layer.3.layer_scale{n}.lambda1"));
        for kind in ["weight", "bias"] {
            assert_eq!(scale(&format!("attention.output.dense.{kind}")), lambda(1));
            assert_eq!(scale(&format!("output.dense.{kind}")), lambda(2));
            assert_eq!(scale(&format!("intermediate.dense.{kind}")), None);
            assert_eq!(scale(&format!("attention.attention.key.{kind}")), None);
        }
        assert_eq!(
            ModelType::Vit.layer_scale("vit.encoder.layer.3.output.dense.bias"),
            None
        );
    }
}
