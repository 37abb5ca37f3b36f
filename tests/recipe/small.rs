//! A small model and images for it, and what is exactly right about them.
#![allow(dead_code)] // each test binary uses its own part

use libtest_mimic::Failed;
use vitcuda::Error;
use vitcuda::data::Preprocessor;
use vitcuda::model::activations::{Activations, LastBlock};
use vitcuda::model::config::VitConfig;
use vitcuda::model::init;
use vitcuda::model::params::ParamTable;
use vitcuda::model::scratch::Scratch;
use vitcuda::model::vit::Vit;
use vitcuda::ops::cross_entropy::{self, Target};
use vitcuda::ops::gemm::Accumulate;
use vitcuda::ops::patch_embed::Images;
use vitcuda::rng::{Philox, Purpose};
use vitcuda::train::config::Hyper;
use vitcuda::train::engine::{Batch, Engine, EpochBatches};

/// Makes an engine that holds the small model, for such batches.
pub type Make<'a> = &'a dyn Fn(Hyper, EpochBatches) -> Result<Box<dyn Engine>, Error>;

/// Micro-batches of six, and one of three.
pub const BATCHES: EpochBatches = EpochBatches {
    examples: 9,
    batch_size: 6,
};

/// Odd sizes where they are allowed: 10 tokens, two heads of 8, MLP 40, 5 classes.
pub fn config() -> VitConfig {
    let mut config = VitConfig {
        hidden_size: 16,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 40,
        image_size: 12,
        patch_size: 4,
        ..VitConfig::default()
    };
    config.set_labels(&["a", "b", "c", "d", "e"]);
    config
}

pub fn params(config: &VitConfig) -> Vec<f32> {
    let table = ParamTable::new(config);
    let mut params = init::params(&table, 3);
    let mut noise = Philox::new(3, Purpose::Test, 0);
    params
        .iter_mut()
        .for_each(|p| *p += 0.1 * noise.normal() as f32);
    params
}

/// What each byte means to the model.
pub fn lookup() -> [[f32; 256]; 3] {
    Preprocessor::new(config().image_size).lookup()
}

/// Images whose brightness tells the label.
pub fn batch(index: u64, images: usize) -> Batch {
    let config = config();
    let mut random = Philox::new(4, Purpose::Test, index);
    let labels: Vec<u32> = (0..images).map(|_| random.next_u32() % 5).collect();
    let image = 3 * config.image_size.pow(2);
    let pixels = labels.iter().flat_map(|&label| {
        let values: Vec<u8> = (0..image)
            .map(|_| (40 * label + random.next_u32() % 60) as u8)
            .collect();
        values
    });
    Batch {
        images: pixels.collect(),
        labels: labels.clone(),
    }
}

pub fn hyper() -> Hyper {
    Hyper {
        weight_decay: 0.05,
        ..Hyper::default()
    }
}

/// With these, AdamW's first moments after the first step are the gradients.
pub fn showing_gradients() -> Hyper {
    Hyper {
        beta1: 0.0,
        max_grad_norm: 0.0,
        ..hyper()
    }
}

pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

pub fn same(what: &str, a: &[f32], b: &[f32]) -> Result<(), Failed> {
    if bits(a) == bits(b) {
        Ok(())
    } else {
        Err(format!("{what} differ").into())
    }
}

/// Fails unless `found <= limit`, NaN included.
pub fn at_most(what: &str, found: f64, limit: f64) -> Result<(), Failed> {
    if found <= limit {
        Ok(())
    } else {
        Err(format!("{what}: {found:.3e} is more than {limit:.3e}").into())
    }
}

pub fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// ‖a − b‖ / ‖b‖; NaN if one of the values is.
pub fn distance(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().zip(b);
    let error: f64 = pairs.map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
    let norm: f64 = b.iter().map(|b| b * b).sum();
    (error / norm).sqrt()
}

/// Loss and gradients in f64, averaged over `micro_batches`, in each of which they are means.
pub fn exact(micro_batches: &[&Batch]) -> (f64, Vec<f64>) {
    let vit = Vit::new(config());
    let params = widened(&params(&vit.config));
    let lookup = lookup();
    let share = 1.0 / micro_batches.len() as f64;
    let mut gradients = vec![f64::NAN; vit.table.len];
    let (mut loss, mut accumulate) = (0.0, Accumulate::Overwrite);
    for batch in micro_batches {
        let images = batch.len();
        let last = LastBlock::AllTokens;
        let mut a = Activations::new(&vit.config, images, vit.keep(), last);
        let pixels = Images::Bytes {
            pixels: &batch.images,
            lookup: &lookup,
        };
        vit.forward(&mut a, &params, pixels, images);
        let target = Target {
            labels: &batch.labels,
            weights: None,
            smoothing: 0.0,
        };
        let mut d_logits = vec![f64::NAN; a.logits.len()];
        let mean = cross_entropy::forward_backward(&mut d_logits, &a.logits, target, share);
        loss += share * mean;
        vit.backward(
            &mut gradients,
            &mut Scratch::new(&vit.config, images),
            &d_logits,
            &a,
            &params,
            accumulate,
        );
        accumulate = Accumulate::Add;
    }
    (loss, gradients)
}
