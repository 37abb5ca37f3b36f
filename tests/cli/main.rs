//! The binary, end to end.

mod arguments;
mod bench;
#[cfg(target_os = "linux")]
mod devices;
#[cfg(target_os = "linux")]
mod doctor;
mod resume;
mod runs;
mod support;
