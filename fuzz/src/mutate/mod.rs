//! Changes of a file: of its bytes, and of its parts with check sums and lengths kept right, so that
//! the change gets past them.

mod answers;
mod arrow;
pub mod bytes;
mod csv;
mod image;
mod jpeg;
mod json;
mod parquet;
mod safetensors;

use crate::rng::Rng;

/// What a file is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Jpeg,
    /// PNG, GIF, BMP or WebP, as its first bytes say.
    Image,
    Safetensors,
    /// One JSON document; files of a run are also lines of such, or safetensors.
    Json,
    JsonLines,
    Csv,
    /// Either of the two before.
    Table,
    Parquet,
    /// An Arrow stream, or a JSON document from beside one.
    Arrow,
    /// Answers of a server.
    Answers,
}

/// Longest file that is made.
pub const MAX_BYTES: usize = 64 << 10;

/// How many of `N` changes leave lengths and check sums as they are.
const PLAIN: usize = 4;

/// `file` changed a few times; parts of `other` may get into it.
pub fn mutate(format: Format, file: &[u8], other: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut file = file.to_vec();
    for _ in 0..1 + rng.small(7) {
        change(format, &mut file, other, rng);
        file.truncate(MAX_BYTES);
    }
    file
}

fn change(format: Format, file: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    let is_plain = rng.once_in(PLAIN);
    let changed = match format {
        _ if is_plain => None,
        Format::Jpeg => jpeg::change(file, other, rng),
        Format::Image => image::change(file, other, rng),
        Format::Safetensors => safetensors::change(file, other, rng),
        Format::Json => json::change(file, other, rng)
            .or_else(|| safetensors::change(file, other, rng))
            .or_else(|| json::change_lines(file, other, rng)),
        Format::JsonLines => json::change_lines(file, other, rng),
        Format::Csv => csv::change(file, other, rng),
        Format::Table => {
            json::change_lines(file, other, rng).or_else(|| csv::change(file, other, rng))
        }
        Format::Parquet => parquet::change(file, other, rng),
        Format::Arrow => arrow::change(file, other, rng).or_else(|| json::change(file, other, rng)),
        Format::Answers => answers::change(file, other, rng),
    };
    match changed {
        Some(changed) => *file = changed,
        None => bytes::change(file, other, tokens(format), rng),
    }
}

/// Words that mean something in files of this format.
fn tokens(format: Format) -> &'static [&'static [u8]] {
    match format {
        Format::Jpeg => jpeg::TOKENS,
        Format::Image => image::TOKENS,
        Format::Safetensors | Format::Json | Format::JsonLines => json::TOKENS,
        Format::Csv | Format::Table => csv::TOKENS,
        Format::Parquet => parquet::TOKENS,
        Format::Arrow => arrow::TOKENS,
        Format::Answers => answers::TOKENS,
    }
}
