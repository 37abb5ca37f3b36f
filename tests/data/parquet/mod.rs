//! Parquet files.

mod columns;
mod refused;
mod rows;

use std::path::Path;

use libtest_mimic::Trial;
use tempfile::TempDir;
use vitcuda::data::source::{Part, open_part};
use vitcuda::data::{Columns, Dataset, Source};
use vitcuda::{Error, Result};

use crate::tables::{Column, Layout, PLAIN, pictures, write};

pub fn trials() -> Vec<Trial> {
    let trials = [rows::trials(), columns::trials(), refused::trials()];
    trials.into_iter().flatten().collect()
}

const CAT_DOG: &str =
    r#"{"image": {"_type": "Image"}, "labels": {"names": ["dog", "cat"], "_type": "ClassLabel"}}"#;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn source(path: &Path) -> Result<Source> {
    Source::find(path, &Columns::default())
}

fn all(path: &Path) -> Result<vitcuda::data::Labelled> {
    open_part(&source(path)?, Part::Train)
}

fn labels(dataset: &Dataset) -> Vec<u32> {
    (0..dataset.len()).map(|i| dataset.label(i)).collect()
}

fn named(image: Option<&str>, label: Option<&str>) -> Columns {
    Columns {
        image: image.map(str::to_owned),
        label: label.map(str::to_owned),
    }
}

#[track_caller]
fn refused<T>(result: Result<T>, texts: &[&str]) {
    let error = result.err().expect("an error");
    assert!(matches!(error, Error::Data { .. }), "{error}");
    let said = format!("{error}\n{}", error.help().unwrap_or_default());
    for text in texts {
        assert!(said.contains(text), "`{text}` is not in: {said}");
    }
}

/// The number of a made picture.
fn number(dataset: &Dataset, i: usize) -> usize {
    let pixels = dataset.image(i).expect("a picture").pixels;
    usize::from(pixels[0]) + 256 * usize::from(pixels[1])
}

/// A file of 300 pictures with the layout.
fn three_hundred(path: &Path, layout: Layout) {
    let labels = Column::Longs((0..300).map(|n| Some(n % 2)).collect());
    write(
        path,
        &[("image", pictures(300)), ("labels", labels)],
        Some(CAT_DOG),
        layout,
    );
}

fn table(path: &Path, count: usize) {
    let labels = Column::Longs((0..count as i64).map(|n| Some(n % 2)).collect());
    write(
        path,
        &[("image", pictures(count)), ("labels", labels)],
        Some(CAT_DOG),
        PLAIN,
    );
}
