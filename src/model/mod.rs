//! The Vision Transformer: its configuration, its parameters, its forward and backward pass.

pub mod activations;
pub mod backward;
pub mod config;
pub mod params;
pub mod vit;
