//! Buffers of the backward pass.

use super::config::VitConfig;
use crate::ops::buffer::Buffer;
use crate::ops::real::Real;

/// Gradient buffers of the backward pass; allocated once.
#[derive(Debug)]
pub struct Scratch<T> {
    /// Gradient of the residual stream, (N, C).
    pub(super) stream: Buffer<T>,
    /// The same for the class tokens alone, (B, C).
    pub(super) class_stream: Buffer<T>,
    /// Gradient of what a layer norm, or the attention, gave: (N, C).
    pub(super) branch: Buffer<T>,
    /// (B, C): gradient of the class tokens' queries, and of their norm.
    pub(super) class_query: Buffer<T>,
    pub(super) class_branch: Buffer<T>,
    /// (N, 3C).
    pub(super) qkv: Buffer<T>,
    /// (N, F): gradient before the GELU, and the GELU's values again.
    pub(super) hidden: Buffer<T>,
    pub(super) gelu: Buffer<T>,
}

impl<T: Real> Scratch<T> {
    /// Buffers for a backward pass over `images` images.
    pub fn new(config: &VitConfig, images: usize) -> Self {
        let (c, rows) = (config.hidden_size, images * config.tokens());
        Self {
            stream: Buffer::zeros(rows * c),
            class_stream: Buffer::zeros(images * c),
            branch: Buffer::zeros(rows * c),
            class_query: Buffer::zeros(images * c),
            class_branch: Buffer::zeros(images * c),
            qkv: Buffer::zeros(rows * 3 * c),
            hidden: Buffer::zeros(rows * config.intermediate_size),
            gelu: Buffer::zeros(rows * config.intermediate_size),
        }
    }
}
