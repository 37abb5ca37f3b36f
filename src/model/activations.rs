//! The memory of one forward and backward pass.

use super::config::VitConfig;
use crate::ops::buffer::Buffer;
use crate::ops::real::Real;

/// What stays after a forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// What a backward pass down to this block needs: it and those above have their own buffers, the
    /// ones below share two sets.
    From(usize),
    /// Only the logits.
    Nothing,
}

impl Keep {
    /// The first of `layers` blocks that the backward pass reads.
    pub fn first(self, layers: usize) -> usize {
        match self {
            Self::From(layer) => layer,
            Self::Nothing => layers,
        }
    }
}

/// Which tokens the last block computes after its keys and values.
///
/// The head reads the class token alone, so loss and gradients are the same; the class token saves
/// about 7 % of the work of a 12-layer ViT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastBlock {
    AllTokens,
    ClassToken,
}

/// What one encoder block computes, and the backward pass reads. N = B·T rows; "query rows" are N,
/// or B where only the class token asks.
#[derive(Debug)]
pub struct Block<T> {
    /// (N, C).
    pub norm1: Buffer<T>,
    pub mean1: Buffer<T>,
    pub rstd1: Buffer<T>,
    /// (N, 3C); keys and values only, (N, 2C), where only the class token asks.
    pub qkv: Buffer<T>,
    /// Where only the class token asks: its rows of the block's input, of `norm1`, and its
    /// queries, (B, C) each.
    pub class_input: Buffer<T>,
    pub class_norm1: Buffer<T>,
    pub class_query: Buffer<T>,
    /// (query rows, C).
    pub attention: Buffer<T>,
    /// (B, NH, queries).
    pub lse: Buffer<T>,
    /// Residual stream between attention and MLP, (query rows, C).
    pub middle: Buffer<T>,
    /// (query rows, C).
    pub norm2: Buffer<T>,
    pub mean2: Buffer<T>,
    pub rstd2: Buffer<T>,
    /// Before the GELU, (query rows, F); empty where no backward pass follows.
    pub hidden: Buffer<T>,
    /// Residual stream behind the block, (query rows, C).
    pub out: Buffer<T>,
}

/// All buffers of a pass over at most `images` images; allocated once.
#[derive(Debug)]
pub struct Activations<T> {
    pub images: usize,
    pub keep: Keep,
    pub last_block: LastBlock,
    /// (N, V).
    pub patches: Buffer<T>,
    /// Residual stream before the first block, (N, C).
    pub embedded: Buffer<T>,
    pub blocks: Vec<Block<T>>,
    /// Final layer norm, (query rows of the last block, C).
    pub norm: Buffer<T>,
    pub mean: Buffer<T>,
    pub rstd: Buffer<T>,
    /// Class tokens of `norm`, (B, C).
    pub pooled: Buffer<T>,
    /// (B, K).
    pub logits: Buffer<T>,
}

impl<T: Real> Block<T> {
    /// With `hidden` columns of that: F, or 0.
    fn new(config: &VitConfig, images: usize, hidden: usize, last: LastBlock) -> Self {
        let c = config.hidden_size;
        let rows = images * config.tokens();
        let (queries, packed, class) = match last {
            LastBlock::AllTokens => (rows, 3 * c, 0),
            LastBlock::ClassToken => (images, 2 * c, images * c),
        };
        Self {
            norm1: Buffer::zeros(rows * c),
            mean1: Buffer::zeros(rows),
            rstd1: Buffer::zeros(rows),
            qkv: Buffer::zeros(rows * packed),
            class_input: Buffer::zeros(class),
            class_norm1: Buffer::zeros(class),
            class_query: Buffer::zeros(class),
            attention: Buffer::zeros(queries * c),
            lse: Buffer::zeros(queries * config.num_attention_heads),
            middle: Buffer::zeros(queries * c),
            norm2: Buffer::zeros(queries * c),
            mean2: Buffer::zeros(queries),
            rstd2: Buffer::zeros(queries),
            hidden: Buffer::zeros(queries * hidden),
            out: Buffer::zeros(queries * c),
        }
    }
}

impl<T: Real> Activations<T> {
    /// Buffers for `images` images, zeroed.
    pub fn new(config: &VitConfig, images: usize, keep: Keep, last_block: LastBlock) -> Self {
        let (c, layers) = (config.hidden_size, config.num_hidden_layers);
        let rows = images * config.tokens();
        let queries = match last_block {
            LastBlock::AllTokens => rows,
            LastBlock::ClassToken => images,
        };
        let (first, last) = (keep.first(layers), layers - 1);
        let block = |layer, tokens| {
            let hidden = if layer >= first {
                config.intermediate_size
            } else {
                0
            };
            Block::new(config, images, hidden, tokens)
        };
        let shared = 0..first.min(last).min(2);
        let whole = shared.chain(first..last);
        let mut blocks: Vec<_> = whole.map(|l| block(l, LastBlock::AllTokens)).collect();
        blocks.push(block(last, last_block));
        Self {
            images,
            keep,
            last_block,
            patches: Buffer::zeros(rows * config.patch_values()),
            embedded: Buffer::zeros(rows * c),
            blocks,
            norm: Buffer::zeros(queries * c),
            mean: Buffer::zeros(queries),
            rstd: Buffer::zeros(queries),
            pooled: Buffer::zeros(images * c),
            logits: Buffer::zeros(images * config.num_labels()),
        }
    }

    /// The buffers of block `layer`.
    pub fn slot(&self, layer: usize, layers: usize) -> usize {
        // From the end: below the blocks that are kept there are at most two.
        if layer >= self.keep.first(layers) || layer + 1 == layers {
            self.blocks.len() - (layers - layer)
        } else {
            layer % 2
        }
    }
}
