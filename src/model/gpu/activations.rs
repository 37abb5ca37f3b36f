//! Places of what a forward pass computes on a GPU.

use super::arena::{Layout, Place};
use crate::device::Element;
use crate::model::activations::{Keep, LastBlock};
use crate::model::config::VitConfig;

/// What one encoder block computes. N = B·T rows; "query rows" are N, or B in a last block in which
/// only the class token asks.
///
/// The residual stream is f32, what tensor cores read is 16 bits. Each is kept for the backward
/// pass; computing norms and GELU again would save a third of the memory and cost a pass over them.
#[derive(Debug, Clone, Copy)]
pub struct Block {
    /// (N, C).
    pub norm1: Place<Element>,
    pub mean1: Place<f32>,
    pub rstd1: Place<f32>,
    /// (N, 3C); where only the class token asks, the other tokens' queries are never written.
    pub qkv: Place<Element>,
    /// (query rows, C).
    pub attention: Place<Element>,
    /// (B, NH, queries).
    pub lse: Place<f32>,
    /// Residual stream between attention and MLP, (query rows, C).
    pub middle: Place<f32>,
    /// (query rows, C).
    pub norm2: Place<Element>,
    pub mean2: Place<f32>,
    pub rstd2: Place<f32>,
    /// Before the GELU, (query rows, F); `None` where no backward pass follows.
    pub hidden: Option<Place<Element>>,
    /// Behind it, (query rows, F).
    pub gelu: Place<Element>,
    /// Residual stream behind the block, (query rows, C).
    pub out: Place<f32>,
}

/// All tensors of a forward pass over at most `images` images.
#[derive(Debug, Clone)]
pub struct Activations {
    pub images: usize,
    pub keep: Keep,
    pub last_block: LastBlock,
    /// (B·P, V).
    pub patches: Place<Element>,
    /// Residual stream before the first block, (N, C).
    pub embedded: Place<f32>,
    pub blocks: Vec<Block>,
    /// Final layer norm, (query rows of the last block, C).
    pub norm: Place<Element>,
    pub mean: Place<f32>,
    pub rstd: Place<f32>,
    /// (B, K).
    pub logits: Place<f32>,
}

impl Activations {
    /// Takes room for `images` images.
    ///
    /// The blocks that no backward pass reads share their tensors, and change the stream in place.
    pub fn plan(
        layout: &mut Layout,
        config: &VitConfig,
        images: usize,
        keep: Keep,
        last_block: LastBlock,
    ) -> Self {
        let (c, layers) = (config.hidden_size, config.num_hidden_layers);
        let rows = images * config.tokens();
        let patches = layout.place(images * config.patches() * config.patch_values());
        let embedded = layout.place(rows * c);
        let mut shared: Option<Block> = None;
        let mut blocks = Vec::with_capacity(layers);
        for layer in 0..layers {
            let class_only = last_block == LastBlock::ClassToken && layer + 1 == layers;
            let queries = if class_only { images } else { rows };
            let mut plan = |after| Block::plan(layout, config, images, queries, after);
            blocks.push(match shared {
                _ if layer >= keep.first(layers) => plan(After::Backward),
                Some(block) if !class_only => block,
                _ if class_only => plan(After::Nothing(None)),
                _ => *shared.insert(plan(After::Nothing(Some(embedded)))),
            });
        }
        let queries = match last_block {
            LastBlock::AllTokens => rows,
            LastBlock::ClassToken => images,
        };
        Self {
            images,
            keep,
            last_block,
            patches,
            embedded,
            blocks,
            norm: layout.place(queries * c),
            mean: layout.place(queries),
            rstd: layout.place(queries),
            logits: layout.place(images * config.num_labels()),
        }
    }
}

/// What reads a block after the forward pass.
#[derive(Clone, Copy)]
enum After {
    Backward,
    /// The stream is changed in place, here or in one of its own.
    Nothing(Option<Place<f32>>),
}

impl Block {
    /// With `queries` query rows.
    fn plan(
        layout: &mut Layout,
        config: &VitConfig,
        images: usize,
        queries: usize,
        after: After,
    ) -> Self {
        let (c, f) = (config.hidden_size, config.intermediate_size);
        let rows = images * config.tokens();
        let (middle, out, hidden) = match after {
            After::Backward => (
                layout.place(queries * c),
                layout.place(queries * c),
                Some(layout.place(queries * f)),
            ),
            After::Nothing(stream) => {
                let stream = stream.unwrap_or_else(|| layout.place(queries * c));
                (stream, stream, None)
            }
        };
        Self {
            norm1: layout.place(rows * c),
            mean1: layout.place(rows),
            rstd1: layout.place(rows),
            qkv: layout.place(rows * 3 * c),
            attention: layout.place(queries * c),
            lse: layout.place(queries * config.num_attention_heads),
            middle,
            norm2: layout.place(queries * c),
            mean2: layout.place(queries),
            rstd2: layout.place(queries),
            hidden,
            gelu: layout.place(queries * f),
            out,
        }
    }
}
