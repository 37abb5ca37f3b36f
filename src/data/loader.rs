//! Batches, decoded ahead of the model on all cores.
//!
//! Which images there are is settled before the first batch: opening a loader decodes every image
//! once, drops the bad ones and keeps the rest in memory as resized u8, as far as the budget goes.
//! So the epoch's order is drawn over good images only, every batch is full, and none of this
//! depends on timing, on the number of threads or on how much memory there is. A set that fits
//! (at 224 × 224, 7,000 images a gigabyte) is never decoded again; of a larger one, the images
//! beyond the budget are decoded again in every epoch while the model works.
//!
//! Images that are augmented are kept as decoded, in full size (at 500 × 375, 1,900 a gigabyte), and
//! cropped and resized in every epoch while the model works.
//!
//! Rejected: finding bad images as they come up. It starts sooner, but then either batches shrink
//! or the later order depends on what was found.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::augment::{Augmentation, View};
use super::batch::Batch;
use super::cache::default_budget;
use super::dataset::Dataset;
use super::decode::{READ, Undecodable};
use super::encoded::Encoded;
use super::prefetch::Prefetch;
use super::preprocess::Preprocessor;
use super::scan::scan;
use crate::error::{Error, Result};
use vitcuda_picture::Rgb;

/// What to do about images that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BadImages {
    /// Leave them out and list them.
    #[default]
    Skip,
    /// Stop before training, with the list.
    Error,
}

/// An image that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadImage {
    pub name: String,
    pub reason: String,
}

/// How a loader works.
#[derive(Debug, Clone)]
pub struct LoaderOptions {
    pub bad_images: BadImages,
    /// Most bytes of decoded images to keep in memory.
    pub cache_bytes: u64,
    /// Threads that decode.
    pub threads: usize,
    /// In place of the preprocessor's resize and crop.
    pub augmentation: Augmentation,
}

impl Default for LoaderOptions {
    /// Bad images are skipped, a quarter of the memory (at most 8 GiB) holds images, all cores decode.
    fn default() -> Self {
        Self {
            bad_images: BadImages::Skip,
            cache_bytes: default_budget(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            augmentation: Augmentation::None,
        }
    }
}

/// The good images of a data set, ready to be asked for in any order.
pub struct Loader {
    images: Arc<Images>,
    bad: Vec<BadImage>,
    threads: usize,
    /// Nanoseconds that callers have waited for batches.
    waited: Arc<AtomicU64>,
}

/// What the decoding threads share.
struct Images {
    dataset: Dataset,
    preprocessor: Preprocessor,
    augmentation: Augmentation,
    /// Of each image, `None` beyond the budget.
    cache: Vec<Option<Kept>>,
}

/// An image in memory.
enum Kept {
    /// (3, H, W), ready for the model.
    Planes(Box<[u8]>),
    /// As decoded, to be augmented.
    Picture(Rgb),
}

impl Kept {
    fn new(picture: Rgb, preprocessor: &Preprocessor, augmentation: Augmentation) -> Self {
        match augmentation {
            Augmentation::None => Self::Planes(preprocessor.apply(&picture).into_boxed_slice()),
            Augmentation::CropFlip { .. } => Self::Picture(picture),
        }
    }

    fn bytes(&self) -> u64 {
        let bytes = match self {
            Self::Planes(planes) => planes.len(),
            Self::Picture(picture) => picture.pixels.len(),
        };
        bytes as u64
    }
}

impl Loader {
    /// Decodes all of `dataset` once; `progress` is told after each image how many of how many are
    /// done. An error if no image is good, or if one is bad and that was not to be.
    pub fn open(
        dataset: Dataset,
        preprocessor: &Preprocessor,
        options: &LoaderOptions,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Self> {
        let total = dataset.len();
        let (apply, augmentation) = (preprocessor.clone(), options.augmentation);
        // Which images stay beyond the budget is left to chance; what comes out does not show it.
        let room = AtomicU64::new(options.cache_bytes);
        let decode = move |_, encoded: Encoded| {
            let kept = Kept::new(encoded.decode()?, &apply, augmentation);
            let taken = room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| {
                room.checked_sub(kept.bytes())
            });
            Ok::<_, Undecodable>(taken.is_ok().then_some(kept))
        };
        let dataset = Arc::new(dataset);
        let mut decoded: Vec<_> = (0..total).map(|_| None).collect();
        let scan = scan(dataset.clone(), options.threads, decode);
        for (done, (i, result)) in (1..).zip(scan) {
            decoded[i] = Some(result);
            progress(done, total);
        }
        let (mut good, mut cache, mut bad) = (Vec::new(), Vec::new(), Vec::new());
        for (i, result) in decoded.into_iter().enumerate() {
            match result.expect("every image was scanned") {
                Ok(kept) => {
                    good.push(i);
                    cache.push(kept);
                }
                Err(reason) => bad.push(BadImage {
                    reason: reason.reason(|| dataset.name(i))?,
                    name: dataset.name(i),
                }),
            }
        }
        refuse(&dataset, &bad, options.bad_images)?;
        Ok(Self {
            images: Arc::new(Images {
                dataset: dataset.select(&good),
                preprocessor: preprocessor.clone(),
                augmentation,
                cache,
            }),
            bad,
            threads: options.threads,
            waited: Arc::default(),
        })
    }

    /// The good images; what an epoch's order indexes.
    pub fn dataset(&self) -> &Dataset {
        &self.images.dataset
    }

    /// Number of good images.
    pub fn len(&self) -> usize {
        self.dataset().len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.dataset().is_empty()
    }

    /// The images that were left out, in the order of the data set.
    pub fn bad(&self) -> &[BadImage] {
        &self.bad
    }

    /// Bytes of decoded images held in memory.
    pub fn cached_bytes(&self) -> u64 {
        self.images.cache.iter().flatten().map(Kept::bytes).sum()
    }

    /// How long callers have waited in [`Epoch::next`], all epochs together.
    pub fn wait(&self) -> Duration {
        Duration::from_nanos(self.waited.load(Ordering::Relaxed))
    }

    /// What a person should know, a sentence each: bad images, and where the good ones are.
    pub fn notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        if !self.bad.is_empty() {
            let total = self.len() + self.bad.len();
            let count = self.bad.len();
            notices.push(format!(
                "skipped {count} bad of {total} images:{}",
                listed(&self.bad)
            ));
        }
        let held = self.images.cache.iter().flatten().count();
        let mebibytes = self.cached_bytes().div_ceil(1 << 20);
        let size = match self.images.augmentation {
            Augmentation::None => "",
            Augmentation::CropFlip { .. } => ", full size, for random crops",
        };
        notices.push(if held == self.len() {
            format!("{held} decoded images are kept in memory ({mebibytes} MiB{size})")
        } else {
            format!(
                "{held} of {} decoded images are kept in memory ({mebibytes} MiB, the \
                 budget{size}); the others are decoded again each epoch",
                self.len()
            )
        });
        notices
    }

    /// Batches of the images `order` (indices into [`dataset`](Self::dataset)), the last one
    /// short when `batch_size` does not divide their number; panics if it is 0. Augmentation is that
    /// of epoch number `epoch`.
    pub fn epoch(&self, epoch: u64, order: Vec<usize>, batch_size: usize) -> Epoch {
        assert!(batch_size > 0, "batches of no image");
        let unready: Vec<usize> = order
            .iter()
            .copied()
            .filter(|&i| self.images.ready(i).is_none())
            .collect();
        let made = (!unready.is_empty()).then(|| {
            let images = self.images.clone();
            // The batch being asked for and the one after it.
            let window = 2 * batch_size.max(self.threads);
            let count = unready.len();
            let work = move |n: usize| images.make(epoch, unready[n]);
            Prefetch::new(count, window, self.threads, work)
        });
        Epoch {
            images: self.images.clone(),
            order: order.into_iter(),
            batch_size,
            made,
            waited: self.waited.clone(),
        }
    }

    /// All images in the order of the data set, as evaluation wants them.
    pub fn in_order(&self, batch_size: usize) -> Epoch {
        self.epoch(0, (0..self.len()).collect(), batch_size)
    }
}

/// One pass over some images.
pub struct Epoch {
    images: Arc<Images>,
    order: std::vec::IntoIter<usize>,
    batch_size: usize,
    /// The images that are not ready in memory, in order; `None` when all are.
    made: Option<Prefetch<Result<Vec<u8>, Undecodable>>>,
    waited: Arc<AtomicU64>,
}

impl Iterator for Epoch {
    type Item = Result<Batch>;

    /// The next batch; an error if an image has become unreadable since the loader was opened.
    fn next(&mut self) -> Option<Result<Batch>> {
        let start = Instant::now();
        let batch = self.assemble();
        let waited = start.elapsed().as_nanos() as u64;
        self.waited.fetch_add(waited, Ordering::Relaxed);
        batch
            .map(|batch| (!batch.is_empty()).then_some(batch))
            .transpose()
    }
}

impl Epoch {
    fn assemble(&mut self) -> Result<Batch> {
        let mut batch = Batch::default();
        for i in self.order.by_ref().take(self.batch_size) {
            batch.labels.push(self.images.dataset.label(i));
            match self.images.ready(i) {
                Some(planes) => batch.images.extend_from_slice(planes),
                None => {
                    let next = self.made.as_mut().and_then(Iterator::next);
                    let planes = next.expect("every image that is not ready was ordered");
                    batch
                        .images
                        .extend(planes.map_err(|e| self.images.vanished(i, e))?);
                }
            }
        }
        Ok(batch)
    }
}

impl Images {
    /// (3, H, W) of image `i`, if it is in memory as the model wants it.
    fn ready(&self, i: usize) -> Option<&[u8]> {
        match &self.cache[i] {
            Some(Kept::Planes(planes)) => Some(planes),
            Some(Kept::Picture(_)) | None => None,
        }
    }

    /// The same where it is not.
    fn make(&self, epoch: u64, i: usize) -> Result<Vec<u8>, Undecodable> {
        let picture = match &self.cache[i] {
            Some(Kept::Picture(picture)) => Cow::Borrowed(picture),
            _ => Cow::Owned(self.dataset.image(i)?),
        };
        Ok(match self.augmentation {
            Augmentation::None => self.preprocessor.apply(&picture),
            Augmentation::CropFlip { seed } => {
                let view = View::draw(seed, epoch, i, picture.width, picture.height);
                let size = self.preprocessor.output_size();
                view.of(&picture, size, self.preprocessor.filter)
            }
        })
    }

    fn vanished(&self, i: usize, reason: Undecodable) -> Error {
        let name = self.dataset.name(i);
        let reason = match reason.reason(|| name.clone()) {
            Ok(reason) => reason,
            Err(short_of_memory) => return short_of_memory,
        };
        Error::data(
            self.dataset.path(i).unwrap_or(name.as_ref()),
            format!("it could be decoded when the run started, and now: {reason}"),
            "leave the images alone while they are in use",
        )
    }
}

fn refuse(dataset: &Dataset, bad: &[BadImage], policy: BadImages) -> Result<()> {
    let total = dataset.len();
    let problem = match policy {
        _ if total == 0 => "there are no images".into(),
        _ if bad.len() == total => {
            format!("none of the {total} images can be used:{}", listed(bad))
        }
        BadImages::Error if !bad.is_empty() => {
            format!("{} of {total} images are bad:{}", bad.len(), listed(bad))
        }
        _ => return Ok(()),
    };
    let help = if bad.len() == total {
        format!("{READ} files are read, whatever their names")
    } else {
        "repair or remove them, or leave them out with --bad-images skip".into()
    };
    let place = if dataset.root().as_os_str().is_empty() {
        Path::new("images")
    } else {
        dataset.root()
    };
    Err(Error::data(place, problem, help))
}

/// A line for each of the first twenty, and how many more there are.
fn listed(bad: &[BadImage]) -> String {
    const SHOWN: usize = 20;
    let mut lines: String = bad
        .iter()
        .take(SHOWN)
        .map(|BadImage { name, reason }| format!("\n  {name}: {reason}"))
        .collect();
    if bad.len() > SHOWN {
        lines += &format!("\n  and {} more", bad.len() - SHOWN);
    }
    lines
}
