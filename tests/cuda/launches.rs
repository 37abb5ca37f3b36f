//! What one step of a real preset launches, as its graph does it.

use libtest_mimic::Failed;
use vitcuda::data::Preprocessor;
use vitcuda::device::{ElementType, Gpu, kernels};
use vitcuda::model::init;
use vitcuda::model::params::ParamTable;
use vitcuda::model::presets;
use vitcuda::train::config::Hyper;
use vitcuda::train::cuda::CudaEngine;
use vitcuda::train::engine::{Batch, Capacity, Engine, EpochBatches};

use super::emulated::counters;

const PRESET: &str = "vit_tiny_patch32_224";
const IMAGES: usize = 2;

/// Weights and their gradients: four a block (query and key-value apart in the last one, where only
/// the class token asks), the head's and the patches'.
const fn weights(layers: u64) -> u64 {
    4 * layers + 1 + 2
}

/// The kernels of a step and how often each runs, for a model whose attention stays in shared memory.
/// There is none that only adds a bias or a residual, only applies a GELU, or only sums up a bias's
/// gradient: each of these is part of what makes or reads the tensor. [`column_sum`] reads rows of
/// partial sums that those kernels leave, one a block, and the stream's gradient for that of the
/// positions.
///
/// [`column_sum`]: vitcuda::ops::column_sum
fn of_a_step(layers: u64) -> Vec<(&'static str, u64)> {
    let norms = 2 * layers + 1;
    vec![
        ("patch_embed_forward_bytes", 1),
        ("linear_forward_patch", 1),
        ("layer_norm_forward", norms),
        // Queries, keys and values.
        ("linear_forward", layers + 1),
        ("attention_forward", layers),
        // The projection, and the MLP's two layers.
        ("linear_forward_residual", 2 * layers),
        ("linear_forward_gelu", layers),
        // The head.
        ("linear_forward_f32", 1),
        ("cross_entropy_forward_backward", 1),
        ("cross_entropy_loss", 1),
        // Whole, or in parts: see the test.
        ("linear_backward_weight", weights(layers)),
        // Of the head, fc1, the projection, queries, keys and values.
        ("linear_backward_input", 1 + 3 * layers + 1),
        ("linear_backward_input_gelu", layers),
        ("layer_norm_backward", norms),
        ("attention_backward", layers),
        // Norms' weights and biases together; of biases the head's, four a block; class token,
        // positions and patches.
        ("column_sum", norms + 1 + 4 * layers + 3),
        ("grad_norm_finish", 1),
        ("adamw", 1),
    ]
}

pub fn nothing_stands_alone(_: &Gpu) -> Result<(), Failed> {
    let mut config = presets::preset(PRESET).expect("a name of the list");
    config.set_labels(&["cat", "dog", "neither"]);
    let layers = config.num_hidden_layers as u64;
    let side = config.image_size;
    let params = init::params(&ParamTable::new(&config), 3);
    let mut engine = CudaEngine::new(
        Gpu::open(1, ElementType::F16)?,
        config,
        &params,
        Preprocessor::new(side).lookup(),
        Hyper::default(),
        Capacity {
            training: Some(EpochBatches::one(IMAGES)),
            inference: IMAGES,
        },
    )?;
    let pixels = (0..IMAGES * 3 * side * side).map(|i| (i * 7 % 251) as u8);
    let batch = Batch {
        images: pixels.collect(),
        labels: vec![0, 2],
    };
    // The first step captures the graph.
    engine.train_step(&[&batch], 1e-4)?;
    counters::reset_counters();
    engine.train_step(&[&batch], 1e-4)?;
    let run = kernels::NAMES.iter().filter_map(|&name| {
        let counters = counters::counters_if_run(name)?;
        Some((name, counters.launches))
    });
    let mut found: Vec<(&str, u64)> = run.collect();
    // A gradient in parts is one kernel for the parts and one for their sum.
    let launches = |found: &[(&str, u64)], name| {
        let found = found.iter().find(|(other, _)| *other == name);
        found.map_or(0, |(_, launches)| *launches)
    };
    let parts = launches(&found, "linear_backward_weight_part");
    assert_eq!(launches(&found, "linear_backward_weight_sum"), parts);
    found.retain(|(name, _)| !name.starts_with("linear_backward_weight_"));
    let mut wanted = of_a_step(layers);
    for (name, launches) in &mut wanted {
        if *name == "linear_backward_weight" {
            *launches -= parts;
        }
    }
    wanted.retain(|(_, launches)| *launches > 0);
    wanted.sort_unstable();
    found.sort_unstable();
    if found == wanted {
        Ok(())
    } else {
        Err(format!("a step launches\n{found:?}\nand should\n{wanted:?}").into())
    }
}
