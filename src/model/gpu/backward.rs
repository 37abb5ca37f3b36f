//! The backward pass.

use super::activations::Block;
use super::gradients::{Backward, Gradients, Stream};
use super::scratch::Sums;
use super::{Pass, class_rows, split_query};
use crate::device::{Element, Slice};
use crate::error::Result;
use crate::model::freeze::Freeze;
use crate::model::params::LayerRanges;
use crate::ops::attention::gpu::Queries;
use crate::ops::layer_norm::gpu::Residual;
use crate::ops::linear::gpu::{WeightPlan, backward_input, backward_weight_and_bias};
use crate::ops::rows::Rows;
use crate::ops::{attention, mlp, patch_embed};

impl<'a> Pass<'a> {
    /// Gradients of the parameters [`Vit::trained`](crate::model::vit::Vit::trained) for `d_logits`
    /// (B, K), after a [`Pass::forward`] whose activations were kept; nothing is launched for what
    /// lies below them. Returns sums of squares: they add up to the square of the norm of all these
    /// gradients as they are now.
    ///
    /// # Panics
    /// If the activations were not kept.
    pub fn backward(
        &self,
        gradients: Gradients<'a>,
        d_logits: Slice<Element>,
    ) -> Result<Slice<'a, f32>> {
        let taken = self.backward_taking(gradients, d_logits)?;
        Ok(self.arena.first(gradients.scratch.squares, taken.squares))
    }

    /// [`Pass::backward`]; what it took of the scratch memory for sums in parts.
    pub(super) fn backward_taking(
        &self,
        gradients: Gradients<'a>,
        d_logits: Slice<Element>,
    ) -> Result<Sums> {
        assert_eq!(
            self.activations.keep,
            self.vit.keep(),
            "activations were not kept"
        );
        let mut backward = Backward {
            pass: *self,
            gradients,
            taken: Sums::default(),
        };
        backward.run(d_logits)?;
        Ok(backward.taken)
    }
}

impl<'a> Backward<'a> {
    fn run(&mut self, d_logits: Slice<Element>) -> Result<()> {
        let (pass, scratch) = (self.pass, self.gradients.scratch);
        self.head(d_logits)?;
        if pass.vit.freeze == Freeze::Backbone {
            return Ok(());
        }
        let (rows, c) = (pass.rows(), pass.width());
        let every_token = Stream {
            values: pass.arena.first(scratch.stream, rows * c),
            copy: pass.arena.first(scratch.stream_copy, rows * c),
            rows,
        };
        let class_token = Stream {
            values: pass.arena.first(scratch.class_stream, pass.images * c),
            copy: pass.arena.first(scratch.class_copy, pass.images * c),
            rows: pass.images,
        };
        let stream = |queries| match queries {
            Queries::EveryToken => every_token,
            Queries::ClassToken => class_token,
        };
        let layers = pass.vit.config.num_hidden_layers;
        self.last_norm(stream(pass.queries(layers - 1)), d_logits)?;
        for layer in pass.vit.trained_layers().rev() {
            let (block, ranges) = (
                &pass.activations.blocks[layer],
                &pass.vit.table.layers[layer],
            );
            let queries = pass.queries(layer);
            self.mlp(stream(queries), block, ranges)?;
            self.attend(stream(queries), layer, block, ranges)?;
            let residual = match queries {
                Queries::EveryToken => {
                    self.project(block, ranges)?;
                    Residual::EveryRow(every_token.values)
                }
                Queries::ClassToken => {
                    self.project_class(block, ranges)?;
                    Residual::EveryNth {
                        gradient: class_token.values,
                        period: pass.vit.config.tokens(),
                    }
                }
            };
            self.norm1(every_token, residual, layer, block, ranges)?;
        }
        match pass.vit.freeze {
            Freeze::Nothing => self.embed(every_token),
            Freeze::Layers(_) | Freeze::Backbone => Ok(()),
        }
    }

    /// Gradients of the head's parameters.
    fn head(&mut self, d_logits: Slice<Element>) -> Result<()> {
        let (pass, table) = (self.pass, &self.pass.vit.table);
        let classes = pass.vit.config.num_labels();
        let shape = pass.vit.linear_shape(pass.images, pass.width(), classes);
        let plan = WeightPlan::new(pass.gpu.properties(), shape);
        let squares = self.squares(plan.squares());
        let (partials, workspace) = (
            self.partials(plan.parts * classes),
            self.workspace(plan.workspace()),
        );
        let sums = backward_weight_and_bias(
            pass.gpu,
            &plan,
            self.gradient(&table.head_weight),
            Some(squares),
            partials,
            workspace,
            Rows::packed(d_logits, classes),
            pass.pooled(),
            self.gradients.accumulate,
        )?;
        self.sum(&table.head_bias, sums)
    }

    /// From the logits to the output of the last block.
    fn last_norm(&mut self, stream: Stream, d_logits: Slice<Element>) -> Result<()> {
        let (pass, c) = (self.pass, self.pass.width());
        let (a, table) = (pass.activations, &pass.vit.table);
        let (last, classes) = (a.blocks.len() - 1, pass.vit.config.num_labels());
        let dy = Rows::packed(d_logits, classes);
        let shape = pass.vit.linear_shape(pass.images, c, classes);
        let branch = self.branch(stream.rows);
        if stream.rows > pass.images {
            // The other tokens get nothing from the head.
            pass.gpu.zero(branch)?;
        }
        backward_input(
            pass.gpu,
            class_rows(branch, stream.rows / pass.images, c),
            dy,
            pass.weight(&table.head_weight, c),
            shape,
        )?;
        self.norm(
            stream,
            branch,
            pass.arena.first(a.blocks[last].out, stream.rows * c),
            (
                pass.arena.first(a.mean, stream.rows),
                pass.arena.first(a.rstd, stream.rows),
            ),
            (&table.norm_weight, &table.norm_bias),
            Residual::None,
            Some(&table.layers[last].fc2_bias),
        )
    }

    /// `stream` goes from behind the MLP to before it.
    fn mlp(&mut self, stream: Stream, b: &Block, r: &LayerRanges) -> Result<()> {
        let pass = self.pass;
        let (rows, c, f) = (stream.rows, pass.width(), pass.vit.config.intermediate_size);
        let hidden = b.hidden.expect("kept for the backward pass");
        let dy = Rows::packed(stream.copy, c);
        let d_hidden = pass.arena.first(self.gradients.scratch.hidden, rows * f);
        let branch = self.branch(rows);
        let shape = pass.vit.mlp_shape(rows);
        let parts = mlp::gpu::parts(pass.gpu.properties(), shape);
        let sums = mlp::gpu::backward(
            pass.gpu,
            Rows::packed(branch, c),
            d_hidden,
            self.partials(parts * f),
            dy,
            pass.arena.first(hidden, rows * f),
            [pass.weight(&r.fc1_weight, c), pass.weight(&r.fc2_weight, f)],
            shape,
        )?;
        self.sum(&r.fc1_bias, sums)?;
        let plans = mlp::gpu::weight_plans(pass.gpu.properties(), shape);
        let squares = plans.map(|plan| Some(self.squares(plan.squares())));
        let [one, two] = plans.map(|plan| plan.workspace());
        let workspace = self.workspace(one.max(two));
        mlp::gpu::backward_weight(
            pass.gpu,
            [&r.fc1_weight, &r.fc2_weight].map(|range| self.gradient(range)),
            squares,
            workspace,
            dy,
            d_hidden,
            pass.arena.first(b.gelu, rows * f),
            pass.packed(b.norm2, rows, c),
            self.gradients.accumulate,
            shape,
        )?;
        self.norm(
            stream,
            branch,
            pass.arena.first(b.middle, rows * c),
            (
                pass.arena.first(b.mean2, rows),
                pass.arena.first(b.rstd2, rows),
            ),
            (&r.norm2_weight, &r.norm2_bias),
            Residual::EveryRow(stream.values),
            Some(&r.proj_bias),
        )
    }

    /// From `stream`, behind the attention, to the gradients of queries, keys and values.
    fn attend(&mut self, stream: Stream, layer: usize, b: &Block, r: &LayerRanges) -> Result<()> {
        let (pass, c, queries) = (self.pass, self.pass.width(), self.pass.queries(layer));
        let (rows, scratch) = (stream.rows, self.gradients.scratch);
        let dy = Rows::packed(stream.copy, c);
        let (out, branch) = (pass.packed(b.attention, rows, c), self.branch(rows));
        self.weight(&r.proj_weight, dy, out, rows, c)?;
        backward_input(
            pass.gpu,
            Rows::packed(branch, c),
            dy,
            pass.weight(&r.proj_weight, c),
            pass.vit.linear_shape(rows, c, c),
        )?;
        let shape = pass.vit.attention_shape(pass.images);
        let statistics = attention::gpu::statistics(shape, queries);
        let parts = attention::gpu::parts(pass.gpu.properties(), shape, queries);
        let sums = attention::gpu::backward(
            pass.gpu,
            self.d_qkv(),
            pass.arena.first(scratch.statistics, statistics),
            self.partials(parts * 3 * c),
            branch,
            out.values,
            pass.arena.first(b.qkv, pass.rows() * 3 * c),
            pass.lse(layer, b),
            shape,
            queries,
        )?;
        self.sum(&r.qkv_bias, sums)
    }

    /// From queries, keys and values to the first norm's output.
    fn project(&mut self, b: &Block, r: &LayerRanges) -> Result<()> {
        let (pass, rows, c) = (self.pass, self.pass.rows(), self.pass.width());
        let dy = Rows::packed(self.d_qkv(), 3 * c);
        self.weight(&r.qkv_weight, dy, pass.packed(b.norm1, rows, c), rows, c)?;
        backward_input(
            pass.gpu,
            Rows::packed(self.branch(rows), c),
            dy,
            pass.weight(&r.qkv_weight, c),
            pass.vit.linear_shape(rows, c, 3 * c),
        )
    }

    /// The same where only the class tokens asked.
    ///
    /// Keys and values first, for every token; then the class tokens' rows once more, with the
    /// queries: so each row is rounded once, and nothing has to be added.
    fn project_class(&mut self, b: &Block, r: &LayerRanges) -> Result<()> {
        let (pass, rows, c) = (self.pass, self.pass.rows(), self.pass.width());
        let tokens = pass.vit.config.tokens();
        let (query_weight, key_value_weight) = split_query(&r.qkv_weight);
        let (d_qkv, norm1) = (self.d_qkv(), pass.packed(b.norm1, rows, c));
        let key_value = Rows {
            values: d_qkv.range(c..d_qkv.len()),
            stride: 3 * c,
        };
        let (class, class_norm1) = (
            class_rows(d_qkv, tokens, 3 * c),
            class_rows(norm1.values, tokens, c),
        );
        self.weight(&key_value_weight, key_value, norm1, rows, c)?;
        self.weight(&query_weight, class, class_norm1, pass.images, c)?;
        let branch = self.branch(rows);
        backward_input(
            pass.gpu,
            Rows::packed(branch, c),
            key_value,
            pass.weight(&key_value_weight, c),
            pass.vit.linear_shape(rows, c, 2 * c),
        )?;
        backward_input(
            pass.gpu,
            class_rows(branch, tokens, c),
            class,
            pass.weight(&r.qkv_weight, c),
            pass.vit.linear_shape(pass.images, c, 3 * c),
        )
    }

    /// From the first norm's output to the block's input.
    fn norm1(
        &mut self,
        stream: Stream,
        residual: Residual,
        layer: usize,
        b: &Block,
        r: &LayerRanges,
    ) -> Result<()> {
        let pass = self.pass;
        // Positions and class token are added below the first block: see `embed`.
        let before = layer
            .checked_sub(1)
            .map(|before| &pass.vit.table.layers[before]);
        self.norm(
            stream,
            self.branch(stream.rows),
            pass.stream(layer),
            (
                pass.arena.first(b.mean1, stream.rows),
                pass.arena.first(b.rstd1, stream.rows),
            ),
            (&r.norm1_weight, &r.norm1_bias),
            residual,
            before.map(|before| &before.fc2_bias),
        )
    }

    fn embed(&mut self, stream: Stream) -> Result<()> {
        let (pass, table) = (self.pass, &self.pass.vit.table);
        let config = &pass.vit.config;
        let shape = pass.vit.patch_shape(pass.images);
        let properties = pass.gpu.properties();
        let squares = self.squares(patch_embed::gpu::squares(properties, shape));
        let workspace = self.workspace(patch_embed::gpu::workspace(properties, shape));
        let gradients = patch_embed::gpu::Gradients {
            class_token: self.gradient(&table.cls_token),
            position: self.gradient(&table.position_embeddings),
            weight: self.gradient(&table.patch_weight),
            bias: self.gradient(&table.patch_bias),
        };
        let patches = pass.images * config.patches() * config.patch_values();
        patch_embed::gpu::backward(
            pass.gpu,
            gradients,
            Some(squares),
            workspace,
            stream.values,
            stream.copy,
            pass.arena.first(pass.activations.patches, patches),
            self.gradients.accumulate,
            shape,
        )
    }
}
