//! The Vision Transformer on a GPU: the passes of [`crate::model::vit`] as launches of kernels.
//!
//! Nothing here allocates or waits, so a pass can be captured as a CUDA graph. GEMMs read the
//! 16-bit copy of the parameters; biases, norms, class token and positions are read in f32.

pub mod activations;
pub mod arena;
mod backward;
mod forward;
mod gradients;
pub mod scratch;

use std::ops::Range;

use activations::Activations;
use arena::{Arena, Place};

use super::activations::LastBlock;
use super::vit::Vit;
use crate::device::{Element, Gpu, Slice};
use crate::error::Result;
use crate::ops::attention;
use crate::ops::attention::gpu::Queries;
use crate::ops::linear::gpu::Layer;
use crate::ops::rows::Rows;

pub use gradients::Gradients;

/// The parameters on the device, arenas of the table's layout.
#[derive(Debug, Clone, Copy)]
pub struct Params<'a> {
    pub values: Slice<'a, f32>,
    /// In 16 bits.
    pub copy: Slice<'a, Element>,
}

/// A model, its parameters, and the memory for passes over a batch of `images` images.
#[derive(Debug, Clone, Copy)]
pub struct Pass<'a> {
    pub gpu: &'a Gpu,
    pub vit: &'a Vit,
    pub params: Params<'a>,
    pub arena: &'a Arena,
    pub activations: &'a Activations,
    /// B; at most what the activations have room for.
    pub images: usize,
}

/// [`Error::Device`](crate::error::Error::Device) unless the kernels can run the model.
pub fn check(vit: &Vit) -> Result<()> {
    attention::gpu::check(vit.config.head_size())
}

/// The part of an arena of the table's layout that gradients and moments take: all that is trained,
/// and before it up to 63 values that are not. So every tensor is aligned as in the whole arena.
pub fn trained(vit: &Vit) -> Range<usize> {
    let trained = vit.trained();
    trained.start / 64 * 64..trained.end
}

impl<'a> Pass<'a> {
    /// N = B·T.
    fn rows(&self) -> usize {
        self.images * self.vit.config.tokens()
    }

    fn width(&self) -> usize {
        self.vit.config.hidden_size
    }

    /// Whether only the class token asks in block `layer`.
    fn queries(&self, layer: usize) -> Queries {
        match self.activations.last_block {
            LastBlock::ClassToken if layer + 1 == self.vit.config.num_hidden_layers => {
                Queries::ClassToken
            }
            _ => Queries::EveryToken,
        }
    }

    /// Query rows of block `layer`: N or B.
    fn query_rows(&self, layer: usize) -> usize {
        self.images * self.queries(layer).count(self.vit.config.tokens())
    }

    /// Residual stream before block `layer`, (N, C).
    fn stream(&self, layer: usize) -> Slice<'a, f32> {
        let place = match layer {
            0 => self.activations.embedded,
            _ => self.activations.blocks[layer - 1].out,
        };
        self.arena.first(place, self.rows() * self.width())
    }

    /// The first `rows` rows of `width` values.
    fn packed<T: bytemuck::Pod>(&self, place: Place<T>, rows: usize, width: usize) -> Rows<'a, T> {
        Rows::packed(self.arena.first(place, rows * width), width)
    }

    fn param(&self, range: &Range<usize>) -> Slice<'a, f32> {
        self.params.values.range(range.clone())
    }

    /// A weight with rows of `inputs` values.
    fn weight(&self, range: &Range<usize>, inputs: usize) -> Rows<'a, Element> {
        Rows::packed(self.params.copy.range(range.clone()), inputs)
    }

    /// Weight and bias; an empty bias is none.
    fn layer(&self, weight: &Range<usize>, bias: &Range<usize>, inputs: usize) -> Layer<'a> {
        Layer {
            weight: self.weight(weight, inputs),
            bias: (!bias.is_empty()).then(|| self.param(bias)),
        }
    }

    /// The class tokens' rows of the final norm, (B, C).
    fn pooled(&self) -> Rows<'a, Element> {
        let layers = self.vit.config.num_hidden_layers;
        let queries = self.query_rows(layers - 1) / self.images;
        let norm = self.activations.norm;
        Rows {
            values: self
                .arena
                .first(norm, self.query_rows(layers - 1) * self.width()),
            stride: queries * self.width(),
        }
    }
}

/// The class tokens' rows of a tensor (B, T, `width`).
fn class_rows<T>(values: Slice<T>, tokens: usize, width: usize) -> Rows<T> {
    Rows {
        values,
        stride: tokens * width,
    }
}

/// `packed` (…) cut in two where the query's part ends: a third.
fn split_query(packed: &Range<usize>) -> (Range<usize>, Range<usize>) {
    let middle = packed.start + packed.len() / 3;
    (packed.start..middle, middle..packed.end)
}
