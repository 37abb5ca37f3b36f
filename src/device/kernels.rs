//! The kernels of `kernels/`: their texts, and a struct of typed arguments for each.
//!
//! Written by `build.rs`, which reads the CUDA files.

use super::kernel::{Arguments, Header, Kernel, Source};
use super::memory::{Element, Ptr};

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
