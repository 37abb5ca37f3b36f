//! Label smoothing and class weights, by transformers' formula.

use libtest_mimic::Failed;
use vitcuda::train::config::Hyper;
use vitcuda::train::engine::Batch;

use super::small::{BATCHES, Make, at_most, batch, hyper};

/// transformers' `LabelSmoother`, (1 − ε) nll + ε · mean over classes of −ln p, with the class
/// weights of PyTorch's `cross_entropy`, which weighs every −ln p by its class and divides by the
/// labels' weights; of the logits of a batch.
fn by_formula(logits: &[f32], labels: &[u32], weights: &[f32], smoothing: f64) -> f64 {
    let classes = weights.len();
    let (mut sum, mut total) = (0.0, 0.0);
    for (row, &label) in logits.chunks_exact(classes).zip(labels) {
        let row: Vec<f64> = row.iter().map(|&z| f64::from(z)).collect();
        let log_sum = row.iter().map(|z| z.exp()).sum::<f64>().ln();
        let weighted = |class: usize| f64::from(weights[class]) * (log_sum - row[class]);
        let mean = (0..classes).map(weighted).sum::<f64>() / classes as f64;
        sum += (1.0 - smoothing) * weighted(label as usize) + smoothing * mean;
        total += f64::from(weights[label as usize]);
    }
    sum / total
}

/// A loss of six images is a few dozen operations in f32 on logits that are the same for both.
pub fn losses_are_the_formulas(make: Make) -> Result<(), Failed> {
    let even = vec![1.0; 5];
    let uneven = vec![1.0, 0.5, 2.0, 0.25, 1.5];
    let (first, second) = (batch(0, 6), batch(1, 3));
    for (weights, smoothing) in [(&even, 0.0), (&even, 0.1), (&uneven, 0.0), (&uneven, 0.3)] {
        let mut engine = make(
            Hyper {
                class_weights: (weights != &even).then(|| weights.clone()),
                label_smoothing: smoothing,
                ..hyper()
            },
            BATCHES,
        )?;
        let mut formula = |batch: &Batch| {
            let logits = engine.logits(batch)?;
            Ok::<_, Failed>(by_formula(&logits, &batch.labels, weights, smoothing))
        };
        let wanted = (formula(&first)? + formula(&second)?) / 2.0;
        let found = engine.train_step(&[&first, &second], 0.0)?.loss;
        let what = format!("loss with weights {weights:?}, smoothing {smoothing}");
        at_most(&what, (found / wanted - 1.0).abs(), 64.0 / (1 << 24) as f64)?;
    }
    Ok(())
}
