//! The training loop and what it needs.

pub mod batch_size;
mod best;
mod clock;
pub mod config;
pub mod cpu;
pub mod cuda;
pub mod engine;
pub mod engines;
pub mod evaluate;
mod evaluations;
mod feed;
mod foreign;
#[doc(hidden)]
pub mod fuzzing;
pub mod health;
pub mod learning;
mod metrics_file;
pub mod optimizer_file;
pub mod outcome;
pub mod plan;
pub mod resume;
pub mod run_folder;
pub mod run_lock;
mod run_owner;
mod saving;
mod saving_plan;
pub mod schedule;
mod scoring;
pub mod source;
pub mod state;
pub mod trainer;
mod writer;

pub use evaluate::{Evaluation, evaluate};
pub use outcome::Outcome;
pub use run_lock::RunLock;
pub use source::BatchSource;
pub use trainer::{Job, ModelFiles, train};
