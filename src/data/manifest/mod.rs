//! Manifests: tables with an image file, its class, and perhaps its split on each line.
//!
//! CSV (or TSV) with a header, or JSON objects line by line. Paths are relative to the manifest's
//! folder; `FILE.parquet#COLUMN[ROW]` is an image inside a Parquet file. In JSON lines a first
//! object `{"classes": […]}` gives the classes their order, which is otherwise that of their names.

mod table;
mod write;

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::columns::{Columns, LABEL_NAMES, called, unknown};
use super::contents::{Contents, Split};
use super::dataset::{Dataset, Origin, Sample};
use super::folder::some_of;
use super::parquet::{ImageRows, ParquetFile};
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
    pub path: PathBuf,
    pub columns: Columns,
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
pub fn images(path: &Path, columns: &Columns) -> Result<Vec<Origin>> {
    let table = Table::read(path)?;
    let column = path_column(path, &table, columns)?;
    let mut places = Places::new(path);
    let rows = table.rows.iter();
    rows.map(|row| places.origin(row, row.required(path, &table, column)?))
        .collect()
}

/// All splits, in the order of their first lines; `train` where no column tells.
pub fn contents(manifest: &Manifest) -> Result<Contents> {
    let path = manifest.path.as_path();
    let table = Table::read(path)?;
    let image = path_column(path, &table, &manifest.columns)?;
    let label = label_column(path, &table, &manifest.columns)?;
    let split = called(&SPLIT_NAMES, &table.columns).map(|name| table.place(name));
    let mut places = Places::new(path);
    let mut splits: Vec<(String, Vec<(Origin, String)>)> = Vec::new();
    let mut numbers: HashMap<String, usize> = HashMap::new();
    for row in &table.rows {
        let name = match split {
            Some(column) => split_name(row.required(path, &table, column)?),
            None => "train",
        };
        let origin = places.origin(row, row.required(path, &table, image)?)?;
        let entry = (origin, row.required(path, &table, label)?.to_owned());
        let place = *numbers.entry(name.to_owned()).or_insert(splits.len());
        if place == splits.len() {
            splits.push((name.to_owned(), Vec::new()));
        }
        splits[place].1.push(entry);
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut contents = Contents {
        features: table
            .columns
            .iter()
            .map(|name| (name.clone(), table.kind(name).into()))
            .collect(),
        ..Contents::default()
    };
    for (name, entries) in splits {
        let found = class_order(entries.iter().map(|(_, label)| label));
        let classes = table.classes.clone().unwrap_or(found);
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
            dataset: Dataset::new(folder, samples),
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
    tables: HashMap<(PathBuf, String), Arc<ImageRows>>,
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
        let Some((file, column, number)) = parquet_row(name) else {
            return Ok(Origin::File(folder.join(name)));
        };
        let key = (folder.join(file), column.to_owned());
        if !self.tables.contains_key(&key) {
            let file = Arc::new(ParquetFile::open(&key.0)?);
            let column = file.image_column(&Columns {
                image: Some(column.to_owned()),
                label: None,
            })?;
            self.tables
                .insert(key.clone(), Arc::new(ImageRows::new(file, column)));
        }
        let rows = &self.tables[&key];
        match number < rows.file().len() {
            true => Ok(Origin::Row(rows.clone(), number)),
            false => Err(Error::data(
                self.manifest,
                format!(
                    "line {}: `{name}`: the file has {} rows",
                    row.line,
                    rows.file().len()
                ),
                "rows are numbered from 0",
            )),
        }
    }
}

/// File, column and row of `FILE.parquet#COLUMN[ROW]`.
fn parquet_row(name: &str) -> Option<(&str, &str, usize)> {
    let (file, inside) = name.split_once(".parquet#")?;
    let (column, number) = inside.strip_suffix(']')?.rsplit_once('[')?;
    let file = &name[..file.len() + ".parquet".len()];
    Some((file, column, number.parse().ok()?))
}
