//! Eight 32-bit numbers side by side, for the inverse cosine transform.
//!
//! Compilers vectorise its sums but not its transpositions, so where AVX2 is at hand these are
//! spelled out; the transform itself exists once.

use std::array::from_fn;
use std::ops::{Add, Mul, Sub};

use super::coefficients::Block;

/// Eight numbers; arithmetic wraps.
pub trait Lanes: Copy + Add<Output = Self> + Sub<Output = Self> + Mul<i32, Output = Self> {
    /// Says that the machine can do this.
    type Token: Copy;

    fn zero(token: Self::Token) -> Self;

    /// Row `row` of the products, which wrap to 16 bits.
    fn product(token: Self::Token, block: &Block, factors: &Block, row: usize) -> Self;

    /// Divides by 2^`BITS`, rounding halves up.
    fn descale<const BITS: i32>(self) -> Self;

    /// Cut to 16 bits.
    fn wrapped(self) -> Self;

    /// Columns from rows, saturated to 16 bits.
    fn transpose(rows: [Self; 8]) -> [Self; 8];

    /// Rows of samples from columns of numbers around zero: moved up by 128, clamped to 0…255.
    fn samples(columns: [Self; 8]) -> [[u8; 8]; 8];
}

/// For any machine.
#[derive(Clone, Copy)]
pub struct Plain([i32; 8]);

impl Add for Plain {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i].wrapping_add(other.0[i])))
    }
}

impl Sub for Plain {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i].wrapping_sub(other.0[i])))
    }
}

impl Mul<i32> for Plain {
    type Output = Self;
    #[inline(always)]
    fn mul(self, factor: i32) -> Self {
        Self(self.0.map(|v| v.wrapping_mul(factor)))
    }
}

impl Lanes for Plain {
    type Token = ();

    #[inline(always)]
    fn zero((): ()) -> Self {
        Self([0; 8])
    }

    #[inline(always)]
    fn product((): (), block: &Block, factors: &Block, row: usize) -> Self {
        let at = 8 * row;
        Self(from_fn(|i| {
            block[at + i].wrapping_mul(factors[at + i]).into()
        }))
    }

    #[inline(always)]
    fn descale<const BITS: i32>(self) -> Self {
        Self(self.0.map(|v| v.wrapping_add(1 << (BITS - 1)) >> BITS))
    }

    #[inline(always)]
    fn wrapped(self) -> Self {
        Self(self.0.map(|v| i32::from(v as i16)))
    }

    #[inline(always)]
    fn transpose(rows: [Self; 8]) -> [Self; 8] {
        let saturated = |v: i32| v.clamp(i16::MIN.into(), i16::MAX.into());
        from_fn(|column| Self(from_fn(|row| saturated(rows[row].0[column]))))
    }

    #[inline(always)]
    fn samples(columns: [Self; 8]) -> [[u8; 8]; 8] {
        from_fn(|row| columns.map(|column| (column.0[row] + 128).clamp(0, 255) as u8))
    }
}

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::__m256i;
    use std::ops::{Add, Mul, Sub};

    use bytemuck::{must_cast, must_cast_ref};
    use pulp::x86::V3;

    use super::{Block, Lanes};

    /// For x86-64 processors with AVX2.
    #[derive(Clone, Copy)]
    pub struct Avx2(V3, __m256i);

    impl Add for Avx2 {
        type Output = Self;
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            Self(self.0, self.0.avx2._mm256_add_epi32(self.1, other.1))
        }
    }

    impl Sub for Avx2 {
        type Output = Self;
        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            Self(self.0, self.0.avx2._mm256_sub_epi32(self.1, other.1))
        }
    }

    impl Mul<i32> for Avx2 {
        type Output = Self;
        #[inline(always)]
        fn mul(self, factor: i32) -> Self {
            let factor = self.0.avx._mm256_set1_epi32(factor);
            Self(self.0, self.0.avx2._mm256_mullo_epi32(self.1, factor))
        }
    }

    impl Lanes for Avx2 {
        type Token = V3;

        #[inline(always)]
        fn zero(simd: V3) -> Self {
            Self(simd, simd.avx._mm256_setzero_si256())
        }

        #[inline(always)]
        fn product(simd: V3, block: &Block, factors: &Block, row: usize) -> Self {
            let rows = |block: &Block| must_cast_ref::<_, [[i16; 8]; 8]>(block)[row];
            let (numbers, factors) = (must_cast(rows(block)), must_cast(rows(factors)));
            let product = simd.sse2._mm_mullo_epi16(numbers, factors);
            Self(simd, simd.avx2._mm256_cvtepi16_epi32(product))
        }

        #[inline(always)]
        fn descale<const BITS: i32>(self) -> Self {
            let Self(simd, v) = self;
            let half = simd.avx._mm256_set1_epi32(1 << (BITS - 1));
            let sum = simd.avx2._mm256_add_epi32(v, half);
            Self(simd, simd.avx2._mm256_srai_epi32::<BITS>(sum))
        }

        #[inline(always)]
        fn wrapped(self) -> Self {
            let Self(simd, v) = self;
            let upper = simd.avx2._mm256_slli_epi32::<16>(v);
            Self(simd, simd.avx2._mm256_srai_epi32::<16>(upper))
        }

        /// In halves of vectors: columns 0 to 3 stay in the lower one, 4 to 7 in the upper one.
        #[inline(always)]
        fn transpose(rows: [Self; 8]) -> [Self; 8] {
            let simd = rows[0].0;
            let avx2 = simd.avx2;
            let [a, b, c, d, e, f, g, h] = rows;
            // Each with the row four below; then the even ones and the odd ones; then all.
            let pack = |a: Self, b: Self| avx2._mm256_packs_epi32(a.1, b.1);
            let [ae, bf, cg, dh] = [pack(a, e), pack(b, f), pack(c, g), pack(d, h)];
            let low = |a, b| avx2._mm256_unpacklo_epi16(a, b);
            let high = |a, b| avx2._mm256_unpackhi_epi16(a, b);
            let [ab, cd, ef, gh] = [low(ae, bf), low(cg, dh), high(ae, bf), high(cg, dh)];
            let low = |a, b| avx2._mm256_unpacklo_epi32(a, b);
            let high = |a, b| avx2._mm256_unpackhi_epi32(a, b);
            let [abcd, efgh] = [low(ab, cd), low(ef, gh)]; // columns 0 and 1, 4 and 5
            let [dcba, hgfe] = [high(ab, cd), high(ef, gh)]; // columns 2 and 3, 6 and 7
            let low = |a, b| avx2._mm256_unpacklo_epi64(a, b);
            let high = |a, b| avx2._mm256_unpackhi_epi64(a, b);
            let [c0, c1] = [low(abcd, efgh), high(abcd, efgh)];
            let [c2, c3] = [low(dcba, hgfe), high(dcba, hgfe)];
            let near = |pair| avx2._mm256_cvtepi16_epi32(simd.avx._mm256_castsi256_si128(pair));
            let far = |pair| avx2._mm256_cvtepi16_epi32(avx2._mm256_extracti128_si256::<1>(pair));
            [
                Self(simd, near(c0)),
                Self(simd, near(c1)),
                Self(simd, near(c2)),
                Self(simd, near(c3)),
                Self(simd, far(c0)),
                Self(simd, far(c1)),
                Self(simd, far(c2)),
                Self(simd, far(c3)),
            ]
        }

        #[inline(always)]
        fn samples(columns: [Self; 8]) -> [[u8; 8]; 8] {
            let simd = columns[0].0;
            let avx2 = simd.avx2;
            let offset = Self(simd, simd.avx._mm256_set1_epi32(128));
            let [a, b, c, d, e, f, g, h] = columns;
            let to_16 = |a: Self, b: Self| avx2._mm256_packs_epi32((a + offset).1, (b + offset).1);
            let to_8 = |a, b| avx2._mm256_packus_epi16(a, b);
            // Rows 0 to 3 lie in the lower half, 4 to 7 in the upper one, of four columns each.
            let (left, right) = (
                to_8(to_16(a, b), to_16(c, d)),
                to_8(to_16(e, f), to_16(g, h)),
            );
            const TURN: [i8; 16] = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];
            let turn = must_cast([TURN, TURN]);
            let left = avx2._mm256_shuffle_epi8(left, turn);
            let right = avx2._mm256_shuffle_epi8(right, turn);
            let [r0, r1, r4, r5]: [[u8; 8]; 4] = must_cast(avx2._mm256_unpacklo_epi32(left, right));
            let [r2, r3, r6, r7]: [[u8; 8]; 4] = must_cast(avx2._mm256_unpackhi_epi32(left, right));
            [r0, r1, r2, r3, r4, r5, r6, r7]
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::super::idct::transform;
    use super::*;

    /// Also where the transform overflows, which damaged files make it do.
    #[test]
    fn avx2_equals_plain() {
        let Some(simd) = pulp::x86::V3::try_new() else {
            return;
        };
        let mut state = 1_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        for round in 0..4000 {
            let (extent, spread) = (1 + random() % 8, 1 << (round % 16));
            let block: Block = from_fn(|i| {
                let is_inside = (i as u32 % 8).max(i as u32 / 8) < extent;
                let value = random() as i32 % (2 * spread) - spread;
                if is_inside { value as i16 } else { 0 }
            });
            let factors: Block = from_fn(|_| random() as i16 & 255);
            let (mut plain, mut wide) = ([0; 64], [0; 64]);
            transform::<Plain>((), &block, &factors, &mut plain, 8);
            transform::<Avx2>(simd, &block, &factors, &mut wide, 8);
            assert_eq!(plain, wide, "round {round}");
        }
    }
}
