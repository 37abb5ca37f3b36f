//! The Vision Transformer (Dosovitskiy et al. 2021), its forward pass written out; the backward
//! pass is in [`super::backward`].
//!
//! x₀ = patch embedding; for each block: x += proj(attention(norm1 x)), x += fc2(gelu(fc1(norm2 x)));
//! logits = head(norm(x)[class token]). The names are Hugging Face's `ViTForImageClassification`.

use std::ops::Range;

use super::activations::{Activations, Block, Keep, LastBlock};
use super::config::VitConfig;
use super::freeze::Freeze;
use super::params::{LayerRanges, ParamTable};
use crate::ops::attention::{self, Qkv};
use crate::ops::layer_norm;
use crate::ops::linear::{self, Epilogue};
use crate::ops::mlp::{self, Hidden};
use crate::ops::patch_embed::{self, Images};
use crate::ops::real::Real;

/// A ViT as a program over parameter and activation arenas; it holds no weights.
#[derive(Debug, Clone)]
pub struct Vit {
    pub config: VitConfig,
    pub table: ParamTable,
    /// What the backward pass leaves out.
    pub freeze: Freeze,
}

/// Copies the class token's rows of `x` (B, T, C) to `class` (B, C).
pub(super) fn gather_class<T: Copy>(class: &mut [T], x: &[T], width: usize, tokens: usize) {
    for (to, image) in class
        .chunks_exact_mut(width)
        .zip(x.chunks_exact(tokens * width))
    {
        to.copy_from_slice(&image[..width]);
    }
}

impl Vit {
    /// The program of `config`, which must have been validated.
    pub fn new(config: VitConfig) -> Self {
        let table = ParamTable::new(&config);
        Self {
            config,
            table,
            freeze: Freeze::Nothing,
        }
    }

    /// The same, of which only a part is trained; [`Freeze::check`] says whether there is one.
    #[must_use]
    pub fn freezing(self, freeze: Freeze) -> Self {
        Self { freeze, ..self }
    }

    /// The part of a parameter arena that is trained, and has gradients.
    pub fn trained(&self) -> Range<usize> {
        self.freeze.trained(&self.table)
    }

    /// What a forward pass has to keep for [`Vit::backward`].
    pub fn keep(&self) -> Keep {
        Keep::From(self.trained_layers().start)
    }

    /// Of `images` images, those whose gradient goes further than the head.
    pub fn images_through_blocks(&self, images: usize) -> usize {
        match self.freeze {
            Freeze::Backbone => 0,
            Freeze::Nothing | Freeze::Layers(_) => images,
        }
    }

    pub(super) fn trained_layers(&self) -> Range<usize> {
        self.freeze.trained_layers(self.config.num_hidden_layers)
    }

    /// Of the patch embedding of so many images.
    pub fn patch_shape(&self, images: usize) -> patch_embed::Shape {
        patch_embed::Shape {
            images,
            channels: self.config.num_channels,
            side: self.config.image_size,
            patch: self.config.patch_size,
            width: self.config.hidden_size,
        }
    }

    pub(super) fn attention_shape(&self, images: usize) -> attention::Shape {
        attention::Shape {
            images,
            tokens: self.config.tokens(),
            heads: self.config.num_attention_heads,
            head_size: self.config.head_size(),
        }
    }

    fn eps<T: Real>(&self) -> T {
        T::of(self.config.layer_norm_eps)
    }

    /// Computes the logits of `count` images into `a.logits`; the other activations stay for
    /// [`Vit::backward`] if `a` keeps them.
    pub fn forward<T: Real>(
        &self,
        a: &mut Activations<T>,
        params: &[T],
        images: Images<T>,
        count: usize,
    ) {
        assert!(count <= a.images, "{count} images in room for {}", a.images);
        assert_eq!(params.len(), self.table.len, "parameter arena");
        let (c, t) = (self.config.hidden_size, self.config.tokens());
        let rows = count * t;
        let embedding = patch_embed::Params {
            class: &params[self.table.cls_token.clone()],
            position: &params[self.table.position_embeddings.clone()],
            weight: &params[self.table.patch_weight.clone()],
            bias: &params[self.table.patch_bias.clone()],
        };
        patch_embed::forward(
            &mut a.embedded[..rows * c],
            &mut a.patches[..rows * self.config.patch_values()],
            images,
            &embedding,
            self.patch_shape(count),
        );
        let layers = self.config.num_hidden_layers;
        for (layer, ranges) in self.table.layers.iter().enumerate() {
            let slot = a.slot(layer, layers);
            let last = layer + 1 == layers;
            // The block's input is the output of the block before, in another slot.
            let (block, x) = match layer {
                0 => (&mut a.blocks[slot], &a.embedded),
                _ => {
                    let slots = [slot, a.slot(layer - 1, layers)];
                    let [block, before] = a.blocks.get_disjoint_mut(slots).expect("two slots");
                    (block, &before.out)
                }
            };
            let x = &x[..rows * c];
            match a.last_block {
                LastBlock::ClassToken if last => {
                    self.class_attention(block, x, params, ranges, count);
                }
                _ => self.attention(block, x, params, ranges, count),
            }
            let queries = self.queries(a.last_block, layer) * count;
            self.mlp(block, params, ranges, queries);
        }
        let queries = self.queries(a.last_block, layers - 1);
        let out = &a.blocks[a.slot(layers - 1, layers)].out;
        layer_norm::forward(
            &mut a.norm[..count * queries * c],
            &mut a.mean[..count * queries],
            &mut a.rstd[..count * queries],
            &out[..count * queries * c],
            &params[self.table.norm_weight.clone()],
            &params[self.table.norm_bias.clone()],
            self.eps(),
        );
        let pooled = &mut a.pooled[..count * c];
        gather_class(pooled, &a.norm, c, queries);
        let shape = self.linear_shape(count, c, self.config.num_labels());
        linear::forward(
            &mut a.logits[..count * self.config.num_labels()],
            Epilogue::Bias,
            pooled,
            &params[self.table.head_weight.clone()],
            &params[self.table.head_bias.clone()],
            shape,
        );
    }

    /// Query rows of an image in block `layer`.
    pub(super) fn queries(&self, last_block: LastBlock, layer: usize) -> usize {
        match last_block {
            LastBlock::ClassToken if layer + 1 == self.config.num_hidden_layers => 1,
            _ => self.config.tokens(),
        }
    }

    pub(super) fn linear_shape(&self, rows: usize, inputs: usize, outputs: usize) -> linear::Shape {
        linear::Shape {
            rows,
            inputs,
            outputs,
        }
    }

    fn norm1<T: Real>(&self, b: &mut Block<T>, x: &[T], params: &[T], r: &LayerRanges) {
        let rows = x.len() / self.config.hidden_size;
        layer_norm::forward(
            &mut b.norm1[..x.len()],
            &mut b.mean1[..rows],
            &mut b.rstd1[..rows],
            x,
            &params[r.norm1_weight.clone()],
            &params[r.norm1_bias.clone()],
            self.eps(),
        );
    }

    /// `b.middle` = x + proj(attention(norm1 x)), every token asking.
    fn attention<T: Real>(
        &self,
        b: &mut Block<T>,
        x: &[T],
        params: &[T],
        r: &LayerRanges,
        count: usize,
    ) {
        let c = self.config.hidden_size;
        let rows = count * self.config.tokens();
        self.norm1(b, x, params, r);
        linear::forward(
            &mut b.qkv[..rows * 3 * c],
            Epilogue::Bias,
            &b.norm1[..rows * c],
            &params[r.qkv_weight.clone()],
            &params[r.qkv_bias.clone()],
            self.linear_shape(rows, c, 3 * c),
        );
        attention::forward(
            &mut b.attention[..rows * c],
            &mut b.lse[..rows * self.config.num_attention_heads],
            Qkv::Packed(&b.qkv[..rows * 3 * c]),
            self.attention_shape(count),
        );
        linear::forward(
            &mut b.middle[..rows * c],
            Epilogue::Residual(x),
            &b.attention[..rows * c],
            &params[r.proj_weight.clone()],
            &params[r.proj_bias.clone()],
            self.linear_shape(rows, c, c),
        );
    }

    /// `b.middle` = the class tokens' rows of the same.
    fn class_attention<T: Real>(
        &self,
        b: &mut Block<T>,
        x: &[T],
        params: &[T],
        r: &LayerRanges,
        count: usize,
    ) {
        let (c, t) = (self.config.hidden_size, self.config.tokens());
        let rows = count * t;
        self.norm1(b, x, params, r);
        gather_class(&mut b.class_input[..count * c], x, c, t);
        gather_class(&mut b.class_norm1[..count * c], &b.norm1, c, t);
        let (query_weight, key_value_weight) = params[r.qkv_weight.clone()].split_at(c * c);
        let (query_bias, key_value_bias) = params[r.qkv_bias.clone()].split_at(self.bias_split());
        linear::forward(
            &mut b.class_query[..count * c],
            Epilogue::Bias,
            &b.class_norm1[..count * c],
            query_weight,
            query_bias,
            self.linear_shape(count, c, c),
        );
        linear::forward(
            &mut b.qkv[..rows * 2 * c],
            Epilogue::Bias,
            &b.norm1[..rows * c],
            key_value_weight,
            key_value_bias,
            self.linear_shape(rows, c, 2 * c),
        );
        attention::forward(
            &mut b.attention[..count * c],
            &mut b.lse[..count * self.config.num_attention_heads],
            Qkv::ClassToken {
                query: &b.class_query[..count * c],
                key_value: &b.qkv[..rows * 2 * c],
            },
            self.attention_shape(count),
        );
        linear::forward(
            &mut b.middle[..count * c],
            Epilogue::Residual(&b.class_input[..count * c]),
            &b.attention[..count * c],
            &params[r.proj_weight.clone()],
            &params[r.proj_bias.clone()],
            self.linear_shape(count, c, c),
        );
    }

    /// Where the query's bias ends in the packed bias.
    pub(super) fn bias_split(&self) -> usize {
        if self.config.qkv_bias {
            self.config.hidden_size
        } else {
            0
        }
    }

    /// `b.out` = middle + fc2(gelu(fc1(norm2 middle))) over `rows` rows.
    fn mlp<T: Real>(&self, b: &mut Block<T>, params: &[T], r: &LayerRanges, rows: usize) {
        let (c, f) = (self.config.hidden_size, self.config.intermediate_size);
        layer_norm::forward(
            &mut b.norm2[..rows * c],
            &mut b.mean2[..rows],
            &mut b.rstd2[..rows],
            &b.middle[..rows * c],
            &params[r.norm2_weight.clone()],
            &params[r.norm2_bias.clone()],
            self.eps(),
        );
        let hidden = if b.hidden.is_empty() {
            Hidden::Drop
        } else {
            Hidden::Keep(&mut b.hidden[..rows * f])
        };
        mlp::forward(
            &mut b.out[..rows * c],
            hidden,
            &b.norm2[..rows * c],
            &b.middle[..rows * c],
            &self.mlp_params(params, r),
            self.mlp_shape(rows),
        );
    }

    pub(super) fn mlp_params<'a, T>(
        &self,
        params: &'a [T],
        r: &LayerRanges,
    ) -> mlp::Params<&'a [T]> {
        mlp::Params {
            fc1_weight: &params[r.fc1_weight.clone()],
            fc1_bias: &params[r.fc1_bias.clone()],
            fc2_weight: &params[r.fc2_weight.clone()],
            fc2_bias: &params[r.fc2_bias.clone()],
        }
    }

    pub(super) fn mlp_shape(&self, rows: usize) -> mlp::Shape {
        mlp::Shape {
            rows,
            width: self.config.hidden_size,
            hidden: self.config.intermediate_size,
        }
    }
}
