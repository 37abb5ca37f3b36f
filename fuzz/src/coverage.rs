//! Which branches an input took, where the compiler counts them: `scripts/fuzz.sh --long` builds with
//! LLVM's `-sanitizer-coverage-inline-8bit-counters`. In other builds there are no counters, and no
//! input ever reaches anything new.

use std::ops::Range;
use std::slice;
use std::sync::Mutex;

/// Counters of each part of the program, by address.
static COUNTERS: Mutex<Vec<Range<usize>>> = Mutex::new(Vec::new());

/// Called by what the compiler puts into each instrumented module.
///
/// # Safety
/// `start..end` are counters that live as long as the program.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, end: *mut u8) {
    let range = start as usize..end as usize;
    let mut all = COUNTERS.lock().expect("nobody panics here");
    if !range.is_empty() && !all.contains(&range) {
        all.push(range);
    }
}

fn counters() -> Vec<&'static mut [u8]> {
    let all = COUNTERS.lock().expect("nobody panics here");
    // SAFETY: the ranges are what the compiler made for its counters. The code under test adds to them
    // without synchronisation, by design of the instrumentation; it does not run while they are read.
    let slice = |range: &Range<usize>| unsafe {
        slice::from_raw_parts_mut(range.start as *mut u8, range.len())
    };
    all.iter().map(slice).collect()
}

/// Forgets the counts so far.
pub fn start() {
    for part in counters() {
        part.fill(0);
    }
}

/// Counters that are looked at together.
const BLOCK: usize = 128;
const ZEROS: [u8; BLOCK] = [0; BLOCK];

/// What all inputs so far have reached.
#[derive(Debug, Default)]
pub struct Reached {
    /// A bit for each power of two of each counter.
    seen: Vec<u8>,
    edges: usize,
}

impl Reached {
    /// Takes in the counts since [`start`]; whether one is new.
    pub fn add(&mut self) -> bool {
        let parts = counters();
        let total: usize = parts.iter().map(|part| part.len()).sum();
        self.seen.resize(total, 0);
        let mut is_new = false;
        let mut at = 0;
        for part in parts {
            for (counts, seen) in part.chunks(BLOCK).zip(self.seen[at..].chunks_mut(BLOCK)) {
                // Nearly all. The comparison is the C library's, in which no counters count.
                if *counts == ZEROS[..counts.len()] {
                    continue;
                }
                for (&count, seen) in counts.iter().zip(seen) {
                    let bit = match count {
                        0 => continue,
                        1..=3 => 1 << (count - 1),
                        4..=7 => 8,
                        8..=15 => 16,
                        16..=31 => 32,
                        32..=127 => 64,
                        128.. => 128,
                    };
                    if *seen & bit == 0 {
                        is_new = true;
                        self.edges += usize::from(*seen == 0);
                        *seen |= bit;
                    }
                }
            }
            at += part.len();
        }
        is_new
    }

    /// Branches taken by any input.
    pub fn edges(&self) -> usize {
        self.edges
    }
}
