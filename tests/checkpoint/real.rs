//! Real checkpoints, and transformers as the judge of ours.

use std::fs;
use std::path::Path;

use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use vitcuda::model::checkpoint::{self, LoadOptions};
use vitcuda::model::config::VitConfig;
use vitcuda::model::cost::{self, Parameters, Pass};
use vitcuda::model::init::HeadInit;
use vitcuda::model::model_type::ModelType;
use vitcuda::model::tensor_file::TensorFile;

use crate::common::{shared_dir, with_shared};

pub fn trials() -> Vec<Trial> {
    vec![
        with_shared(
            "transformers' file is written byte for byte",
            TINY,
            tiny_vit,
        ),
        with_shared(
            "the pretrained ViT-S takes the reference's head",
            SMALL,
            vit_small,
        ),
        with_shared(
            "config.json is the Trainer's, less what it does not need",
            "golden/hf_trainer_run/lr2e-5-ep1/config.json",
            trainer_config,
        ),
        with_shared(
            "every tensor name of transformers 5 is known",
            "golden/real_steps/four_photos.safetensors",
            new_names,
        ),
    ]
}

const TINY: &str = "golden/tiny_vit";
const SMALL: &str = "models/vit-small-patch14-224";

fn tiny_vit(folder: &Path) -> Result<(), Failed> {
    let loaded = checkpoint::load(folder, &LoadOptions::default())?;
    assert_eq!(loaded.notices, Vec::<String>::new());
    let ours = tempfile::tempdir()?;
    checkpoint::save(ours.path(), &loaded.config, &loaded.params)?;
    let [theirs, ours] = [folder, ours.path()].map(|f| fs::read(f.join("model.safetensors")));
    assert!(theirs? == ours?);
    Ok(())
}

fn cats_and_dogs() -> LoadOptions {
    LoadOptions {
        labels: Some(vec!["cat".into(), "dog".into()]),
        head: HeadInit::File(shared_dir().join("golden/real_steps/initial_head.safetensors")),
        ..LoadOptions::default()
    }
}

fn vit_small(folder: &Path) -> Result<(), Failed> {
    let options = cats_and_dogs();
    let loaded = checkpoint::load(folder, &options)?;
    assert_eq!(loaded.notices, Vec::<String>::new());
    assert_eq!(loaded.config.layer_norm_eps, 1e-6);
    assert_eq!(loaded.config.tokens(), 257);
    let HeadInit::File(head) = &options.head else {
        unreachable!()
    };
    let head = TensorFile::open(head)?;
    let weight = head.read_vec("classifier.weight", &[2, 384])?;
    assert_eq!(loaded.params[loaded.table.head_weight.clone()], weight);
    // The embeddings of 257 positions and 14 × 14 patches, 12 layers, the last norm, the head.
    let layer = 4 * 384 * 384 + 2 * 384 * 1536 + 4 * 384 + 1536 + 384 + 4 * 384;
    let parameters = 384 * (1 + 257 + 588 + 1) + 12 * layer + 2 * 384 + 2 * 385;
    assert_eq!(Parameters::of(&loaded.config).total(), parameters);
    assert!(cost::flops_per_image(&loaded.config, Pass::Inference) > 12_000_000_000);
    // f16 weights of a trained model: none is zero throughout, none is huge.
    for param in &loaded.table.params {
        let values = &loaded.params[param.range.clone()];
        let most = values.iter().fold(0.0, |m: f32, v| m.max(v.abs()));
        let fits = most > 0.0 && most < 100.0;
        assert!(
            fits || param.name == "classifier.bias",
            "{}: {most}",
            param.name
        );
    }

    let larger = checkpoint::load(
        folder,
        &LoadOptions {
            image_size: Some(336),
            ..options
        },
    )?;
    assert_eq!(larger.config.tokens(), 1 + 24 * 24);
    assert_eq!(larger.params.len(), larger.table.len);
    Ok(())
}

fn trainer_config(path: &Path) -> Result<(), Failed> {
    let ours = tempfile::NamedTempFile::new()?;
    VitConfig::read(path)?.write(ours.path())?;
    let object = |path: &Path| -> Result<serde_json::Map<String, Value>, Failed> {
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    };
    let mut theirs = object(path)?;
    for key in [
        "pooler_act",
        "pooler_output_size",
        "transformers_version",
        "use_cache",
    ] {
        theirs.shift_remove(key).ok_or(key)?;
    }
    // As text: the order of the keys counts.
    let [theirs, ours] = [theirs, object(ours.path())?].map(|o| Value::Object(o).to_string());
    assert_eq!(ours, theirs);
    Ok(())
}

fn new_names(path: &Path) -> Result<(), Failed> {
    let loaded = checkpoint::load(shared_dir().join(SMALL), &cats_and_dogs())?;
    let known: Vec<String> = loaded
        .table
        .params
        .iter()
        .flat_map(|p| ModelType::Vit.spellings(&p.name))
        .collect();
    let file = TensorFile::open(path)?;
    let names = file.names();
    let gradients: Vec<&str> = names
        .iter()
        .filter_map(|n| n.strip_prefix("grad."))
        .collect();
    assert!(gradients.len() > 100);
    for name in gradients {
        assert!(known.iter().any(|k| k == name), "{name}");
    }
    Ok(())
}
