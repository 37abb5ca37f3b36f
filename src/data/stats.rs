//! What a data set is made of, found by decoding all of it once.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use super::contents::Contents;
use super::decode::Undecodable;
use super::loader::BadImage;
use super::scan::scan;
use crate::error::Result;
use vitcuda_picture::Rgb;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// One for each split.
    pub splits: Vec<SplitStats>,
    /// Images that are the same picture, pixel by pixel, two or more in a group.
    pub same: Vec<Vec<Member>>,
}

/// One split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitStats {
    pub name: String,
    /// Good and bad images together.
    pub images: usize,
    /// Class names and their images, good and bad.
    pub classes: Vec<(String, usize)>,
    /// Of the good images; `None` when there is none.
    pub width: Option<Range>,
    pub height: Option<Range>,
    pub bad: Vec<BadImage>,
}

/// Sizes in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub least: usize,
    /// The one in the middle when sorted, of two the larger.
    pub median: usize,
    pub most: usize,
}

/// One of several images that are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub split: String,
    pub name: String,
    pub class: String,
}

impl Stats {
    /// Decodes every image of every split; `progress` is told how many are done. An
    /// [`Error::Memory`](crate::Error::Memory) where one cannot be looked at.
    pub fn gather(
        contents: &Contents,
        threads: usize,
        mut progress: impl FnMut(usize),
    ) -> Result<Self> {
        let mut splits = Vec::new();
        let mut done = 0;
        // Members by what their pictures have in common, in the order in which they are found.
        let mut groups: HashMap<Fingerprint, Vec<(usize, usize)>> = HashMap::new();
        for (number, split) in contents.splits.iter().enumerate() {
            let dataset = &split.dataset;
            let (mut bad, mut widths, mut heights) = (Vec::new(), Vec::new(), Vec::new());
            let work = |_, encoded: super::encoded::Encoded| {
                Ok::<_, Undecodable>(Fingerprint::of(&encoded.decode()?))
            };
            for (i, result) in scan(Arc::new(dataset.clone()), threads, work) {
                match result {
                    Ok(fingerprint) => {
                        widths.push(fingerprint.width);
                        heights.push(fingerprint.height);
                        groups.entry(fingerprint).or_default().push((number, i));
                    }
                    Err(reason) => bad.push((i, reason.reason(|| dataset.name(i))?)),
                }
                done += 1;
                progress(done);
            }
            bad.sort_by_key(|(i, _)| *i);
            let counts = dataset.class_counts(split.classes.len());
            splits.push(SplitStats {
                name: split.name.clone(),
                images: dataset.len(),
                classes: split.classes.iter().cloned().zip(counts).collect(),
                width: Range::of(widths),
                height: Range::of(heights),
                bad: bad
                    .into_iter()
                    .map(|(i, reason)| BadImage {
                        name: dataset.name(i),
                        reason,
                    })
                    .collect(),
            });
        }
        let mut same: Vec<_> = groups.into_values().filter(|g| g.len() > 1).collect();
        same.iter_mut().for_each(|group| group.sort_unstable());
        same.sort_unstable();
        let member = |(number, i): (usize, usize)| {
            let split = &contents.splits[number];
            Member {
                split: split.name.clone(),
                name: split.dataset.name(i),
                class: split.classes[split.dataset.label(i) as usize].clone(),
            }
        };
        Ok(Self {
            splits,
            same: same
                .into_iter()
                .map(|group| group.into_iter().map(member).collect())
                .collect(),
        })
    }

    /// Groups of the same picture in more than one split: what is validated on was trained on.
    pub fn leaks(&self) -> impl Iterator<Item = &Vec<Member>> {
        let leaks = |group: &&Vec<Member>| group.iter().any(|m| m.split != group[0].split);
        self.same.iter().filter(leaks)
    }

    /// Groups of the same picture in more than one class.
    pub fn contradictions(&self) -> impl Iterator<Item = &Vec<Member>> {
        let differ = |group: &&Vec<Member>| group.iter().any(|m| m.class != group[0].class);
        self.same.iter().filter(differ)
    }
}

/// A picture's size and a hash of its pixels. Of a million different pictures, two share one with
/// a probability of 3 in 100 million.
#[derive(PartialEq, Eq, Hash)]
struct Fingerprint {
    width: usize,
    height: usize,
    pixels: u64,
}

impl Fingerprint {
    fn of(picture: &Rgb) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(&picture.pixels);
        Self {
            width: picture.width,
            height: picture.height,
            pixels: hasher.finish(),
        }
    }
}

impl Range {
    fn of(mut values: Vec<usize>) -> Option<Self> {
        values.sort_unstable();
        Some(Self {
            least: *values.first()?,
            median: values[values.len() / 2],
            most: *values.last()?,
        })
    }
}
