//! Manifests: tables with an image file, its class, and perhaps its split on each line.
//!
//! CSV (or TSV) with a header, or JSON objects line by line. Paths are relative to the manifest's
//! folder; `FILE.parquet#COLUMN[ROW]` is an image inside a Parquet (or Arrow) file. In JSON lines a first
//! object `{"classes": […]}` gives the classes their order, which is otherwise that of their names.

pub mod metadata;
mod table;
mod write;

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::columns::{Columns, LABEL_NAMES, called, unknown};
use super::contents::{Contents, Split};
use super::dataset::{Dataset, Origin, Sample};
use super::folder::some_of;
use super::shards::is_table;
use super::table::{TableFile, TableRows};
use crate::error::{Error, Result};
use table::{Row, Table};

pub use write::write;

/// Names that the column of paths goes by, in order of preference.
const PATH_NAMES: [&str; 8] = [
    "path",
    "file_name",
    "filename",
    "file",
    "image_path",
    "image",
    "img",
    "filepath",
];

const SPLIT_NAMES: [&str; 2] = ["split", "subset"];

/// A manifest, and which of its columns to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// What was named: the table, or the folder of a data set that has some.
    pub path: PathBuf,
    pub columns: Columns,
    /// The tables, and the split of those that lie in the folder of one.
    pub tables: Vec<(Option<&'static str>, PathBuf)>,
}

impl Manifest {
    /// The table at `path`.
    pub fn new(path: &Path, columns: &Columns) -> Self {
        Self {
            path: path.to_owned(),
            columns: columns.clone(),
            tables: vec![(None, path.to_owned())],
        }
    }

    /// What names are relative to.
    fn folder(&self) -> &Path {
        if self.path.is_dir() {
            &self.path
        } else {
            self.path.parent().unwrap_or(Path::new(""))
        }
    }
}

/// Whether the name is that of a manifest.
pub fn is_manifest(path: &Path) -> bool {
    format(path).is_some()
}

/// How a manifest is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    JsonLines,
}

fn format(path: &Path) -> Option<Format> {
    let extension = path.extension().and_then(OsStr::to_str)?;
    match extension.to_lowercase().as_str() {
        "csv" | "tsv" => Some(Format::Csv),
        "jsonl" | "ndjson" => Some(Format::JsonLines),
        _ => None,
    }
}

/// The images, without labels.
pub fn images(manifest: &Manifest) -> Result<Vec<Origin>> {
    let mut origins = Vec::new();
    for (_, path) in &manifest.tables {
        let table = Table::read(path)?;
        let column = path_column(path, &table, &manifest.columns)?;
        let mut places = Places::new(path);
        for row in &table.rows {
            origins.push(places.origin(row, row.required(path, &table, column)?)?);
        }
    }
    Ok(origins)
}

/// The rows of all tables by split, in the order of their first lines.
#[derive(Default)]
struct Rows {
    splits: Vec<(String, Vec<(Origin, String)>)>,
    places: HashMap<String, usize>,
    /// The classes in their order, where a table gives one.
    classes: Option<Vec<String>>,
    features: Vec<(String, String)>,
}

impl Rows {
    fn read(&mut self, manifest: &Manifest, part: Option<&str>, path: &Path) -> Result<()> {
        let table = Table::read(path)?;
        let image = path_column(path, &table, &manifest.columns)?;
        let label = label_column(path, &table, &manifest.columns)?;
        let split = called(&SPLIT_NAMES, &table.columns).map(|name| table.place(name));
        let mut places = Places::new(path);
        for row in &table.rows {
            let file = row.required(path, &table, image)?;
            let name = match (split, part) {
                (Some(column), _) => split_name(row.required(path, &table, column)?),
                (None, Some(part)) => part,
                (None, None) if manifest.path.is_dir() => metadata::split_of(file),
                (None, None) => "train",
            };
            let entry = (
                places.origin(row, file)?,
                row.required(path, &table, label)?.to_owned(),
            );
            self.split(name).push(entry);
        }
        if self.features.is_empty() {
            let columns = table.columns.iter();
            self.features = columns
                .map(|name| (name.clone(), table.kind(name).into()))
                .collect();
        }
        self.classes = self.classes.take().or(table.classes);
        Ok(())
    }

    fn split(&mut self, name: &str) -> &mut Vec<(Origin, String)> {
        let place = match self.places.get(name) {
            Some(&place) => place,
            None => {
                self.splits.push((name.to_owned(), Vec::new()));
                self.places.insert(name.to_owned(), self.splits.len() - 1);
                self.splits.len() - 1
            }
        };
        &mut self.splits[place].1
    }
}

/// All splits, in the order of their first lines; `train` where no column tells.
pub fn contents(manifest: &Manifest) -> Result<Contents> {
    let mut rows = Rows::default();
    for (part, path) in &manifest.tables {
        rows.read(manifest, *part, path)?;
    }
    let mut contents = Contents {
        features: rows.features,
        ..Contents::default()
    };
    let path = manifest.path.as_path();
    for (name, entries) in rows.splits {
        let found = class_order(entries.iter().map(|(_, label)| label));
        let classes = rows.classes.clone().unwrap_or(found);
        let place: HashMap<&String, u32> = classes.iter().zip(0..).collect();
        let sample = |(origin, label): (Origin, String)| match place.get(&label) {
            Some(&label) => Ok(Sample { origin, label }),
            None => Err(Error::data(
                path,
                format!(
                    "the class `{label}` is not among those of its first line: {}",
                    some_of(&classes)
                ),
                "add it there, or leave that line out",
            )),
        };
        let samples = entries
            .into_iter()
            .map(sample)
            .collect::<Result<Vec<_>>>()?;
        contents.splits.push(Split {
            name,
            place: path.to_owned(),
            classes,
            dataset: Dataset::new(manifest.folder(), samples),
        });
    }
    Ok(contents)
}

/// Each class once: numbers by size when all are, or else names by bytes.
pub(super) fn class_order<'a>(labels: impl Iterator<Item = &'a String>) -> Vec<String> {
    let names: BTreeSet<&String> = labels.collect();
    let mut names: Vec<String> = names.into_iter().cloned().collect();
    let numbers: Option<Vec<i64>> = names.iter().map(|name| name.parse().ok()).collect();
    if numbers.is_some() {
        names.sort_by_key(|name| name.parse::<i64>().ok());
    }
    names
}

/// Splits by the names that everything else here uses.
fn split_name(name: &str) -> &str {
    match name {
        "training" => "train",
        "val" | "valid" | "dev" => "validation",
        other => other,
    }
}

fn path_column(path: &Path, table: &Table, columns: &Columns) -> Result<usize> {
    let flag = ("--image-column", columns.image.as_ref());
    column(path, table, flag, &PATH_NAMES, "paths of images")
}

fn label_column(path: &Path, table: &Table, columns: &Columns) -> Result<usize> {
    let flag = ("--label-column", columns.label.as_ref());
    column(path, table, flag, &LABEL_NAMES, "classes")
}

fn column(
    path: &Path,
    table: &Table,
    (flag, named): (&str, Option<&String>),
    usual: &[&str],
    what: &str,
) -> Result<usize> {
    match named {
        Some(name) if table.columns.contains(name) => Ok(table.place(name)),
        Some(name) => {
            let (problem, help) = unknown(flag, name, &table.columns);
            Err(Error::data(path, problem, help))
        }
        None => match called(usual, &table.columns) {
            Some(name) => Ok(table.place(name)),
            None => Err(Error::data(
                path,
                format!(
                    "no column is known to hold {what}; it has {}",
                    some_of(&table.columns)
                ),
                format!("call it `{}`, or name it with {flag}", usual[0]),
            )),
        },
    }
}

/// Where the images are.
struct Places<'a> {
    manifest: &'a Path,
    /// Parquet files opened so far, by path and column.
    tables: HashMap<(PathBuf, String), TableRows>,
}

impl<'a> Places<'a> {
    fn new(manifest: &'a Path) -> Self {
        Self {
            manifest,
            tables: HashMap::new(),
        }
    }

    fn origin(&mut self, row: &Row, name: &str) -> Result<Origin> {
        if name.contains("://") {
            return Err(Error::data(
                self.manifest,
                format!(
                    "line {}: `{name}` is an address, wanted the path of a file",
                    row.line
                ),
                "download the images first; nothing is fetched",
            ));
        }
        let folder = self.manifest.parent().unwrap_or(Path::new(""));
        let Some((file, column, number)) = table_row(name) else {
            return Ok(Origin::File(folder.join(name)));
        };
        let key = (folder.join(file), column.to_owned());
        if !self.tables.contains_key(&key) {
            let wanted = Columns {
                image: Some(column.to_owned()),
                label: None,
            };
            let rows = TableFile::open(&key.0)?.images(&wanted)?;
            self.tables.insert(key.clone(), rows);
        }
        let rows = &self.tables[&key];
        if number < rows.len() {
            Ok(Origin::Row(rows.clone(), number))
        } else {
            Err(Error::data(
                self.manifest,
                format!(
                    "line {}: `{name}`: the file has {} rows",
                    row.line,
                    rows.len()
                ),
                "rows are numbered from 0",
            ))
        }
    }
}

/// File, column and row of `FILE.parquet#COLUMN[ROW]`.
fn table_row(name: &str) -> Option<(&str, &str, usize)> {
    let (file, inside) = name.split_once('#')?;
    if !is_table(Path::new(file)) {
        return None;
    }
    let (column, number) = inside.strip_suffix(']')?.rsplit_once('[')?;
    Some((file, column, number.parse().ok()?))
}
