//! Timing kernels and whole steps of a model, for `vitcuda bench`.

mod ceilings;
mod kernels;
mod step;
mod stopwatch;

pub use ceilings::Ceilings;
pub use kernels::{Ceiling, KernelSetup, KernelTime, kernels};
pub use step::{Pass, Setup, StepTime, random_engine, step};
pub use stopwatch::Place;

/// Of sorted values, at least one.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
        _ => sorted[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
    }
}
