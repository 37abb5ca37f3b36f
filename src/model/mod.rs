//! The Vision Transformer: its configuration, its parameters and their files, its forward and
//! backward pass.

pub mod activations;
pub mod arena_file;
pub mod backward;
mod broken_file;
pub mod checkpoint;
pub mod config;
pub mod cost;
pub mod freeze;
pub mod gpu;
mod head;
pub mod init;
pub mod interpolate;
pub mod model_type;
pub mod params;
pub mod presets;
pub mod scratch;
pub mod tensor_file;
pub mod vit;
mod weights;
