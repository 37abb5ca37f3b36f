//! What a run tells about itself, and who listens.

pub mod chart;
mod console;
mod csv;
mod event;
pub mod format;
mod html;
mod json_lines;
pub mod line;
pub mod model_card;
pub mod plot;
mod raster;
pub mod record;
pub mod run_log;
mod shape;
mod svg;
mod table;
mod tensorboard;
pub mod verdict;
mod xml;

pub use console::{Console, Terminal};
pub use csv::MetricsCsv;
pub use event::{
    Best, BestMark, Evaluated, Event, Fact, Finished, Logged, Progress, Reporter, Reporters, Saved,
    SavingCost, Scores, TimeSpent,
};
pub use html::page;
pub use json_lines::{JsonLines, write_line};
pub use line::{Colours, Line};
pub use record::Record;
pub use run_log::RunLog;
pub use tensorboard::TensorBoard;
pub(crate) use tensorboard::host_name;
