//! Running a launch: blocks spread over CPU threads, one fiber a CUDA thread.

mod access;
mod atomic;
mod barrier;
mod block;
mod collective;
mod copy_async;
mod failure;
mod fault;
mod launch;
mod matrix;
mod runtime;
mod shared;
mod stack;
mod thread;

pub use launch::{Launch, run};
pub use runtime::{Runtime, runtime};
