//! Parameters that no checkpoint gives.

use std::path::PathBuf;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::params::{Init, ParamTable};
use crate::rng::{Philox, Purpose};

/// How the head starts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadInit {
    /// The checkpoint's where it fits, else normal cut at two standard deviations, from the seed.
    #[default]
    Random,
    /// The checkpoint's where it fits, else zero.
    Zero,
    /// `classifier.weight` and `classifier.bias` of this safetensors file, whatever the
    /// checkpoint has.
    File(PathBuf),
}

/// A new arena for `table`, every tensor as its [`Init`] says.
pub fn params(table: &ParamTable, seed: u64) -> Vec<f32> {
    let mut arena = vec![0.0; table.len];
    table
        .split_mut(&mut arena)
        .into_par_iter()
        .enumerate()
        .for_each(|(place, (param, values))| fill(param.init, seed, place, values));
    arena
}

/// Fills the tensor that is number `place` of its table.
///
/// Its numbers are a function of (`seed`, `place`) alone: they stay the same when other tensors
/// change their size or come from a checkpoint.
pub fn fill(init: Init, seed: u64, place: usize, values: &mut [f32]) {
    match init {
        Init::Zeros => values.fill(0.0),
        Init::Ones => values.fill(1.0),
        Init::TruncatedNormal(std) => {
            let mut stream = Philox::new(seed, Purpose::Init, place as u64);
            values.fill_with(|| (std * stream.truncated_normal()) as f32);
        }
    }
}
