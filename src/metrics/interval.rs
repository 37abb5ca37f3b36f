//! How much a share of some images says.

/// 95 % Wilson score interval of the share `successes / trials`, as (low, high) in [0, 1].
///
/// Wilson (1927): (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n), z = 1.96. It stays inside
/// [0, 1] and keeps its coverage near 0 and 1, where the textbook interval fails. Without trials
/// nothing is known: (0, 1).
pub fn wilson(successes: usize, trials: usize) -> (f64, f64) {
    if trials == 0 {
        return (0.0, 1.0);
    }
    const Z: f64 = 1.959_963_984_540_054;
    let n = trials as f64;
    let p = successes as f64 / n;
    let scale = 1.0 + Z * Z / n;
    let centre = (p + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_gives_the_published_intervals() {
        let percent = |successes, trials| {
            let (low, high) = wilson(successes, trials);
            format!("[{:.1}, {:.1}]", 100.0 * low, 100.0 * high)
        };
        assert_eq!(percent(189, 200), "[90.4, 96.9]");
        assert_eq!(percent(198, 200), "[96.4, 99.7]");
        assert_eq!(percent(200, 200), "[98.1, 100.0]");
        assert_eq!(percent(0, 0), "[0.0, 100.0]");
    }
}
