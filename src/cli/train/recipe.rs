//! What a run uses where the person did not say.

use std::fmt::Display;
use std::path::Path;

use vitcuda::train::config::Interval;

/// The defaults that depend on whether there is a DATA argument.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recipe {
    pub learning_rate: f64,
    pub epochs: f64,
    pub batch_size: usize,
    pub logging_steps: u64,
    pub eval: Interval,
    pub save: Interval,
}

impl Recipe {
    /// For the person's own photos: Hugging Face's `TrainingArguments`, but evaluating after every
    /// epoch (theirs never does).
    pub const PHOTOS: Self = Self {
        learning_rate: 5e-5,
        epochs: 3.0,
        batch_size: 8,
        logging_steps: 500,
        eval: Interval::Epoch,
        save: Interval::Steps(500),
    };

    /// For the embedded digits and their preset: at least 97 % within a minute on two cores.
    pub const DIGITS: Self = Self {
        learning_rate: 2e-3,
        epochs: 20.0,
        batch_size: 32,
        logging_steps: 100,
        eval: Interval::Epoch,
        save: Interval::Never,
    };

    /// The recipe for the photos `data`, or for the digits.
    pub fn of(data: Option<&Path>) -> Self {
        match data {
            Some(_) => Self::PHOTOS,
            None => Self::DIGITS,
        }
    }
}

/// The help of a flag whose default is the recipe's.
pub fn with_default<T: Display>(what: &str, value: fn(&Recipe) -> T) -> String {
    let (photos, digits) = (value(&Recipe::PHOTOS), value(&Recipe::DIGITS));
    format!("{what} [default: {photos}; digits: {digits}]")
}

/// An interval as its flags spell it.
pub fn name(interval: &Interval) -> String {
    match interval {
        Interval::Never => "no".into(),
        Interval::Epoch => "epoch".into(),
        Interval::Steps(n) => format!("steps, {n}"),
    }
}
