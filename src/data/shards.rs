//! Data sets in Parquet files: one file, or a folder laid out as on the Hugging Face hub.

mod names;
mod saved;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::arrow::is_arrow;
use super::columns::Columns;
use super::contents::{Contents, Split};
use super::dataset::{Dataset, Origin, Sample, relative_name};
use super::folder::some_of;
use super::parquet::{LabelColumn, LabelKind, Labels};
use super::table::TableFile;
use crate::error::{Error, Result};

pub(super) use names::keyword;
pub use names::of_configuration;
use names::{configuration, split_of};

/// How deep below a folder its Parquet files may lie: `CONFIGURATION/SPLIT/0000.parquet`.
const DEPTH: usize = 3;

/// Parquet files by split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shards {
    /// What a person calls them: the path, or the id on the hub.
    pub name: String,
    /// What names are relative to: the file, or the folder they are in.
    pub root: PathBuf,
    /// Names of the splits and their files, in the order in which rows are numbered.
    pub splits: Vec<(String, Vec<PathBuf>)>,
    pub columns: Columns,
}

impl Shards {
    /// The Parquet files at `path`; `None` when it is neither one nor a folder with some.
    ///
    /// The split of a file is what its name says (`train-00000-of-00002.parquet`), or a word of its
    /// path (`data/cats_test.parquet`), or else `train`. Folders that are neither are
    /// configurations of the data set; of several, one must be named.
    pub fn find(path: &Path, columns: &Columns) -> Result<Option<Self>> {
        if let Some(shards) = saved::find(path, columns)? {
            return Ok(Some(shards));
        }
        let mut files = Vec::new();
        if path.is_dir() {
            collect(path, DEPTH, &mut files)?;
        } else if is_table(path) && path.exists() {
            files.push(path.to_owned());
        }
        if files.is_empty() {
            return Ok(None);
        }
        files.sort();
        one_configuration(path, &files)?;
        let name = path.display().to_string();
        Ok(Some(Self::of_files(name, path, files, columns)))
    }

    /// These Parquet files, which lie at or below `root` and make one data set called `name`.
    pub fn of_files(
        name: String,
        root: &Path,
        files: impl IntoIterator<Item = PathBuf>,
        columns: &Columns,
    ) -> Self {
        let mut splits: Vec<(String, Vec<PathBuf>)> = Vec::new();
        for file in files {
            let below = file.strip_prefix(root).unwrap_or(&file);
            let split = if below.as_os_str().is_empty() {
                split_of(Path::new(root.file_name().unwrap_or_default()))
            } else {
                split_of(below)
            };
            match splits.iter_mut().find(|(known, _)| *known == split) {
                Some((_, files)) => files.push(file),
                None => splits.push((split, vec![file])),
            }
        }
        Self {
            name,
            root: root.to_owned(),
            splits,
            columns: columns.clone(),
        }
    }

    fn names_relative_to(&self) -> &Path {
        if self.root.is_dir() {
            &self.root
        } else {
            self.root.parent().unwrap_or(Path::new(""))
        }
    }
}

/// Whether rows of the file can be images.
pub(super) fn is_table(path: &Path) -> bool {
    is_parquet(path) || is_arrow(path)
}

pub(super) fn is_parquet(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    extension.is_some_and(|found| found.eq_ignore_ascii_case("parquet"))
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    let cannot = |e| Error::io(folder, "read the folder", e);
    for entry in std::fs::read_dir(folder).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let path = entry.path();
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_hidden {
            continue;
        } else if is_folder && depth > 1 {
            collect(&path, depth - 1, files)?;
        } else if !is_folder && is_parquet(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn one_configuration(root: &Path, files: &[PathBuf]) -> Result<()> {
    let folders = files.iter().map(|file| configuration(root, file));
    let found: BTreeSet<&Path> = folders.collect();
    if found.len() < 2 {
        return Ok(());
    }
    let names: Vec<String> = found.iter().map(|path| relative_name(root, path)).collect();
    Err(Error::data(
        root,
        format!(
            "it holds several data sets of Parquet files: {}",
            some_of(&names)
        ),
        "name the folder of one of them",
    ))
}

/// The images of all files, without labels.
pub fn images(shards: &Shards) -> Result<Vec<Origin>> {
    let mut origins = Vec::new();
    for file in shards.splits.iter().flat_map(|(_, files)| files) {
        let rows = TableFile::open(file)?.images(&shards.columns)?;
        origins.extend((0..rows.len()).map(|row| Origin::Row(rows.clone(), row)));
    }
    Ok(origins)
}

/// All splits: footers and labels are read, images are not.
pub fn contents(shards: &Shards) -> Result<Contents> {
    let mut contents = Contents::default();
    for (name, files) in &shards.splits {
        let mut table = ClassTable::default();
        let mut rows = Vec::new();
        for path in files {
            let file = TableFile::open(path)?;
            let images = file.images(&shards.columns)?;
            if contents.features.is_empty() {
                contents.features = file.columns();
            }
            let column = file.label_column(&shards.columns)?;
            let labels = file.labels(&column)?;
            let values = table.add(path, &column, labels)?;
            rows.extend(
                (0..)
                    .zip(values)
                    .map(|(row, value)| (Origin::Row(images.clone(), row), value)),
            );
        }
        let (classes, place) = table.classes();
        let total = rows.len();
        let labelled = rows.into_iter().filter_map(|(origin, value)| {
            let label = place(&value?);
            Some(Sample { origin, label })
        });
        let samples: Vec<Sample> = labelled.collect();
        if samples.len() < total {
            let missing = total - samples.len();
            contents.notices.push(format!(
                "left out {missing} of the {total} rows of {name}: they have no label"
            ));
        }
        // The test part of a competition has no labels: it is no part to learn or measure with.
        if samples.is_empty() {
            continue;
        }
        contents.splits.push(Split {
            name: name.clone(),
            place: match &files[..] {
                [only] => only.clone(),
                _ => shards.root.clone(),
            },
            classes,
            dataset: Dataset::new(shards.names_relative_to(), samples),
        });
    }
    if contents.splits.is_empty() {
        Err(Error::data(
            &shards.root,
            "no row has a label",
            "name the column of labels with --label-column",
        ))
    } else {
        Ok(contents)
    }
}

/// A label as it stands in a column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    /// An index of the declared class names, or a number that is a class name.
    Number(i64),
    Text(Arc<str>),
}

/// The classes of one split.
#[derive(Default)]
struct ClassTable {
    /// Names that the files declare.
    declared: Option<Vec<String>>,
    found: BTreeSet<Value>,
}

impl ClassTable {
    /// The labels of one more file; `None` is a row without one, which `datasets` writes as -1
    /// where labels are class indices.
    fn add(
        &mut self,
        path: &Path,
        column: &LabelColumn,
        labels: Labels,
    ) -> Result<Vec<Option<Value>>> {
        let name = &column.name;
        let declared = match &column.kind {
            LabelKind::ClassLabel(names) => Some(names),
            LabelKind::Number | LabelKind::Text => None,
        };
        let is_first = self.found.is_empty() && self.declared.is_none();
        if !is_first && self.declared.as_ref() != declared {
            return Err(Error::data(
                path,
                format!("column `{name}` has other class names than the files before it"),
                "keep files of one data set together, and others elsewhere",
            ));
        }
        self.declared = declared.cloned();
        let values: Vec<Option<Value>> = match labels {
            Labels::Texts(texts) => texts.into_iter().map(|t| t.map(Value::Text)).collect(),
            Labels::Numbers(numbers) => {
                let value = |n: Option<i64>| n.filter(|&n| declared.is_none() || n != -1);
                numbers
                    .into_iter()
                    .map(|n| value(n).map(Value::Number))
                    .collect()
            }
        };
        if let Some(names) = declared {
            for (row, value) in values.iter().enumerate() {
                match value {
                    Some(Value::Number(n)) if !(0..names.len() as i64).contains(n) => {
                        return Err(Error::data(
                            path,
                            format!(
                                "column `{name}`, row {row}: found the label {n}, wanted the index of one of its {} classes",
                                names.len()
                            ),
                            "repair the file, or name another --label-column",
                        ));
                    }
                    _ => {}
                }
            }
        }
        self.found.extend(values.iter().flatten().cloned());
        Ok(values)
    }

    /// The class names, and the index of each value among them: as declared, or else sorted, numbers
    /// by size and names by bytes.
    fn classes(self) -> (Vec<String>, impl Fn(&Value) -> u32) {
        let names = match &self.declared {
            Some(names) => names.clone(),
            None => self
                .found
                .iter()
                .map(|value| match value {
                    Value::Number(n) => n.to_string(),
                    Value::Text(text) => text.to_string(),
                })
                .collect(),
        };
        let places: BTreeMap<Value, u32> = if self.declared.is_some() {
            (0..)
                .zip(0..names.len() as u32)
                .map(|(n, i)| (Value::Number(n), i))
                .collect()
        } else {
            self.found.into_iter().zip(0..).collect()
        };
        (names, move |value| places[value])
    }
}
