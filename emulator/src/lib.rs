//! A CUDA driver and an NVRTC for machines without a GPU: the shared library stands where
//! `libcuda.so.1` and `libnvrtc.so` stand, compiles kernels as C++ and runs them on fibers.
//!
//! It is a test device, and stricter than a GPU: see the README of this folder for what it refuses.
//!
//! * [`nvrtc`]: `.cu` text to a shared object (the "cubin").
//! * [`module`]: loads one, reads its kernels' signatures.
//! * [`driver`]: the C ABI of `libcuda`; streams are queues which run as late as the API allows.
//! * [`exec`]: runs a launch: blocks over CPU threads, one fiber a CUDA thread.
//! * [`memory`]: device memory, guard pages, shadow bytes.

mod counters;
mod device;
mod driver;
mod exec;
mod granules;
mod memory;
mod module;
mod nvrtc;
mod report;
mod status;
