//! The Vision Transformer: its configuration, its parameters, its forward and backward pass.

pub mod config;
pub mod params;
