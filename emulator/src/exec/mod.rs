//! Running a launch: blocks spread over CPU threads, the warps of a block in turns, the lanes of a
//! warp side by side.
//!
//! * [`launch`]: a kernel with its arguments, and the CPU threads that run its blocks.
//! * [`block`]: the warps of one block, who runs next, and barriers.
//! * [`warp`]: registers, diverged lanes, and the loop over instructions.
//! * [`vector`]: arithmetic, 32 lanes at once.
//! * [`access`], [`atomic`]: loads, stores and atomics of all spaces; [`race`] and [`shared`] judge them.
//! * [`copies`], [`matrix`], [`collective`]: `cp.async`, tensor cores, what lanes do together.
//! * [`doubt`]: values that must not be used.

mod access;
mod atomic;
mod block;
mod collective;
mod copies;
mod doubt;
mod failure;
mod launch;
mod matrix;
mod race;
mod shared;
mod system;
mod vector;
mod warp;

pub use launch::{Launch, run};
