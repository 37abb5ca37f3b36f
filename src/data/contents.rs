//! What a source holds, before anything is drawn from it: named splits, each labelled.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::columns::nearest;
use super::dataset::Dataset;
use super::folder::some_of;
use super::source::Splits;
use crate::error::{Error, Result};

/// Names of the split to train on, in order of preference.
const TRAIN: [&str; 2] = ["train", "training"];

/// Names of the split to validate on, in order of preference.
const VALIDATION: [&str; 5] = ["validation", "val", "valid", "dev", "test"];

/// All splits of a source.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Contents {
    pub splits: Vec<Split>,
    /// Columns and their types, where the source is a table.
    pub features: Vec<(String, String)>,
    /// What was left out and what looks odd, a sentence each.
    pub notices: Vec<String>,
}

/// One split, with class names of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    pub name: String,
    /// The folder or file it was read from, for messages.
    pub place: PathBuf,
    /// Class names by label index.
    pub classes: Vec<String>,
    pub dataset: Dataset,
}

impl Split {
    /// The classes with images, or those without.
    fn classes_where(&self, has: fn(usize) -> bool) -> Vec<String> {
        let counts = self.dataset.class_counts(self.classes.len());
        let named = std::iter::zip(&self.classes, counts);
        named
            .filter(|(_, count)| has(*count))
            .map(|(name, _)| name.clone())
            .collect()
    }
}

impl Contents {
    /// Names of the splits.
    pub fn names(&self) -> Vec<String> {
        self.splits.iter().map(|split| split.name.clone()).collect()
    }

    /// Place of the split called `name`, which was given with `flag`.
    pub fn called(&self, flag: &str, name: &str) -> Result<usize> {
        let names = self.names();
        names.iter().position(|n| n == name).ok_or_else(|| {
            let problem = format!("there is no split `{name}` ({flag})");
            let help = match nearest(name, &names) {
                Some(nearest) => format!("did you mean `{nearest}`? "),
                None => String::new(),
            };
            Error::usage(problem, format!("{help}the splits are {}", some_of(&names)))
        })
    }

    /// Place of the split to train on: the one that was named, the usual one, or the only one.
    pub fn train(&self, root: &Path, named: Option<&str>) -> Result<usize> {
        if let Some(name) = named {
            return self.called("--train-split", name);
        }
        let usual = TRAIN.iter().find_map(|name| self.position(name));
        match (usual, self.splits.len()) {
            (Some(train), _) => Ok(train),
            (None, 1) => Ok(0),
            (None, _) => Err(Error::data(
                root,
                format!(
                    "no split is called train; it has {}",
                    some_of(&self.names())
                ),
                "name the one to train on with --train-split",
            )),
        }
    }

    /// Place of the split to validate on, if there is one: the one that was named, or the usual.
    pub fn validation(
        &self,
        root: &Path,
        named: Option<&str>,
        train: usize,
    ) -> Result<Option<usize>> {
        let Some(name) = named else {
            return Ok(self.usual_validation(Some(train)));
        };
        let found = self.called("--eval-split", name)?;
        if found == train {
            Err(Error::usage(
                format!("{}: `{name}` is trained on already", root.display()),
                "name another --eval-split, or leave it out to set a share of it aside",
            ))
        } else {
            Ok(Some(found))
        }
    }

    /// Place of the split with a usual name for validation, other than `train`.
    pub fn usual_validation(&self, train: Option<usize>) -> Option<usize> {
        let mut names = VALIDATION.iter();
        names.find_map(|name| self.position(name).filter(|&i| Some(i) != train))
    }

    /// Takes over the split to validate on of another source: the one that was named, the usual one,
    /// or the only one. Gives its place here.
    pub fn take(&mut self, other: Self, root: &Path, named: Option<&str>) -> Result<usize> {
        let place = match (named, other.usual_validation(None)) {
            (Some(name), _) => other.called("--eval-split", name)?,
            (None, Some(usual)) => usual,
            (None, None) if other.splits.len() == 1 => 0,
            (None, None) => {
                return Err(Error::data(
                    root,
                    format!(
                        "no split is called validation; it has {}",
                        some_of(&other.names())
                    ),
                    "name the one to evaluate on with --eval-split",
                ));
            }
        };
        self.notices.extend(other.notices);
        self.splits.extend(other.splits.into_iter().nth(place));
        Ok(self.splits.len() - 1)
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.splits.iter().position(|split| split.name == name)
    }

    /// One split, and another one labelled by the classes of the first. A class that only the
    /// other has is an [`Error::Data`].
    pub fn joined(mut self, train: usize, validation: Option<usize>) -> Result<Splits> {
        let mut notices = std::mem::take(&mut self.notices);
        let train = self.splits[train].clone();
        let untrained = train.classes_where(|count| count == 0);
        if !untrained.is_empty() {
            notices.push(format!("no training images of {}", quoted(&untrained)));
        }
        let validation = match validation {
            None => Dataset::default(),
            Some(place) => {
                let other = self.splits.swap_remove(place);
                relabelled(other, &train, &mut notices)?
            }
        };
        Ok(Splits {
            classes: train.classes,
            train: train.dataset,
            validation,
            notices,
        })
    }
}

/// The images of `other`, labelled by the classes of `train`.
fn relabelled(other: Split, train: &Split, notices: &mut Vec<String>) -> Result<Dataset> {
    let found = other.classes_where(|count| count > 0);
    let lacking = |names: &[String], others: &[String]| -> Vec<String> {
        let others: HashSet<&String> = others.iter().collect();
        let lacks = |name: &&String| !others.contains(name);
        names.iter().filter(lacks).cloned().collect()
    };
    let unknown = lacking(&found, &train.classes);
    let untested = lacking(&train.classes, &found);
    if !unknown.is_empty() {
        let but = if untested.is_empty() {
            String::new()
        } else {
            format!(" (but not {})", quoted(&untested))
        };
        return Err(Error::data(
            &other.place,
            format!(
                "has classes without training images: {}{but}",
                quoted(&unknown)
            ),
            "give the classes the same names in both parts",
        ));
    }
    if !untested.is_empty() {
        notices.push(format!("no validation images of {}", quoted(&untested)));
    }
    let known = places(&train.classes);
    let places: Vec<Option<u32>> = other
        .classes
        .iter()
        .map(|c| known.get(c).copied())
        .collect();
    Ok(other
        .dataset
        .relabel(|label| places[label as usize].expect("unknown classes were refused")))
}

/// The index of each class name; of equal names, of which a table may have some, the first.
pub(super) fn places(classes: &[String]) -> HashMap<&String, u32> {
    let mut places = HashMap::new();
    for (name, place) in classes.iter().zip(0..) {
        places.entry(name).or_insert(place);
    }
    places
}

fn quoted(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    some_of(&quoted)
}
