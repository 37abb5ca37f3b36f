//! From what the person named to labelled data sets.

use std::fmt;
use std::path::{Path, PathBuf};

use super::columns::Columns;
use super::contents::{Contents, Split, places};
use super::dataset::{Dataset, Origin, Sample};
use super::folder;
pub use super::folder::some_of;
use super::manifest::{self, Manifest, metadata};
use super::shards::{self, Shards};
use super::{digits, split};
use crate::error::{Error, Result};

/// Where images come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The handwritten digits inside the binary.
    Digits,
    /// A folder of class folders, with or without `train/` and `validation/` inside.
    Folder(PathBuf),
    /// Parquet files with images in a column.
    Parquet(Shards),
    /// A table of image files and their classes.
    Manifest(Manifest),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digits => f.write_str("the embedded digits"),
            Self::Parquet(shards) => f.write_str(&shards.name),
            _ => self.root().display().fmt(f),
        }
    }
}

impl Source {
    /// What lies at `path`: a Parquet file or a folder of them, a manifest, or a folder of class
    /// folders. A path that leads nowhere is left to the reader of folders, who says so.
    ///
    /// [`Error::Usage`] for `columns` of what has none.
    pub fn find(path: &Path, columns: &Columns) -> Result<Self> {
        if let Some(shards) = Shards::find(path, columns)? {
            return Ok(Self::Parquet(shards));
        }
        if manifest::is_manifest(path) {
            return Ok(Self::Manifest(Manifest::new(path, columns)));
        }
        if let Some(manifest) = metadata::find(path, columns)? {
            return Ok(Self::Manifest(manifest));
        }
        if columns == &Columns::default() {
            Ok(Self::Folder(path.to_owned()))
        } else {
            Err(Error::usage(
                format!(
                    "--image-column and --label-column: {} is no table and has no columns",
                    path.display()
                ),
                "leave them out, or name Parquet files or a manifest (.csv, .tsv, .jsonl)",
            ))
        }
    }

    /// The path that was named; empty for the embedded set.
    pub fn root(&self) -> &Path {
        match self {
            Self::Digits => Path::new(""),
            Self::Folder(root) => root,
            Self::Parquet(shards) => &shards.root,
            Self::Manifest(manifest) => &manifest.path,
        }
    }

    /// All that it holds. An image without a label is left out and said.
    pub fn contents(&self) -> Result<Contents> {
        match self {
            Self::Digits => Ok(digit_contents()),
            Self::Folder(root) => folder::contents(root),
            Self::Parquet(shards) => shards::contents(shards),
            Self::Manifest(manifest) => manifest::contents(manifest),
        }
    }
}

/// What to train and validate on.
#[derive(Debug, Clone, PartialEq)]
pub struct DataSpec {
    pub source: Source,
    /// Where the images to validate on are, if not in `source`.
    pub validation: Option<Source>,
    /// The split to train on; `train` where none is named, or the only one.
    pub train_split: Option<String>,
    /// The split to validate on; `validation` or `test` where none is named.
    pub eval_split: Option<String>,
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
            validation: None,
            train_split: None,
            eval_split: None,
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
    /// Class names by label index: in the order the source gives, or else sorted by bytes.
    pub classes: Vec<String>,
    pub train: Dataset,
    pub validation: Dataset,
    /// What a person should know about the data, a sentence each.
    pub notices: Vec<String>,
}

/// One labelled set.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    /// Class names by label index: in the order the source gives, or else sorted by bytes.
    pub classes: Vec<String>,
    pub dataset: Dataset,
    pub notices: Vec<String>,
}

/// Which part of a source to open alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The training part, or everything where the source is not split.
    Train,
    /// The validation part, or everything where the source is not split.
    Validation,
    /// The split of this name.
    Named(String),
}

/// Opens a source for training.
///
/// * A source with parts of its own keeps them; counts draw from each part, as Python's
///   `random.seed(seed); random.sample(range(n), count)`.
/// * Of one without, counts draw both parts ([`split::sampled`]; the count not given is the
///   validation fraction, or for training all the rest); without counts the fraction of each class
///   validates ([`split::stratified`]).
///
/// The classes are those of the training part. A class that only the validation part has, or a
/// single class, is an error.
pub fn open(spec: &DataSpec) -> Result<Splits> {
    let root = spec.source.root();
    let mut contents = spec.source.contents()?;
    let train = contents.train(root, spec.train_split.as_deref())?;
    let named = spec.eval_split.as_deref();
    let validation = match &spec.validation {
        None => contents.validation(root, named, train)?,
        Some(elsewhere) => Some(contents.take(elsewhere.contents()?, elsewhere.root(), named)?),
    };
    let names = contents.names();
    let unused = |i: &usize| *i != train && Some(*i) != validation;
    let unused: Vec<String> = (0..names.len())
        .filter(unused)
        .map(|i| names[i].clone())
        .collect();
    if !unused.is_empty() {
        let listed = some_of(&unused);
        contents
            .notices
            .push(format!("splits that are not used: {listed}"));
    }
    if let (Some(place), None) = (validation, &spec.eval_split)
        && names[place] == "test"
    {
        contents.notices.push(
            "there is no validation split: `test` is evaluated on while training and picks the best \
             checkpoint, so that its accuracy is no longer that of unseen photos; where DATA is the \
             train part alone, a share of it is set aside instead"
                .into(),
        );
    }
    let mut splits = contents.joined(train, validation)?;
    if let [only] = &splits.classes[..] {
        return Err(Error::data(
            root,
            format!("there is a single class, `{only}`"),
            match spec.source {
                Source::Folder(_) => "a classifier needs two classes at least: a folder for each",
                _ => "a classifier needs two classes at least",
            },
        ));
    }
    match validation {
        Some(_) => draw_from_parts(&mut splits, spec)?,
        None => split_whole(&mut splits, spec)?,
    }
    Ok(splits)
}

/// Opens one part of a source, for evaluation. A single class is fine here.
pub fn open_part(source: &Source, part: Part) -> Result<Labelled> {
    let root = source.root();
    let contents = source.contents()?;
    let (train, other) = match part {
        Part::Named(name) => (contents.called("--split", &name)?, None),
        Part::Train => (contents.train(root, None)?, None),
        Part::Validation => match contents.usual_validation(None) {
            Some(validation) => (
                contents.train(root, None).unwrap_or(validation),
                Some(validation),
            ),
            None => (contents.train(root, None)?, None),
        },
    };
    // A validation part is labelled by the classes of the training part, as in training.
    let other = other.filter(|&other| other != train);
    let splits = contents.joined(train, other)?;
    Ok(Labelled {
        classes: splits.classes,
        dataset: match other {
            Some(_) => splits.validation,
            None => splits.train,
        },
        notices: splits.notices,
    })
}

/// Opens images without labels, in the order given: files (as [`Source::Folder`]), folders with all
/// the images in them, and tables. Files are taken whatever their name; a missing one is an error.
pub fn open_unlabelled(sources: &[Source]) -> Result<(Dataset, Vec<String>)> {
    let mut samples = Vec::new();
    let mut notices = Vec::new();
    for source in sources {
        let path = source.root();
        match source {
            Source::Digits => {
                let digits = digits::dataset();
                let origins = (0..digits.len()).map(|i| digits.origin(i).clone());
                samples.extend(unlabelled(origins));
            }
            Source::Parquet(shards) => samples.extend(unlabelled(shards::images(shards)?)),
            Source::Manifest(manifest) if path.exists() => {
                samples.extend(unlabelled(manifest::images(manifest)?));
            }
            Source::Folder(folder) if folder.is_dir() => {
                let (found, said) = folder::read_images(folder)?;
                samples.extend(unlabelled(found.into_iter().map(Origin::File)));
                notices.extend(said);
            }
            Source::Folder(file) if file.exists() => {
                samples.extend(unlabelled([Origin::File(file.clone())]));
            }
            Source::Folder(_) | Source::Manifest(_) => {
                let help = "name image files, folders that hold images, Parquet files or manifests";
                return Err(Error::data(path, "there is no such file or folder", help));
            }
        }
    }
    let root = match sources {
        [folder] if folder.root().is_dir() => folder.root(),
        _ => Path::new(""),
    };
    Ok((Dataset::new(root, samples), notices))
}

fn unlabelled(origins: impl IntoIterator<Item = Origin>) -> impl Iterator<Item = Sample> {
    let labelled = |origin| Sample { origin, label: 0 };
    origins.into_iter().map(labelled)
}

impl Labelled {
    /// The same set with labels that index `classes` (a model's), matched by name. A class of its
    /// images that is not among them is an [`Error::Data`].
    pub fn with_classes(mut self, classes: &[String], root: &Path) -> Result<Self> {
        let known = places(classes);
        let places: Vec<Option<u32>> = self.classes.iter().map(|c| known.get(c).copied()).collect();
        let counts = self.dataset.class_counts(self.classes.len());
        let unknown: Vec<String> = (0..places.len())
            .filter(|&i| places[i].is_none() && counts[i] > 0)
            .map(|i| format!("`{}`", self.classes[i]))
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
            .relabel(|label| places[label as usize].expect("unknown classes were refused"));
        self.classes = classes.to_vec();
        Ok(self)
    }
}

/// The same for everyone: a fifth of each digit validates.
fn digit_contents() -> Contents {
    let whole = digits::dataset();
    let labels: Vec<u32> = (0..whole.len()).map(|i| whole.label(i)).collect();
    let parts = split::stratified(&labels, 0.2, 0).expect("a fifth is a share");
    let split = |name: &str, indices: &[usize]| Split {
        name: name.into(),
        place: PathBuf::new(),
        classes: digits::classes(),
        dataset: whole.select(indices),
    };
    Contents {
        splits: vec![
            split("train", &parts.train),
            split("validation", &parts.validation),
        ],
        ..Contents::default()
    }
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
