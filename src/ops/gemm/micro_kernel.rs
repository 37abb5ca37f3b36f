//! The inner loops of the CPU's matrix product in f32, for x86-64 with AVX-512 or AVX2.
//!
//! A micro-kernel keeps a tile of C in registers while it walks along the common dimension: per
//! step two vectors of B from a packed strip, and one broadcast value for each row of A (Goto and
//! van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008). Rows of A are read
//! where they lie, so activations are not copied.
//!
//! Additions of addresses compete with the FMAs for the processor's ports, so the loop over rows of
//! A is unrolled until most addresses are constants.

use super::Accumulate;

/// One tile: `c[i][j] = Σ_k a[i][k] · b[k][j]`, by `accumulate`.
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
    pub accumulate: Accumulate,
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
    /// By vectors a row, one or two, and by rows.
    instances: [&'static [unsafe fn(Tile)]; 2],
}

impl MicroKernel {
    /// Those this processor has, the fastest first.
    pub fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let kernels = [
            std::is_x86_feature_detected!("avx512f").then_some(x86::AVX512),
            (std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma"))
                .then_some(x86::AVX2),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let kernels = [None; 0];
        kernels.into_iter().flatten()
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
        // SAFETY: the caller's promise; `available` saw the processor's features.
        let wide = usize::from(tile.cols > self.cols / 2);
        unsafe { self.instances[wide][rows - 1](tile) }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Accumulate, Layout, MicroKernel, Tile};

    /// Steps between two computations of the rows' addresses.
    const UNROLL: usize = 4;

    /// A vector register of f32.
    ///
    /// # Safety
    ///
    /// Every method needs the processor feature of its implementation, and inside a function that
    /// enables it; loads and stores need valid addresses for the lanes they touch.
    trait Vector: Copy {
        const LANES: usize;
        unsafe fn splat(value: f32) -> Self;
        unsafe fn load(from: *const f32) -> Self;
        /// `a · b + self`.
        unsafe fn plus_product(self, a: Self, b: Self) -> Self;
        /// Stores `self`, by `accumulate`, in the first `lanes` lanes.
        unsafe fn put(self, to: *mut f32, lanes: usize, accumulate: Accumulate);
    }

    impl Vector for __m512 {
        const LANES: usize = 16;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: the caller's promise, here and in the methods below.
            unsafe { _mm512_set1_ps(value) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn plus_product(self, a: Self, b: Self) -> Self {
            unsafe { _mm512_fmadd_ps(a, b, self) }
        }

        #[inline(always)]
        unsafe fn put(mut self, to: *mut f32, lanes: usize, accumulate: Accumulate) {
            let mask = ((1_u32 << lanes) - 1) as __mmask16;
            unsafe {
                if accumulate == Accumulate::Add {
                    self = _mm512_add_ps(self, _mm512_maskz_loadu_ps(mask, to));
                }
                _mm512_mask_storeu_ps(to, mask, self);
            }
        }
    }

    impl Vector for __m256 {
        const LANES: usize = 8;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: the caller's promise, here and in the methods below.
            unsafe { _mm256_set1_ps(value) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { _mm256_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn plus_product(self, a: Self, b: Self) -> Self {
            unsafe { _mm256_fmadd_ps(a, b, self) }
        }

        #[inline(always)]
        unsafe fn put(mut self, to: *mut f32, lanes: usize, accumulate: Accumulate) {
            unsafe {
                let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
                let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes as i32), lane);
                if accumulate == Accumulate::Add {
                    self = _mm256_add_ps(self, _mm256_maskload_ps(to, mask));
                }
                _mm256_maskstore_ps(to, mask, self);
            }
        }
    }

    /// One step along the common dimension: row i of A at `rows[i]`, the row of B at `b`.
    ///
    /// # Safety
    ///
    /// See [`Vector`].
    #[inline(always)]
    unsafe fn step<V: Vector, const M: usize, const W: usize>(
        sums: &mut [[V; W]; M],
        rows: [*const f32; M],
        b: *const f32,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut vectors = [V::splat(0.0); W];
            for j in 0..W {
                vectors[j] = V::load(b.add(j * V::LANES));
            }
            for i in 0..M {
                let a = V::splat(*rows[i]);
                for j in 0..W {
                    sums[i][j] = sums[i][j].plus_product(a, vectors[j]);
                }
            }
        }
    }

    /// M addresses `stride` apart.
    #[inline(always)]
    fn addresses<const M: usize>(first: *const f32, stride: usize) -> [*const f32; M] {
        let mut rows = [first; M];
        for i in 1..M {
            rows[i] = rows[i - 1].wrapping_add(stride);
        }
        rows
    }

    /// A tile of M rows and W vectors; the packed strip is two vectors wide.
    ///
    /// # Safety
    ///
    /// See [`MicroKernel::run`], and [`Vector`].
    #[inline(always)]
    unsafe fn tile<V: Vector, const M: usize, const W: usize>(t: Tile) {
        // SAFETY: the caller's promise covers every address below: rows < M, steps < depth, and
        // `put` stays within `cols` columns.
        unsafe {
            let width = 2 * V::LANES;
            let mut sums = [[V::splat(0.0); W]; M];
            let (mut a, mut b) = (t.a, t.b);
            match t.a_layout {
                Layout::Rows { stride } => {
                    for _ in 0..t.depth / UNROLL {
                        let rows = addresses::<M>(a, stride);
                        for k in 0..UNROLL {
                            let mut rows = rows;
                            for row in &mut rows {
                                *row = row.wrapping_add(k);
                            }
                            step::<V, M, W>(&mut sums, rows, b.add(width * k));
                        }
                        (a, b) = (a.add(UNROLL), b.add(width * UNROLL));
                    }
                    for _ in 0..t.depth % UNROLL {
                        step::<V, M, W>(&mut sums, addresses(a, stride), b);
                        (a, b) = (a.wrapping_add(1), b.add(width));
                    }
                }
                Layout::Columns { stride } => {
                    for _ in 0..t.depth {
                        step::<V, M, W>(&mut sums, addresses(a, 1), b);
                        (a, b) = (a.wrapping_add(stride), b.add(width));
                    }
                }
            }
            for i in 0..M {
                for j in 0..W {
                    let at = j * V::LANES;
                    let lanes = t.cols.saturating_sub(at).min(V::LANES);
                    let c = t.c.add(i * t.c_row).wrapping_add(at);
                    sums[i][j].put(c, lanes, t.accumulate);
                }
            }
        }
    }

    /// # Safety
    ///
    /// See [`MicroKernel::run`].
    #[target_feature(enable = "avx512f")]
    unsafe fn avx512<const M: usize, const W: usize>(t: Tile) {
        // SAFETY: the caller's promise; AVX-512 is enabled.
        unsafe { tile::<__m512, M, W>(t) }
    }

    /// # Safety
    ///
    /// See [`MicroKernel::run`].
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2<const M: usize, const W: usize>(t: Tile) {
        // SAFETY: the caller's promise; AVX2 and FMA are enabled.
        unsafe { tile::<__m256, M, W>(t) }
    }

    /// The instances of a kernel for each number of rows, one and two vectors wide.
    macro_rules! instances {
        ($kernel:ident: $($rows:literal)*) => {
            [&[$($kernel::<$rows, 1>),*], &[$($kernel::<$rows, 2>),*]]
        };
    }

    /// 24 of 32 registers accumulate.
    pub const AVX512: MicroKernel = MicroKernel {
        rows: 12,
        cols: 32,
        instances: instances!(avx512: 1 2 3 4 5 6 7 8 9 10 11 12),
    };

    /// 12 of 16 registers accumulate.
    pub const AVX2: MicroKernel = MicroKernel {
        rows: 6,
        cols: 16,
        instances: instances!(avx2: 1 2 3 4 5 6),
    };
}
