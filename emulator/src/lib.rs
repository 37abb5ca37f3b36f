//! A CUDA driver and an NVRTC for machines without a GPU: the shared library stands where
//! `libcuda.so.1` and `libnvrtc.so` stand, and executes the PTX that a real NVRTC makes of kernels.
//!
//! It is a test device, and stricter than a GPU: see the README of this folder for what it refuses.
//!
//! * [`nvrtc`]: hands `.cu` text to the real NVRTC; PTX comes back.
//! * [`ptx`]: reads it: statements, control flow, registers, programs.
//! * [`module`]: loads an image, with its kernels' signatures.
//! * [`driver`]: the C ABI of `libcuda`; streams are queues which run as late as the API allows.
//! * [`exec`]: runs a launch: blocks over CPU threads, a warp's lanes side by side.
//! * [`memory`]: device memory, guard pages, shadow bytes, records of accesses.

mod counters;
mod device;
mod driver;
mod exec;
mod granules;
mod memory;
mod module;
mod nvrtc;
mod ptx;
mod report;
mod status;
