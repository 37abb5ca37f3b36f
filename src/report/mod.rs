//! What a run tells about itself, and who listens.

mod console;
mod event;
pub mod format;
mod json_lines;

pub use console::{Console, Terminal};
pub use event::{
    Best, BestMark, Evaluated, Event, Fact, Finished, Logged, Progress, Reporter, Reporters, Saved,
    Scores,
};
pub use json_lines::{JsonLines, write_line};
