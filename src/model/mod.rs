//! The Vision Transformer: its configuration, its parameters, its forward and backward pass.

pub mod arena_file;
mod broken_file;
pub mod checkpoint;
pub mod config;
pub mod cost;
pub mod init;
pub mod interpolate;
pub mod params;
pub mod presets;
pub mod tensor_file;
mod weights;
