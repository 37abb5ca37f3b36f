//! Arenas on disk, each tensor under its parameter's name.

use std::path::Path;

use rayon::prelude::*;

use super::params::{self, Param};
use super::tensor_file::{self, Tensor, TensorFile};
use crate::error::Result;

/// Writes arenas that hold `params`, one behind the other, to one safetensors file, atomically.
///
/// Each comes with the prefix of its names: `""` gives the parameters' own, `"exp_avg."` is what
/// PyTorch calls AdamW's first moment, `"exp_avg_sq."` its second.
pub fn save(
    path: impl AsRef<Path>,
    params: &[Param],
    arenas: &[(&str, &[f32])],
    metadata: &[(&str, &str)],
) -> Result<()> {
    let mut tensors = Vec::with_capacity(arenas.len() * params.len());
    let start = params.first().map_or(0, |param| param.range.start);
    for (prefix, arena) in arenas {
        assert_eq!(arena.len(), params::len(params), "arena `{prefix}`");
        tensors.extend(params.iter().map(|param| Tensor {
            name: format!("{prefix}{}", param.name),
            shape: &param.shape,
            values: &arena[param.range.start - start..][..param.range.len()],
        }));
    }
    tensor_file::write(path, &mut tensors, metadata)
}

/// Reads back what [`save`] wrote under `prefix`; an error where a tensor is missing, has another
/// shape, or holds a value that is not finite.
pub fn load(file: &TensorFile, params: &[Param], prefix: &str) -> Result<Vec<f32>> {
    let named = |name: &str| format!("{prefix}{name}");
    for param in params {
        file.check(&named(&param.name), &param.shape)?;
    }
    let mut arena = vec![0.0; params::len(params)];
    params::split_mut(params, &mut arena)
        .into_par_iter()
        .map(|(param, values)| file.read(&named(&param.name), &param.shape, values))
        .collect::<Vec<_>>() // not straight into a Result: the first error of the file is told
        .into_iter()
        .collect::<Result<()>>()?;
    Ok(arena)
}
