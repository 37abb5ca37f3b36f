//! The backward pass of [`Vit::forward`], block by block.

use std::ops::Range;

use super::activations::{Activations, Block, LastBlock};
use super::freeze::Freeze;
use super::params::LayerRanges;
use super::scratch::Scratch;
use super::vit::Vit;
use crate::ops::attention::{self, Qkv};
use crate::ops::gemm::Accumulate;
use crate::ops::layer_norm::{self, Residual};
use crate::ops::linear;
use crate::ops::mlp;
use crate::ops::patch_embed;
use crate::ops::real::Real;

/// Adds `class` (B, C) to the class token's rows of `x` (B, T, C).
fn scatter_class<T: Real>(x: &mut [T], class: &[T], width: usize, tokens: usize) {
    for (image, from) in x
        .chunks_exact_mut(tokens * width)
        .zip(class.chunks_exact(width))
    {
        for (x, &d) in image.iter_mut().zip(from) {
            *x += d;
        }
    }
}

/// Gradients of the trained parameters: an arena of the table's layout from `start` on.
struct Gradients<'a, T> {
    values: &'a mut [T],
    start: usize,
}

impl<T> Gradients<'_, T> {
    /// Those of several parameters at once, by their places in the table's arena.
    fn of<const N: usize>(&mut self, ranges: [&Range<usize>; N]) -> [&mut [T]; N] {
        let places = ranges.map(|range| range.start - self.start..range.end - self.start);
        self.values
            .get_disjoint_mut(places)
            .expect("parameters of the table do not overlap")
    }
}

impl Vit {
    /// Gradients of the parameters [`Vit::trained`], by `accumulate`, for `d_logits` (B, K), after a
    /// [`Vit::forward`] whose activations were kept.
    ///
    /// Below the lowest trained block nothing is computed or read.
    pub fn backward<T: Real>(
        &self,
        grads: &mut [T],
        scratch: &mut Scratch<T>,
        d_logits: &[T],
        a: &Activations<T>,
        params: &[T],
        accumulate: Accumulate,
    ) {
        assert_eq!(a.keep, self.keep(), "activations were not kept");
        let trained = self.trained();
        assert_eq!(grads.len(), trained.len(), "gradient arena");
        let (c, k) = (self.config.hidden_size, self.config.num_labels());
        let count = d_logits.len() / k;
        let layers = self.config.num_hidden_layers;
        let rows = count * self.config.tokens();
        let mut pass = Pass {
            vit: self,
            grads: Gradients {
                values: grads,
                start: trained.start,
            },
            params,
            accumulate,
            images: count,
        };
        let class_only = |layer| a.last_block == LastBlock::ClassToken && layer + 1 == layers;
        if self.freeze == Freeze::Backbone {
            pass.head_alone(d_logits, a);
            return;
        }
        pass.head(scratch, d_logits, a);
        for layer in self.trained_layers().rev() {
            let (block, ranges) = (&a.blocks[a.slot(layer, layers)], &self.table.layers[layer]);
            let x = match layer {
                0 => &a.embedded[..rows * c],
                _ => &a.blocks[a.slot(layer - 1, layers)].out[..rows * c],
            };
            if class_only(layer) {
                let mut stream = std::mem::take(&mut scratch.class_stream);
                pass.mlp(&mut stream[..count * c], scratch, block, ranges);
                pass.class_attention(&stream[..count * c], scratch, x, block, ranges);
                scratch.class_stream = stream;
            } else {
                let mut stream = std::mem::take(&mut scratch.stream);
                pass.mlp(&mut stream[..rows * c], scratch, block, ranges);
                pass.attention(&mut stream[..rows * c], scratch, x, block, ranges);
                scratch.stream = stream;
            }
        }
        if self.freeze != Freeze::Nothing {
            return;
        }
        let [class, position, weight, bias] = pass.grads.of([
            &self.table.cls_token,
            &self.table.position_embeddings,
            &self.table.patch_weight,
            &self.table.patch_bias,
        ]);
        patch_embed::backward(
            patch_embed::Params {
                class,
                position,
                weight,
                bias,
            },
            &scratch.stream[..rows * c],
            &a.patches[..rows * self.config.patch_values()],
            accumulate,
            self.patch_shape(count),
        );
    }
}

/// What every part of one backward pass needs.
struct Pass<'a, T> {
    vit: &'a Vit,
    grads: Gradients<'a, T>,
    params: &'a [T],
    accumulate: Accumulate,
    /// B.
    images: usize,
}

impl<T: Real> Pass<'_, T> {
    /// Gradients of a linear layer: `dx` of its input and, at the same time, those of the
    /// parameters at `weight` and `bias`.
    fn linear(
        &mut self,
        dx: &mut [T],
        dy: &[T],
        x: &[T],
        weight: &Range<usize>,
        bias: &Range<usize>,
        inputs: usize,
    ) {
        let shape = linear::Shape {
            rows: x.len() / inputs,
            inputs,
            outputs: weight.len() / inputs,
        };
        let w = &self.params[weight.clone()];
        let [dw, db] = self.grads.of([weight, bias]);
        rayon::join(
            || linear::backward_input(dx, dy, w, shape),
            || linear::backward_weight(dw, db, dy, x, self.accumulate, shape),
        );
    }

    /// Gradients of a layer norm; `dx` by `residual`.
    fn norm(
        &mut self,
        dx: &mut [T],
        dy: &[T],
        x: &[T],
        (mean, rstd): (&[T], &[T]),
        (weight, bias): (&Range<usize>, &Range<usize>),
        residual: Residual,
    ) {
        let rows = x.len() / weight.len();
        let [dw, db] = self.grads.of([weight, bias]);
        layer_norm::backward(
            dx,
            dw,
            db,
            dy,
            x,
            &self.params[weight.clone()],
            &mean[..rows],
            &rstd[..rows],
            residual,
            self.accumulate,
        );
    }

    /// Gradients of the head, and no further.
    fn head_alone(&mut self, d_logits: &[T], a: &Activations<T>) {
        let (c, table) = (self.vit.config.hidden_size, &self.vit.table);
        let shape = self
            .vit
            .linear_shape(self.images, c, self.vit.config.num_labels());
        let x = &a.pooled[..self.images * c];
        let [dw, db] = self.grads.of([&table.head_weight, &table.head_bias]);
        linear::backward_weight(dw, db, d_logits, x, self.accumulate, shape);
    }

    /// From the logits to the output of the last block: fills the stream of `scratch`.
    fn head(&mut self, scratch: &mut Scratch<T>, d_logits: &[T], a: &Activations<T>) {
        let (c, table) = (self.vit.config.hidden_size, &self.vit.table);
        let images = self.images;
        self.linear(
            &mut scratch.class_branch[..images * c],
            d_logits,
            &a.pooled[..images * c],
            &table.head_weight,
            &table.head_bias,
            c,
        );
        let out = &a.blocks[a.blocks.len() - 1].out;
        let (d_norm, stream) = match a.last_block {
            LastBlock::ClassToken => (&scratch.class_branch, &mut scratch.class_stream),
            LastBlock::AllTokens => {
                scratch.branch.fill(T::zero());
                let tokens = self.vit.config.tokens();
                scatter_class(
                    &mut scratch.branch,
                    &scratch.class_branch[..images * c],
                    c,
                    tokens,
                );
                (&scratch.branch, &mut scratch.stream)
            }
        };
        let len = images
            * self
                .vit
                .queries(a.last_block, self.vit.config.num_hidden_layers - 1)
            * c;
        self.norm(
            &mut stream[..len],
            &d_norm[..len],
            &out[..len],
            (&a.mean, &a.rstd),
            (&table.norm_weight, &table.norm_bias),
            Residual::None,
        );
    }

    /// `stream` goes from behind the MLP to before it.
    fn mlp(&mut self, stream: &mut [T], scratch: &mut Scratch<T>, b: &Block<T>, r: &LayerRanges) {
        let (c, f) = (
            self.vit.config.hidden_size,
            self.vit.config.intermediate_size,
        );
        let rows = stream.len() / c;
        let d_hidden = &mut scratch.hidden[..rows * f];
        let gelu = &mut scratch.gelu[..rows * f];
        let d_norm = &mut scratch.branch[..rows * c];
        let shape = self.vit.mlp_shape(rows);
        mlp::backward(
            d_norm,
            d_hidden,
            gelu,
            stream,
            &b.hidden[..rows * f],
            &self.vit.mlp_params(self.params, r),
            shape,
        );
        let ranges = [&r.fc1_weight, &r.fc1_bias, &r.fc2_weight, &r.fc2_bias];
        let [fc1_weight, fc1_bias, fc2_weight, fc2_bias] = self.grads.of(ranges);
        let gradients = mlp::Params {
            fc1_weight,
            fc1_bias,
            fc2_weight,
            fc2_bias,
        };
        let x = &b.norm2[..rows * c];
        mlp::backward_weight(gradients, stream, d_hidden, gelu, x, self.accumulate, shape);
        self.norm(
            stream,
            d_norm,
            &b.middle[..rows * c],
            (&b.mean2, &b.rstd2),
            (&r.norm2_weight, &r.norm2_bias),
            Residual::Add,
        );
    }

    /// `stream` goes from behind the attention to the block's input `x`.
    fn attention(
        &mut self,
        stream: &mut [T],
        scratch: &mut Scratch<T>,
        x: &[T],
        b: &Block<T>,
        r: &LayerRanges,
    ) {
        let c = self.vit.config.hidden_size;
        let rows = stream.len() / c;
        let branch = &mut scratch.branch[..rows * c];
        let d_qkv = &mut scratch.qkv[..rows * 3 * c];
        let out = &b.attention[..rows * c];
        self.linear(branch, stream, out, &r.proj_weight, &r.proj_bias, c);
        attention::backward(
            Qkv::Packed(&mut *d_qkv),
            branch,
            out,
            &b.lse,
            Qkv::Packed(&b.qkv[..rows * 3 * c]),
            self.vit.attention_shape(self.images),
        );
        self.linear(
            branch,
            d_qkv,
            &b.norm1[..rows * c],
            &r.qkv_weight,
            &r.qkv_bias,
            c,
        );
        self.norm(
            stream,
            branch,
            x,
            (&b.mean1, &b.rstd1),
            (&r.norm1_weight, &r.norm1_bias),
            Residual::Add,
        );
    }

    /// The same where only the class token asked: from `class_stream` (B, C) to the stream of
    /// `scratch` (N, C).
    fn class_attention(
        &mut self,
        class_stream: &[T],
        scratch: &mut Scratch<T>,
        x: &[T],
        b: &Block<T>,
        r: &LayerRanges,
    ) {
        let (c, t) = (self.vit.config.hidden_size, self.vit.config.tokens());
        let (rows, class) = (x.len() / c, class_stream.len());
        let split = self.vit.bias_split();
        let parts = |packed: &Range<usize>, at: usize| {
            let middle = packed.start + at;
            (packed.start..middle, middle..packed.end)
        };
        let (query_weight, key_value_weight) = parts(&r.qkv_weight, c * c);
        let (query_bias, key_value_bias) = parts(&r.qkv_bias, split);
        let class_branch = &mut scratch.class_branch[..class];
        let d_query = &mut scratch.class_query[..class];
        let d_key_value = &mut scratch.qkv[..rows * 2 * c];
        let out = &b.attention[..class];
        self.linear(
            class_branch,
            class_stream,
            out,
            &r.proj_weight,
            &r.proj_bias,
            c,
        );
        attention::backward(
            Qkv::ClassToken {
                query: &mut *d_query,
                key_value: &mut *d_key_value,
            },
            class_branch,
            out,
            &b.lse,
            Qkv::ClassToken {
                query: &b.class_query[..class],
                key_value: &b.qkv[..rows * 2 * c],
            },
            self.vit.attention_shape(self.images),
        );
        self.linear(
            class_branch,
            d_query,
            &b.class_norm1[..class],
            &query_weight,
            &query_bias,
            c,
        );
        let branch = &mut scratch.branch[..rows * c];
        self.linear(
            branch,
            d_key_value,
            &b.norm1[..rows * c],
            &key_value_weight,
            &key_value_bias,
            c,
        );
        scatter_class(branch, class_branch, c, t);
        let stream = &mut scratch.stream[..rows * c];
        self.norm(
            stream,
            branch,
            x,
            (&b.mean1, &b.rstd1),
            (&r.norm1_weight, &r.norm1_bias),
            Residual::None,
        );
        scatter_class(stream, class_stream, c, t);
    }
}
