//! The memory of a model on a GPU, planned before any of it is allocated.

use std::fmt;

use super::input::InputLayout;
use crate::device::{Element, Properties};
use crate::model::activations::{Keep, LastBlock};
use crate::model::gpu::activations::Activations;
use crate::model::gpu::arena::{Layout, Place};
use crate::model::gpu::scratch::{Batches, Scratch};
use crate::model::gpu::trained;
use crate::model::vit::Vit;
use crate::report::format::thousands;
use crate::train::engine::EpochBatches;

/// Places of a training step.
#[derive(Debug, Clone)]
pub struct Training {
    pub batches: EpochBatches,
    pub activations: Activations,
    pub scratch: Scratch,
    /// (B, K).
    pub d_logits: Place<Element>,
    /// (B).
    pub losses: Place<f32>,
    /// Bytes of all but the activations.
    scratch_bytes: usize,
}

/// What will be allocated; the whole of it, for the life of the engine.
#[derive(Debug, Clone)]
pub struct MemoryPlan {
    /// Places in an arena, in which training and inference take turns.
    pub training: Option<Training>,
    pub inference: Activations,
    /// Bytes of that arena.
    pub arena: usize,
    pub input: InputLayout,
    /// Values of a parameter arena.
    parameters: usize,
    /// Those of them that have a gradient and moments.
    trained: usize,
}

impl Training {
    /// And the bytes of it all.
    fn plan(gpu: &Properties, vit: &Vit, batches: EpochBatches, scratch: Batches) -> (Self, usize) {
        let images = batches.full();
        let mut layout = Layout::default();
        let (keep, last) = (vit.keep(), LastBlock::ClassToken);
        let activations = Activations::plan(&mut layout, &vit.config, images, keep, last);
        let kept = layout.bytes();
        let scratch = Scratch::plan(&mut layout, gpu, vit, &activations, scratch);
        let d_logits = layout.place(images * vit.config.num_labels());
        let losses = layout.place(images);
        let training = Self {
            batches,
            activations,
            scratch,
            d_logits,
            losses,
            scratch_bytes: layout.bytes() - kept,
        };
        (training, layout.bytes())
    }
}

fn inference(vit: &Vit, images: usize) -> (Activations, usize) {
    let mut layout = Layout::default();
    let (keep, last) = (Keep::Nothing, LastBlock::ClassToken);
    let activations = Activations::plan(&mut layout, &vit.config, images, keep, last);
    (activations, layout.bytes())
}

/// Rounded up.
pub(super) fn mebibytes(bytes: usize) -> String {
    thousands(bytes.div_ceil(1 << 20) as u64)
}

/// The largest number from 1 to `most` that `fits`, if 1 does; what fits must be one range.
pub(super) fn largest(most: usize, fits: impl Fn(usize) -> bool) -> Option<usize> {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) {
            low = middle
        } else {
            high = middle - 1
        }
    }
    (low > 0).then_some(low)
}

impl MemoryPlan {
    /// For training in `batches`, and evaluating up to `evaluated` images at once: fewer where that
    /// would need more memory than training does.
    pub fn for_training(
        gpu: &Properties,
        vit: &Vit,
        batches: EpochBatches,
        evaluated: usize,
    ) -> Self {
        let sizes: Vec<usize> = batches.sizes().collect();
        let training = Training::plan(gpu, vit, batches, Batches::Of(&sizes));
        Self::with(vit, training, evaluated)
    }

    /// Bytes that [`MemoryPlan::for_training`] needs at least. Unlike its own they never fall as
    /// batches grow.
    pub(super) fn least_for_training(
        gpu: &Properties,
        vit: &Vit,
        batches: EpochBatches,
        evaluated: usize,
    ) -> usize {
        let training = Training::plan(gpu, vit, batches, Batches::AtLeast);
        Self::with(vit, training, evaluated).bytes()
    }

    fn with(vit: &Vit, (training, bytes): (Training, usize), evaluated: usize) -> Self {
        let fits = |images| inference(vit, images).1 <= bytes;
        let evaluated = largest(evaluated.max(1), fits).unwrap_or(1);
        let (inference, inference_bytes) = inference(vit, evaluated);
        Self {
            inference,
            arena: bytes.max(inference_bytes),
            input: InputLayout::new(&vit.config, training.activations.images.max(evaluated)),
            parameters: vit.table.len,
            trained: trained(vit).len(),
            training: Some(training),
        }
    }

    /// For evaluating `images` at once.
    pub fn for_inference(vit: &Vit, images: usize) -> Self {
        let (inference, arena) = inference(vit, images);
        Self {
            training: None,
            inference,
            arena,
            input: InputLayout::new(&vit.config, images),
            parameters: vit.table.len,
            trained: trained(vit).len(),
        }
    }

    /// What the memory is for, and bytes.
    pub fn parts(&self) -> Vec<(&'static str, usize)> {
        let mut parts = vec![
            ("parameters, f32", 4 * self.parameters),
            ("their 16-bit copy", 2 * self.parameters),
        ];
        let scratch = self.training.as_ref().map(|training| {
            parts.push(("AdamW's moments", 8 * self.trained));
            parts.push(("gradients", 4 * self.trained));
            training.scratch_bytes
        });
        parts.push(("activations", self.arena - scratch.unwrap_or(0)));
        parts.extend(scratch.map(|bytes| ("scratch", bytes)));
        parts.push(("images", 2 * self.input.bytes()));
        parts
    }

    /// Bytes, all together.
    pub fn bytes(&self) -> usize {
        self.parts().iter().map(|(_, bytes)| bytes).sum()
    }
}

impl fmt::Display for MemoryPlan {
    /// One line: the parts, and their sum, in MiB.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, bytes) in self.parts() {
            write!(f, "{what} {}, ", mebibytes(bytes))?;
        }
        write!(f, "together {} MiB", mebibytes(self.bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::presets::preset;
    use crate::train::cuda::room::tests::{h100, vit};

    #[test]
    fn the_largest_number_that_fits() {
        assert_eq!(largest(10, |n| n <= 7), Some(7));
        assert_eq!(largest(10, |_| true), Some(10));
        assert_eq!(largest(10, |_| false), None);
        assert_eq!(largest(1, |n| n <= 1), Some(1));
    }

    /// By hand, bytes a row of one layer: norms 2·2·C, qkv 6 C, attention 2 C, stream 2·4·C, MLP
    /// 2·2·4 C: 36 C. Scratch: stream and its copy 6 C, branch 2 C, qkv 6 C, MLP 2·4 C: 22 C, and
    /// partial sums, which are no more than a part of a layer.
    #[test]
    fn activations_are_what_the_layers_keep() {
        let vit = vit("vit_base_patch16_224");
        let images = 64;
        let plan = MemoryPlan::for_training(&h100(), &vit, EpochBatches::one(images), 32);
        let parts = plan.parts();
        let part = |name| parts.iter().find(|(part, _)| *part == name).unwrap().1;
        let rows = |bytes: usize| images * 197 * bytes * 768;
        let kept = part("activations");
        assert!(
            (rows(11 * 36)..rows(12 * 36 + 10)).contains(&kept),
            "{plan}"
        );
        let scratch = part("scratch");
        assert!((rows(22)..rows(22 + 36)).contains(&scratch), "{plan}");
        assert_eq!(plan.arena, kept + scratch);
        let fixed = 18 * vit.table.len;
        let images = plan.bytes() - plan.arena - fixed;
        assert!((2 * 64 * 3 * 224 * 224..2 * 65 * 3 * 224 * 224).contains(&images));
    }

    #[test]
    fn the_least_is_never_more_and_never_falls() {
        let mut config = preset("vit_digits_patch2_8").expect("a preset");
        config.set_labels(&["odd", "even"]);
        let vit = Vit::new(config);
        let mut last = 0;
        for images in 1..200 {
            let batches = EpochBatches {
                examples: 150,
                batch_size: images,
            };
            let least = MemoryPlan::least_for_training(&h100(), &vit, batches, 16);
            let plan = MemoryPlan::for_training(&h100(), &vit, batches, 16);
            assert!(last <= least && least <= plan.bytes(), "{images}");
            last = least;
        }
    }

    #[test]
    fn a_short_last_batch_has_room_for_its_own_sums() {
        let (gpu, vit) = (h100(), vit("vit_small_patch14_224"));
        let batches = EpochBatches {
            examples: 1000,
            batch_size: 64,
        };
        assert_eq!(batches.sizes().collect::<Vec<_>>(), [64, 40]);
        let of_both = MemoryPlan::for_training(&gpu, &vit, batches, 1);
        for images in batches.sizes() {
            let alone = MemoryPlan::for_training(&gpu, &vit, EpochBatches::one(images), 1);
            let scratch = |plan: &MemoryPlan| plan.training.as_ref().unwrap().scratch;
            let (room, needed) = (scratch(&of_both), scratch(&alone));
            assert!(room.workspace.len() >= needed.workspace.len());
            assert!(room.partials.len() >= needed.partials.len());
            assert!(room.squares.len() >= needed.squares.len());
        }
    }
}
