//! Places of what a backward pass on a GPU needs for itself.

use super::activations::Activations;
use super::arena::{Layout, Place};
use crate::device::{Element, Properties};
use crate::model::activations::LastBlock;
use crate::model::vit::Vit;
use crate::ops::attention::{self, gpu::Queries};
use crate::ops::linear::Shape;
use crate::ops::linear::gpu::WeightPlan;
use crate::ops::{column_sum, layer_norm, mlp, patch_embed};

/// Tensors of a backward pass over the batches that they were planned for.
#[derive(Debug, Clone, Copy)]
pub struct Scratch {
    /// Gradient of the residual stream, (N, C), and the copy of it that GEMMs read.
    pub stream: Place<f32>,
    pub stream_copy: Place<Element>,
    /// The same for the class tokens alone, (B, C).
    pub class_stream: Place<f32>,
    pub class_copy: Place<Element>,
    /// Gradient of what a layer norm, or the attention, gave: (N, C).
    pub branch: Place<Element>,
    /// (N, 3C).
    pub qkv: Place<Element>,
    /// Attention's own.
    pub statistics: Place<f32>,
    /// Gradient before the GELU, (N, F).
    pub hidden: Place<Element>,
    /// Rows of partial sums, from one kernel to the next.
    pub partials: Place<f32>,
    /// Parts of the gradient of one weight.
    pub workspace: Place<f32>,
    /// Sums of squares of all gradients.
    pub squares: Place<f32>,
}

/// The batches that a [`Scratch`] is for. How a sum is cut into parts does not grow evenly with the
/// batch, so a short one may need more room than a full one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batches<'a> {
    /// Of these numbers of images, none above the activations'.
    Of(&'a [usize]),
    /// Unknown ones: no room to compute in, but a bound for all that are, which never falls as the
    /// activations grow, and is found quickly.
    AtLeast,
}

impl Scratch {
    /// Takes room for a backward pass behind `activations`.
    pub fn plan(
        layout: &mut Layout,
        gpu: &Properties,
        vit: &Vit,
        activations: &Activations,
        batches: Batches,
    ) -> Self {
        let (images, last_block) = (activations.images, activations.last_block);
        let (c, f) = (vit.config.hidden_size, vit.config.intermediate_size);
        let sums = match batches {
            Batches::Of(sizes) => sizes.iter().fold(Sums::default(), |sums, &size| {
                assert!(size <= images, "{size} images in room for {images}");
                sums.or_more(Sums::of(gpu, vit, size, last_block))
            }),
            Batches::AtLeast => Sums::least(gpu, vit, images, last_block),
        };
        let images = vit.images_through_blocks(images);
        let rows = images * vit.config.tokens();
        Self {
            stream: layout.place(rows * c),
            stream_copy: layout.place(rows * c),
            class_stream: layout.place(images * c),
            class_copy: layout.place(images * c),
            branch: layout.place(rows * c),
            qkv: layout.place(rows * 3 * c),
            statistics: layout.place(attention::gpu::statistics(
                vit.attention_shape(images),
                Queries::EveryToken,
            )),
            hidden: layout.place(rows * f),
            partials: layout.place(sums.partials),
            workspace: layout.place(sums.workspace),
            squares: layout.place(sums.squares),
        }
    }
}

/// Floats that sums in parts need.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sums {
    partials: usize,
    workspace: usize,
    squares: usize,
}

impl Sums {
    fn or_more(self, other: Self) -> Self {
        Self {
            partials: self.partials.max(other.partials),
            workspace: self.workspace.max(other.workspace),
            squares: self.squares.max(other.squares),
        }
    }

    /// No more than [`Sums::of`], and no less for more images: of what grows with them, attention's
    /// sums, which are as many parts for each image.
    fn least(gpu: &Properties, vit: &Vit, images: usize, last_block: LastBlock) -> Self {
        let asking = match (last_block, vit.config.num_hidden_layers) {
            (LastBlock::ClassToken, 1) => Queries::ClassToken,
            _ => Queries::EveryToken,
        };
        let parts = attention::gpu::parts(gpu, vit.attention_shape(images), asking);
        Self {
            partials: parts * 3 * vit.config.hidden_size,
            ..Self::default()
        }
    }

    /// Of a backward pass over exactly `images` images.
    fn of(gpu: &Properties, vit: &Vit, images: usize, last_block: LastBlock) -> Self {
        let config = &vit.config;
        let (c, f, k) = (
            config.hidden_size,
            config.intermediate_size,
            config.num_labels(),
        );
        let (rows, layers) = (images * config.tokens(), config.num_hidden_layers);
        let mut sums = Self::default();
        let shape = |rows, inputs, outputs| Shape {
            rows,
            inputs,
            outputs,
        };

        let head = WeightPlan::new(gpu, shape(images, c, k));
        sums.partials(head.parts * k);
        sums.columns(k, 1);
        sums.planned(head, 1);
        sums.norm(gpu, vit.queries(last_block, layers - 1) * images, c, 1);

        let patches = vit.patch_shape(images);
        let workspace = patch_embed::gpu::workspace(gpu, patches);
        sums.workspace = sums.workspace.max(workspace);
        sums.squares += patch_embed::gpu::squares(gpu, patches);

        // Blocks of one kind are alike.
        let (class_only, whole) = match last_block {
            LastBlock::ClassToken => (1, layers - 1),
            LastBlock::AllTokens => (0, layers),
        };
        for (queries, asking, count) in [
            (rows, Queries::EveryToken, whole),
            (images, Queries::ClassToken, class_only),
        ] {
            if count == 0 {
                continue;
            }
            let mlp = vit.mlp_shape(queries);
            sums.partials(mlp::gpu::parts(gpu, mlp) * f);
            sums.columns(f, count);
            for plan in mlp::gpu::weight_plans(gpu, mlp) {
                sums.planned(plan, count);
            }
            sums.norm(gpu, queries, c, count);
            sums.weight(gpu, shape(queries, c, c), count);
            let attention = vit.attention_shape(images);
            sums.partials(attention::gpu::parts(gpu, attention, asking) * 3 * c);
            sums.columns(3 * c, count);
            match asking {
                Queries::EveryToken => sums.weight(gpu, shape(rows, c, 3 * c), count),
                Queries::ClassToken => {
                    sums.weight(gpu, shape(rows, c, 2 * c), count);
                    sums.weight(gpu, shape(images, c, c), count);
                }
            }
            sums.norm(gpu, rows, c, count);
        }
        sums
    }

    fn partials(&mut self, floats: usize) {
        self.partials = self.partials.max(floats);
    }

    /// Gradients of `columns` values each, from partial sums.
    fn columns(&mut self, columns: usize, count: usize) {
        self.squares += count * column_sum::squares(columns);
    }

    fn weight(&mut self, gpu: &Properties, shape: Shape, count: usize) {
        self.planned(WeightPlan::new(gpu, shape), count);
    }

    fn planned(&mut self, plan: WeightPlan, count: usize) {
        self.workspace = self.workspace.max(plan.workspace());
        self.squares += count * plan.squares();
    }

    /// Weight and bias of a norm, and the bias of the layer that added into the stream.
    fn norm(&mut self, gpu: &Properties, rows: usize, width: usize, count: usize) {
        self.partials(layer_norm::gpu::parts(gpu, rows, width) * 3 * width);
        self.columns(2 * width, count);
        self.columns(width, count);
    }
}
