//! Mutated files for every parser of vitcuda: a fuzzer for stable Rust.
//!
//! An input is a file of the corpus, changed a few times; which file and how follows from the seed and
//! the input's number alone. [`judge`] runs a parser on it and finds the faults: a panic, memory beyond
//! what the file can hold, seconds without end. `fuzz/README.md` says how to use it.

pub mod allocator;
pub mod corpus;
pub mod coverage;
pub mod guard;
pub mod judge;
pub mod make;
pub mod mutate;
pub mod rng;
pub mod session;
pub mod targets;

/// A file, or what stands for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Name of the corpus file that it comes from; where a parser reads several kinds of files, its
    /// end says which this is.
    pub name: String,
    pub bytes: Vec<u8>,
}
