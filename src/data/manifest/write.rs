//! Writing down a split, so that the same images can be had again.

use std::path::{Component, Path, PathBuf};

use serde_json::json;

use super::{Format, class_order, format};
use crate::data::csv;
use crate::data::dataset::{Dataset, Origin, row_name};
use crate::data::source::Splits;
use crate::error::{Error, Result};
use crate::files;

/// Writes a manifest that [`open`](crate::data::source::open) reads back as the same images with the
/// same labels in the same order.
///
/// [`Error::Usage`] for a name that does not end in `.csv` or `.jsonl`, and for a CSV of classes in
/// an order that only JSON lines can tell; [`Error::Data`] for images that are not in files.
pub fn write(path: &Path, splits: &Splits) -> Result<()> {
    let format = format(path).ok_or_else(|| {
        let problem = format!("{}: a manifest of which format?", path.display());
        Error::usage(problem, "end its name in .csv or .jsonl")
    })?;
    let parts = [("train", &splits.train), ("validation", &splits.validation)];
    if format == Format::Csv {
        let labels =
            (0..splits.train.len()).map(|i| &splits.classes[splits.train.label(i) as usize]);
        if class_order(labels) != splits.classes {
            return Err(Error::usage(
                format!(
                    "{}: its classes are not all in the training part, or in an order of their own, which CSV cannot tell",
                    path.display()
                ),
                "end the manifest's name in .jsonl",
            ));
        }
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let folder = folder
        .canonicalize()
        .map_err(|e| Error::io(folder, "find the folder", e))?;
    let mut lines = match format {
        Format::Csv => csv::line(&["path", "label", "split"]),
        Format::JsonLines => format!("{}\n", json!({ "classes": splits.classes })),
    };
    for (split, dataset) in parts {
        for i in 0..dataset.len() {
            let name = relative(&folder, dataset, i)?;
            let label = splits.classes[dataset.label(i) as usize].as_str();
            lines += &match format {
                Format::Csv => csv::line(&[&name, label, split]),
                Format::JsonLines => {
                    format!(
                        "{}\n",
                        json!({ "path": name, "label": label, "split": split })
                    )
                }
            };
        }
    }
    files::write_atomically(path, lines.as_bytes())
}

/// Image `i` by its path from `folder`, which is canonical.
fn relative(folder: &Path, dataset: &Dataset, i: usize) -> Result<String> {
    let (path, inside) = match dataset.origin(i) {
        Origin::File(path) => (path.as_path(), None),
        Origin::Row(rows, row) => (rows.path(), Some((rows.column(), *row))),
        Origin::Digit(_) => {
            let help = "they are split the same way every time; name other DATA to split";
            return Err(Error::data(
                "the embedded digits",
                "they are not in files",
                help,
            ));
        }
    };
    // A link keeps its own name: what it leads to may have one without meaning, as in the hub's cache.
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    let parent = parent
        .unwrap_or(Path::new("."))
        .canonicalize()
        .map_err(|e| Error::io(path, "find it", e))?;
    let text = from(folder, &parent.join(path.file_name().unwrap_or_default()));
    let Some(text) = text.to_str() else {
        return Err(Error::data(
            path,
            "its name is not UTF-8, as text must be",
            "rename it",
        ));
    };
    Ok(match inside {
        Some((column, row)) => row_name(text, column, row),
        None => text.to_owned(),
    })
}

/// The way from one canonical folder to a canonical file.
fn from(folder: &Path, file: &Path) -> PathBuf {
    let same = |(a, b): &(Component, Component)| a == b;
    let common = std::iter::zip(folder.components(), file.components());
    let common = common.take_while(same).count();
    let up = folder
        .components()
        .skip(common)
        .map(|_| Component::ParentDir);
    up.chain(file.components().skip(common)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_between_folders() {
        for (folder, file, expected) in [
            ("/a/b", "/a/b/c/d.png", "c/d.png"),
            ("/a/b", "/a/c.png", "../c.png"),
            ("/a/b/c", "/x/y.png", "../../../x/y.png"),
            ("/", "/y.png", "y.png"),
        ] {
            assert_eq!(
                from(Path::new(folder), Path::new(file)),
                Path::new(expected)
            );
        }
    }
}
