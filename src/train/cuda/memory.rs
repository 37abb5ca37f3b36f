//! The memory of a model on a GPU, planned before any of it is allocated.

use std::fmt;

use crate::device::structs::StepState;
use crate::device::{Buffer, Element, ElementType, Gpu, Properties, Slice};
use crate::error::{Error, Result};
use crate::model::activations::{Keep, LastBlock};
use crate::model::gpu::activations::Activations;
use crate::model::gpu::arena::{Arena, Layout, Place};
use crate::model::gpu::scratch::{Batches, Scratch};
use crate::model::gpu::trained;
use crate::model::vit::Vit;
use crate::ops::adamw::gpu::{Decay, Tiles};
use crate::report::format::thousands;
use crate::train::engine::Capacity;

use super::input::InputLayout;

/// Left to the driver: the kernels' code, graphs, and what it rounds allocations up to.
const RESERVE: usize = 128 << 20;

/// Places of a training step.
#[derive(Debug, Clone)]
pub struct Training {
    pub activations: Activations,
    pub scratch: Scratch,
    /// (B, K).
    pub d_logits: Place<Element>,
    /// (B).
    pub losses: Place<f32>,
}

/// What will be allocated; the whole of it, for the life of the engine.
#[derive(Debug, Clone)]
pub struct MemoryPlan {
    /// Places in the arena of activations, in which training and inference take turns.
    pub training: Option<Training>,
    pub inference: Activations,
    /// Bytes of that arena.
    pub activations: usize,
    pub input: InputLayout,
    /// Values of a parameter arena.
    parameters: usize,
    /// Those of them that have a gradient and moments.
    trained: usize,
}

fn training(gpu: &Properties, vit: &Vit, images: usize, batches: Batches) -> (Training, usize) {
    let mut layout = Layout::default();
    let (keep, last) = (vit.keep(), LastBlock::ClassToken);
    let activations = Activations::plan(&mut layout, &vit.config, images, keep, last);
    let training = Training {
        scratch: Scratch::plan(&mut layout, gpu, vit, &activations, batches),
        d_logits: layout.place(images * vit.config.num_labels()),
        losses: layout.place(images),
        activations,
    };
    (training, layout.bytes())
}

fn inference(vit: &Vit, images: usize) -> (Activations, usize) {
    let mut layout = Layout::default();
    let (keep, last) = (Keep::Nothing, LastBlock::ClassToken);
    let activations = Activations::plan(&mut layout, &vit.config, images, keep, last);
    (activations, layout.bytes())
}

/// Rounded up.
fn mebibytes(bytes: usize) -> String {
    thousands(bytes.div_ceil(1 << 20) as u64)
}

/// The largest number from 1 to `most` that `fits`, if 1 does; what fits must be one range.
fn largest(most: usize, fits: impl Fn(usize) -> bool) -> Option<usize> {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        match fits(middle) {
            true => low = middle,
            false => high = middle - 1,
        }
    }
    (low > 0).then_some(low)
}

impl MemoryPlan {
    /// Plans for `capacity` in `free` bytes of `gpu`. Evaluation takes fewer images at once where it would
    /// need more memory than there is, or than training does.
    ///
    /// [`Error::Memory`] that names the largest batch that fits.
    pub fn new(gpu: &Properties, vit: &Vit, capacity: Capacity, free: u64) -> Result<Self> {
        let free = usize::try_from(free).unwrap_or(usize::MAX);
        let free = free.saturating_sub(RESERVE);
        match capacity.training {
            Some(images) => Self::training_in(gpu, vit, images, capacity.inference, free),
            None => {
                let fits = |images| Self::for_inference(vit, images).bytes() <= free;
                let images = largest(capacity.inference.max(1), fits).unwrap_or(1);
                let plan = Self::for_inference(vit, images);
                match plan.bytes() <= free {
                    true => Ok(plan),
                    false => Err(too_large(
                        &format!("the model does not fit the GPU: {plan}"),
                        free,
                        "close other programs that use the GPU (nvidia-smi lists them), or run \
                         with --device cpu"
                            .into(),
                    )),
                }
            }
        }
    }

    fn training_in(
        gpu: &Properties,
        vit: &Vit,
        images: usize,
        evaluated: usize,
        free: usize,
    ) -> Result<Self> {
        let plan = |images, batches| Self::for_training(gpu, vit, images, evaluated, batches);
        // An estimate first, which is never too large: a whole plan for a million images would take
        // a minute.
        let least = plan(images, Batches::Full);
        if least.bytes() <= free {
            let plan = plan(images, Batches::UpToFull);
            if plan.bytes() <= free {
                return Ok(plan);
            }
        }
        let fits = |images, batches| plan(images, batches).bytes() <= free;
        let estimate = largest(images, |images| fits(images, Batches::Full)).unwrap_or(0);
        let most = match estimate {
            0 => None,
            _ if fits(estimate, Batches::UpToFull) => Some(estimate),
            _ => largest(estimate - 1, |images| fits(images, Batches::UpToFull)),
        };
        let help = match most {
            None => {
                "not even one image fits; take a smaller model, or run with --device cpu".into()
            }
            Some(most) => format!(
                "the largest batch that fits is {most}: --batch-size {most}{}",
                accumulated(images, most)
            ),
        };
        let problem = format!("a batch of {images} does not fit the GPU: {least}");
        Err(too_large(&problem, free, help))
    }

    fn for_training(
        gpu: &Properties,
        vit: &Vit,
        images: usize,
        evaluated: usize,
        batches: Batches,
    ) -> Self {
        let (training, bytes) = training(gpu, vit, images, batches);
        let fits = |images| inference(vit, images).1 <= bytes;
        let evaluated = largest(evaluated.max(1), fits).unwrap_or(1);
        let (inference, inference_bytes) = inference(vit, evaluated);
        Self {
            training: Some(training),
            inference,
            activations: bytes.max(inference_bytes),
            input: InputLayout::new(&vit.config, images.max(evaluated)),
            parameters: vit.table.len,
            trained: trained(vit).len(),
        }
    }

    fn for_inference(vit: &Vit, images: usize) -> Self {
        let (inference, activations) = inference(vit, images);
        Self {
            training: None,
            inference,
            activations,
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
        if self.training.is_some() {
            parts.push(("AdamW's moments", 8 * self.trained));
            parts.push(("gradients", 4 * self.trained));
        }
        parts.push(("activations", self.activations));
        parts.push(("images", 2 * self.input.bytes()));
        parts
    }

    /// Bytes, all together.
    pub fn bytes(&self) -> usize {
        self.parts().iter().map(|(_, bytes)| bytes).sum()
    }
}

fn too_large(problem: &str, free: usize, help: String) -> Error {
    Error::Memory {
        problem: format!("{problem}; {} MiB are free", mebibytes(free)),
        help,
    }
}

/// Settings with the same images in a step, where there are any that need no more than `most` at
/// once.
fn accumulated(images: usize, most: usize) -> String {
    let steps = (images.div_ceil(most)..=images).find(|steps| images.is_multiple_of(*steps));
    match steps {
        Some(steps) if steps < images => format!(
            ", or --batch-size {} --gradient-accumulation-steps {steps} for the same {images} a step",
            images / steps
        ),
        _ => String::new(),
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

/// What a step changes besides the parameters; arenas of their [`trained`] part.
#[derive(Debug)]
pub struct Optimizer {
    pub first: Buffer<f32>,
    pub second: Buffer<f32>,
    pub gradients: Buffer<f32>,
    pub tiles: Tiles,
    pub class_weights: Option<Buffer<f32>>,
}

/// The allocations of a plan.
#[derive(Debug)]
pub struct Memory {
    pub params: Buffer<f32>,
    pub copy: Buffer<Element>,
    pub optimizer: Option<Optimizer>,
    pub activations: Arena,
    /// (channels, 256).
    pub lookup: Buffer<f32>,
    pub state: Buffer<StepState>,
}

impl Memory {
    /// Allocates what `plan` says, with zeros for the optimiser; parameters are not written.
    pub fn new(
        gpu: &Gpu,
        vit: &Vit,
        plan: &MemoryPlan,
        lookup: &[f32],
        class_weights: Option<&[f32]>,
    ) -> Result<Self> {
        let len = vit.table.len;
        let arena = trained(vit);
        let tensors = vit.table.starting_at(vit.trained().start).iter();
        let tensors = tensors.map(|param| {
            let decay = match param.decay {
                true => Decay::Applies,
                false => Decay::None,
            };
            let range = &param.range;
            (range.start - arena.start..range.end - arena.start, decay)
        });
        let optimizer = match plan.training {
            Some(_) => Some(Optimizer {
                first: gpu.zeros(arena.len())?,
                second: gpu.zeros(arena.len())?,
                gradients: gpu.alloc(arena.len())?,
                tiles: Tiles::new(gpu, tensors)?,
                class_weights: class_weights.map(|w| gpu.upload(w)).transpose()?,
            }),
            None => None,
        };
        Ok(Self {
            params: gpu.alloc(len)?,
            copy: gpu.alloc(len)?,
            optimizer,
            activations: Arena::new(gpu, plan.activations)?,
            lookup: gpu.upload(lookup)?,
            state: gpu.zeros(1)?,
        })
    }

    /// Writes the parameters, and their copy in 16 bits.
    pub fn set_params(&self, gpu: &Gpu, params: &[f32]) -> Result<()> {
        let element: ElementType = gpu.element();
        let copy: Vec<Element> = params.iter().map(|&v| element.from_f32(v)).collect();
        gpu.write(self.params.all(), params)?;
        gpu.write(self.copy.all(), &copy)
    }

    /// The one state block.
    pub fn state(&self) -> Slice<'_, StepState> {
        self.state.all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::presets::preset;

    fn h100() -> Properties {
        Properties {
            name: "H100".into(),
            capability: (9, 0),
            multiprocessors: 132,
            shared_per_block: 227 << 10,
            shared_per_multiprocessor: 228 << 10,
            l2: 50 << 20,
            memory: 80 << 30,
            driver: (12, 0),
        }
    }

    fn vit(name: &str) -> Vit {
        let mut config = preset(name).expect("a preset");
        config.set_labels(&["cat", "dog"]);
        Vit::new(config)
    }

    fn capacity(images: usize) -> Capacity {
        Capacity {
            training: Some(images),
            inference: 32,
        }
    }

    #[test]
    fn the_largest_number_that_fits() {
        assert_eq!(largest(10, |n| n <= 7), Some(7));
        assert_eq!(largest(10, |_| true), Some(10));
        assert_eq!(largest(10, |_| false), None);
        assert_eq!(largest(1, |n| n <= 1), Some(1));
    }

    /// By hand, bytes a row of one layer: norms 2·2·C, qkv 6 C, attention 2 C, stream 2·4·C, MLP
    /// 2·2·4 C: 36 C, and less than a layer's worth more for scratch.
    #[test]
    fn activations_are_what_the_layers_keep() {
        let vit = vit("vit_base_patch16_224");
        let images = 64;
        let plan = MemoryPlan::new(&h100(), &vit, capacity(images), 80 << 30).unwrap();
        let row = 36 * 768;
        let layers = |count: usize| count * images * 197 * row;
        assert!(plan.activations > layers(11), "{plan}");
        assert!(plan.activations < layers(13) + (100 << 20), "{plan}");
        let fixed = 18 * vit.table.len;
        let images = plan.bytes() - plan.activations - fixed;
        assert!((2 * 64 * 3 * 224 * 224..2 * 65 * 3 * 224 * 224).contains(&images));
    }

    #[test]
    fn a_batch_too_large_names_the_one_that_fits() {
        let (gpu, vit) = (h100(), vit("vit_base_patch16_224"));
        let free = 8 << 30;
        let error = MemoryPlan::new(&gpu, &vit, capacity(4096), free).unwrap_err();
        assert_eq!(error.exit_code(), 6);
        let help = error.help().expect("advice").to_owned();
        let most: String = help
            .chars()
            .filter(|c| c.is_ascii_digit() || *c == ':')
            .collect();
        let most: usize = most.split(':').next().unwrap().parse().unwrap();
        assert!(
            MemoryPlan::new(&gpu, &vit, capacity(most), free).is_ok(),
            "{help}"
        );
        assert!(
            MemoryPlan::new(&gpu, &vit, capacity(most + 1), free).is_err(),
            "{help}"
        );
        assert!(error.to_string().contains("a batch of 4096 does not fit"));
    }

    #[test]
    fn evaluation_takes_what_memory_there_is() {
        let (gpu, vit) = (h100(), vit("vit_small_patch14_224"));
        let asked = Capacity {
            training: None,
            inference: 100_000,
        };
        let plan = MemoryPlan::new(&gpu, &vit, asked, 1 << 30).unwrap();
        assert!(plan.bytes() <= (1 << 30) - RESERVE && plan.inference.images > 16);
        let error = MemoryPlan::new(&gpu, &vit, asked, RESERVE as u64).unwrap_err();
        assert_eq!(error.exit_code(), 6);
    }

    #[test]
    fn the_same_step_in_smaller_batches() {
        assert_eq!(
            accumulated(64, 20),
            ", or --batch-size 16 --gradient-accumulation-steps 4 for the same 64 a step"
        );
        assert_eq!(accumulated(7, 3), "");
    }
}
