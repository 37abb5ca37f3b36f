//! What is frozen stays, what is trained is trained as if nothing were frozen.

use libtest_mimic::Failed;
use vitcuda::model::params::ParamTable;
use vitcuda::train::config::{Freeze, Hyper};
use vitcuda::train::engine::Batch;

use super::small::{BATCHES, Make, at_most, batch, config, hyper, params, same, showing_gradients};

/// Of two blocks: one; both, not the norm behind them; all but the head.
pub const FREEZES: [Freeze; 3] = [Freeze::Layers(1), Freeze::Layers(2), Freeze::Backbone];

pub fn frozen_parameters_keep_their_bits(make: Make) -> Result<(), Failed> {
    let (table, before) = (ParamTable::new(&config()), params(&config()));
    for freeze in FREEZES {
        let mut engine = make(Hyper { freeze, ..hyper() }, BATCHES)?;
        for step in 0..3 {
            engine.train_step(&[&batch(step, 6)], 1e-2)?;
        }
        let (after, trained) = (engine.params()?, freeze.trained(&table));
        assert_eq!(engine.trained(), trained);
        let frozen = 0..trained.start;
        let what = format!("frozen parameters ({freeze})");
        same(&what, &before[frozen.clone()], &after[frozen])?;
        for param in table.starting_at(trained.start) {
            // Softmax ignores the key's bias.
            let moves = !param.name.ends_with("key.bias");
            if moves && before[param.range.clone()] == after[param.range.clone()] {
                return Err(format!("{} is not trained ({freeze})", param.name).into());
            }
        }
        let state = engine.optimizer()?;
        assert_eq!(state.first.len(), trained.len());
        assert_eq!(state.second.len(), trained.len());
    }
    Ok(())
}

/// Bit by bit: the lower part of the backward pass has no influence on the upper one.
pub fn trained_gradients_are_those_of_a_full_backward(make: Make) -> Result<(), Failed> {
    let table = ParamTable::new(&config());
    let batches = [batch(0, 6), batch(1, 6)];
    let micro_batches: Vec<&Batch> = batches.iter().collect();
    let step = |freeze| {
        let mut engine = make(
            Hyper {
                freeze,
                ..showing_gradients()
            },
            BATCHES,
        )?;
        let output = engine.train_step(&micro_batches, 1e-3)?;
        Ok::<_, Failed>((output, engine.optimizer()?.first))
    };
    let (all, full) = step(Freeze::Nothing)?;
    for freeze in FREEZES {
        let (output, gradients) = step(freeze)?;
        let wanted = &full[freeze.trained(&table)];
        same(&format!("gradients ({freeze})"), &gradients, wanted)?;
        assert_eq!(output.loss.to_bits(), all.loss.to_bits());
        let squares = wanted.iter().map(|&g| f64::from(g).powi(2));
        let norm = squares.sum::<f64>().sqrt();
        // No sum of squares is a chain of more than 64 in f32: 64 · 2⁻²⁴, halved by the root.
        let relative = (output.grad_norm / norm - 1.0).abs();
        at_most(&format!("norm ({freeze})"), relative, 2e-6)?;
        assert!(output.grad_norm < all.grad_norm);
    }
    Ok(())
}

/// On top of random features that tell brightness, the head alone finds the classes.
pub fn a_linear_probe_learns(make: Make) -> Result<(), Failed> {
    let freeze = Freeze::Backbone;
    let mut engine = make(Hyper { freeze, ..hyper() }, BATCHES)?;
    let mut losses = Vec::new();
    for step in 0..60 {
        losses.push(engine.train_step(&[&batch(step, 6)], 5e-2)?.loss);
    }
    let test = batch(1000, 50);
    let logits = engine.logits(&test)?;
    let found = logits
        .chunks_exact(5)
        .zip(&test.labels)
        .filter(|(row, label)| {
            let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            best.is_some_and(|(class, _)| class == **label as usize)
        });
    // By chance 10 of 50, with a standard deviation of 2.8.
    match found.count() {
        30.. => Ok(()),
        right => Err(format!("{right} of 50 right; losses {losses:.2?}").into()),
    }
}
