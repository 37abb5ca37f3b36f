//! The training loop and what it needs.

pub mod config;
pub mod cpu;
pub mod engine;
