//! `libnvrtc`: hands the text to a real NVRTC, for a virtual architecture, and keeps the PTX.
//!
//! So the kernels' inline instructions, their constraints and what the compiler makes of the text are
//! what is run, and the text is the one that ships. `VITCUDA_TEST_NVRTC` names the library.

mod api;
mod mutation;
mod real;
mod store;
