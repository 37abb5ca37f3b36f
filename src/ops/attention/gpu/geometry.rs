//! How a pass is cut into blocks, strips and tiles, on a given GPU.
//!
//! What a multiprocessor has decides: 64 Ki registers in four partitions, so that 8 warps may have
//! 255 each, 12 warps 168 and 16 warps 128; and shared memory, in which K and V of a head (backward,
//! also Q and dO) stay where they fit. The register counts behind the limits below are NVRTC's for
//! sm_75 to sm_120; a test compiles what models need and fails on a spill.

use crate::device::Properties;

use super::{Queries, Shape};

/// Rows of a strip, and the unit of everything else: `mma` has 16 rows.
const STRIP: usize = 16;
/// Fewest warps of a block: loading a tile wants threads, even where strips are few.
const FEWEST: usize = 4;
/// What a block takes of a multiprocessor's shared memory beside its own, from sm_80 on.
const RESERVED: usize = 1024;

/// The macros WARPS, BLOCKS, TILE and BLOCK of `kernels/attention.cu`, and what follows from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiling {
    pub warps: usize,
    /// Of a multiprocessor.
    pub blocks: usize,
    pub tile: usize,
    pub block: usize,
    /// Whether the walked side is one tile, loaded once for all strips of a block.
    pub resident: bool,
    /// Blocks that share the strips of a head.
    pub parts: usize,
    /// Dynamic shared memory of a block, in bytes.
    pub shared: usize,
}

impl Tiling {
    /// Threads of a block.
    pub fn threads(&self) -> u32 {
        self.warps as u32 * 32
    }

    /// Query strips along keys. Scores of a strip stay in registers as one block where they fit, so
    /// that softmax is the textbook's, maximum first; else they come in blocks of 64 keys, and what
    /// was summed is scaled whenever the maximum grows.
    pub fn forward(gpu: &Properties, shape: Shape, queries: Queries) -> Self {
        let width = padded(shape.head_size);
        let keys = padded(shape.tokens);
        let strips = queries.count(shape.tokens).div_ceil(STRIP);
        let in_blocks = match width {
            0..=32 => 16,
            33..=64 => 12,
            _ => 8,
        };
        let longest = longest_row(gpu.capability.0, width);
        let (block, most_warps) = match whole_row_registers(width, keys) {
            0..=130 => (keys, 16),
            131..=150 => (keys, 12),
            151..=236 if keys <= longest => (keys, 8),
            _ => (64, in_blocks),
        };
        let resident = Walk::resident(keys);
        if let Some((warps, blocks)) = fill(gpu, strips, most_warps, |_| resident.bytes(width)) {
            // Few heads: their strips are shared out so that no multiprocessor is idle.
            let idle = gpu.multiprocessors as usize / (shape.images * shape.heads);
            let parts = idle.clamp(1, strips.div_ceil(warps));
            let bytes = resident.bytes(width);
            return resident.tiling(warps, blocks, block, parts, bytes);
        }
        tiled(gpu, strips, in_blocks, 64, |walk, _| walk.bytes(width))
    }

    /// Query strips along keys, then key strips along queries.
    pub fn backward(gpu: &Properties, shape: Shape, queries: Queries) -> Self {
        let width = padded(shape.head_size);
        let (keys, asked) = (padded(shape.tokens), padded(queries.count(shape.tokens)));
        let strips = keys / STRIP;
        // The key pass has two strips and two strips of sums; for some architectures the compiler
        // makes more of them than for others.
        let most_warps = match (width, gpu.capability.0) {
            (0..=32, 7..=9) => 16,
            (0..=32, _) | (33..=64, 8 | 9) => 12,
            _ => 8,
        };
        let walks = |walk: Walk, warps: usize| {
            let sums = 4 * warps * width;
            let along_keys = walk.bytes(width) + sums;
            let along_queries =
                walk.shortened(asked).bytes(width) + walk.shortened(asked).rows() * 8 + 2 * sums;
            along_keys.max(along_queries)
        };
        let resident = Walk::resident(keys);
        if let Some((warps, blocks)) = fill(gpu, strips, most_warps, |warps| walks(resident, warps))
        {
            return resident.tiling(warps, blocks, STRIP, 1, walks(resident, warps));
        }
        let most_warps = if width <= 32 { most_warps } else { 8 };
        tiled(gpu, strips, most_warps, STRIP, walks)
    }
}

fn padded(count: usize) -> usize {
    count.next_multiple_of(STRIP)
}

/// About the registers of a forward strip with all its scores: half a register a key (16 rows on 32
/// lanes), the sums, the strip itself, and what the compiler wants for its schedule.
fn whole_row_registers(width: usize, keys: usize) -> usize {
    keys / 2 + width + 34
}

/// Most keys whose scores one of NVRTC's releases from 12.0 on keeps in a thread's 255 registers; of
/// longer rows some spill.
///
/// sm_75 multiplies a fragment in two halves and copies through registers, and from 12.4 to 13.0 its
/// compiler wants more for both than before and after. Elsewhere the ends are those of sm_90.
fn longest_row(family: u32, width: usize) -> usize {
    match (family, width) {
        (7, ..=16) => 288,
        (7, ..=32) => 224,
        (7, ..=48) => 208,
        (7, ..=64) => 240,
        (7, ..=80) => 176,
        (7, ..=96) => 144,
        (7, _) => 128,
        (_, ..=16) => usize::MAX,
        (_, ..=32) => 288,
        // 12.4 spills at 240 keys.
        (9, 65..=80) => 208,
        (_, _) => 272,
    }
}

/// The walked side in shared memory.
#[derive(Debug, Clone, Copy)]
struct Walk {
    tile: usize,
    /// Tiles at a time: two take turns where one does not hold everything.
    slots: usize,
}

impl Walk {
    fn resident(rows: usize) -> Self {
        Self {
            tile: rows,
            slots: 1,
        }
    }

    fn tiled(tile: usize) -> Self {
        Self { tile, slots: 2 }
    }

    /// The same along a side of `rows` rows, which one tile may hold.
    fn shortened(self, rows: usize) -> Self {
        if rows <= self.tile {
            Self::resident(rows)
        } else {
            self
        }
    }

    fn rows(self) -> usize {
        self.slots * self.tile
    }

    /// Two matrices of 16-bit values.
    fn bytes(self, width: usize) -> usize {
        2 * 2 * self.rows() * width
    }

    fn tiling(
        self,
        warps: usize,
        blocks: usize,
        block: usize,
        parts: usize,
        shared: usize,
    ) -> Tiling {
        Tiling {
            warps,
            blocks,
            tile: self.tile,
            block,
            resident: self.slots == 1,
            parts,
            shared,
        }
    }
}

/// The number of warps, and of blocks of as many, that keeps most warps of a multiprocessor at
/// work: at most `most_warps` by their registers, and `shared(warps)` bytes a block. `None` if no
/// block fits.
fn fill(
    gpu: &Properties,
    strips: usize,
    most_warps: usize,
    shared: impl Fn(usize) -> usize,
) -> Option<(usize, usize)> {
    let reserved = if gpu.capability.0 >= 8 { RESERVED } else { 0 };
    let mut best = None;
    let mut most = 0.0;
    for warps in FEWEST..=most_warps {
        let bytes = shared(warps);
        if bytes > gpu.shared_per_block as usize {
            continue;
        }
        let fit = gpu.shared_per_multiprocessor as usize / (bytes + reserved);
        let blocks = (most_warps / warps).min(fit).max(1);
        // In the last round of strips some warps have none.
        let busy = (blocks * strips) as f64 / strips.div_ceil(warps) as f64;
        if busy > most {
            (best, most) = (Some((warps, blocks)), busy);
        }
    }
    best
}

/// Two tiles of 64 rows, or of 32 where those do not fit.
fn tiled(
    gpu: &Properties,
    strips: usize,
    most_warps: usize,
    block: usize,
    shared: impl Fn(Walk, usize) -> usize,
) -> Tiling {
    let fitting = [64, 32].into_iter().find_map(|tile| {
        let walk = Walk::tiled(tile);
        let (warps, blocks) = fill(gpu, strips, most_warps, |warps| shared(walk, warps))?;
        let parts = strips.div_ceil(warps);
        let bytes = shared(walk, warps);
        Some(walk.tiling(warps, blocks, block.min(tile), parts, bytes))
    });
    fitting.expect("tiles of 32 rows fit every GPU from sm_75 on")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::architecture::Architecture;

    fn gpu(sm: u32) -> Properties {
        let found = Architecture::ALL.into_iter().find(|a| a.sm == sm);
        found.expect("one of the list").properties()
    }

    fn shape(tokens: usize, head_size: usize) -> Shape {
        Shape {
            images: 1,
            tokens,
            heads: 1,
            head_size,
        }
    }

    #[test]
    fn a_head_of_vit_b_stays_in_shared_memory_everywhere() {
        for gpu in Architecture::ALL.map(|a| a.properties()) {
            for queries in [Queries::EveryToken, Queries::ClassToken] {
                let forward = Tiling::forward(&gpu, shape(197, 64), queries);
                assert!(forward.resident && forward.block == 208, "{forward:?}");
                let backward = Tiling::backward(&gpu, shape(197, 64), queries);
                assert!(backward.resident, "{backward:?}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_tiled() {
        let (turing, ampere, hopper) = (gpu(75), gpu(80), gpu(90));
        let resident =
            |gpu, tokens| Tiling::forward(gpu, shape(tokens, 64), Queries::EveryToken).resident;
        assert!(!resident(&turing, 257));
        assert!(resident(&ampere, 577) && !resident(&ampere, 1025));
        assert!(resident(&hopper, 785) && !resident(&hopper, 1025));
    }

    #[test]
    fn every_shape_fits_the_limits() {
        for gpu in Architecture::ALL.map(|a| a.properties()) {
            for tokens in [1, 16, 17, 50, 197, 257, 577, 1025, 4097] {
                for head_size in (8..=128).step_by(8) {
                    for queries in [Queries::EveryToken, Queries::ClassToken] {
                        let shape = shape(tokens, head_size);
                        for tiling in [
                            Tiling::forward(&gpu, shape, queries),
                            Tiling::backward(&gpu, shape, queries),
                        ] {
                            assert!(tiling.shared <= gpu.shared_per_block as usize);
                            assert!(tiling.warps * tiling.blocks <= 16);
                            assert!(tiling.resident || tiling.tile % tiling.block == 0);
                        }
                    }
                }
            }
        }
    }
}
