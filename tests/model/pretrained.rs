//! The real model against PyTorch's numbers, and the engine against a run of Hugging Face's Trainer.

use std::path::Path;

use libtest_mimic::Failed;
use vitcuda::data::loader::{Loader, LoaderOptions};
use vitcuda::data::preprocess::Preprocessor;
use vitcuda::data::source::{self, DataSpec, Source};
use vitcuda::model::activations::LastBlock;
use vitcuda::model::checkpoint::{self, LoadOptions};
use vitcuda::model::init::HeadInit;
use vitcuda::model::model_type::ModelType;
use vitcuda::model::tensor_file::TensorFile;
use vitcuda::model::vit::Vit;
use vitcuda::ops::grad_norm;
use vitcuda::ops::patch_embed::Images;
use vitcuda::rng::randperm;
use vitcuda::train::config::Hyper;
use vitcuda::train::cpu::CpuEngine;
use vitcuda::train::engine::Engine;

use super::{at_most, distance, step};

/// The real model with the peer's initial head.
fn pretrained(shared: &Path) -> Result<(checkpoint::Loaded, Preprocessor), Failed> {
    let folder = shared.join("models/vit-small-patch14-224");
    let head = shared.join("golden/real_steps/initial_head.safetensors");
    let options = LoadOptions {
        labels: Some(vec!["cat".into(), "dog".into()]),
        head: HeadInit::File(head),
        ..LoadOptions::default()
    };
    let preprocessor = Preprocessor::read(&folder.join("preprocessor_config.json"))?;
    Ok((checkpoint::load(folder, &options)?, preprocessor))
}

pub fn four_photos(shared: &Path) -> Result<(), Failed> {
    let (loaded, preprocessor) = pretrained(shared)?;
    let dir = shared.join("golden/real_steps");
    let text = std::fs::read_to_string(dir.join("four_photos.json"))?;
    let golden: serde_json::Value = serde_json::from_str(&text)?;
    let bytes = std::fs::read(dir.join("four_photos.safetensors"))?;
    let tensors = safetensors::SafeTensors::deserialize(&bytes)?;
    let pixels = tensors.tensor("images_u8")?.data();
    let labels: Vec<u32> = tensors
        .tensor("labels")?
        .data()
        .chunks_exact(8)
        .map(|label| u32::from(label[0]))
        .collect();
    let vit = Vit::new(loaded.config);
    let lookup = preprocessor.lookup();
    let images = Images::Bytes {
        pixels,
        lookup: &lookup,
    };
    let done = step(&vit, &loaded.params, images, &labels, LastBlock::ClassToken);
    let wanted = golden["loss_f64"].as_f64().expect("a number");
    at_most("loss", (done.loss - wanted).abs(), 1e-5)?;
    let file = TensorFile::open(dir.join("four_photos.safetensors"))?;
    let logits = file.read_vec("logits_f64", &[4, 2])?;
    at_most("logits", distance(&done.activations.logits, &logits), 1e-4)?;
    let norms = &golden["grad_norms_f64"];
    for param in &vit.table.params {
        if param.name.ends_with("key.bias") {
            continue; // the true gradient is zero
        }
        let wanted = ModelType::Vit
            .spellings(&param.name)
            .iter()
            .find_map(|name| norms[name].as_f64());
        let wanted = wanted.ok_or_else(|| format!("no golden norm of {}", param.name))?;
        let found = grad_norm::norm(&done.gradients[param.range.clone()]);
        at_most(&param.name, (found / wanted - 1.0).abs(), 1e-4)?;
    }
    Ok(())
}

/// The first ten steps of the real job, each loss and gradient norm within 2 % of the peer's, in
/// the peer's order of photos.
pub fn ten_steps(shared: &Path) -> Result<(), Failed> {
    let text = std::fs::read_to_string(shared.join("golden/real_steps/trace.json"))?;
    let trace: serde_json::Value = serde_json::from_str(&text)?;
    let (loaded, preprocessor) = pretrained(shared)?;
    let folder = Source::Folder(shared.join("data/cats_vs_dogs"));
    let train = source::open(&DataSpec::new(folder))?.train;
    let order = randperm(train.len(), 42);
    let first = train.select(&order[..160]);
    let loader = Loader::open(first, &preprocessor, &LoaderOptions::default(), |_, _| {})?;
    let (config, params) = (loaded.config, loaded.params);
    let mut engine = CpuEngine::new(config, params, preprocessor.lookup(), Hyper::default());
    for (i, batch) in loader.in_order(16).enumerate() {
        let lr = 2e-5 * (63 - i) as f64 / 63.0;
        let done = engine.train_step(&[&batch?], lr)?;
        let wanted = |key: &str| trace["steps"][i][key].as_f64().expect("a number");
        let close = |what: &str, found: f64, key: &str| {
            let what = format!("{what} of step {}", i + 1);
            at_most(&what, (found / wanted(key) - 1.0).abs(), 0.02)
        };
        close("loss", done.loss, "loss")?;
        close("gradient norm", done.grad_norm, "grad_norm")?;
    }
    Ok(())
}
