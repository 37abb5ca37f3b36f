//! PTX: from the text that NVRTC makes to programs that [`crate::exec`] runs.
//!
//! * [`syntax`]: the text as statements and declarations.
//! * [`inline`]: functions put in the place of their calls, so that a kernel is one list.
//! * [`decode`]: statements to instructions; a spelling that is not known is refused, never guessed.
//! * [`arithmetic`]: the table of those that read registers alone; [`scalar`]: functions of one lane.
//! * [`flow`]: where branches meet again, which registers live where, and their places in a warp.
//! * [`program`]: what comes out.
//!
//! Semantics are those of NVIDIA's "Parallel Thread Execution ISA"; section names in comments are its.

mod arithmetic;
mod decode;
mod flow;
mod inline;
pub mod program;
pub mod scalar;
mod syntax;

pub use decode::kernels;
pub use program::Program;
pub use syntax::{Module, Variable};
