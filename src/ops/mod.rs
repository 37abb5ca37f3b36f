//! The operations of a Vision Transformer: one file each, forward and backward.
//!
//! Each file holds, in this order: the maths, the CPU forward and backward, generic over `f32` (the
//! CPU device) and `f64` (the judge), and the registry entry with its plain loops and cases. What the
//! benchmark times is in a child module.
//!
//! The gradient rule of the project: `d<activation>` is overwritten; `d<parameter>` is written by
//! the first micro-batch of a step and added to by later ones ([`gemm::Accumulate`]). Arguments
//! come as outputs, inputs, dimensions, scalars.
//!
//! Letters: B images, T tokens, C width, NH heads, HS head size, F width of the MLP, K classes,
//! N rows (usually B·T).

pub mod adamw;
pub mod attention;
pub mod bench;
pub mod buffer;
pub mod column_sum;
pub mod cross_entropy;
pub mod gemm;
pub mod gpu;
pub mod gpu_check;
pub mod gpu_rounding;
pub mod grad_norm;
pub mod layer_norm;
pub mod linear;
pub mod mlp;
pub mod parallel;
pub mod patch_embed;
pub mod plain;
pub mod real;
pub mod registry;
pub mod rows;

pub use registry::{Case, Input, Op, Pass, REGISTRY, Role};
