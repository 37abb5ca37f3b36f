//! Memory of this machine, or of the container that the program runs in.

use std::fs;

/// Bytes there are in all; `None` where the system does not say.
pub fn total() -> Option<u64> {
    let physical = meminfo("MemTotal:");
    physical
        .into_iter()
        .chain(contained().map(|c| c.most))
        .min()
}

/// Bytes that can still be had without pushing anything out; `None` where the system does not say.
pub fn available() -> Option<u64> {
    let left = contained().map(|c| c.most.saturating_sub(c.used));
    meminfo("MemAvailable:").into_iter().chain(left).min()
}

/// A container's memory, cgroup v2.
struct Contained {
    most: u64,
    /// Without cached files, which go when memory is wanted.
    used: u64,
}

fn contained() -> Option<Contained> {
    let read = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup/memory.{name}")).ok();
    // `max` where there is no limit.
    let most = read("max")?.trim().parse().ok()?;
    let current: u64 = read("current").and_then(|text| text.trim().parse().ok())?;
    let stat = read("stat").unwrap_or_default();
    let cached = value(&stat, "inactive_file").unwrap_or(0);
    Some(Contained {
        most,
        used: current.saturating_sub(cached),
    })
}

/// A row of `/proc/meminfo`, in bytes.
fn meminfo(row: &str) -> Option<u64> {
    kibibytes(&fs::read_to_string("/proc/meminfo").ok()?, row)
}

fn kibibytes(meminfo: &str, row: &str) -> Option<u64> {
    Some(1024 * value(meminfo, row)?)
}

/// The number behind `key` at the start of a line.
fn value(text: &str, key: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    let mut line = lines.find(|line| line.clone().next() == Some(key))?;
    line.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_meminfo_are_in_kibibytes() {
        let meminfo = "MemTotal:       24689764 kB\nMemAvailable:    1000 kB\n";
        assert_eq!(kibibytes(meminfo, "MemTotal:"), Some(24_689_764 * 1024));
        assert_eq!(kibibytes(meminfo, "MemAvailable:"), Some(1_024_000));
        assert_eq!(kibibytes(meminfo, "MemFree:"), None);
        assert_eq!(value("file 3\ninactive_file 5\n", "inactive_file"), Some(5));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn no_more_is_left_than_there_is() {
        let (total, available) = (total().unwrap(), available().unwrap());
        assert!(0 < available && available < total, "{available} of {total}");
    }
}
