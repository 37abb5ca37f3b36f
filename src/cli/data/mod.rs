//! `vitcuda data`: looking at images before training on them.

mod inline;
mod show;
mod split;
mod stats;

use clap::Subcommand;

use super::Global;
use super::output::Outcome;

/// Look at labelled images before training on them
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    Stats(stats::StatsArgs),
    Show(show::ShowArgs),
    Split(split::SplitCommandArgs),
}

pub fn run(command: &DataCommand, global: &Global) -> Outcome {
    match command {
        DataCommand::Stats(args) => stats::run(args, global),
        DataCommand::Show(args) => show::run(args, global),
        DataCommand::Split(args) => split::run(args, global),
    }
}
