//! Images for the training loop and for evaluation.

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use super::Global;
use vitcuda::Result;
use vitcuda::data::{Augmentation, BadImages, Dataset, Loader, LoaderOptions, Preprocessor};

/// What `--bad-images` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BadImagesArg {
    Skip,
    Error,
}

impl From<BadImagesArg> for BadImages {
    fn from(argument: BadImagesArg) -> Self {
        match argument {
            BadImagesArg::Skip => Self::Skip,
            BadImagesArg::Error => Self::Error,
        }
    }
}

/// Decodes `dataset` once, behind a progress bar called `what`; training images are augmented in each
/// epoch.
pub fn open(
    what: &'static str,
    dataset: Dataset,
    preprocessor: &Preprocessor,
    bad_images: BadImagesArg,
    augmentation: Augmentation,
    global: &Global,
) -> Result<Loader> {
    let options = LoaderOptions {
        bad_images: bad_images.into(),
        threads: global.decoding_threads(),
        augmentation,
        ..LoaderOptions::default()
    };
    let bar = progress_bar(what, dataset.len(), global);
    let progress = |done, _| bar.set_position(done as u64);
    let loader = Loader::open(dataset, preprocessor, &options, progress);
    bar.finish_and_clear();
    loader
}

/// A bar of `total` images, called `what`; hidden from those who asked for quiet.
pub fn progress_bar(what: &'static str, total: usize, global: &Global) -> ProgressBar {
    let bar = if global.quiet {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(total as u64)
    };
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}");
    bar.set_style(style.expect("a valid template"));
    bar.set_message(what);
    bar
}
