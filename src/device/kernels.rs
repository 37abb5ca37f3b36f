//! The kernels of `kernels/`: their texts, and a struct of typed arguments for each.
//!
//! Written by `build.rs`, which reads the CUDA files. A parameter that is renamed, added, taken
//! away or of another type there does not compile here:
//!
//! ```
//! use vitcuda::device::{Element, Ptr, kernels::LayerNormForward};
//! # fn ok(y: Ptr<Element>, x: Ptr<f32>) -> LayerNormForward {
//! LayerNormForward { y, mean: x, rstd: x, x, w: x, b: x, rows: 1, x_stride: 8, eps: 1e-6 }
//! # }
//! ```
//! ```compile_fail,E0308
//! use vitcuda::device::{Element, Ptr, kernels::LayerNormForward};
//! # fn ok(y: Ptr<Element>, x: Ptr<f32>) -> LayerNormForward {
//! LayerNormForward { x: y, mean: x, rstd: x, y: x, w: x, b: x, rows: 1, x_stride: 8, eps: 1e-6 }
//! # }
//! ```

use super::kernel::{Arguments, Header, Kernel, Source};
use super::memory::{Element, Ptr};

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
