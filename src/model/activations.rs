//! The memory of one forward and backward pass.

use super::config::VitConfig;

/// What stays after a forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// What the backward pass needs: every block has its own buffers.
    ForBackward,
    /// Only the logits: all blocks share two sets of buffers.
    Nothing,
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
#[derive(Debug, Default)]
pub struct Block<T> {
    /// (N, C).
    pub norm1: Vec<T>,
    pub mean1: Vec<T>,
    pub rstd1: Vec<T>,
    /// (N, 3C); keys and values only, (N, 2C), where only the class token asks.
    pub qkv: Vec<T>,
    /// Where only the class token asks: its rows of the block's input, of `norm1`, and its
    /// queries, (B, C) each.
    pub class_input: Vec<T>,
    pub class_norm1: Vec<T>,
    pub class_query: Vec<T>,
    /// (query rows, C).
    pub attention: Vec<T>,
    /// (B, NH, queries).
    pub lse: Vec<T>,
    /// Residual stream between attention and MLP, (query rows, C).
    pub middle: Vec<T>,
    /// (query rows, C).
    pub norm2: Vec<T>,
    pub mean2: Vec<T>,
    pub rstd2: Vec<T>,
    /// Before and after the GELU, (query rows, F).
    pub hidden: Vec<T>,
    pub gelu: Vec<T>,
    /// Residual stream behind the block, (query rows, C).
    pub out: Vec<T>,
}

/// All buffers of a pass over at most `images` images; allocated once.
#[derive(Debug)]
pub struct Activations<T> {
    pub images: usize,
    pub keep: Keep,
    pub last_block: LastBlock,
    /// (N, V).
    pub patches: Vec<T>,
    /// Residual stream before the first block, (N, C).
    pub embedded: Vec<T>,
    pub blocks: Vec<Block<T>>,
    /// Final layer norm, (query rows of the last block, C).
    pub norm: Vec<T>,
    pub mean: Vec<T>,
    pub rstd: Vec<T>,
    /// Class tokens of `norm`, (B, C).
    pub pooled: Vec<T>,
    /// (B, K).
    pub logits: Vec<T>,
}

fn zeros<T: num_traits::Zero + Clone>(len: usize) -> Vec<T> {
    vec![T::zero(); len]
}

impl<T: num_traits::Zero + Clone> Block<T> {
    fn new(config: &VitConfig, images: usize, last: LastBlock) -> Self {
        let (c, f) = (config.hidden_size, config.intermediate_size);
        let rows = images * config.tokens();
        let (queries, packed, class) = match last {
            LastBlock::AllTokens => (rows, 3 * c, 0),
            LastBlock::ClassToken => (images, 2 * c, images * c),
        };
        Self {
            norm1: zeros(rows * c),
            mean1: zeros(rows),
            rstd1: zeros(rows),
            qkv: zeros(rows * packed),
            class_input: zeros(class),
            class_norm1: zeros(class),
            class_query: zeros(class),
            attention: zeros(queries * c),
            lse: zeros(queries * config.num_attention_heads),
            middle: zeros(queries * c),
            norm2: zeros(queries * c),
            mean2: zeros(queries),
            rstd2: zeros(queries),
            hidden: zeros(queries * f),
            gelu: zeros(queries * f),
            out: zeros(queries * c),
        }
    }
}

impl<T: num_traits::Zero + Clone> Activations<T> {
    /// Buffers for `images` images, zeroed.
    pub fn new(config: &VitConfig, images: usize, keep: Keep, last_block: LastBlock) -> Self {
        let (c, layers) = (config.hidden_size, config.num_hidden_layers);
        let rows = images * config.tokens();
        let queries = match last_block {
            LastBlock::AllTokens => rows,
            LastBlock::ClassToken => images,
        };
        let whole = match keep {
            Keep::ForBackward => layers - 1,
            Keep::Nothing => (layers - 1).min(2),
        };
        let mut blocks: Vec<_> = (0..whole)
            .map(|_| Block::new(config, images, LastBlock::AllTokens))
            .collect();
        blocks.push(Block::new(config, images, last_block));
        Self {
            images,
            keep,
            last_block,
            patches: zeros(rows * config.patch_values()),
            embedded: zeros(rows * c),
            blocks,
            norm: zeros(queries * c),
            mean: zeros(queries),
            rstd: zeros(queries),
            pooled: zeros(images * c),
            logits: zeros(images * config.num_labels()),
        }
    }

    /// The buffers of block `layer`.
    pub fn slot(&self, layer: usize, layers: usize) -> usize {
        match self.keep {
            _ if layer + 1 == layers => self.blocks.len() - 1,
            Keep::ForBackward => layer,
            Keep::Nothing => layer % 2,
        }
    }
}
