//! The binary, end to end.

mod arguments;
mod bench;
mod data;
#[cfg(target_os = "linux")]
mod devices;
#[path = "../common/dinov2.rs"]
mod dinov2;
#[cfg(target_os = "linux")]
mod doctor;
mod escapes;
mod families;
#[cfg(target_os = "linux")]
mod faults;
mod nvrtc;
#[path = "../data/pictures.rs"]
mod pictures;
mod predict;
mod recipe;
mod records;
mod resume;
#[path = "../common/run_files.rs"]
mod run_files;
mod runs;
mod support;
#[path = "../data/tables.rs"]
mod tables;
mod trainer;
