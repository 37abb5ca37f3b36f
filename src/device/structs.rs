//! Structs that kernels and the host share: `NAME*` in a kernel is `Ptr<NAME>` here, with the same
//! fields in the same order and `#[repr(C)]`.
