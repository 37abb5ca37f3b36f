//! Images, tables of images.

use std::fs;
use std::path::Path;

use vitcuda::data::decode::decode;
use vitcuda::data::{Columns, DataSpec, Source, source};

use super::write;
use crate::{Input, make};

/// Rows whose images are read.
const ROWS: usize = 4;

pub fn image(input: &Input, _: &Path) -> bool {
    decode(&input.bytes).is_ok()
}

pub fn parquet(input: &Input, folder: &Path) -> bool {
    let path = write(folder, "train.parquet", input);
    let found = Source::find(&path, &Columns::default()).expect("a file of this name");
    let _ = source::open_unlabelled(std::slice::from_ref(&found));
    let Ok(contents) = found.contents() else {
        return false;
    };
    for split in &contents.splits {
        for row in 0..split.dataset.len().min(ROWS) {
            let _ = split.dataset.image(row);
            split.dataset.name(row);
        }
    }
    let _ = source::open(&DataSpec::new(found));
    true
}

/// Lines of manifests may name images inside Parquet files.
pub fn prepare_manifest(folder: &Path) {
    let file = make::parquet::small();
    fs::write(folder.join("x.parquet"), file).expect("the folder takes files");
}

/// The end of the input's name says how it is written.
pub fn manifest(input: &Input, folder: &Path) -> bool {
    let ending = input.name.rsplit('.').next().unwrap_or("csv");
    let path = write(folder, &format!("images.{ending}"), input);
    let found = Source::find(&path, &Columns::default()).expect("a file of this name");
    let _ = source::open_unlabelled(std::slice::from_ref(&found));
    let accepted = source::open(&DataSpec::new(found)).is_ok();
    let _ = fs::remove_file(&path);
    accepted
}
