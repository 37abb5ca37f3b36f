//! How much memory decoded images may take.

/// Most bytes taken without being asked for.
const MOST: u64 = 8 << 30;

/// Taken to be there when nothing says how much memory there is.
const UNKNOWN: u64 = 8 << 30;

/// A quarter of this machine's (or this container's) memory, at most 8 GiB.
pub fn default_budget() -> u64 {
    let physical = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| total_memory(&text));
    // A container's limit, cgroup v2; `max` when there is none.
    let contained = std::fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let memory = physical.into_iter().chain(contained).min();
    (memory.unwrap_or(UNKNOWN) / 4).min(MOST)
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(1024 * kibibytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_memory_is_in_kibibytes() {
        let meminfo = "MemFree: 1 kB\nMemTotal:       24689764 kB\n";
        assert_eq!(total_memory(meminfo), Some(24_689_764 * 1024));
        assert_eq!(total_memory("nothing"), None);
    }
}
