//! Model folders: what is read, what is written, and what is said about broken ones.

mod common;
mod checkpoint {
    pub mod broken;
    pub mod configs;
    pub mod families;
    pub mod files;
    pub mod good;
    pub mod labels;
    pub mod real;
    pub mod support;
}

use libtest_mimic::{Arguments, Trial};

fn main() {
    let trials: Vec<Trial> = [
        checkpoint::good::trials(),
        checkpoint::labels::trials(),
        checkpoint::broken::trials(),
        checkpoint::configs::trials(),
        checkpoint::families::trials(),
        checkpoint::files::trials(),
        checkpoint::real::trials(),
    ]
    .into_iter()
    .flatten()
    .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
