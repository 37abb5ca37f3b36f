//! Numbers as people read them.

use serde_json::{Map, Value};

use crate::metrics::wilson;

/// `value` with so many decimals.
pub fn rounded(value: f64, decimals: i32) -> f64 {
    let scale = 10_f64.powi(decimals);
    (value * scale).round() / scale
}

/// `1.84e-04`: three digits, as C and Python write them.
pub fn scientific(value: f64) -> String {
    let text = format!("{value:.2e}");
    match text.split_once('e') {
        Some((digits, exponent)) => match exponent.strip_prefix('-') {
            Some(exponent) => format!("{digits}e-{exponent:0>2}"),
            None => format!("{digits}e+{exponent:0>2}"),
        },
        None => text,
    }
}

/// `2e-5`: a learning rate as one types it, at most two digits long.
pub fn learning_rate(value: f64) -> String {
    let rounded = format!("{value:.1e}").parse().unwrap_or(value);
    format!("{rounded:e}")
}

/// `Nov23_13-05-09`: seconds since 1970 as Hugging Face names a run's folder, in UTC.
pub fn file_time(seconds: u64) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    // Years that begin in March put the leap day last (H. Hinnant, "chrono-compatible low-level
    // date algorithms"); only month and day are wanted.
    let days = seconds / 86_400 + 719_468;
    let of_era = days % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = MONTHS[(from_march as usize + 2) % 12];
    let (hours, minutes, seconds) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{month}{day:02}_{hours:02}-{minutes:02}-{seconds:02}")
}

/// `97.0% [93.6,98.6]`: the share and its 95 % interval.
pub fn accuracy(right: usize, all: usize) -> String {
    let (low, high) = wilson(right, all);
    format!(
        "{:.1}% [{:.1},{:.1}]",
        100.0 * right as f64 / all as f64,
        100.0 * low,
        100.0 * high
    )
}

/// `1234567` as `1,234,567`.
pub fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1.03 GB`: bytes in three digits, decimal units.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    // 999.5 would be shown as 1000.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1000.0, unit + 1);
    }
    let decimals = match value {
        _ if unit == 0 => 0,
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// `0:07:47.93`: seconds as Hugging Face's `log_metrics` shows them, hundredths cut off.
pub fn hours(seconds: f64) -> String {
    let hundredths = ((seconds.abs() - seconds.abs().floor()) * 100.0) as u64;
    let whole = seconds as u64;
    let days = match whole / 86_400 {
        0 => String::new(),
        1 => "1 day, ".to_owned(),
        days => format!("{days} days, "),
    };
    let (hours, minutes, seconds) = (whole / 3600 % 24, whole / 60 % 60, whole % 60);
    format!("{days}{hours}:{minutes:02}:{seconds:02}.{hundredths:02}")
}

/// The block that Hugging Face's `Trainer.log_metrics` prints: a title, then the keys in order,
/// padded.
pub fn metrics_block(split: &str, metrics: &Map<String, Value>) -> String {
    let mut rows: Vec<(&str, String)> = metrics
        .iter()
        .map(|(key, value)| (key.as_str(), metric(key, value)))
        .collect();
    rows.sort();
    let key_width = rows.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    let value_width = rows.iter().map(|(_, value)| value.len()).max().unwrap_or(0);
    let mut text = format!("***** {split} metrics *****\n");
    for (key, value) in rows {
        text += &format!("  {key:<key_width$} = {value:>value_width$}\n");
    }
    text
}

fn metric(key: &str, value: &Value) -> String {
    let Some(number) = value.as_f64() else {
        return match value {
            Value::Null => "not finite".to_owned(),
            other => other.to_string(),
        };
    };
    if key.contains("_runtime") {
        hours(number)
    } else if key == "total_flos" {
        format!("{}GF", number as u64 >> 30)
    } else if value.is_f64() {
        // `{:?}` keeps the `.0` of a whole number, as Python does.
        format!("{:?}", rounded(number, 4))
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metrics_block_is_the_references() {
        let metrics = json!({
            "train_runtime": 467.9325,
            "epoch": 1.0,
            "total_flos": 1.549_839_792_291_84e17,
            "train_loss": 0.2435887416913396,
            "train_samples": 1000,
        });
        assert_eq!(
            metrics_block("train", metrics.as_object().unwrap()),
            "***** train metrics *****\n\
             \x20 epoch         =         1.0\n\
             \x20 total_flos    = 144340078GF\n\
             \x20 train_loss    =      0.2436\n\
             \x20 train_runtime =  0:07:47.93\n\
             \x20 train_samples =        1000\n"
        );
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(hours(0.999), "0:00:00.99");
        assert_eq!(hours(90_061.5), "1 day, 1:01:01.50");
        assert_eq!(thousands(85_800_194), "85,800,194");
        assert_eq!(thousands(12), "12");
        assert_eq!(bytes(0), "0 bytes");
        assert_eq!(bytes(999), "999 bytes");
        assert_eq!(bytes(1_029_602_328), "1.03 GB");
        assert_eq!(bytes(9_996), "10.0 kB");
        assert_eq!(bytes(12_355_000_000), "12.4 GB");
        assert_eq!(bytes(999_600), "1.00 MB");
        assert_eq!(bytes(u64::MAX), "18446744 TB");
        assert_eq!(scientific(1.841_269_8e-4), "1.84e-04");
        assert_eq!(scientific(0.0), "0.00e+00");
        assert_eq!(scientific(f64::NAN), "NaN");
        assert_eq!(learning_rate(3e-4 / 10.0), "3e-5");
        assert_eq!(learning_rate(0.00127), "1.3e-3");
    }

    #[test]
    fn file_times_are_utc() {
        assert_eq!(file_time(0), "Jan01_00-00-00");
        assert_eq!(file_time(951_782_400), "Feb29_00-00-00"); // 2000
        assert_eq!(file_time(1_709_251_199), "Feb29_23-59-59"); // 2024
        assert_eq!(file_time(1_709_251_200), "Mar01_00-00-00");
        assert_eq!(file_time(1_798_761_599), "Dec31_23-59-59"); // 2026
    }
}
