//! Places of what a backward pass on a GPU needs for itself.

use super::activations::Activations;
use super::arena::{Arena, Layout, Place};
use super::gradients::Gradients;
use super::{Params, Pass, trained};
use crate::device::{Element, ElementType, Gpu, Properties};
use crate::model::activations::LastBlock;
use crate::model::vit::Vit;
use crate::ops::attention::{self, gpu::Queries};
use crate::ops::gemm::Accumulate;

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
        let sums = match batches {
            Batches::Of(sizes) => sizes.iter().fold(Sums::default(), |sums, &size| {
                assert!(size <= images, "{size} images in room for {images}");
                sums.or_more(Sums::of(gpu, vit, size, last_block))
            }),
            Batches::AtLeast => Sums::least(gpu, vit, images, last_block),
        };
        Self::with(layout, vit, images, sums)
    }

    /// For up to `images` images, with so much for sums in parts.
    fn with(layout: &mut Layout, vit: &Vit, images: usize, sums: Sums) -> Self {
        let (c, f) = (vit.config.hidden_size, vit.config.intermediate_size);
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

/// Floats that sums in parts take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) partials: usize,
    pub(super) workspace: usize,
    pub(super) squares: usize,
}

impl Sums {
    /// More than any backward pass takes: 4 TiB each.
    const ENDLESS: Self = Self {
        partials: 1 << 40,
        workspace: 1 << 40,
        squares: 1 << 40,
    };

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
        if vit.images_through_blocks(images) == 0 {
            return Self::default();
        }
        let asking = match (last_block, vit.trained_layers().len()) {
            (LastBlock::ClassToken, 1) => Queries::ClassToken,
            _ => Queries::EveryToken,
        };
        let parts = attention::gpu::parts(gpu, vit.attention_shape(images), asking);
        Self {
            partials: parts * 3 * vit.config.hidden_size,
            ..Self::default()
        }
    }

    /// What a backward pass over exactly `images` images takes: it is issued to a record that has
    /// room for everything.
    fn of(gpu: &Properties, vit: &Vit, images: usize, last_block: LastBlock) -> Self {
        let mut taken = Self::default();
        // Launchers do not choose by the element type.
        let recorded = Gpu::record(gpu.clone(), ElementType::F16, |gpu| {
            let mut layout = Layout::default();
            let (config, keep) = (&vit.config, vit.keep());
            let activations = Activations::plan(&mut layout, config, images, keep, last_block);
            let scratch = Self::ENDLESS;
            let scratch = Scratch::with(&mut layout, vit, images, scratch);
            let d_logits = layout.place(images * config.num_labels());
            let arena = Arena::new(gpu, layout.bytes())?;
            let (values, copy) = (gpu.alloc(vit.table.len)?, gpu.alloc(vit.table.len)?);
            let gradients = gpu.alloc(trained(vit).len())?;
            let pass = Pass {
                gpu,
                vit,
                params: Params {
                    values: values.all(),
                    copy: copy.all(),
                },
                arena: &arena,
                activations: &activations,
                images,
            };
            let gradients = Gradients {
                params: gradients.all(),
                scratch: &scratch,
                accumulate: Accumulate::Overwrite,
            };
            taken = pass.backward_taking(gradients, arena.at(d_logits))?;
            Ok(())
        });
        recorded.expect("nothing of it can fail");
        taken
    }
}
