//! The inner loops of the CPU's matrix product in f32, for x86-64 with AVX-512 or AVX2.
//!
//! A micro-kernel keeps a tile of C in registers while it walks along the common dimension: per
//! step two vectors of B from a packed strip, and one broadcast value for each row of A (Goto and
//! van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008). A is read where it
//! lies, whatever its strides, so activations are never copied.

/// One tile: `c[i][j] = scale · Σ_k a[i][k] · b[k][j]`, plus what was in `c` if `add`.
pub struct Tile {
    pub a: *const f32,
    pub a_layout: Layout,
    /// A packed strip: [`MicroKernel::cols`] values a step.
    pub b: *const f32,
    /// Steps along the common dimension.
    pub depth: usize,
    /// Row i starts at `c + i · c_row`; only `cols` columns are touched.
    pub c: *mut f32,
    pub c_row: usize,
    pub cols: usize,
    pub scale: f32,
    pub add: bool,
}

/// Where value (i, k) of A lies.
#[derive(Clone, Copy)]
pub enum Layout {
    /// At `i · stride + k`.
    Rows { stride: usize },
    /// At `k · stride + i`.
    Columns { stride: usize },
}

/// A micro-kernel and the size of its tile.
#[derive(Clone, Copy)]
pub struct MicroKernel {
    /// Most rows of a tile.
    pub rows: usize,
    /// Columns of a tile, and of a packed strip.
    pub cols: usize,
    by_rows: &'static [unsafe fn(Tile)],
}

impl MicroKernel {
    /// The best one for this processor; `None` where there is none.
    #[inline]
    pub fn detect() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            if std::is_x86_feature_detected!("avx512f") {
                return Some(x86::AVX512);
            }
            if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
                return Some(x86::AVX2);
            }
        }
        None
    }

    /// Computes a tile of `rows` rows.
    ///
    /// # Safety
    ///
    /// All that the fields of `tile` describe must be inside live allocations, `c` not overlapping
    /// the others; 1 ≤ `rows` ≤ `self.rows` and 1 ≤ `tile.cols` ≤ `self.cols`.
    #[inline]
    pub unsafe fn run(&self, rows: usize, tile: Tile) {
        debug_assert!((1..=self.cols).contains(&tile.cols));
        // SAFETY: the caller's promise; `detect` saw the processor's features.
        unsafe { self.by_rows[rows - 1](tile) }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Layout, MicroKernel, Tile};

    /// Steps between two computations of the rows' addresses.
    const UNROLL: usize = 4;

    /// 12 × 32: 24 of 32 registers accumulate.
    pub const AVX512: MicroKernel = MicroKernel {
        rows: 12,
        cols: 32,
        by_rows: &[
            avx512::<1>,
            avx512::<2>,
            avx512::<3>,
            avx512::<4>,
            avx512::<5>,
            avx512::<6>,
            avx512::<7>,
            avx512::<8>,
            avx512::<9>,
            avx512::<10>,
            avx512::<11>,
            avx512::<12>,
        ],
    };

    /// 6 × 16: 12 of 16 registers accumulate.
    pub const AVX2: MicroKernel = MicroKernel {
        rows: 6,
        cols: 16,
        by_rows: &[
            avx2::<1>, avx2::<2>, avx2::<3>, avx2::<4>, avx2::<5>, avx2::<6>,
        ],
    };

    /// # Safety
    ///
    /// See [`MicroKernel::run`], for a tile of M × 32.
    #[target_feature(enable = "avx512f")]
    unsafe fn avx512<const M: usize>(t: Tile) {
        // SAFETY: the caller's promise covers every address below: rows < M, steps < depth, and
        // the masks keep loads and stores of `c` within `cols` columns.
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); 2]; M];
            let mut step = |a: [*const f32; M], k: usize, b: *const f32| {
                let b0 = _mm512_loadu_ps(b);
                let b1 = _mm512_loadu_ps(b.add(16));
                for (a, sums) in a.iter().zip(&mut sums) {
                    let a = _mm512_set1_ps(*a.add(k));
                    sums[0] = _mm512_fmadd_ps(a, b0, sums[0]);
                    sums[1] = _mm512_fmadd_ps(a, b1, sums[1]);
                }
            };
            let (mut a, mut b) = (t.a, t.b);
            match t.a_layout {
                Layout::Rows { stride } => {
                    for _ in 0..t.depth / UNROLL {
                        let rows = std::array::from_fn(|i| a.wrapping_add(i * stride));
                        for k in 0..UNROLL {
                            step(rows, k, b.add(32 * k));
                        }
                        (a, b) = (a.add(UNROLL), b.add(32 * UNROLL));
                    }
                    let rows = std::array::from_fn(|i| a.wrapping_add(i * stride));
                    for k in 0..t.depth % UNROLL {
                        step(rows, k, b.add(32 * k));
                    }
                }
                Layout::Columns { stride } => {
                    for _ in 0..t.depth {
                        step(std::array::from_fn(|i| a.wrapping_add(i)), 0, b);
                        (a, b) = (a.wrapping_add(stride), b.add(32));
                    }
                }
            }
            let scale = _mm512_set1_ps(t.scale);
            let masks = [t.cols.min(16), t.cols.saturating_sub(16)]
                .map(|valid| ((1_u32 << valid) - 1) as __mmask16);
            for (i, sums) in sums.iter().enumerate() {
                for (j, (&sum, &mask)) in sums.iter().zip(&masks).enumerate() {
                    let c = t.c.add(i * t.c_row).wrapping_add(16 * j);
                    let mut value = _mm512_mul_ps(sum, scale);
                    if t.add {
                        value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, c));
                    }
                    _mm512_mask_storeu_ps(c, mask, value);
                }
            }
        }
    }

    /// # Safety
    ///
    /// See [`MicroKernel::run`], for a tile of M × 16.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2<const M: usize>(t: Tile) {
        // SAFETY: as in `avx512`.
        unsafe {
            let mut sums = [[_mm256_setzero_ps(); 2]; M];
            let mut step = |a: [*const f32; M], k: usize, b: *const f32| {
                let b0 = _mm256_loadu_ps(b);
                let b1 = _mm256_loadu_ps(b.add(8));
                for (a, sums) in a.iter().zip(&mut sums) {
                    let a = _mm256_set1_ps(*a.add(k));
                    sums[0] = _mm256_fmadd_ps(a, b0, sums[0]);
                    sums[1] = _mm256_fmadd_ps(a, b1, sums[1]);
                }
            };
            let (mut a, mut b) = (t.a, t.b);
            match t.a_layout {
                Layout::Rows { stride } => {
                    for _ in 0..t.depth / UNROLL {
                        let rows = std::array::from_fn(|i| a.wrapping_add(i * stride));
                        for k in 0..UNROLL {
                            step(rows, k, b.add(16 * k));
                        }
                        (a, b) = (a.add(UNROLL), b.add(16 * UNROLL));
                    }
                    let rows = std::array::from_fn(|i| a.wrapping_add(i * stride));
                    for k in 0..t.depth % UNROLL {
                        step(rows, k, b.add(16 * k));
                    }
                }
                Layout::Columns { stride } => {
                    for _ in 0..t.depth {
                        step(std::array::from_fn(|i| a.wrapping_add(i)), 0, b);
                        (a, b) = (a.wrapping_add(stride), b.add(16));
                    }
                }
            }
            let scale = _mm256_set1_ps(t.scale);
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let masks = [t.cols.min(8), t.cols.saturating_sub(8)]
                .map(|valid| _mm256_cmpgt_epi32(_mm256_set1_epi32(valid as i32), lanes));
            for (i, sums) in sums.iter().enumerate() {
                for (j, (&sum, &mask)) in sums.iter().zip(&masks).enumerate() {
                    let c = t.c.add(i * t.c_row).wrapping_add(8 * j);
                    let mut value = _mm256_mul_ps(sum, scale);
                    if t.add {
                        value = _mm256_add_ps(value, _mm256_maskload_ps(c, mask));
                    }
                    _mm256_maskstore_ps(c, mask, value);
                }
            }
        }
    }
}
