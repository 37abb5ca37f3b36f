//! Random changes to training images, drawn from (seed, epoch, image) alone: neither threads nor
//! batches nor the place where a run was resumed have a say in them.

use super::preprocess::Size;
use super::resize::{Axis, Filter, resize};
use crate::rng::{Philox, Purpose};
use vitcuda_picture::Rgb;

/// Share of the picture's area that a crop is to have.
const SCALE: (f64, f64) = (0.08, 1.0);

/// Width over height of a crop.
const RATIO: (f64, f64) = (3.0 / 4.0, 4.0 / 3.0);

/// Draws before the middle of the picture is taken.
const TRIES: usize = 10;

/// What is done to training images, in every epoch anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Augmentation {
    #[default]
    None,
    /// torchvision's `RandomResizedCrop` and `RandomHorizontalFlip`, what Hugging Face's
    /// `run_image_classification.py` does, under this seed.
    CropFlip { seed: u64 },
}

/// Which side is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Facing {
    AsTaken,
    Mirrored,
}

/// A rectangle of a picture, in its pixels, and how it is turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    pub top: usize,
    pub left: usize,
    pub height: usize,
    pub width: usize,
    pub facing: Facing,
}

impl View {
    /// The view of image number `image` in epoch `epoch` for a picture of `width` × `height`:
    /// `RandomResizedCrop.get_params` of torchvision 0.20, then heads or tails.
    ///
    /// The area is uniform in 8 % to 100 % of the picture's, the logarithm of the aspect ratio in
    /// ln 3/4 to ln 4/3. Rectangles that do not fit are drawn again; after ten, the largest one in the
    /// middle with an aspect ratio within these bounds is taken.
    pub fn draw(seed: u64, epoch: u64, image: usize, width: usize, height: usize) -> Self {
        let mut random = Philox::new(seed, Purpose::Augment, epoch << 32 | image as u64);
        let facing = match random.next_u32() & 1 {
            0 => Facing::AsTaken,
            _ => Facing::Mirrored,
        };
        let area = (width * height) as f64;
        let mut between = |(low, high): (f64, f64)| low + (high - low) * random.uniform();
        let (ln_low, ln_high) = (RATIO.0.ln(), RATIO.1.ln());
        let drawn = (0..TRIES).find_map(|_| {
            let target = area * between(SCALE);
            let ratio = between((ln_low, ln_high)).exp();
            let w = (target * ratio).sqrt().round_ties_even() as usize;
            let h = (target / ratio).sqrt().round_ties_even() as usize;
            let fits = (1..=width).contains(&w) && (1..=height).contains(&h);
            fits.then_some((w, h))
        });
        let Some((w, h)) = drawn else {
            return Self::middle(width, height, facing);
        };
        let mut place = |room: usize| (random.uniform() * (room + 1) as f64) as usize;
        Self {
            top: place(height - h),
            left: place(width - w),
            height: h,
            width: w,
            facing,
        }
    }

    fn middle(width: usize, height: usize, facing: Facing) -> Self {
        let ratio = width as f64 / height as f64;
        let (w, h) = if ratio < RATIO.0 {
            (width, (width as f64 / RATIO.0).round_ties_even() as usize)
        } else if ratio > RATIO.1 {
            ((height as f64 * RATIO.1).round_ties_even() as usize, height)
        } else {
            (width, height)
        };
        Self {
            top: (height - h) / 2,
            left: (width - w) / 2,
            height: h,
            width: w,
            facing,
        }
    }

    /// What is seen of `image`, resized to `size`: (3, H, W).
    ///
    /// # Panics
    /// If the view reaches beyond the image.
    pub fn of(&self, image: &Rgb, size: Size, filter: Filter) -> Vec<u8> {
        let rows = image.pixels.chunks_exact(3 * image.width);
        let rows = rows.skip(self.top).take(self.height);
        let columns = 3 * self.left..3 * (self.left + self.width);
        let pixels = rows.flat_map(|row| &row[columns.clone()]).copied();
        let crop = Rgb::new(self.width, self.height, pixels.collect());
        let (columns, rows) = (Axis::whole(size.width), Axis::whole(size.height));
        let mut planes = resize(&crop, &columns, &rows, filter);
        if self.facing == Facing::Mirrored {
            planes
                .chunks_exact_mut(size.width)
                .for_each(<[u8]>::reverse);
        }
        planes
    }
}
