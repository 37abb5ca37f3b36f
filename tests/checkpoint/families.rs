//! Checkpoints that are no ViT and are taken as one: DINOv2 and DeiT.

use std::fs;
use std::path::Path;

use libtest_mimic::{Failed, Trial};
use serde_json::json;
use tempfile::TempDir;
use vitcuda::model::activations::{Activations, Keep, LastBlock};
use vitcuda::model::checkpoint::{self, LoadOptions, Loaded};
use vitcuda::model::interpolate;
use vitcuda::model::model_type::ModelType;
use vitcuda::model::tensor_file::{Tensor, TensorFile};
use vitcuda::model::vit::Vit;
use vitcuda::ops::patch_embed::Images;

use super::support::{Folder, Raw, assert_says, told, trial};
use crate::common::dinov2::{self, Dinov2};
use crate::common::with_shared;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("a DINOv2's layer scale is folded", folded),
        trial("every spelling of a DINOv2's names loads", spellings),
        trial("a DINOv2 is saved as a plain ViT", saved),
        trial(
            "a DINOv2's positions fit the image size asked for",
            positions,
        ),
        trial(
            "a DINOv2's own classifier gives way or is refused",
            classifier,
        ),
        trial("a DINOv2 without its layer scale is refused", broken_scale),
        trial("a DINOv2's config is held to its limits", dinov2_config),
        trial("a DeiT without distillation is a ViT", deit),
        trial("a distilled DeiT is refused with the way out", distilled),
        with_shared(
            "the real DINOv2 folds to its twin's weights",
            "models",
            twin_weights,
        ),
        with_shared(
            "the real DINOv2 gives its twin's hidden states",
            ".",
            twin_hidden_states,
        ),
    ]
}

fn cats_and_dogs() -> LoadOptions {
    LoadOptions {
        labels: Some(vec!["cat".into(), "dog".into()]),
        ..LoadOptions::default()
    }
}

/// `model` on disk, its tensors renamed.
fn on_disk(model: &Dinov2, rename: impl Fn(&str) -> String) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = model.tensors();
    for tensor in &mut tensors {
        tensor.name = rename(&tensor.name);
    }
    dinov2::write(folder.path(), &model.config_json(), &mut tensors);
    folder
}

fn refusal(folder: &Path) -> String {
    told(&checkpoint::load(folder, &LoadOptions::default()).unwrap_err())
}

/// The arena that `model` is to become: rows of the output projections times layer scale, in f64,
/// then rounded.
fn wanted(model: &Dinov2) -> Vec<f32> {
    let mut params = model.params.clone();
    for (layer, [first, second]) in model.table.layers.iter().zip(&model.scales) {
        for (range, scales) in [
            (&layer.proj_weight, first),
            (&layer.proj_bias, first),
            (&layer.fc2_weight, second),
            (&layer.fc2_bias, second),
        ] {
            let row = range.len() / 64;
            for (i, value) in params[range.clone()].iter_mut().enumerate() {
                *value = (f64::from(*value) * f64::from(scales[i / row])) as f32;
            }
        }
    }
    params
}

fn folded() {
    let model = Dinov2::new();
    let folder = on_disk(&model, str::to_owned);
    let loaded = checkpoint::load(folder.path(), &LoadOptions::default()).unwrap();
    assert_eq!(loaded.config.model_type, ModelType::Vit);
    assert_eq!(loaded.table, model.table);
    assert_eq!(loaded.params, wanted(&model));
    assert_eq!(loaded.notices.len(), 2, "{:?}", loaded.notices);
    assert_says(&loaded.notices[0], &["DINOv2", "folded", "mask token"]);
    assert_says(&loaded.notices[1], &["no classification head"]);
}

fn spellings() {
    let model = Dinov2::new();
    let new = |name: &str| {
        name.replace("attention.attention.query", "attention.q_proj")
            .replace("attention.attention.key", "attention.k_proj")
            .replace("attention.attention.value", "attention.v_proj")
            .replace("attention.output.dense", "attention.o_proj")
    };
    let inside = |name: &str| format!("dinov2.{name}");
    let ways: [&dyn Fn(&str) -> String; 3] = [&inside, &new, &|name| inside(&new(name))];
    for way in ways {
        let folder = on_disk(&model, way);
        let loaded = checkpoint::load(folder.path(), &LoadOptions::default()).unwrap();
        assert_eq!(loaded.params, wanted(&model));
        assert_eq!(loaded.notices.len(), 2, "{:?}", loaded.notices);
    }
}

fn saved() {
    let folder = on_disk(&Dinov2::new(), str::to_owned);
    let loaded = checkpoint::load(folder.path(), &cats_and_dogs()).unwrap();
    let ours = tempfile::tempdir().unwrap();
    checkpoint::save(ours.path(), &loaded.config, &loaded.params).unwrap();
    let text = fs::read_to_string(ours.path().join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (key, wanted) in [
        ("architectures", json!(["ViTForImageClassification"])),
        ("model_type", json!("vit")),
        ("layer_norm_eps", json!(1e-6)),
        ("intermediate_size", json!(128)),
        ("encoder_stride", json!(14)),
    ] {
        assert_eq!(config[key], wanted, "{key}");
    }
    let again = checkpoint::load(ours.path(), &LoadOptions::default()).unwrap();
    assert_eq!(again.params, loaded.params);
    assert_eq!(again.notices, Vec::<String>::new());
}

fn positions() {
    let model = Dinov2::new();
    let folder = on_disk(&model, str::to_owned);
    let options = LoadOptions {
        image_size: Some(28),
        ..LoadOptions::default()
    };
    let loaded = checkpoint::load(folder.path(), &options).unwrap();
    let stored = &model.params[model.table.position_embeddings.clone()];
    let found = &loaded.params[loaded.table.position_embeddings.clone()];
    assert_eq!(found, interpolate::positions(stored, 3, 2, 64));
}

fn classifier() {
    let model = Dinov2::new();
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = model.tensors();
    tensors.extend([
        Tensor {
            name: "classifier.weight".into(),
            shape: &[2, 128],
            values: &[0.5; 256],
        },
        Tensor {
            name: "classifier.bias".into(),
            shape: &[2],
            values: &[0.5; 2],
        },
    ]);
    dinov2::write(folder.path(), &model.config_json(), &mut tensors);
    let words = ["class token and the mean of the patches", "fine-tune it"];
    assert_says(&refusal(folder.path()), &words);

    let loaded = checkpoint::load(folder.path(), &cats_and_dogs()).unwrap();
    let said = "new head for 2 classes: the checkpoint's reads the mean of the patches too";
    assert_eq!(loaded.notices[1..], [said]);
    assert_eq!(loaded.params[loaded.table.head_bias.clone()], [0.0; 2]);
}

fn broken_scale() {
    let model = Dinov2::new();
    let is_scale = |tensor: &&mut Tensor| tensor.name.ends_with("1.layer_scale2.lambda1");
    let broken = |change: &dyn Fn(&mut Tensor)| {
        let folder = tempfile::tempdir().unwrap();
        let mut tensors = model.tensors();
        change(tensors.iter_mut().find(is_scale).unwrap());
        dinov2::write(folder.path(), &model.config_json(), &mut tensors);
        refusal(folder.path())
    };
    assert_says(
        &broken(&|scale| scale.name = "elsewhere".into()),
        &[
            "no tensor `dinov2.encoder.layer.1.layer_scale2.lambda1`",
            "[64]",
        ],
    );
    let short = |scale: &mut Tensor| (scale.shape, scale.values) = (&[1], &[1.0]);
    assert_says(
        &broken(&short),
        &["encoder.layer.1.layer_scale2.lambda1", "shape [1]", "[64]"],
    );
    assert_says(
        &broken(&|scale| scale.values = &[f32::NAN; 64]),
        &["encoder.layer.1.layer_scale2.lambda1", "NaN"],
    );

    let mut model = Dinov2::new();
    model.params[model.table.layers[1].fc2_bias.start] = 1e38;
    model.scales[1][1].fill(1e38);
    let folder = on_disk(&model, str::to_owned);
    let words = ["mlp.fc2.bias` times `", "lambda1", "beyond f32's range"];
    assert_says(&refusal(folder.path()), &words);
}

fn dinov2_config() {
    let refused = |key: &str, value: serde_json::Value| {
        let model = Dinov2::new();
        let folder = tempfile::tempdir().unwrap();
        let mut config = model.config_json();
        config[key] = value;
        dinov2::write(folder.path(), &config, &mut model.tensors());
        refusal(folder.path())
    };
    assert_says(
        &refused("use_swiglu_ffn", json!(true)),
        &[
            "`use_swiglu_ffn` is true",
            "SwiGLU",
            "facebook/dinov2-small",
        ],
    );
    assert_says(
        &refused("model_type", json!("dinov2_with_registers")),
        &["a DINOv2 with registers", "neither registers nor SwiGLU"],
    );
    for ratio in [json!(0), json!(-4), json!(1e300)] {
        assert_says(
            &refused("mlp_ratio", ratio),
            &["`mlp_ratio` is", "1 to 1048576 wide"],
        );
    }
}

fn as_deit(folder: &Folder) {
    folder.change_config(|config| config["model_type"] = json!("deit"));
    folder.change_tensors(|tensors| {
        for tensor in tensors {
            tensor.name = tensor.name.replace("vit.", "deit.");
        }
    });
}

fn deit() {
    let folder = Folder::new();
    as_deit(&folder);
    let loaded = folder.load();
    assert_eq!(loaded.params, folder.params);
    assert_eq!(loaded.config, super::support::tiny());
    assert_eq!(loaded.notices, Vec::<String>::new());
}

fn distilled() {
    let words = ["wanted", "facebook/deit-tiny-patch16-224"];
    let folder = Folder::new();
    as_deit(&folder);
    folder.change_tensors(|tensors| {
        let name = "deit.embeddings.distillation_token";
        tensors.push(Raw::f32(name, &[1, 1, 8], &[0.5; 8]));
    });
    assert_says(&folder.refusal(), &words);
    assert_says(&folder.refusal(), &["`deit.embeddings.distillation_token`"]);

    // Already by its configuration, which is all that `info` reads.
    folder.change_config(|config| {
        config["architectures"] = json!(["DeiTForImageClassificationWithTeacher"]);
    });
    assert_says(&folder.refusal(), &words);
    assert_says(&folder.refusal(), &["config.json", "`architectures` is"]);
}

/// The DINOv2 for images of 224 × 224, and its twin, without heads.
fn twins(models: &Path) -> Result<[Loaded; 2], Failed> {
    let options = LoadOptions {
        image_size: Some(224),
        ..LoadOptions::default()
    };
    Ok([
        checkpoint::load(models.join("dinov2-small"), &options)?,
        checkpoint::load(models.join("vit-small-patch14-224"), &options)?,
    ])
}

/// Both folders were rounded to f16 from the same f32 numbers. One rounding changes a value x by
/// 2⁻¹¹ |x| at most, or 2⁻²⁵ where it is subnormal. The folded weight w · λ comes from two rounded
/// factors, a position from a sum of rounded ones, and the twin's number was rounded once itself.
fn twin_weights(models: &Path) -> Result<(), Failed> {
    const RELATIVE: f64 = 1.0 / 2048.0;
    let [dino, twin] = twins(models)?;
    let file = TensorFile::open(models.join("dinov2-small/model.safetensors"))?;
    for param in &dino.table.params {
        let found = &dino.params[param.range.clone()];
        let wanted = &twin.params[param.range.clone()];
        let Some(scale) = ModelType::Dinov2.layer_scale(&param.name) else {
            if param.name.ends_with("position_embeddings") {
                // The absolute weights of a bicubic sum add up to 1.375² at most.
                let most = found.iter().fold(0.0, |m: f32, v| m.max(v.abs()));
                let limit = (1.0 + 1.375 * 1.375) * RELATIVE * f64::from(most);
                assert!(max_distance(found, wanted) <= limit, "{}", param.name);
            } else {
                assert_eq!(found, wanted, "{}", param.name)
            }
            continue;
        };
        let scales = file.read_vec(scale.trim_start_matches("vit."), &[384])?;
        let row = found.len() / 384;
        for (i, (&found, &wanted)) in found.iter().zip(wanted).enumerate() {
            let scale = f64::from(scales[i / row]);
            let (folded, wanted) = (f64::from(found), f64::from(wanted));
            let weight = folded / scale;
            let least = 2f64.powi(-25);
            // Twice rounded, with room for the product of both errors; then the twin's.
            let limit = folded.abs() * 2.001 * RELATIVE
                + least * (1.0 + scale.abs() + weight.abs())
                + wanted.abs() * RELATIVE;
            let distance = (folded - wanted).abs();
            assert!(
                distance <= limit,
                "{}: {distance:e} > {limit:e}",
                param.name
            );
        }
    }
    Ok(())
}

fn max_distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let distances = a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs()));
    distances.fold(0.0, |m, d| if d <= m { m } else { d })
}

/// Both folders agree with the model they were made from within 3e-2, for values up to 12 (README
/// of the models): with each other, within twice that.
fn twin_hidden_states(shared: &Path) -> Result<(), Failed> {
    let photos = TensorFile::open(shared.join("golden/real_steps/four_photos.safetensors"))?;
    let pixels = photos.read_vec("pixel_values", &[4, 3, 224, 224])?;
    let [dino, twin] = twins(&shared.join("models"))?.map(|loaded| {
        let vit = Vit::new(loaded.config);
        let (keep, last) = (Keep::Nothing, LastBlock::AllTokens);
        let mut a = Activations::new(&vit.config, 4, keep, last);
        vit.forward(&mut a, &loaded.params, Images::Values(&pixels), 4);
        a.norm.to_vec()
    });
    assert_eq!(dino.len(), 4 * 257 * 384);
    let distance = max_distance(&dino, &twin);
    println!("hidden states differ by {distance:.2e}");
    assert!(distance <= 2.0 * 3e-2, "{distance:e}");
    Ok(())
}
