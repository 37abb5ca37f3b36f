//! Folders of images with a `metadata.csv` or `metadata.jsonl` beside them, as Hugging Face's
//! `imagefolder` reads them: a column `file_name`, relative to the table, and the labels.

use std::path::{Path, PathBuf};

use super::table::Table;
use super::{LABEL_NAMES, Manifest};
use crate::data::columns::{Columns, called};
use crate::data::shards::keyword;
use crate::error::{Error, Result};

/// The data set in the folder `root`; `None` where there is no such table in it or in the folders of
/// its splits, or where none has labels: then class folders have to tell.
pub fn find(root: &Path, columns: &Columns) -> Result<Option<Manifest>> {
    if !root.is_dir() {
        return Ok(None);
    }
    let mut tables = Vec::new();
    match table(root) {
        Some(path) => tables.push((None, path)),
        None => {
            let cannot = |e| Error::io(root, "read the folder", e);
            for entry in std::fs::read_dir(root).map_err(cannot)? {
                let name = entry.map_err(cannot)?.file_name();
                let split = name.to_str().and_then(keyword);
                let path = split.and_then(|_| table(&root.join(&name)));
                tables.extend(path.map(|path| (split, path)));
            }
        }
    }
    tables.sort_by_key(|(split, path)| (order(*split), path.clone()));
    for (_, path) in &tables {
        let table = Table::read(path)?;
        let has_files = called(&["file_name"], &table.columns).is_some();
        let has_labels = columns.label.is_some() || called(&LABEL_NAMES, &table.columns).is_some();
        if !has_files || !has_labels {
            return Ok(None);
        }
    }
    let mut columns = columns.clone();
    columns.image.get_or_insert_with(|| "file_name".into());
    Ok((!tables.is_empty()).then(|| Manifest {
        path: root.to_owned(),
        columns,
        tables,
    }))
}

fn table(folder: &Path) -> Option<PathBuf> {
    let names = ["metadata.csv", "metadata.jsonl"].map(|name| folder.join(name));
    names.into_iter().find(|path| path.is_file())
}

fn order(split: Option<&str>) -> usize {
    let splits = ["train", "validation", "test"];
    splits.iter().position(|s| Some(*s) == split).unwrap_or(0)
}

/// The split that the folders of a file name.
pub fn split_of(file: &str) -> &'static str {
    let folders = file.rsplit_once('/').map(|(folders, _)| folders);
    folders.and_then(keyword).unwrap_or("train")
}
