//! What a GPU has room for: the largest batch, and the refusal of a larger one.

use super::plan::{MemoryPlan, largest, mebibytes};
use crate::device::Properties;
use crate::error::{Error, Result};
use crate::model::vit::Vit;
use crate::train::engine::{Capacity, EpochBatches};

/// Left to the driver: the kernels' code, graphs, and what it rounds allocations up to.
const RESERVE: usize = 128 << 20;

/// Memory of a GPU for a model.
#[derive(Debug, Clone, Copy)]
pub struct Room<'a> {
    gpu: &'a Properties,
    vit: &'a Vit,
    /// Bytes, without the [`RESERVE`].
    free: usize,
}

impl<'a> Room<'a> {
    /// In `free` bytes of `gpu`.
    pub fn new(gpu: &'a Properties, vit: &'a Vit, free: u64) -> Self {
        let free = usize::try_from(free).unwrap_or(usize::MAX);
        Self {
            gpu,
            vit,
            free: free.saturating_sub(RESERVE),
        }
    }

    /// The room that is left when only `share` of the free memory, from 0 to 1, may be used.
    pub fn share(self, share: f64) -> Self {
        Self {
            free: (self.free as f64 * share) as usize,
            ..self
        }
    }

    /// Room in which a plan of so many bytes just does not fit, if it would.
    pub(super) fn without(self, bytes: usize) -> Self {
        Self {
            free: self.free.min(bytes - 1),
            ..self
        }
    }

    /// Bytes that a plan may have.
    pub fn bytes(self) -> usize {
        self.free
    }

    /// Plans for `capacity`. Evaluation takes fewer images at once where it would need more memory
    /// than there is, or than training does.
    ///
    /// [`Error::Memory`] that names the largest batch that fits.
    pub fn plan(self, capacity: Capacity) -> Result<MemoryPlan> {
        match capacity.training {
            Some(batches) => {
                let evaluated = capacity.inference;
                let plan = MemoryPlan::for_training(self.gpu, self.vit, batches, evaluated);
                if plan.bytes() <= self.free {
                    Ok(plan)
                } else {
                    Err(self.refusal(&plan, batches, evaluated))
                }
            }
            None => {
                let images = self.largest_inference(capacity.inference.max(1));
                let plan = MemoryPlan::for_inference(self.vit, images.unwrap_or(1));
                match images {
                    Some(_) => Ok(plan),
                    None => Err(self.too_large(
                        &format!("the model does not fit the GPU: {plan}"),
                        "close other programs that use the GPU (nvidia-smi lists them), or run \
                         with --device cpu"
                            .into(),
                    )),
                }
            }
        }
    }

    /// The largest batch to train in, of an epoch of `examples` images; `None` where not even one
    /// image fits.
    pub fn largest_training(self, examples: usize, evaluated: usize) -> Option<usize> {
        let Self { gpu, vit, free } = self;
        let batches = |batch_size| EpochBatches {
            examples,
            batch_size,
        };
        let may_fit =
            |images| MemoryPlan::least_for_training(gpu, vit, batches(images), evaluated) <= free;
        let fits = |images: &usize| {
            let plan = MemoryPlan::for_training(gpu, vit, batches(*images), evaluated);
            plan.bytes() <= free
        };
        // Sums in parts need a little more for some batches than for larger ones: the largest that
        // fits is found from above, and a whole plan is made for few.
        let most = largest(examples, may_fit)?;
        (1..=most).rev().find(fits)
    }

    /// The largest batch, up to `most`, to evaluate at once by an engine that does not train.
    pub fn largest_inference(self, most: usize) -> Option<usize> {
        let fits = |images| MemoryPlan::for_inference(self.vit, images).bytes() <= self.free;
        largest(most, fits)
    }

    fn refusal(self, plan: &MemoryPlan, batches: EpochBatches, evaluated: usize) -> Error {
        let images = batches.full();
        let help = match self.largest_training(batches.examples, evaluated) {
            None => {
                "not even one image fits; take a smaller model, or run with --device cpu".into()
            }
            Some(most) => format!(
                "the largest batch that fits is {most}: --batch-size {most}{}",
                accumulated(images, most)
            ),
        };
        self.too_large(
            &format!("a batch of {images} does not fit the GPU: {plan}"),
            help,
        )
    }

    fn too_large(self, problem: &str, help: String) -> Error {
        Error::Memory {
            problem: format!("{problem}; {} MiB are free", mebibytes(self.free)),
            help,
        }
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

#[cfg(test)]
pub(super) mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::model::presets::preset;

    pub fn h100() -> Properties {
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

    pub fn vit(name: &str) -> Vit {
        let mut config = preset(name).expect("a preset");
        config.set_labels(&["cat", "dog"]);
        Vit::new(config)
    }

    fn capacity(images: usize) -> Capacity {
        Capacity {
            training: Some(EpochBatches {
                examples: 100_000,
                batch_size: images,
            }),
            inference: 32,
        }
    }

    #[test]
    fn a_batch_too_large_names_the_one_that_fits() {
        let (gpu, vit) = (h100(), vit("vit_base_patch16_224"));
        let room = Room::new(&gpu, &vit, 8 << 30);
        let error = room.plan(capacity(4096)).unwrap_err();
        assert_eq!(error.exit_code(), 6);
        let help = error.help().expect("advice").to_owned();
        let most = help.split("--batch-size ").nth(1).expect("a flag");
        let most: usize = most.split(',').next().unwrap().parse().unwrap();
        assert!(room.plan(capacity(most)).is_ok(), "{help}");
        for more in most + 1..most + 100 {
            assert!(room.plan(capacity(more)).is_err(), "{more}, {help}");
        }
        assert!(error.to_string().contains("a batch of 4096 does not fit"));
    }

    /// A million images, of which a large GPU takes some hundred thousand.
    #[test]
    fn the_largest_batch_of_a_tiny_model_is_found_at_once() {
        let (gpu, vit) = (h100(), vit("vit_digits_patch2_8"));
        let room = Room::new(&gpu, &vit, gpu.memory);
        let started = Instant::now();
        let most = room.largest_training(1 << 20, 32).expect("one fits");
        let took = started.elapsed();
        assert!(took < Duration::from_millis(500), "{took:?}");
        let bytes = |batch_size| {
            let batches = EpochBatches {
                examples: 1 << 20,
                batch_size,
            };
            MemoryPlan::for_training(&gpu, &vit, batches, 32).bytes()
        };
        assert!(most > 100_000 && bytes(most) <= room.bytes(), "{most}");
        for more in most + 1..most + 100 {
            assert!(bytes(more) > room.bytes(), "{more} after {most}");
        }
    }

    #[test]
    fn no_batch_is_larger_than_an_epoch() {
        let (gpu, vit) = (h100(), vit("vit_digits_patch2_8"));
        let room = Room::new(&gpu, &vit, gpu.memory);
        assert_eq!(room.largest_training(1438, 32), Some(1438));
        assert_eq!(room.share(0.0).largest_training(1438, 32), None);
    }

    #[test]
    fn evaluation_takes_what_memory_there_is() {
        let (gpu, vit) = (h100(), vit("vit_small_patch14_224"));
        let asked = Capacity {
            training: None,
            inference: 100_000,
        };
        let plan = Room::new(&gpu, &vit, 1 << 30).plan(asked).unwrap();
        assert!(plan.bytes() <= (1 << 30) - RESERVE && plan.inference.images > 16);
        let room = Room::new(&gpu, &vit, RESERVE as u64);
        assert_eq!(room.plan(asked).unwrap_err().exit_code(), 6);
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
