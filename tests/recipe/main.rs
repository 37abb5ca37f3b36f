//! The training recipe on the CPU: freezing, accumulation, the same bits. `tests/cuda` asks the same
//! of the CUDA engine.

mod on_any_device;

use libtest_mimic::{Arguments, Failed, Trial};
use vitcuda::model::activations::{Activations, LastBlock};
use vitcuda::model::scratch::Scratch;
use vitcuda::model::vit::Vit;
use vitcuda::ops::buffer::Buffer;
use vitcuda::ops::gemm::Accumulate;
use vitcuda::ops::patch_embed::Images;
use vitcuda::train::config::{Freeze, Hyper};
use vitcuda::train::cpu::CpuEngine;
use vitcuda::train::engine::{Batch, Engine, EpochBatches};

use on_any_device::small::{BATCHES, at_most, batch, config, exact, hyper, lookup, params, same};
use on_any_device::{TESTS, accumulation, freeze};

fn main() {
    let mut trials: Vec<Trial> = TESTS
        .map(|(name, test)| Trial::test(name, move || test(&cpu)))
        .into();
    trials.push(Trial::test(
        "in f64 four micro-batches are the whole batch",
        exactly_the_whole,
    ));
    trials.push(Trial::test(
        "the backward pass reads nothing below what is trained",
        reads_nothing_below,
    ));
    trials.push(Trial::test(
        "the same bits from run to run, on any number of threads",
        same_bits,
    ));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn cpu(hyper: Hyper, _: EpochBatches) -> Result<Box<dyn Engine>, vitcuda::Error> {
    let config = config();
    let params = params(&config);
    Ok(Box::new(CpuEngine::new(config, params, lookup(), hyper)))
}

/// A few hundred additions, each off by 2⁻⁵³.
fn exactly_the_whole() -> Result<(), Failed> {
    let whole = batch(7, 16);
    let parts = accumulation::parts(&whole, &[4; 4]);
    let parts: Vec<&Batch> = parts.iter().collect();
    let ((loss, gradients), (found_loss, found)) = (exact(&[&whole]), exact(&parts));
    at_most("loss", (found_loss / loss - 1.0).abs(), 1e-13)?;
    let pairs = found.iter().zip(&gradients);
    let error: f64 = pairs.map(|(a, b)| (a - b).powi(2)).sum();
    let norm: f64 = gradients.iter().map(|g| g * g).sum();
    at_most("gradients", (error / norm).sqrt(), 1e-13)
}

/// With NaN in every frozen parameter, and in what the forward pass left below the lowest trained
/// block, the gradients have the same bits.
fn reads_nothing_below() -> Result<(), Failed> {
    let batch = batch(0, 6);
    for freeze in freeze::FREEZES {
        let vit = Vit::new(config()).freezing(freeze);
        let mut params = params(&vit.config);
        let mut a = Activations::new(&vit.config, 6, vit.keep(), LastBlock::ClassToken);
        let pixels = Images::Bytes {
            pixels: &batch.images,
            lookup: &lookup(),
        };
        vit.forward(&mut a, &params, pixels, 6);
        let backward = |a: &Activations<f32>, params: &[f32]| {
            let mut gradients = vec![f32::NAN; vit.trained().len()];
            let room = vit.images_through_blocks(6);
            let mut scratch = Scratch::new(&vit.config, room);
            let d_logits = vec![0.1; 6 * 5];
            let overwrite = Accumulate::Overwrite;
            vit.backward(
                &mut gradients,
                &mut scratch,
                &d_logits,
                a,
                params,
                overwrite,
            );
            gradients
        };
        let wanted = backward(&a, &params);
        assert!(wanted.iter().all(|g| g.is_finite()), "{freeze}");
        params[..vit.trained().start].fill(f32::NAN);
        let mut below: Vec<&mut Buffer<f32>> = vec![&mut a.patches, &mut a.embedded];
        let lowest = match freeze {
            Freeze::Layers(1) => 1,
            // Of the last block only its output is read, by the norm behind it.
            _ => 2,
        };
        for block in &mut a.blocks[..lowest] {
            below.extend([&mut block.norm1, &mut block.qkv, &mut block.attention]);
            below.extend([&mut block.middle, &mut block.norm2, &mut block.hidden]);
        }
        below.into_iter().for_each(|values| values.fill(f32::NAN));
        let what = format!("gradients ({freeze})");
        same(&what, &wanted, &backward(&a, &params))?;
    }
    Ok(())
}

fn same_bits() -> Result<(), Failed> {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build()?.install(|| {
            let mut engine = cpu(hyper(), BATCHES)?;
            for step in 0..5 {
                engine.train_step(&[&batch(step, 6), &batch(50 + step, 3)], 1e-3)?;
            }
            Ok::<_, Failed>(engine.params()?)
        })
    };
    let first = run(1)?;
    for threads in [1, 2, 3] {
        same(&format!("{threads} threads"), &first, &run(threads)?)?;
    }
    Ok(())
}
