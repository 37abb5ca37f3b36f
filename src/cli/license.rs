//! The licence of a model, as the hub names it.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use vitcuda::report::model_card::LICENSES;

#[derive(Debug, Args)]
pub struct LicenseArgs {
    /// Licence of the model, for its card (README.md), by the hub's name: apache-2.0, mit, other, …
    #[arg(
        long,
        value_name = "NAME",
        hide_possible_values = true,
        ignore_case = true
    )]
    #[arg(value_parser = PossibleValuesParser::new(LICENSES).map(|name| name.to_lowercase()))]
    pub license: Option<String>,
}
