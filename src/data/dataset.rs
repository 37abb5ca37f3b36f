//! A list of images and their labels; nothing is read until an image is asked for.

use std::path::{Path, PathBuf};

use crate::fnv::fnv1a;

use super::decode::{Undecodable, decode};
use super::digits;
use super::rgb::Rgb;

/// Where one image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    File(PathBuf),
    /// A digit of the embedded set.
    Digit(usize),
}

/// One image and its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    pub origin: Origin,
    /// Class index; 0 in a set without labels, where nothing reads it.
    pub label: u32,
}

/// Images in a fixed order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dataset {
    /// What names are relative to.
    root: PathBuf,
    samples: Vec<Sample>,
}

impl Dataset {
    /// The samples, in the given order; names are paths relative to `root`.
    pub fn new(root: impl Into<PathBuf>, samples: Vec<Sample>) -> Self {
        Self {
            root: root.into(),
            samples,
        }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The folder that names are relative to; empty for the embedded set.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Class index of image `i`.
    pub fn label(&self, i: usize) -> u32 {
        self.samples[i].label
    }

    /// Name of image `i`: its path relative to the data folder, with `/` between the parts.
    pub fn name(&self, i: usize) -> String {
        match &self.samples[i].origin {
            Origin::File(path) => relative_name(&self.root, path),
            Origin::Digit(index) => format!("digit-{index:04}"),
        }
    }

    /// A word for the names and labels in their order; other images, another word.
    pub fn fingerprint(&self) -> String {
        let samples = (0..self.len()).map(|i| format!("{}\t{}\n", self.name(i), self.label(i)));
        format!("{:032x}", fnv1a(samples.collect::<String>().as_bytes()))
    }

    /// The file of image `i`, if it has one of its own.
    pub fn path(&self, i: usize) -> Option<&Path> {
        match &self.samples[i].origin {
            Origin::File(path) => Some(path),
            Origin::Digit(_) => None,
        }
    }

    /// The images at these places, in this order.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        let samples = indices.iter().map(|&i| self.samples[i].clone()).collect();
        Self::new(self.root.clone(), samples)
    }

    /// The same images, each label `l` replaced by `place(l)`.
    pub(super) fn relabel(mut self, place: impl Fn(u32) -> u32) -> Self {
        for sample in &mut self.samples {
            sample.label = place(sample.label);
        }
        self
    }

    /// Images of each class, by class index.
    pub fn class_counts(&self, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        for sample in &self.samples {
            counts[sample.label as usize] += 1;
        }
        counts
    }

    /// Reads and decodes image `i`.
    pub fn image(&self, i: usize) -> Result<Rgb, Undecodable> {
        match &self.samples[i].origin {
            Origin::Digit(index) => Ok(digits::image(*index)),
            Origin::File(path) if path.is_dir() => {
                Err(Undecodable("it is a folder, not an image".into()))
            }
            Origin::File(path) => {
                let bytes = std::fs::read(path)
                    .map_err(|e| Undecodable(format!("it cannot be read: {e}")))?;
                decode(&bytes)
            }
        }
    }
}

/// `path` below `root` with `/` between the parts, or all of it when it lies elsewhere.
pub(super) fn relative_name(root: &Path, path: &Path) -> String {
    match path.strip_prefix(root) {
        Ok(below) if below.components().next().is_some() => below
            .components()
            .map(|part| part.as_os_str().to_string_lossy())
            .collect::<Vec<_>>()
            .join("/"),
        _ => path.display().to_string(),
    }
}
