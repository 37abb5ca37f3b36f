//! A list of images and their labels; nothing is read until an image is asked for.

use std::path::{Path, PathBuf};

use crate::fnv::fnv1a;

use super::decode::Undecodable;
use super::encoded::Reader;
use super::table::TableRows;
use vitcuda_picture::Rgb;

/// Where one image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    File(PathBuf),
    /// A row of a Parquet or Arrow file.
    Row(TableRows, usize),
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

    /// Name of image `i`: its path relative to the data folder, with `/` between the parts; of a
    /// row `FILE#COLUMN[ROW]`.
    pub fn name(&self, i: usize) -> String {
        match &self.samples[i].origin {
            Origin::File(path) => relative_name(&self.root, path),
            Origin::Row(rows, row) => {
                let file = relative_name(&self.root, rows.path());
                row_name(&file, rows.column(), *row)
            }
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
            Origin::Row(..) | Origin::Digit(_) => None,
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

    /// Where image `i` comes from.
    pub fn origin(&self, i: usize) -> &Origin {
        &self.samples[i].origin
    }

    /// Reads and decodes image `i`.
    pub fn image(&self, i: usize) -> Result<Rgb, Undecodable> {
        Reader::default().read(self.origin(i)).decode()
    }

    /// All indices in the order in which reading them is cheapest: rows of a file as they are
    /// stored, everything else as it comes.
    pub(super) fn storage_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by_key(|&i| match self.origin(i) {
            Origin::Row(rows, row) => Some((rows.path(), *row)),
            Origin::File(_) | Origin::Digit(_) => None,
        });
        order
    }
}

/// How a row is named, also in manifests.
pub(super) fn row_name(file: &str, column: &str, row: usize) -> String {
    format!("{file}#{column}[{row}]")
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
