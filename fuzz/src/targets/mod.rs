//! The parsers, and what memory each may take.

mod data;
mod hub;
mod model;
mod run;

use std::path::Path;

use crate::Input;
use crate::judge::{Limit, PATIENCE};
use crate::mutate::Format;

pub use hub::{SEPARATOR, answers};
pub use model::{dinov2_config, tiny_config};

/// A parser.
pub struct Target {
    pub name: &'static str,
    /// What its files are made of, for mutations that keep their form.
    pub format: Format,
    pub limit: Limit,
    /// Folders with files to start from, in the repository.
    pub corpora: &'static [&'static str],
    /// Puts into an empty folder what the parser wants besides the input.
    pub prepare: fn(&Path),
    /// Reads the input, and goes on with what was read as the program would; whether it was accepted.
    pub run: fn(&Input, &Path) -> bool,
}

const MIB: usize = 1 << 20;

/// Text: a JSON value of 32 bytes and the doubling of its list for each two characters, a map's entry
/// (some 200 bytes) for each six, and the whole once more as what it means.
const TEXT: Limit = Limit {
    base: MIB,
    per_byte: 512,
    time: PATIENCE,
};

/// Every block of 8 × 8 takes a bit of the scan of its DC coefficients. Of its 64 pixels are held: the
/// coefficients of up to four components (2 bytes each), which a minimum coded unit wider than the
/// image makes up to four times as many, the colours, and those once more while they are turned upright.
const JPEG: Limit = Limit {
    base: MIB,
    per_byte: 8 * 64 * (4 * 4 * 2 + 3 + 3),
    time: PATIENCE,
};

/// In some formats a flat picture takes next to no bytes, so that 2²⁴ pixels are within any file's
/// right. Beyond: BMP's skip covers 255 × 255 pixels in four bytes, deflate (PNG) makes 1,032 bytes of
/// one, of eight pixels each, LZW (GIF, TIFF) holds less. A pixel is held with alpha, once more while it is
/// laid on what is below it, as RGB, and once more while it is turned upright.
const IMAGE: Limit = Limit {
    base: (1 << 24) * PIXEL,
    per_byte: 255 * 255 / 4 * PIXEL,
    time: PATIENCE,
};
const PIXEL: usize = 4 + 4 + 3 + 3;

/// A Zstandard block of 4 bytes stands for 128 KiB of a page.
const PARQUET: Limit = Limit {
    base: 8 * MIB,
    per_byte: 32 << 10,
    time: PATIENCE,
};

/// A row is a byte at least: the label. Of it are held the label as read and as compared, the place of
/// its image, and both once more in each split of the data set, all in lists that double.
const ARROW: Limit = Limit {
    base: MIB,
    per_byte: 1024,
    time: PATIENCE,
};

/// Numbers as f32 and as they stand in the file, and text in the header. The model at hand is small.
const TENSORS: Limit = Limit {
    base: 2 * MIB,
    ..TEXT
};

/// A layer of the largest model is sixteen names and shapes, and there are 1,024 layers.
const CONFIG: Limit = Limit {
    base: 16 * MIB,
    ..TEXT
};

/// Buffers of connections.
const HUB: Limit = Limit {
    base: 16 * MIB,
    ..TEXT
};

/// All parsers.
pub const TARGETS: [Target; 13] = [
    Target {
        name: "jpeg",
        format: Format::Jpeg,
        limit: JPEG,
        corpora: &["fuzz/corpus/jpeg", "tests/data/jpegs"],
        prepare: nothing,
        run: data::image,
    },
    Target {
        name: "image",
        format: Format::Image,
        limit: IMAGE,
        corpora: &["fuzz/corpus/image", "tests/data/tiff"],
        prepare: nothing,
        run: data::image,
    },
    Target {
        name: "safetensors",
        format: Format::Safetensors,
        limit: TENSORS,
        corpora: &["fuzz/corpus/safetensors"],
        prepare: model::prepare_weights,
        run: model::weights,
    },
    Target {
        name: "config",
        format: Format::Json,
        limit: CONFIG,
        corpora: &["fuzz/corpus/config"],
        prepare: model::prepare_config,
        run: model::config,
    },
    Target {
        name: "preprocessor",
        format: Format::Json,
        limit: TEXT,
        corpora: &["fuzz/corpus/preprocessor"],
        prepare: nothing,
        run: model::preprocessor,
    },
    Target {
        name: "parquet",
        format: Format::Parquet,
        limit: PARQUET,
        corpora: &["fuzz/corpus/parquet", "tests/data/parquet"],
        prepare: nothing,
        run: data::parquet,
    },
    Target {
        name: "arrow",
        format: Format::Arrow,
        limit: ARROW,
        corpora: &["fuzz/corpus/arrow"],
        prepare: data::prepare_arrow,
        run: data::arrow,
    },
    Target {
        name: "manifest",
        format: Format::JsonLines,
        limit: TEXT,
        corpora: &["fuzz/corpus/manifest"],
        prepare: data::prepare_manifest,
        run: data::manifest,
    },
    Target {
        name: "csv",
        format: Format::Csv,
        limit: TEXT,
        corpora: &["fuzz/corpus/csv"],
        prepare: data::prepare_manifest,
        run: data::manifest,
    },
    Target {
        name: "metadata",
        format: Format::Table,
        limit: TEXT,
        corpora: &["fuzz/corpus/metadata"],
        prepare: data::prepare_metadata,
        run: data::metadata,
    },
    Target {
        name: "state",
        format: Format::Json,
        limit: TENSORS,
        corpora: &["fuzz/corpus/state"],
        prepare: run::prepare_state,
        run: run::state,
    },
    Target {
        name: "report",
        format: Format::Json,
        limit: TENSORS,
        corpora: &["fuzz/corpus/report"],
        prepare: nothing,
        run: run::report,
    },
    Target {
        name: "hub",
        format: Format::Answers,
        limit: HUB,
        corpora: &["fuzz/corpus/hub"],
        prepare: nothing,
        run: hub::conversation,
    },
];

/// The parser called `name`.
pub fn called(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

fn nothing(_: &Path) {}

/// Puts the input where a parser looks for `name`.
fn write(folder: &Path, name: &str, input: &Input) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, &input.bytes).expect("the folder takes files");
    path
}
