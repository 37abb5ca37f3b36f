//! The seam between the training loop and the images.

use crate::data::{Batch, Loader};
use crate::error::Result;

/// Labelled images that can be had in any order.
pub trait BatchSource {
    /// Number of images.
    fn len(&self) -> usize;

    /// Whether there is no image.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Images of each of so many classes.
    fn class_counts(&self, classes: usize) -> Vec<usize>;

    /// The images numbered `order`, in that order, in ⌈order / `batch_size`⌉ batches, the last one
    /// perhaps short. Batches are made ahead; the time `next` blocks is the time the model waits.
    ///
    /// Images that are augmented are so as in epoch number `epoch`, whatever their place in `order`.
    fn batches(&self, epoch: u64, order: Vec<usize>, batch_size: usize) -> Batches<'_>;
}

/// Batches of a pass over some images.
pub type Batches<'a> = Box<dyn Iterator<Item = Result<Batch>> + 'a>;

impl BatchSource for Loader {
    fn len(&self) -> usize {
        Loader::len(self)
    }

    fn class_counts(&self, classes: usize) -> Vec<usize> {
        self.dataset().class_counts(classes)
    }

    fn batches(&self, epoch: u64, order: Vec<usize>, batch_size: usize) -> Batches<'_> {
        Box::new(self.epoch(epoch, order, batch_size))
    }
}
