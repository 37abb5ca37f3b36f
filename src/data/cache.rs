//! How much memory decoded images may take.

use crate::host_memory;

/// Most bytes taken without being asked for.
const MOST: u64 = 8 << 30;

/// Taken to be there when nothing says how much memory there is.
const UNKNOWN: u64 = 8 << 30;

/// A quarter of this machine's (or this container's) memory, at most 8 GiB.
pub fn default_budget() -> u64 {
    (host_memory::total().unwrap_or(UNKNOWN) / 4).min(MOST)
}
