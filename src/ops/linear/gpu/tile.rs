//! Which tile of a product a block of `kernels/linear.cu` computes, and into how many parts a sum is
//! split: the pair with the shortest estimated time.
//!
//! A large tile reads less for each multiplication, many small ones fill the GPU more evenly. The
//! estimate counts cycles of a multiprocessor: the longest of tensor cores, L2 and shared memory for
//! each k, the filling of the pipeline and the epilogue for each tile, times the tiles that the
//! busiest multiprocessor gets.

use crate::device::Properties;

/// k in a shared tile.
const DEPTH: usize = 32;
/// More copies under way than these find nothing to hide behind.
const MOST_STAGES: usize = 4;
/// Shared memory that the system takes of each block, in bytes.
const RESERVED: usize = 1024;
/// Most parts of a split sum.
const MOST_PARTS: usize = 32;

/// A product c (m, n) = Σ_k a b.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// Bytes that the epilogue reads and writes for each value of c.
    pub epilogue: usize,
    /// Bytes of a copy of a and b, the smaller one.
    pub copy: usize,
}

/// A block's tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    pub m: usize,
    pub n: usize,
    /// Of a warp.
    warp: (usize, usize),
    blocks: usize,
    /// Tiles of k in shared memory.
    stages: usize,
}

/// (m, n, warp, blocks that registers allow): 64 × 64 a warp is the most that accumulators and two
/// sets of fragments leave room for.
const SIZES: [(usize, usize, (usize, usize), usize); 5] = [
    (256, 128, (64, 64), 1),
    (128, 256, (64, 64), 1),
    (128, 128, (64, 64), 2),
    (128, 64, (64, 32), 3),
    (64, 64, (32, 32), 4),
];

impl Tile {
    /// The tiles that the GPU has room for, large ones first.
    pub fn candidates(gpu: &Properties) -> Vec<Self> {
        let fit = |(m, n, warp, most): (usize, usize, (usize, usize), usize)| {
            let stage = (m + n) * DEPTH * 2;
            // Without cp.async there is nothing to keep a third tile for.
            let (least, most_stages) = match gpu.capability.0 {
                ..8 => (2, 2),
                _ => (3, MOST_STAGES),
            };
            let room = |blocks: usize| {
                let all = gpu.shared_per_multiprocessor as usize;
                // sm_75 has 64 KiB for a multiprocessor and a block alike, and reserves nothing.
                let own = match gpu.capability.0 {
                    ..8 => all / blocks,
                    _ => (all / blocks).saturating_sub(RESERVED),
                };
                own.min(gpu.shared_per_block as usize) / stage
            };
            let blocks = (1..=most).rev().find(|&blocks| room(blocks) >= least)?;
            Some(Self {
                m,
                n,
                warp,
                blocks,
                stages: room(blocks).min(most_stages),
            })
        };
        SIZES.into_iter().filter_map(fit).collect()
    }

    /// The tile with the shortest estimate for a product that is not split.
    pub fn choose(gpu: &Properties, product: Product) -> Self {
        let machine = Machine::of(gpu);
        Self::candidates(gpu)
            .into_iter()
            .filter(|tile| tile.has_registers(gpu, product))
            .map(|tile| (tile.cycles(&machine, product, 1), tile))
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .expect("the smallest tile fits every GPU of sm_75 and later")
            .1
    }

    /// The tile and the rows of k in a part, a multiple of a tile's depth, for a sum that may be split.
    pub fn choose_split(gpu: &Properties, product: Product) -> (Self, usize) {
        let machine = Machine::of(gpu);
        let steps = product.k.div_ceil(DEPTH);
        let mut best: Option<(f64, Self, usize)> = None;
        let candidates = Self::candidates(gpu).into_iter();
        for tile in candidates.filter(|tile| tile.has_registers(gpu, product)) {
            for wanted in 1..=MOST_PARTS.min(steps) {
                let part_steps = steps.div_ceil(wanted);
                let parts = steps.div_ceil(part_steps);
                let cycles = tile.cycles(&machine, product, parts);
                if best.is_none_or(|(least, ..)| cycles < least) {
                    best = Some((cycles, tile, part_steps * DEPTH));
                }
            }
        }
        let (_, tile, rows) = best.expect("the smallest tile fits every GPU of sm_75 and later");
        (tile, rows)
    }

    /// On sm_75 the next tile of k waits in registers. In small pieces, each with an address, it is too
    /// much for four warps with the largest accumulators.
    fn has_registers(&self, gpu: &Properties, product: Product) -> bool {
        gpu.capability.0 >= 8 || product.copy == 16 || self.warps() > 4 || self.warp != (64, 64)
    }

    /// Tiles along m.
    pub fn rows(&self, m: usize) -> usize {
        m.div_ceil(self.m)
    }

    /// Tiles of c (m, n).
    pub fn count(&self, m: usize, n: usize) -> usize {
        m.div_ceil(self.m) * n.div_ceil(self.n)
    }

    fn warps(&self) -> usize {
        self.m / self.warp.0 * (self.n / self.warp.1)
    }

    /// Threads of a block.
    pub fn threads(&self) -> u32 {
        32 * self.warps() as u32
    }

    /// Dynamic shared memory of a block: the tiles of k, and later 16 padded rows of each warp.
    pub fn shared(&self) -> usize {
        let pipeline = self.stages * (self.m + self.n) * DEPTH * 2;
        let epilogue = self.warps() * 16 * (self.warp.1 + 8) * 4;
        pipeline.max(epilogue)
    }

    /// Blocks that share a multiprocessor.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Macros of `kernels/linear.cu`.
    pub fn defines(&self) -> [(&'static str, i64); 7] {
        [
            ("TILE_M", self.m as i64),
            ("TILE_N", self.n as i64),
            ("TILE_K", DEPTH as i64),
            ("WARP_M", self.warp.0 as i64),
            ("WARP_N", self.warp.1 as i64),
            ("STAGES", self.stages as i64),
            ("MIN_BLOCKS", self.blocks as i64),
        ]
    }

    /// The estimate.
    fn cycles(&self, machine: &Machine, product: Product, parts: usize) -> f64 {
        let Product {
            m, n, k, epilogue, ..
        } = product;
        let (area, edges) = ((self.m * self.n) as f64, (self.m + self.n) as f64);
        let fragments = (self.warps() * (self.warp.0 + self.warp.1)) as f64;
        let one_k = (area / machine.multiplications)
            .max(2.0 * edges / L2)
            .max(2.0 * (fragments + edges) / SHARED);
        let tiles = self.count(m, n) * parts;
        let of_one = tiles.div_ceil(machine.multiprocessors);
        // What one block waits for, another one of the same multiprocessor works under.
        let beside = self.blocks.min(of_one) as f64;
        let depth = (k.div_ceil(DEPTH).div_ceil(parts) * DEPTH) as f64;
        let epilogue = match parts {
            1 => epilogue as f64,
            _ => 4.0,
        };
        let alone = (PIPELINE + area * epilogue / L2) / beside;
        let product_time = of_one as f64 * (depth * one_k + alone);
        match parts {
            1 => product_time,
            _ => {
                let bytes = (m * n * 4 * (parts + 1)) as f64;
                product_time + LAUNCH + bytes / (MEMORY * machine.multiprocessors as f64)
            }
        }
    }
}

/// What the estimate knows of a GPU, for each multiprocessor and cycle.
struct Machine {
    multiprocessors: usize,
    /// f16 multiplications of `mma.sync` with f32 sums.
    multiplications: f64,
}

/// Bytes from L2. A 128 × 128 tile was seen to be bound at 525 of an H100's 989 TFLOP/s: 35.
const L2: f64 = 32.0;
/// Bytes from shared memory.
const SHARED: f64 = 128.0;
/// Bytes from memory: 1,555 GB/s over 108 multiprocessors at 1.41 GHz.
const MEMORY: f64 = 10.0;
/// Cycles until the first tile of k is there.
const PIPELINE: f64 = 1000.0;
/// Cycles that a kernel more costs.
const LAUNCH: f64 = 4000.0;

impl Machine {
    fn of(gpu: &Properties) -> Self {
        Self {
            multiprocessors: gpu.multiprocessors as usize,
            multiplications: match gpu.capability {
                (8, 0) => 1024.0,
                // Of the 2,048 (sm_90) that wgmma reaches, mma.sync reaches 65 %.
                (9 | 10, _) => 1330.0,
                _ => 512.0,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(
        capability: (u32, u32),
        multiprocessors: u32,
        shared_kib: u32,
        block_kib: u32,
    ) -> Properties {
        Properties {
            name: String::new(),
            capability,
            multiprocessors,
            shared_per_block: block_kib << 10,
            shared_per_multiprocessor: shared_kib << 10,
            l2: 0,
            memory: 0,
            driver: (12, 0),
        }
    }

    fn t4() -> Properties {
        gpu((7, 5), 40, 64, 64)
    }

    fn a10() -> Properties {
        gpu((8, 6), 72, 100, 99)
    }

    fn h100() -> Properties {
        gpu((9, 0), 132, 228, 227)
    }

    #[test]
    fn blocks_that_share_a_multiprocessor_fit_its_shared_memory() {
        for gpu in [t4(), a10(), gpu((8, 0), 108, 164, 163), h100()] {
            let candidates = Tile::candidates(&gpu);
            assert_eq!(candidates.len(), SIZES.len(), "{gpu:?}");
            for tile in candidates {
                let reserved = if gpu.capability.0 < 8 { 0 } else { RESERVED };
                let all = tile.blocks * (tile.shared() + reserved);
                assert!(all <= gpu.shared_per_multiprocessor as usize, "{tile:?}");
                assert!(tile.shared() <= gpu.shared_per_block as usize, "{tile:?}");
                assert!(
                    tile.stages >= if gpu.capability.0 < 8 { 2 } else { 3 },
                    "{tile:?}"
                );
            }
        }
    }

    #[test]
    fn many_rows_take_large_tiles_and_few_take_small_ones() {
        let product = |m, n| Product {
            m,
            n,
            k: 768,
            epilogue: 2,
            copy: 16,
        };
        let large = Tile::choose(&h100(), product(50_432, 3072));
        assert_eq!((large.m.max(large.n), large.m.min(large.n)), (256, 128));
        let small = Tile::choose(&h100(), product(64, 768));
        assert_eq!((small.m, small.n), (64, 64));
    }

    #[test]
    fn a_tile_does_not_hang_over_a_narrow_result() {
        // 384 columns are one and a half of 256.
        let tile = Tile::choose(
            &a10(),
            Product {
                m: 50_432,
                n: 384,
                k: 1536,
                epilogue: 8,
                copy: 16,
            },
        );
        assert_eq!(384 % tile.n, 0, "{tile:?}");
    }

    #[test]
    fn small_pieces_leave_sm_75_no_registers_for_a_square_tile() {
        let is_square = |rows: usize, copy| {
            let product = Product {
                m: rows,
                n: 1024,
                k: 768,
                epilogue: 2,
                copy,
            };
            let tile = Tile::choose(&t4(), product);
            (tile.m, tile.n) == (128, 128)
        };
        let mut rows = (128..8192).step_by(128);
        let some = rows.clone().any(|rows| is_square(rows, 16));
        assert!(some, "it is the fastest for no number of rows");
        assert!(!rows.any(|rows| is_square(rows, 8)));
    }

    #[test]
    fn a_weight_gradient_of_few_tiles_is_split_and_its_parts_cover_the_rows() {
        let product = Product {
            m: 384,
            n: 384,
            k: 50_432,
            epilogue: 4,
            copy: 16,
        };
        for gpu in [t4(), a10(), h100()] {
            let (tile, rows) = Tile::choose_split(&gpu, product);
            assert!(rows.is_multiple_of(DEPTH));
            let parts = product.k.div_ceil(rows);
            let blocks = tile.count(product.m, product.n) * parts;
            assert!(
                blocks * 4 >= gpu.multiprocessors as usize * 3,
                "{tile:?}, {parts} parts"
            );
        }
        let (_, rows) = Tile::choose_split(
            &t4(),
            Product {
                m: 4096,
                n: 4096,
                k: 2048,
                epilogue: 4,
                copy: 16,
            },
        );
        assert_eq!(rows, 2048, "enough tiles: one part");
    }
}
