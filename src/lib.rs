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
#[cfg(feature = "hub")]
pub mod hub;
#[cfg(not(feature = "hub"))]
#[path = "hub/absent.rs"]
pub mod hub;
// What is said without the hub is tested with it, too.
#[cfg(all(test, feature = "hub"))]
#[allow(dead_code, unused_imports, clippy::duplicate_mod)] // what both share is there twice
#[path = "hub/absent.rs"]
mod hub_left_out;
pub mod json;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod ops;
pub mod report;
pub mod rng;
pub mod train;

pub use error::{Error, Result};
