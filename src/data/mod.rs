//! Images in, batches out: sources, decoding, Pillow's resize, splits, and a loader that works
//! ahead of the model. Nothing here knows what a model is.

mod arrow;
pub mod augment;
mod batch;
mod cache;
mod choice;
mod columns;
mod contents;
pub mod csv;
pub mod dataset;
pub mod decode;
pub mod digits;
mod encoded;
pub mod folder;
pub mod grid;
mod jpeg;
pub mod loader;
pub mod manifest;
pub mod parquet;
mod prefetch;
pub mod preprocess;
pub mod resize;
mod scan;
pub mod shards;
pub mod source;
pub mod split;
pub mod stats;
mod table;

pub use augment::Augmentation;
pub use batch::Batch;
pub use columns::Columns;
pub use contents::{Contents, Split};
pub use dataset::Dataset;
pub use loader::{BadImage, BadImages, Loader, LoaderOptions};
pub use preprocess::Preprocessor;
pub use source::{DataSpec, Labelled, Source, Splits};
pub use vitcuda_picture::Rgb;
