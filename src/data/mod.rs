//! Images in, batches out: sources, decoding, Pillow's resize, splits, and a loader that works
//! ahead of the model. Nothing here knows what a model is.

mod batch;
mod cache;
pub mod dataset;
pub mod decode;
pub mod digits;
pub mod folder;
mod jpeg;
pub mod loader;
mod prefetch;
pub mod preprocess;
pub mod resize;
mod rgb;
pub mod source;
pub mod split;

pub use batch::Batch;
pub use dataset::Dataset;
pub use loader::{BadImage, BadImages, Loader, LoaderOptions};
pub use preprocess::Preprocessor;
pub use rgb::Rgb;
pub use source::{DataSpec, Labelled, Source, Splits};
