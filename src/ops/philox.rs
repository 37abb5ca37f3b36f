//! The streams of [`crate::rng::Philox`] on a GPU: `kernels/philox.cu`.

use crate::device::kernels::PhiloxStream;
use crate::device::{Geometry, Gpu, Kernel, Slice};
use crate::error::Result;
use crate::rng::Purpose;

const THREADS: u32 = 256;
/// Words that a thread writes: one block of the cipher.
const WORDS: usize = 4;

/// Fills `words` with the first words of the stream `index` of `purpose` under `seed`.
pub fn stream(gpu: &Gpu, words: Slice<u32>, seed: u64, purpose: Purpose, index: u64) -> Result<()> {
    if words.is_empty() {
        return Ok(());
    }
    let kernel = PhiloxStream {
        words: words.ptr(),
        count: i32::try_from(words.len()).expect("fewer than 2³¹ words"),
        seed: seed as i64,
        purpose: purpose as u32,
        index: index as i64,
    };
    let blocks = words.len().div_ceil(THREADS as usize * WORDS);
    let geometry = Geometry::line(blocks, THREADS);
    // SAFETY: the kernel writes `count` words.
    unsafe { gpu.launch(&kernel, &PhiloxStream::specialise(&[]), geometry) }
}
