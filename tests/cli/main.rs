//! The binary, end to end.

mod arguments;
#[cfg(target_os = "linux")]
mod devices;
#[cfg(target_os = "linux")]
mod doctor;
mod records;
mod runs;
mod support;
