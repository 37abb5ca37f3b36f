//! The binary, end to end.

mod arguments;
#[cfg(target_os = "linux")]
mod devices;
mod runs;
mod support;
