//! Makes the corpus: `fuzz corpus`. Every file is written by this project or an encoder that it uses.

pub mod arrow;
mod hub;
mod images;
pub mod model;
pub mod parquet;
mod run;
mod tables;

use std::path::Path;

use crate::Input;

/// A file for a target.
type Made = (&'static str, Input);

fn made(target: &'static str, name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Made {
    let (name, bytes) = (name.into(), bytes.into());
    (target, Input { name, bytes })
}

/// The whole corpus; `vitcuda` is the program, which makes what runs leave.
pub fn all(vitcuda: &Path) -> Vec<Made> {
    let parts = [
        images::jpegs(),
        images::others(),
        model::all(),
        parquet::all(),
        arrow::all(),
        tables::all(),
        hub::all(),
        run::all(vitcuda),
    ];
    parts.into_iter().flatten().collect()
}
