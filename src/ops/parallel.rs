//! Splitting work over the threads of the CPU by rules that know only the shapes.
//!
//! A reduction over chunks adds the chunks' sums in chunk order; with chunks that do not depend on
//! the number of threads, neither does the result.

use std::ops::Range;

use rayon::prelude::*;

/// Rows of a chunk: near 128 (a chunk of activations of a small ViT stays in a 2 MiB cache) and
/// whole tiles of the matrix product, in parts whose number is near a power of two, so that 2, 4, 8 …
/// threads come out even.
pub fn chunk_rows(rows: usize) -> usize {
    const TILE: usize = 32;
    let chunks = 1 << (rows / 96).max(1).ilog2();
    match rows / chunks / TILE {
        0 => rows.max(1),
        tiles => tiles * TILE,
    }
}

/// The chunks of `0..rows`, each of [`chunk_rows`] rows but the last.
pub fn chunks(rows: usize) -> impl IndexedParallelIterator<Item = Range<usize>> {
    let step = chunk_rows(rows);
    (0..rows.div_ceil(step))
        .into_par_iter()
        .map(move |i| i * step..((i + 1) * step).min(rows))
}

/// Mutable rows of a tensor, handed out to tasks chunk by chunk.
///
/// rayon's `par_chunks_mut` does the same for one slice; operations write several at once, with
/// different widths, so they zip these.
pub fn rows_mut<T: Send>(
    data: &mut [T],
    rows: usize,
    width: usize,
) -> impl IndexedParallelIterator<Item = &mut [T]> {
    assert_eq!(data.len(), rows * width, "rows × width");
    data.par_chunks_mut((chunk_rows(rows) * width).max(1))
}
