//! Numbers as flags take them; the errors complete clap's `invalid value …: `.

use std::str::FromStr;

/// At least 1.
pub fn count<T: FromStr + From<u8> + PartialOrd>(text: &str) -> Result<T, String> {
    match text.parse() {
        Ok(n) if n >= T::from(1) => Ok(n),
        _ => Err("expected a whole number of at least 1".into()),
    }
}

/// So many steps, or a share of all steps of the run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Steps {
    Count(u64),
    Share(f64),
}

impl Steps {
    /// In a run of `max_steps`; a share is rounded up, as transformers does.
    pub fn of(self, max_steps: u64) -> u64 {
        match self {
            Self::Count(steps) => steps,
            Self::Share(share) => ((max_steps as f64 * share).ceil() as u64).max(1),
        }
    }
}

/// A whole number of at least 1 (which Python may write `10.0`), or a share above 0 and below 1.
pub fn steps(text: &str) -> Result<Steps, String> {
    match text.parse::<f64>() {
        Ok(x) if x > 0.0 && x < 1.0 => Ok(Steps::Share(x)),
        Ok(x) if x >= 1.0 && x.fract() == 0.0 && x < u64::MAX as f64 => Ok(Steps::Count(x as u64)),
        _ => Err("expected a whole number of at least 1, or a share of all steps below 1".into()),
    }
}

/// The same, or 0.
pub fn steps_or_none(text: &str) -> Result<Steps, String> {
    match text.parse::<f64>() {
        Ok(0.0) => Ok(Steps::Count(0)),
        _ => steps(text).map_err(|wanted| wanted.replace("at least 1", "steps")),
    }
}

/// Truth as Python writes it, or as shells do.
pub fn truth(text: &str) -> Result<bool, String> {
    match text.to_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("expected true or false".into()),
    }
}

/// A whole number; 0 stands for none given, which Python writes as -1.
pub fn count_or_none(text: &str) -> Result<u64, String> {
    match text.parse::<i64>() {
        Ok(n) => Ok(n.max(0) as u64),
        Err(_) => Err("expected a whole number".into()),
    }
}

/// Finite, at least 0.
pub fn magnitude(text: &str) -> Result<f64, String> {
    within(text, |x| x >= 0.0, "a number of at least 0")
}

/// Finite, above 0.
pub fn positive(text: &str) -> Result<f64, String> {
    within(text, |x| x > 0.0, "a number above 0")
}

/// At least 0, below 1.
pub fn share(text: &str) -> Result<f64, String> {
    within(
        text,
        |x| (0.0..1.0).contains(&x),
        "a number from 0 to below 1",
    )
}

/// From 0 to 1.
pub fn probability(text: &str) -> Result<f64, String> {
    within(text, |x| (0.0..=1.0).contains(&x), "a number from 0 to 1")
}

/// Above 0, below 1.
pub fn proper_fraction(text: &str) -> Result<f64, String> {
    within(text, |x| x > 0.0 && x < 1.0, "a number between 0 and 1")
}

fn within(text: &str, accepts: fn(f64) -> bool, wanted: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(x) if f64::is_finite(x) && accepts(x) => Ok(x),
        _ => Err(format!("expected {wanted}")),
    }
}
