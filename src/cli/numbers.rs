//! Numbers as flags take them; the errors complete clap's `invalid value …: `.

use std::str::FromStr;

/// At least 1.
pub fn count<T: FromStr + From<u8> + PartialOrd>(text: &str) -> Result<T, String> {
    match text.parse() {
        Ok(n) if n >= T::from(1) => Ok(n),
        _ => Err("expected a whole number of at least 1".into()),
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
