//! Micro-batches against the batch they make up.

use libtest_mimic::Failed;
use vitcuda::train::engine::{Batch, EpochBatches, StepOutput};

use super::small::{Make, at_most, batch, distance, exact, showing_gradients, widened};

/// `whole` in parts of so many images.
pub fn parts(whole: &Batch, sizes: &[usize]) -> Vec<Batch> {
    let image = whole.images.len() / whole.len();
    let mut first = 0;
    let part = |&images: &usize| {
        let range = first..first + images;
        first = range.end;
        Batch {
            images: whole.images[range.start * image..range.end * image].to_vec(),
            labels: whole.labels[range].to_vec(),
        }
    };
    sizes.iter().map(part).collect()
}

fn step(make: Make, micro_batches: &[Batch]) -> Result<(StepOutput, Vec<f32>), Failed> {
    let batches = EpochBatches {
        examples: micro_batches.iter().map(Batch::len).sum(),
        batch_size: micro_batches[0].len(),
    };
    let mut engine = make(showing_gradients(), batches)?;
    let micro_batches: Vec<&Batch> = micro_batches.iter().collect();
    let output = engine.train_step(&micro_batches, 1e-3)?;
    Ok((output, engine.optimizer()?.first))
}

/// A loss is a mean of 16 numbers in f32, in one order or another: 2 · 16 · 2⁻²⁴.
const LOSS: f64 = 2e-6;

/// Shares of 1/4 and 1/16 are powers of two, so each image's part of a gradient has the same bits;
/// what differs is the order in which 16 · 10 rows are added in f32, with a relative error of 2⁻²⁴
/// an addition: 160 · 2⁻²⁴.
pub fn four_times_four_are_sixteen(make: Make) -> Result<(), Failed> {
    let whole = batch(7, 16);
    let (one, wanted) = step(make, std::slice::from_ref(&whole))?;
    let (four, found) = step(make, &parts(&whole, &[4; 4]))?;
    at_most("loss", (four.loss / one.loss - 1.0).abs(), LOSS)?;
    at_most("gradients", distance(&found, &widened(&wanted)), 1e-5)?;
    at_most("norm", (four.grad_norm / one.grad_norm - 1.0).abs(), 1e-5)
}

/// Each micro-batch counts the same, the short one too; against f64, as exact as one batch is,
/// within a factor of two.
pub fn a_short_micro_batch_counts_as_much(make: Make) -> Result<(), Failed> {
    let whole = batch(8, 15);
    let (_, one) = step(make, std::slice::from_ref(&whole))?;
    let limit = 2.0 * distance(&one, &exact(&[&whole]).1);

    let micro_batches = parts(&whole, &[6, 6, 3]);
    let (output, found) = step(make, &micro_batches)?;
    let references: Vec<&Batch> = micro_batches.iter().collect();
    at_most("gradients", distance(&found, &exact(&references).1), limit)?;

    let mut losses = Vec::new();
    for micro_batch in micro_batches {
        losses.push(step(make, &[micro_batch])?.0.loss);
    }
    let mean = losses.iter().sum::<f64>() / 3.0;
    at_most("loss", (output.loss / mean - 1.0).abs(), LOSS)?;
    // The mean over images is another number.
    let over_images = (6.0 * losses[0] + 6.0 * losses[1] + 3.0 * losses[2]) / 15.0;
    assert!((output.loss / over_images - 1.0).abs() > 100.0 * LOSS);
    Ok(())
}
