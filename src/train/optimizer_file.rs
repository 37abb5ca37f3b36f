//! `optimizer.safetensors`: AdamW's moments, a safe stand-in for the reference's pickled
//! `optimizer.pt`.
//!
//! For each parameter NAME two tensors of its shape, `exp_avg.NAME` and `exp_avg_sq.NAME`
//! (PyTorch's names); the number of updates made is `step` in the metadata.

use std::path::Path;

use crate::error::{Error, Result};
use crate::model::arena_file;
use crate::model::params::ParamTable;
use crate::model::tensor_file::TensorFile;

use super::engine::OptimizerState;

/// Name of the file in a checkpoint.
pub const OPTIMIZER_FILE: &str = "optimizer.safetensors";

const FIRST: &str = "exp_avg.";
const SECOND: &str = "exp_avg_sq.";

/// Writes `state` into `folder`.
pub fn save(folder: &Path, table: &ParamTable, state: &OptimizerState) -> Result<()> {
    let step = state.step.to_string();
    arena_file::save(
        folder.join(OPTIMIZER_FILE),
        table,
        &[(FIRST, &state.first), (SECOND, &state.second)],
        &[("format", "pt"), ("step", &step)],
    )
}

/// Reads the state of a model laid out as `table` from `folder`.
///
/// # Errors
/// [`Error::Model`] naming the tensor that is missing, of another shape, or not finite.
pub fn load(folder: &Path, table: &ParamTable) -> Result<OptimizerState> {
    let file = TensorFile::open(folder.join(OPTIMIZER_FILE))?;
    let step = file.metadata("step").and_then(|s| s.parse().ok());
    let step = step.ok_or_else(|| {
        Error::model(
            file.path(),
            "its metadata has no number `step`",
            "resume from another checkpoint",
        )
    })?;
    Ok(OptimizerState {
        step,
        first: arena_file::load(&file, table, FIRST)?,
        second: arena_file::load(&file, table, SECOND)?,
    })
}
