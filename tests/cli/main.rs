//! The binary, end to end.

mod arguments;
mod bench;
#[cfg(unix)]
#[path = "../common/ctrl_c.rs"]
mod ctrl_c;
mod data;
#[cfg(target_os = "linux")]
mod devices;
#[path = "../common/dinov2.rs"]
mod dinov2;
#[cfg(target_os = "linux")]
mod doctor;
mod families;
#[cfg(target_os = "linux")]
mod faults;
mod nvrtc;
#[path = "../data/pictures.rs"]
mod pictures;
mod recipe;
mod records;
mod resume;
#[path = "../common/run_files.rs"]
mod run_files;
mod runs;
mod support;
#[path = "../data/tables.rs"]
mod tables;
