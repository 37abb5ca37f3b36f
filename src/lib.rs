//! vitcuda fine-tunes, trains, evaluates and runs Vision Transformers.
//!
//! Dependencies point one way: `cli → train → model → ops → device`. `data` knows nothing of the
//! model; `report` knows nothing of either; `metrics` knows nothing of anything.

pub mod bench;
pub mod data;
pub mod device;
pub mod error;
pub mod files;
mod fnv;
mod host_memory;
pub mod hub;
pub mod json;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod ops;
pub mod report;
pub mod rng;
pub mod train;

pub use error::{Error, Result};
