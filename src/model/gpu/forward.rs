//! The forward pass.

use super::activations::Block;
use super::{Pass, class_rows, split_query};
use crate::device::Slice;
use crate::error::Result;
use crate::model::params::LayerRanges;
use crate::ops::attention::gpu::Queries;
use crate::ops::patch_embed::gpu::Images;
use crate::ops::rows::Rows;
use crate::ops::{attention, layer_norm, linear, mlp, patch_embed};

impl<'a> Pass<'a> {
    /// Computes the logits of the batch into the activations; with
    /// [`Vit::keep`](crate::model::vit::Vit::keep) what [`Pass::backward`] reads stays.
    pub fn forward(&self, images: Images) -> Result<()> {
        let config = &self.vit.config;
        self.embed(images)?;
        for layer in 0..config.num_hidden_layers {
            let (block, ranges) = (
                &self.activations.blocks[layer],
                &self.vit.table.layers[layer],
            );
            self.norm1(layer, block, ranges)?;
            match self.queries(layer) {
                Queries::EveryToken => self.project(block, ranges)?,
                Queries::ClassToken => self.project_class(block, ranges)?,
            }
            self.attend(layer, block, ranges)?;
            self.mlp(self.query_rows(layer), block, ranges)?;
        }
        self.head()
    }

    fn embed(&self, images: Images) -> Result<()> {
        let (config, table) = (&self.vit.config, &self.vit.table);
        let shape = self.vit.patch_shape(self.images);
        let rows = self.images * config.patches();
        let patches = self.packed(self.activations.patches, rows, config.patch_values());
        let params = patch_embed::gpu::Params {
            class_token: self.param(&table.cls_token),
            position: self.param(&table.position_embeddings),
            weight: self.params.copy.range(table.patch_weight.clone()),
            bias: self.param(&table.patch_bias),
        };
        let x = self.stream(0);
        patch_embed::gpu::forward(self.gpu, x, patches.values, images, params, shape)
    }

    fn norm1(&self, layer: usize, b: &Block, r: &LayerRanges) -> Result<()> {
        let (rows, c) = (self.rows(), self.width());
        layer_norm::gpu::forward(
            self.gpu,
            self.arena.first(b.norm1, rows * c),
            self.arena.first(b.mean1, rows),
            self.arena.first(b.rstd1, rows),
            Rows::packed(self.stream(layer), c),
            self.param(&r.norm1_weight),
            self.param(&r.norm1_bias),
            self.vit.config.layer_norm_eps as f32,
        )
    }

    /// Queries, keys and values of every token.
    fn project(&self, b: &Block, r: &LayerRanges) -> Result<()> {
        let (rows, c) = (self.rows(), self.width());
        linear::gpu::forward(
            self.gpu,
            self.packed(b.qkv, rows, 3 * c),
            self.packed(b.norm1, rows, c),
            self.layer(&r.qkv_weight, &r.qkv_bias, c),
            self.vit.linear_shape(rows, c, 3 * c),
        )
    }

    /// Keys and values of every token, queries of the class tokens, where the packed rows have them.
    fn project_class(&self, b: &Block, r: &LayerRanges) -> Result<()> {
        let (rows, c, tokens) = (self.rows(), self.width(), self.vit.config.tokens());
        let (query_weight, key_value_weight) = split_query(&r.qkv_weight);
        let (query_bias, key_value_bias) = split_query(&r.qkv_bias);
        let qkv = self.arena.first(b.qkv, rows * 3 * c);
        let norm1 = self.packed(b.norm1, rows, c);
        let key_value = Rows {
            values: qkv.range(c..qkv.len()),
            stride: 3 * c,
        };
        linear::gpu::forward(
            self.gpu,
            key_value,
            norm1,
            self.layer(&key_value_weight, &key_value_bias, c),
            self.vit.linear_shape(rows, c, 2 * c),
        )?;
        linear::gpu::forward(
            self.gpu,
            class_rows(qkv, tokens, 3 * c),
            class_rows(norm1.values, tokens, c),
            self.layer(&query_weight, &query_bias, c),
            self.vit.linear_shape(self.images, c, c),
        )
    }

    /// `b.middle` = x + proj(attention).
    fn attend(&self, layer: usize, b: &Block, r: &LayerRanges) -> Result<()> {
        let (rows, c) = (self.query_rows(layer), self.width());
        let queries = self.queries(layer);
        let out = self.packed(b.attention, rows, c);
        attention::gpu::forward(
            self.gpu,
            out.values,
            self.lse(layer, b),
            self.arena.first(b.qkv, self.rows() * 3 * c),
            self.vit.attention_shape(self.images),
            queries,
        )?;
        let x = self.stream(layer);
        let residual = match queries {
            Queries::EveryToken => Rows::packed(x, c),
            Queries::ClassToken => class_rows(x, self.vit.config.tokens(), c),
        };
        linear::gpu::forward_residual(
            self.gpu,
            self.packed(b.middle, rows, c),
            residual,
            out,
            self.layer(&r.proj_weight, &r.proj_bias, c),
            self.vit.linear_shape(rows, c, c),
        )
    }

    /// Log-sum-exp of every query and head.
    pub(super) fn lse(&self, layer: usize, b: &Block) -> Slice<'a, f32> {
        let heads = self.vit.config.num_attention_heads;
        self.arena.first(b.lse, self.query_rows(layer) * heads)
    }

    /// `b.out` = middle + fc2(gelu(fc1(norm2 middle))) over `rows` rows.
    fn mlp(&self, rows: usize, b: &Block, r: &LayerRanges) -> Result<()> {
        let (c, f) = (self.width(), self.vit.config.intermediate_size);
        let (middle, norm2) = (
            self.packed(b.middle, rows, c),
            self.packed(b.norm2, rows, c),
        );
        layer_norm::gpu::forward(
            self.gpu,
            norm2.values,
            self.arena.first(b.mean2, rows),
            self.arena.first(b.rstd2, rows),
            middle,
            self.param(&r.norm2_weight),
            self.param(&r.norm2_bias),
            self.vit.config.layer_norm_eps as f32,
        )?;
        mlp::gpu::forward(
            self.gpu,
            self.packed(b.out, rows, c),
            b.hidden.map(|hidden| self.arena.first(hidden, rows * f)),
            self.arena.first(b.gelu, rows * f),
            norm2,
            middle,
            [
                self.layer(&r.fc1_weight, &r.fc1_bias, c),
                self.layer(&r.fc2_weight, &r.fc2_bias, f),
            ],
            self.vit.mlp_shape(rows),
        )
    }

    fn head(&self) -> Result<()> {
        let (a, table, c) = (self.activations, &self.vit.table, self.width());
        let (last, classes) = (a.blocks.len() - 1, self.vit.config.num_labels());
        let rows = self.query_rows(last);
        layer_norm::gpu::forward(
            self.gpu,
            self.arena.first(a.norm, rows * c),
            self.arena.first(a.mean, rows),
            self.arena.first(a.rstd, rows),
            self.packed(a.blocks[last].out, rows, c),
            self.param(&table.norm_weight),
            self.param(&table.norm_bias),
            self.vit.config.layer_norm_eps as f32,
        )?;
        linear::gpu::forward_f32(
            self.gpu,
            self.packed(a.logits, self.images, classes),
            self.pooled(),
            self.layer(&table.head_weight, &table.head_bias, c),
            self.vit.linear_shape(self.images, c, classes),
        )
    }
}
