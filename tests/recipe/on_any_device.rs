//! What is asked of every engine.

#[path = "accumulation.rs"]
pub mod accumulation;
#[path = "freeze.rs"]
pub mod freeze;
#[path = "loss.rs"]
mod loss;
#[path = "small.rs"]
pub mod small;

use libtest_mimic::Failed;

/// Given a way to make engines of the small model.
type Test = fn(small::Make) -> Result<(), Failed>;

pub const TESTS: [(&str, Test); 6] = [
    (
        "frozen parameters keep their bits",
        freeze::frozen_parameters_keep_their_bits,
    ),
    (
        "trained gradients are those of a full backward pass",
        freeze::trained_gradients_are_those_of_a_full_backward,
    ),
    ("a linear probe learns", freeze::a_linear_probe_learns),
    (
        "four micro-batches of four are a batch of sixteen",
        accumulation::four_times_four_are_sixteen,
    ),
    (
        "a short micro-batch counts as much as the others",
        accumulation::a_short_micro_batch_counts_as_much,
    ),
    (
        "losses are the formulas of label smoothing and class weights",
        loss::losses_are_the_formulas,
    ),
];
