//! `optimizer.safetensors`: AdamW's moments, a safe stand-in for the reference's pickled
//! `optimizer.pt`.
//!
//! For each trained parameter NAME two tensors of its shape, `exp_avg.NAME` and `exp_avg_sq.NAME`
//! (PyTorch's names). In the metadata: the number of updates made, `step`, and on a device that
//! scales the loss, `scale` and `growth_tracker` (GradScaler's names).

use std::path::Path;

use crate::error::{Error, Result};
use crate::model::arena_file;
use crate::model::params::{Param, ParamTable};
use crate::model::tensor_file::TensorFile;

use super::engine::{LossScale, OptimizerState};

/// Name of the file in a checkpoint.
pub const OPTIMIZER_FILE: &str = "optimizer.safetensors";

const SCALE: &str = "scale";
const GOOD_STEPS: &str = "growth_tracker";
const FIRST: &str = "exp_avg.";
const SECOND: &str = "exp_avg_sq.";

/// Writes `state` into `folder`: the moments of those parameters of `table` that it has.
pub fn save(folder: &Path, table: &ParamTable, state: &OptimizerState) -> Result<()> {
    let params = table.starting_at(table.len - state.first.len());
    let mut metadata = vec![
        ("format", "pt".to_owned()),
        ("step", state.step.to_string()),
    ];
    if let Some(scale) = state.loss_scale {
        metadata.push((SCALE, scale.factor.to_string()));
        metadata.push((GOOD_STEPS, scale.good_steps.to_string()));
    }
    let metadata: Vec<(&str, &str)> = metadata.iter().map(|(k, v)| (*k, v.as_str())).collect();
    arena_file::save(
        folder.join(OPTIMIZER_FILE),
        params,
        &[(FIRST, &state.first), (SECOND, &state.second)],
        &metadata,
    )
}

/// Reads the state for the trained parameters `params` after `steps` steps from `folder`.
///
/// # Errors
/// [`Error::Model`] naming the tensor that is missing, of another shape, or not finite, or the entry
/// of the metadata that is damaged.
pub fn load(folder: &Path, params: &[Param], steps: u64) -> Result<OptimizerState> {
    let file = TensorFile::open(folder.join(OPTIMIZER_FILE))?;
    let refuse = |problem: String| {
        let help = "resume from another checkpoint with `--resume-from-checkpoint`";
        Error::model(file.path(), problem, help)
    };
    let step: Option<u64> = file.metadata("step").and_then(|s| s.parse().ok());
    let step = step.ok_or_else(|| refuse("its metadata has no number `step`".into()))?;
    if step > steps || step > i32::MAX as u64 {
        return Err(refuse(format!("{step} updates in {steps} steps")));
    }
    Ok(OptimizerState {
        step,
        loss_scale: loss_scale(&file).map_err(refuse)?,
        first: arena_file::load(&file, params, FIRST)?,
        second: arena_file::load(&file, params, SECOND)?,
    })
}

/// The state of the loss scaling, if the device had any.
fn loss_scale(file: &TensorFile) -> Result<Option<LossScale>, String> {
    let Some((scale, good_steps)) = file.metadata(SCALE).zip(file.metadata(GOOD_STEPS)) else {
        return Ok(None);
    };
    let factor: Option<f32> = scale.parse().ok();
    let factor = factor.filter(|f| f.is_finite() && *f > 0.0);
    match (factor, good_steps.parse()) {
        (Some(factor), Ok(good_steps)) => Ok(Some(LossScale { factor, good_steps })),
        _ => Err(format!(
            "its metadata has `{SCALE}` {scale} and `{GOOD_STEPS}` {good_steps}"
        )),
    }
}
