//! What kind of file to write, as its name tells.

use std::path::Path;

use vitcuda::{Error, Result};

/// The kind that `-o path` asks for by its ending, among `(ending, kind)`.
pub fn kind<T: Copy>(path: &Path, kinds: &[(&str, T)]) -> Result<T> {
    let ending = path.extension().unwrap_or_default();
    let found = kinds
        .iter()
        .find(|(known, _)| ending.eq_ignore_ascii_case(known));
    found.map(|&(_, kind)| kind).ok_or_else(|| {
        let endings: Vec<String> = kinds.iter().map(|(known, _)| format!(".{known}")).collect();
        Error::usage(
            format!(
                "-o {}: its ending names no kind of file that this command writes",
                path.display()
            ),
            format!("let it end in {}", endings.join(" or ")),
        )
    })
}
