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
mod families;
#[cfg(target_os = "linux")]
mod fault_library;
#[cfg(target_os = "linux")]
mod faults;
#[cfg(target_os = "linux")]
mod kill_everywhere;
mod nvrtc;
#[cfg(target_os = "linux")]
mod owners;
#[path = "../data/pictures.rs"]
mod pictures;
mod recipe;
mod records;
mod resume;
#[path = "../common/run_files.rs"]
mod run_files;
mod runs;
#[cfg(target_os = "linux")]
mod strange_files;
mod support;
#[path = "../data/tables.rs"]
mod tables;
