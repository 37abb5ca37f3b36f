//! Scores of a classifier, from what it said about each image. Nothing here knows where images and
//! logits come from.

mod calibration;
mod confusion;
mod interval;
mod paired;
mod prediction;
mod summary;

pub use calibration::{Bin, Calibration};
pub use confusion::{ClassCount, Confusion};
pub use interval::wilson;
pub use paired::Paired;
pub use prediction::{Prediction, top_k_accuracy, worst_mistakes};
pub use summary::Summary;
