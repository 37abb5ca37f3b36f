//! Structs that kernels and the host share: `NAME*` in a kernel is `Ptr<NAME>` here, with the same
//! fields in the same order and `#[repr(C)]`.

use bytemuck::{Pod, Zeroable};

/// What changes from step to step (`kernels/step_state.cuh`). Only kernels write it while a run
/// lasts; the host reads copies of it.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct StepState {
    /// Factor on the loss, and so on every gradient; a power of two.
    pub loss_scale: f32,
    /// Steps without overflow since `loss_scale` last changed.
    pub good_steps: i32,
    /// AdamW's t: steps that changed the parameters.
    pub updates: i32,
    /// Steps that did not, because something was not finite.
    pub skipped: i32,
    /// Mean over the images of the last step.
    pub loss: f32,
    /// Of all gradients of the last step, before clipping, without `loss_scale`.
    pub grad_norm: f32,
    /// 1 where the last step changed nothing, because `loss` or `grad_norm` is not finite; else 0.
    pub found_inf: i32,
    /// What AdamW multiplies gradients with: takes `loss_scale` out, and clips.
    pub gradient_factor: f32,
    /// Of the last update, as the next three ([`UpdateRates`]).
    pub learning_rate: f32,
    pub keep: f32,
    pub rate: f32,
    pub root: f32,
}

impl StepState {
    /// The state before a step that follows `updates` others.
    pub fn new(loss_scale: f32, updates: i32) -> Self {
        Self {
            loss_scale,
            updates,
            ..Self::zeroed()
        }
    }
}

/// One row of the schedule, the numbers of one update (`kernels/step_state.cuh`).
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct UpdateRates {
    pub learning_rate: f32,
    /// 1 − learning rate · weight decay.
    pub keep: f32,
    /// Learning rate / (1 − β₁ᵗ).
    pub rate: f32,
    /// √(1 − β₂ᵗ).
    pub root: f32,
}

/// What one block of AdamW updates (`kernels/adamw.cu`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct AdamwTile {
    /// First value in the arena.
    pub start: i32,
    pub length: i32,
    /// 1 where weight decay applies, else 0.
    pub decays: i32,
}
