//! From what the person named to labelled data sets.

use std::path::{Path, PathBuf};

use super::dataset::{Dataset, Origin, Sample};
use super::folder::{self, ClassFolders, Layout, some_of};
use super::{digits, split};
use crate::error::{Error, Result};

/// Where images come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The handwritten digits inside the binary.
    Digits,
    /// A folder of class folders, with or without `train/` and `validation/` inside.
    Folder(PathBuf),
}

/// What to train and validate on.
#[derive(Debug, Clone, PartialEq)]
pub struct DataSpec {
    pub source: Source,
    /// Train on this many images, drawn by `seed`.
    pub train_samples: Option<usize>,
    /// Validate on this many images, drawn by `seed`.
    pub eval_samples: Option<usize>,
    /// Share of each class held back where the source has no validation part of its own and no
    /// count is asked for; 0.15 in `run_image_classification`.
    pub validation_fraction: f64,
    pub seed: u64,
}

impl DataSpec {
    /// All of `source`, split by the default fraction where it is not split already.
    pub fn new(source: Source) -> Self {
        Self {
            source,
            train_samples: None,
            eval_samples: None,
            validation_fraction: 0.15,
            seed: 42,
        }
    }
}

/// A training and a validation set.
#[derive(Debug, Clone, PartialEq)]
pub struct Splits {
    /// Class names by label index, sorted by bytes.
    pub classes: Vec<String>,
    pub train: Dataset,
    pub validation: Dataset,
    /// What a person should know about the data, a sentence each.
    pub notices: Vec<String>,
}

/// One labelled set.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    /// Class names by label index, sorted by bytes.
    pub classes: Vec<String>,
    pub dataset: Dataset,
    pub notices: Vec<String>,
}

/// Which part of a source to open alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The training part, or everything where the source is not split.
    Train,
    /// The validation part, or everything where the source is not split.
    Validation,
}

/// Opens a source for training.
///
/// * A source with parts of its own keeps them; counts draw from each part, as Python's
///   `random.seed(seed); random.sample(range(n), count)`.
/// * Of one without, counts draw both parts ([`split::sampled`]; the count not given is the
///   validation fraction, or for training all the rest); without counts the fraction of each class
///   validates ([`split::stratified`]).
///
/// The classes are those of the training part. A class folder without images is dropped and said;
/// a class that only the validation part has, or a single class, is an error.
pub fn open(spec: &DataSpec) -> Result<Splits> {
    let (mut splits, is_split) = match &spec.source {
        Source::Digits => (open_digits()?, true),
        Source::Folder(root) => match folder::read(root)? {
            Layout::Split { train, validation } => (both_parts(root, train, validation)?, true),
            Layout::Whole(folders) => {
                let whole = labelled(root, folders);
                let splits = Splits {
                    classes: whole.classes,
                    train: whole.dataset,
                    validation: Dataset::default(),
                    notices: whole.notices,
                };
                (splits, false)
            }
        },
    };
    if let (Source::Folder(root), [only]) = (&spec.source, &splits.classes[..]) {
        return Err(Error::data(
            root,
            format!("there is a single class, `{only}`"),
            "a classifier needs two classes at least: a folder for each",
        ));
    }
    match is_split {
        true => draw_from_parts(&mut splits, spec)?,
        false => split_whole(&mut splits, spec)?,
    }
    Ok(splits)
}

/// Opens one part of a source, for evaluation. A single class is fine here.
pub fn open_part(source: &Source, part: Part) -> Result<Labelled> {
    let choose = |splits: Splits| Labelled {
        dataset: match part {
            Part::Train => splits.train,
            Part::Validation => splits.validation,
        },
        classes: splits.classes,
        notices: splits.notices,
    };
    match source {
        Source::Digits => Ok(choose(open_digits()?)),
        Source::Folder(root) => match folder::read(root)? {
            Layout::Whole(folders) => Ok(labelled(root, folders)),
            Layout::Split { train, validation } => Ok(choose(both_parts(root, train, validation)?)),
        },
    }
}

/// Opens images without labels: files, and folders with all the images in them, in the order
/// given. Files are taken whatever their name; a missing one is an error.
pub fn open_unlabelled(paths: &[PathBuf]) -> Result<(Dataset, Vec<String>)> {
    let mut files = Vec::new();
    let mut notices = Vec::new();
    for path in paths {
        if path.is_dir() {
            let (found, said) = folder::read_images(path)?;
            files.extend(found);
            notices.extend(said);
        } else if path.exists() {
            files.push(path.clone());
        } else {
            let help = "name image files, or folders that hold images";
            return Err(Error::data(path, "there is no such file or folder", help));
        }
    }
    let root = match paths {
        [folder] if folder.is_dir() => folder.as_path(),
        _ => Path::new(""),
    };
    Ok((Dataset::new(root, samples(files, 0).collect()), notices))
}

impl Labelled {
    /// The same set with labels that index `classes` (a model's), matched by name. A class that
    /// is not among them is an [`Error::Data`].
    pub fn with_classes(mut self, classes: &[String], root: &Path) -> Result<Self> {
        let place = |name: &String| classes.iter().position(|known| known == name);
        let places: Vec<Option<usize>> = self.classes.iter().map(place).collect();
        let unknown: Vec<String> = std::iter::zip(&self.classes, &places)
            .filter(|(_, place)| place.is_none())
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        if !unknown.is_empty() {
            return Err(Error::data(
                root,
                format!("the model has no class {}", some_of(&unknown)),
                format!("its classes are {}", some_of(classes)),
            ));
        }
        self.dataset = self
            .dataset
            .relabel(|label| places[label as usize].expect("unknown classes were refused") as u32);
        self.classes = classes.to_vec();
        Ok(self)
    }
}

/// The same for everyone: a fifth of each digit validates.
fn open_digits() -> Result<Splits> {
    let whole = digits::dataset();
    let labels: Vec<u32> = (0..whole.len()).map(|i| whole.label(i)).collect();
    let parts = split::stratified(&labels, 0.2, 0)?;
    Ok(Splits {
        classes: digits::classes(),
        train: whole.select(&parts.train),
        validation: whole.select(&parts.validation),
        notices: Vec::new(),
    })
}

fn samples(files: Vec<PathBuf>, label: u32) -> impl Iterator<Item = Sample> {
    files.into_iter().map(move |file| Sample {
        origin: Origin::File(file),
        label,
    })
}

/// Labels by place among the classes that have images.
fn labelled(root: &Path, mut folders: ClassFolders) -> Labelled {
    let mut notices = std::mem::take(&mut folders.notices);
    notices.extend(drop_empty(&mut folders));
    let classes: Vec<String> = folders.classes.keys().cloned().collect();
    let all = std::iter::zip(0.., folders.classes.into_values());
    let all = all
        .flat_map(|(label, files)| samples(files, label))
        .collect();
    Labelled {
        classes,
        dataset: Dataset::new(root, all),
        notices,
    }
}

fn drop_empty(folders: &mut ClassFolders) -> Option<String> {
    let is_empty = |(_, files): &(&String, &Vec<PathBuf>)| files.is_empty();
    let empty: Vec<String> = folders
        .classes
        .iter()
        .filter(is_empty)
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    folders.classes.retain(|_, files| !files.is_empty());
    (!empty.is_empty()).then(|| {
        let folder = folders.folder.display();
        format!(
            "class folders without images in {folder}: {}",
            some_of(&empty)
        )
    })
}

fn both_parts(root: &Path, train: ClassFolders, mut validation: ClassFolders) -> Result<Splits> {
    let train = labelled(root, train);
    let mut notices = train.notices;
    notices.append(&mut validation.notices);
    notices.extend(drop_empty(&mut validation));
    let lacking = |names: &[String], others: &[String]| -> Vec<String> {
        let lacks = |name: &&String| !others.contains(name);
        names
            .iter()
            .filter(lacks)
            .map(|name| format!("`{name}`"))
            .collect()
    };
    let found: Vec<String> = validation.classes.keys().cloned().collect();
    let unknown = lacking(&found, &train.classes);
    if !unknown.is_empty() {
        let missing = lacking(&train.classes, &found);
        let but = match missing.is_empty() {
            true => String::new(),
            false => format!(" (but not {})", some_of(&missing)),
        };
        return Err(Error::data(
            &validation.folder,
            format!(
                "has classes without training images: {}{but}",
                some_of(&unknown)
            ),
            "give the class folders the same names in both parts",
        ));
    }
    let untested = lacking(&train.classes, &found);
    if !untested.is_empty() {
        notices.push(format!("no validation images of {}", some_of(&untested)));
    }
    let mut all = Vec::new();
    for (name, files) in validation.classes {
        let place = train.classes.binary_search(&name);
        let label = place.expect("unknown classes were refused") as u32;
        all.extend(samples(files, label));
    }
    Ok(Splits {
        classes: train.classes,
        train: train.dataset,
        validation: Dataset::new(root, all),
        notices,
    })
}

fn draw_from_parts(splits: &mut Splits, spec: &DataSpec) -> Result<()> {
    for (part, count, flag) in [
        (&mut splits.train, spec.train_samples, "--train-samples"),
        (&mut splits.validation, spec.eval_samples, "--eval-samples"),
    ] {
        if let Some(count) = count {
            *part = part.select(&split::sample(part.len(), count, spec.seed, flag)?);
        }
    }
    Ok(())
}

fn split_whole(splits: &mut Splits, spec: &DataSpec) -> Result<()> {
    let whole = std::mem::take(&mut splits.train);
    let n = whole.len();
    let parts = match (spec.train_samples, spec.eval_samples) {
        (None, None) => {
            let labels: Vec<u32> = (0..n).map(|i| whole.label(i)).collect();
            split::stratified(&labels, spec.validation_fraction, spec.seed)?
        }
        (Some(train), Some(validation)) => split::sampled(n, train, validation, spec.seed)?,
        (Some(train), None) => {
            let wanted = split::share(n, spec.validation_fraction)?;
            let validation = wanted.min(n.saturating_sub(train)).max(1);
            split::sampled(n, train, validation, spec.seed)?
        }
        (None, Some(validation)) => {
            let train = n.saturating_sub(validation).max(1);
            split::sampled(n, train, validation, spec.seed)?
        }
    };
    splits.train = whole.select(&parts.train);
    splits.validation = whole.select(&parts.validation);
    if splits.validation.is_empty() {
        splits
            .notices
            .push("each class has one image: none is left for validation".into());
    }
    Ok(())
}
