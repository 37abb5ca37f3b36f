//! `--batch-size auto`: as many images at once as memory takes and a run can do with.

use std::fmt;
use std::str::FromStr;

use super::cuda::Room;
use super::engines::Opened;
use crate::error::Result;
use crate::host_memory;
use crate::model::config::VitConfig;
use crate::model::cost::{self, Pass};
use crate::model::freeze::Freeze;
use crate::model::vit::Vit;
use crate::report::format::thousands;

/// Updates that a run should have at least: with fewer, AdamW's moments hardly settle and a learning
/// rate made for small batches does not get far.
const UPDATES: f64 = 100.0;
/// Batches are multiples of so many images, if there are as many.
const MULTIPLE: usize = 8;
/// Most images at once on a GPU; learning rates for more are a matter of their own.
const MOST_ON_A_GPU: usize = 1024;
/// On a CPU a larger batch only makes steps longer.
const MOST_ON_A_CPU: usize = 32;
/// Shares of the free memory that may be taken: other programs come and go.
const SHARE_OF_A_GPU: f64 = 0.9;
const SHARE_OF_A_CPU: f64 = 0.5;
/// Taken to be free when the system does not say.
const UNKNOWN: u64 = 2 << 30;

/// How many images a batch is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchSize {
    /// [`choose`] decides.
    Auto,
    Images(usize),
}

impl FromStr for BatchSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Self::Auto),
            (_, Ok(images)) if images > 0 => Ok(Self::Images(images)),
            _ => Err("expected auto or a whole number of at least 1".into()),
        }
    }
}

impl fmt::Display for BatchSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Images(images) => images.fmt(f),
        }
    }
}

/// How long a run is, for [`choose`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Length {
    /// Training images.
    pub examples: usize,
    /// `None` where the number of updates is given.
    pub epochs: Option<f64>,
    /// Micro-batches of an update.
    pub accumulation: usize,
}

/// What a device takes at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Images that memory has room for; 0 where not even one fits.
    pub memory: usize,
    /// How that was found.
    pub because: String,
    /// Images, whatever memory there is.
    pub most: usize,
}

/// A batch size, and why it is that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub images: usize,
    pub why: String,
}

impl Limits {
    /// Of `device` for training `config`, but for what `freeze` names, on `examples` images; an engine on it is to evaluate
    /// `evaluated` images at once.
    ///
    /// # Errors
    /// What the GPU reports.
    pub fn of(
        device: &Opened,
        config: &VitConfig,
        freeze: Freeze,
        examples: usize,
        evaluated: usize,
    ) -> Result<Self> {
        match device {
            Opened::Cpu => {
                let free = host_memory::available().unwrap_or(UNKNOWN);
                Ok(Self::on_cpu(config, free))
            }
            Opened::Cuda(gpu) => {
                let (free, _) = gpu.memory_info()?;
                let vit = Vit::new(config.clone()).freezing(freeze);
                let room = Room::new(gpu.properties(), &vit, free);
                let most = room.share(SHARE_OF_A_GPU);
                let memory = most.largest_training(examples, evaluated);
                Ok(Self {
                    memory: memory.unwrap_or(0),
                    because: of_free(SHARE_OF_A_GPU, room.bytes() as u64),
                    most: MOST_ON_A_GPU,
                })
            }
        }
    }

    fn on_cpu(config: &VitConfig, free: u64) -> Self {
        let bytes = |images| cost::memory_bytes(config, images, Pass::Training);
        let share = (free as f64 * SHARE_OF_A_CPU) as u64;
        // The same for each image.
        let images = share.saturating_sub(bytes(0)) / (bytes(1) - bytes(0));
        Self {
            memory: images as usize,
            because: of_free(SHARE_OF_A_CPU, free),
            most: MOST_ON_A_CPU,
        }
    }
}

fn of_free(share: f64, free: u64) -> String {
    let percent = 100.0 * share;
    format!(
        "{percent} % of the {} MiB that are free",
        thousands(free >> 20)
    )
}

/// The largest batch that makes sense: within memory, the training images, what `limits` allow and
/// what leaves a run enough updates; a multiple of 8 where that is 8 or more.
pub fn choose(run: Length, limits: &Limits) -> Choice {
    let images = run.epochs.map(|epochs| epochs * run.examples as f64);
    let updates = images.map(|images| images / (UPDATES * run.accumulation as f64));
    let bounds = [
        (limits.memory.max(1), "what memory takes".to_owned()),
        (run.examples, "all training images at once".to_owned()),
        (limits.most, "the most that auto takes here".to_owned()),
        (
            updates.map_or(usize::MAX, |most| (most as usize).max(MULTIPLE)),
            format!("leaving the run at least {UPDATES} updates, or batches of {MULTIPLE}"),
        ),
    ];
    let least = bounds.into_iter().min_by_key(|(images, _)| *images);
    let (most, why) = least.expect("there are bounds");
    let images = match most {
        0..MULTIPLE => most,
        _ => most - most % MULTIPLE,
    };
    let fits = match limits.memory {
        0 => "not even one fits in".to_owned(),
        memory => format!("{} fit in", thousands(memory as u64)),
    };
    Choice {
        images,
        why: format!("{why}; {fits} {}", limits.because),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::presets::preset;

    fn limits(memory: usize) -> Limits {
        Limits {
            memory,
            because: "some memory".into(),
            most: 512,
        }
    }

    fn length(examples: usize, epochs: f64) -> Length {
        Length {
            examples,
            epochs: Some(epochs),
            accumulation: 1,
        }
    }

    #[test]
    fn the_tightest_bound_is_taken_and_named() {
        for (run, memory, images, why) in [
            (length(1_000_000, 3.0), 123, 120, "what memory takes"),
            (length(1_000_000, 3.0), 5, 5, "what memory takes"),
            (
                length(1_000_000, 3.0),
                9999,
                512,
                "the most that auto takes",
            ),
            (length(1000, 3.0), 9999, 24, "at least 100 updates"),
            (length(20, 3.0), 9999, 8, "at least 100 updates"),
            (length(5, 3000.0), 9999, 5, "all training images"),
        ] {
            let choice = choose(run, &limits(memory));
            assert_eq!(choice.images, images, "{run:?}, {choice:?}");
            assert!(choice.why.starts_with(why) || choice.why.contains(why));
            assert!(choice.why.ends_with("fit in some memory"), "{choice:?}");
        }
    }

    #[test]
    fn accumulated_batches_are_smaller_and_given_updates_bind_nothing() {
        let run = Length {
            accumulation: 4,
            ..length(10_000, 1.5)
        };
        assert_eq!(choose(run, &limits(9999)).images, 32);
        let run = Length {
            epochs: None,
            ..run
        };
        assert_eq!(choose(run, &limits(9999)).images, 512);
    }

    #[test]
    fn where_nothing_fits_the_plan_is_left_to_say_so() {
        let choice = choose(length(1000, 1.0), &limits(0));
        assert_eq!(choice.images, 1);
        assert!(choice.why.contains("not even one fits"), "{choice:?}");
    }

    #[test]
    fn a_cpu_gives_half_of_what_is_free() {
        let mut config = preset("vit_small_patch16_224").unwrap();
        config.set_labels(&["cat", "dog"]);
        let bytes = |images| cost::memory_bytes(&config, images, Pass::Training);
        assert_eq!(Limits::on_cpu(&config, 2 * bytes(20)).memory, 20);
        assert_eq!(Limits::on_cpu(&config, 2 * bytes(20) - 4).memory, 19);
        assert_eq!(Limits::on_cpu(&config, 1 << 20).memory, 0);
    }

    #[test]
    fn auto_or_a_number() {
        assert_eq!("auto".parse(), Ok(BatchSize::Auto));
        assert_eq!("16".parse(), Ok(BatchSize::Images(16)));
        for text in ["0", "-1", "Auto", "sixteen", ""] {
            assert!(text.parse::<BatchSize>().is_err(), "{text}");
        }
        for size in [BatchSize::Auto, BatchSize::Images(8)] {
            assert_eq!(size.to_string().parse(), Ok(size));
        }
    }
}
