//! The two number types of the CPU code: `f32`, the CPU device, and `f64`, the judge.

use std::fmt::Debug;
use std::iter::Sum;

use bytemuck::Pod;
use num_traits::{Float, NumAssign};

/// A floating-point type the CPU operations run in.
///
/// The `fast_` functions are straight-line code that the compiler vectorises inside [`simd`]; in
/// `f32` their error is that of `f32` itself, in `f64` they are the accurate library functions.
pub trait Real: Float + NumAssign + Sum + Default + Debug + Pod + Send + Sync {
    /// Nearest value of this type.
    fn of(value: f64) -> Self;

    /// The value as `f64`.
    fn f64(self) -> f64;

    /// `eˣ`.
    fn fast_exp(self) -> Self;

    /// The standard normal distribution function Φ(x) and its density φ(x); in f32 Φ is within
    /// 2.4e-7, two units in the last place of 1.
    fn fast_normal(self) -> (Self, Self);

    /// The slice as f32, if that is what it is.
    fn as_f32(values: &[Self]) -> Option<&[f32]>;

    /// The slice as f32, if that is what it is.
    fn as_f32_mut(values: &mut [Self]) -> Option<&mut [f32]>;

    /// Φ(x) from the library's erf: the plain form that the fast one is measured against.
    fn plain_normal(self) -> (Self, Self);
}

/// Runs `body` with the widest vector instructions of this processor.
///
/// `body` must be `#[inline(always)]` down to its loops, or they are compiled for the baseline.
#[inline]
pub fn simd<R>(body: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(body)
}

/// Independent partial sums: enough for one 512-bit register of f32, in a fixed order.
const LANES: usize = 16;

/// Σ f(i) over `0..n` in interleaved sums, added up in order.
#[inline(always)]
pub fn lane_sum<T: Real>(n: usize, f: impl Fn(usize) -> T) -> T {
    let mut sums = [T::zero(); LANES];
    let whole = n - n % LANES;
    for base in (0..whole).step_by(LANES) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += f(base + lane);
        }
    }
    for i in whole..n {
        sums[i % LANES] += f(i);
    }
    sums.into_iter().sum()
}

/// The largest value; NaN if there is one.
#[inline(always)]
pub fn lane_max<T: Real>(values: &[T]) -> T {
    let mut best = [T::neg_infinity(); LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for block in whole {
        for (best, &v) in best.iter_mut().zip(block) {
            // A comparison that a NaN decides for itself.
            *best = if *best > v { *best } else { v };
        }
    }
    let larger = |a: T, b: T| if a > b || a.is_nan() { a } else { b };
    best.into_iter()
        .chain(rest.iter().copied())
        .fold(T::neg_infinity(), larger)
}

/// Minimax polynomials, fitted for this project with Lawson's iteration in f64.
mod fit {
    /// `(eʳ − 1 − r) / r²` on |r| ≤ ln 2 / 2; relative error of eʳ 3.1e-9.
    pub const EXP: [f32; 5] = [
        0.499_999_94,
        0.166_665_21,
        0.041_668_39,
        0.008_368_717,
        0.001_381_459_8,
    ];

    /// erfcx(t) = exp(t²)·erfc(t) for 0 ≤ t ≤ 10 as a polynomial in `1 / (1 + 0.3 t)`;
    /// relative error 1.7e-8.
    pub const ERFCX: [f32; 10] = [
        -1.585_289_3e-5,
        0.169_474_18,
        0.168_487_73,
        0.158_154_82,
        0.187_917_9,
        -0.046_477_523,
        0.491_950_1,
        -0.471_812_46,
        0.468_841_1,
        -0.126_52,
    ];
    pub const ERFCX_SCALE: f32 = 0.3;
}

#[inline(always)]
fn horner(coefficients: &[f32], x: f32) -> f32 {
    let mut sum = 0.0;
    for &c in coefficients.iter().rev() {
        sum = x.mul_add(sum, c);
    }
    sum
}

impl Real for f32 {
    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }

    #[inline(always)]
    fn f64(self) -> f64 {
        f64::from(self)
    }

    /// `2ⁿ · eʳ` with n the nearest integer to x / ln 2; below −87 the result is 0, above 88 it
    /// stays at e⁸⁸.
    #[inline(always)]
    fn fast_exp(self) -> Self {
        // Adding and subtracting 1.5·2²³ rounds to an integer in the adder, in any vector width.
        const ROUND: f32 = 12_582_912.0;
        let x = self.clamp(-87.0, 88.0);
        let n = x.mul_add(std::f32::consts::LOG2_E, ROUND) - ROUND;
        // ln 2 in two parts: the first has few enough bits that n times it is exact.
        let r = n.mul_add(2.121_944_4e-4, n.mul_add(-0.693_359_4, x));
        let e = (r * r).mul_add(horner(&fit::EXP, r), r) + 1.0;
        // SAFETY: |n| ≤ 127 after the clamp, so the conversion is in range.
        let n = unsafe { n.to_int_unchecked::<i32>() };
        let power = f32::from_bits(((n + 127) << 23) as u32);
        if self < -87.0 { 0.0 } else { e * power }
    }

    #[inline(always)]
    fn fast_normal(self) -> (Self, Self) {
        let t = self.abs() * std::f32::consts::FRAC_1_SQRT_2;
        let gauss = (self * self * -0.5).fast_exp();
        let u = 1.0 / t.mul_add(fit::ERFCX_SCALE, 1.0);
        let tail = 0.5 * gauss * horner(&fit::ERFCX, u);
        let below = if self < 0.0 { tail } else { 1.0 - tail };
        (below, gauss * 0.398_942_3)
    }

    fn as_f32(values: &[Self]) -> Option<&[f32]> {
        Some(values)
    }

    fn as_f32_mut(values: &mut [Self]) -> Option<&mut [f32]> {
        Some(values)
    }

    fn plain_normal(self) -> (Self, Self) {
        (
            0.5 * (1.0 + libm::erff(self * std::f32::consts::FRAC_1_SQRT_2)),
            (self * self * -0.5).exp() * 0.398_942_3,
        )
    }
}

impl Real for f64 {
    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn f64(self) -> f64 {
        self
    }

    fn fast_exp(self) -> Self {
        self.exp()
    }

    fn fast_normal(self) -> (Self, Self) {
        self.plain_normal()
    }

    fn as_f32(_: &[Self]) -> Option<&[f32]> {
        None
    }

    fn as_f32_mut(_: &mut [Self]) -> Option<&mut [f32]> {
        None
    }

    fn plain_normal(self) -> (Self, Self) {
        (
            0.5 * libm::erfc(-self * std::f64::consts::FRAC_1_SQRT_2),
            (self * self * -0.5).exp() * 0.398_942_280_401_432_7,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_exp_is_as_exact_as_f32() {
        let mut worst = 0.0_f64;
        for i in -870_000..880_000 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(x.fast_exp()) / exact - 1.0).abs());
        }
        assert!(worst < 1.5e-7, "relative error {worst:e}");
        assert_eq!((-1000.0_f32).fast_exp(), 0.0);
        assert_eq!(f32::NEG_INFINITY.fast_exp(), 0.0);
        assert!(f32::NAN.fast_exp().is_nan());
    }

    #[test]
    fn fast_normal_is_within_two_units_in_the_last_place() {
        let (mut below, mut density) = (0.0_f64, 0.0_f64);
        for i in -120_000..120_000 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x).plain_normal();
            below = below.max((x.fast_normal().0.f64() - exact.0).abs());
            density = density.max((x.fast_normal().1.f64() - exact.1).abs());
        }
        assert!(below <= 2.0 * f64::from(f32::EPSILON), "{below:e}");
        assert!(density < 1e-7, "{density:e}");
    }
}
