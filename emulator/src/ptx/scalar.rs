//! Rarer functions, a lane at a time, and what approximations are off by.
//!
//! An approximate instruction gives the exact result pushed by an error that its argument decides, within
//! what "Floating Point Instructions" documents: a kernel may rely on the bound, and on nothing finer.

/// A number from -1 to 1 that looks random and depends on nothing but `bits`.
#[inline(always)]
pub fn noise(bits: u32) -> f32 {
    let mixed = (bits ^ bits >> 15).wrapping_mul(0x2C1B_3C6D);
    let mixed = (mixed ^ mixed >> 12).wrapping_mul(0x297A_2D39);
    (mixed ^ mixed >> 15) as i32 as f32 * (1.0 / 2_147_483_648.0)
}

/// Subnormal numbers are zero of their sign.
#[inline(always)]
pub fn flush(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE {
        0.0f32.copysign(x)
    } else {
        x
    }
}

/// 2ˣ, relative error below 2⁻²² with all that is rounded.
#[inline(always)]
pub fn ex2(x: f32) -> f32 {
    // The polynomial's own error is below 1e-11: Taylor's series of 2^f, |f| <= 1/2.
    let clamped = f64::from(x).clamp(-200.0, 200.0);
    let whole = clamped.round_ties_even();
    let f = (clamped - whole) * std::f64::consts::LN_2;
    let mut sum = 1.0 / 3_628_800.0;
    for factorial in [
        362_880.0, 40_320.0, 5040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0,
    ] {
        sum = sum * f + 1.0 / factorial;
    }
    let power = f64::from_bits(((whole + 1023.0) as i64 as u64) << 52);
    let error = f64::from(noise(x.to_bits())) * (0.74 / 4_194_304.0);
    let value = (sum * power * (1.0 + error)) as f32;
    if x.is_nan() { x } else { value }
}

/// A step of at most one unit in the last place.
#[inline(always)]
pub fn nudged(value: f32, key: u32) -> f32 {
    let step = (noise(key) * 1.49).round_ties_even() as i32;
    let moved = f32::from_bits((value.to_bits() as i32).wrapping_add(step) as u32);
    if value.is_finite() && value.abs() > 2.0 * f32::MIN_POSITIVE && value.abs() < 3e38 {
        moved
    } else {
        value
    }
}

/// 1 / x within one unit in the last place.
#[inline(always)]
pub fn rcp(x: f32) -> f32 {
    nudged(1.0 / x, x.to_bits())
}

/// The same with `.ftz`, as of every function here: of subnormal numbers only the sign is read and
/// written.
#[inline(always)]
pub fn flushed(x: f32, function: impl Fn(f32) -> f32) -> f32 {
    flush(function(flush(x)))
}

pub fn f(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

pub fn b(value: f32) -> u64 {
    u64::from(value.to_bits())
}

pub fn d(bits: u64) -> f64 {
    f64::from_bits(bits)
}

/// `log2`, `rsqrt`, `sqrt`, `sin`, `cos`, `tanh` in their approximate forms: exact, and pushed by
/// `error` times the value's size, or 1 where the documented error is absolute.
fn pushed(exact: f64, key: u64, error: f64, absolute: bool) -> u64 {
    if exact == 0.0 || !exact.is_finite() {
        return b(exact as f32);
    }
    let size = if absolute { 1.0 } else { exact.abs() };
    b((exact + f64::from(noise(key as u32)) * error * size) as f32)
}

pub fn lg2_approx(x: u64, _: u64, _: u64) -> u64 {
    // Absolute between 1/2 and 2, else relative: 2^-22.
    let value = f64::from(f(x));
    pushed(
        value.log2(),
        x,
        0.9 / 4_194_304.0,
        (0.5..2.0).contains(&value),
    )
}

pub fn rsqrt_approx(x: u64, _: u64, _: u64) -> u64 {
    // Relative error 2^-22.9.
    pushed(1.0 / f64::from(f(x)).sqrt(), x, 0.9 / 8_388_608.0, false)
}

pub fn sqrt_approx(x: u64, _: u64, _: u64) -> u64 {
    // Relative error 2^-23.
    pushed(f64::from(f(x)).sqrt(), x, 0.5 / 8_388_608.0, false)
}

pub fn sin_approx(x: u64, _: u64, _: u64) -> u64 {
    // Absolute error 2^-20.9 between -pi and pi; twice that elsewhere.
    pushed(f64::from(f(x)).sin(), x, 0.9 / 2_097_152.0, true)
}

pub fn cos_approx(x: u64, _: u64, _: u64) -> u64 {
    pushed(f64::from(f(x)).cos(), x, 0.9 / 2_097_152.0, true)
}

pub fn tanh_approx(x: u64, _: u64, _: u64) -> u64 {
    // Relative error 2^-11.
    pushed(f64::from(f(x)).tanh(), x, 0.9 / 2048.0, false)
}

/// `div.full` and `div.approx`: two units in the last place.
pub fn div_approx(x: u64, y: u64, _: u64) -> u64 {
    pushed(
        f64::from(f(x)) / f64::from(f(y)),
        x ^ y << 1,
        0.7 / 8_388_608.0,
        false,
    )
}

/// a b + c rounded down (-1), up (1) or toward zero (0).
fn fma_directed(a: u64, b_: u64, c: u64, direction: i32) -> u64 {
    let product = f64::from(f(a)) * f64::from(f(b_)); // exact: 48 bits
    let addend = f64::from(f(c));
    let sum = product + addend;
    if sum == 0.0 && direction < 0 && (product.is_sign_negative() || addend.is_sign_negative()) {
        return b(-0.0);
    }
    // Knuth's two-sum: what the addition lost.
    let part = sum - product;
    let lost = (product - (sum - part)) + (addend - part);
    let near = sum as f32;
    let wide = f64::from(near);
    let above = wide > sum || (wide == sum && lost < 0.0);
    let below = wide < sum || (wide == sum && lost > 0.0);
    let down = match direction {
        0 => sum > 0.0,
        other => other < 0,
    };
    b(if !sum.is_finite() {
        near
    } else if down && above {
        near.next_down()
    } else if !down && below {
        near.next_up()
    } else {
        near
    })
}

pub fn fma_down(a: u64, b: u64, c: u64) -> u64 {
    fma_directed(a, b, c, -1)
}

pub fn fma_up(a: u64, b: u64, c: u64) -> u64 {
    fma_directed(a, b, c, 1)
}

pub fn fma_to_zero(a: u64, b: u64, c: u64) -> u64 {
    fma_directed(a, b, c, 0)
}

/// `prmt.b32` in its default mode: four bytes chosen of eight, bit 3 of a choice repeats the sign.
pub fn permute(a: u64, b: u64, selector: u64) -> u64 {
    let bytes = a & 0xFFFF_FFFF | b << 32;
    (0..4).fold(0, |all, i| {
        let choice = selector >> (4 * i) & 0xF;
        let byte = bytes >> (8 * (choice & 7)) & 0xFF;
        let byte = if choice & 8 == 0 {
            byte
        } else {
            (byte >> 7) * 0xFF
        };
        all | byte << (8 * i)
    })
}

/// `bfe.u32`.
pub fn extract(a: u64, position: u64, length: u64) -> u64 {
    let (position, length) = (position & 0xFF, length & 0xFF);
    if position > 31 || length == 0 {
        return 0;
    }
    let field = (a & 0xFFFF_FFFF) >> position;
    if length > 31 {
        field
    } else {
        field & ((1 << length) - 1)
    }
}

/// `bfe.s32`.
pub fn extract_signed(a: u64, position: u64, length: u64) -> u64 {
    let (position, length) = ((position & 0xFF) as u32, (length & 0xFF) as u32);
    if length == 0 {
        return 0;
    }
    let top = (position + length - 1).min(31);
    let sign = (a as u32 >> top & 1) != 0;
    let field = extract(a, u64::from(position), u64::from(length)) as u32;
    let have = if position > 31 {
        0
    } else {
        length.min(32 - position)
    };
    let fill = if have >= 32 { 0 } else { u32::MAX << have };
    u64::from(if sign { field | fill } else { field })
}

/// `bfi.b32`: `length` bits of `a` put into `b` at `position`.
#[inline(always)]
pub fn insert(a: u32, b: u32, position: u32, length: u32) -> u32 {
    let (position, length) = (position & 0xFF, length & 0xFF);
    if position > 31 || length == 0 {
        return b;
    }
    let ones = if length > 31 {
        u32::MAX
    } else {
        (1 << length) - 1
    };
    let mask = ones << position;
    b & !mask | a << position & mask
}

/// Nearest even f16 of a f32, by bits.
#[inline(always)]
pub fn f16_bits(x: f32) -> u32 {
    let bits = x.to_bits();
    let sign = bits >> 16 & 0x8000;
    let size = bits & 0x7FFF_FFFF;
    let normal = {
        // Rebias by 112 and round off 13 bits.
        let rounded = size.wrapping_add(0xFFF + (size >> 13 & 1));
        (rounded.wrapping_sub(112 << 23)) >> 13
    };
    // Below 2^-14: adding 0.5 lets the addition round to multiples of 2^-24.
    let tiny = (f32::from_bits(size) + 0.5)
        .to_bits()
        .wrapping_sub(0.5f32.to_bits());
    let value = if size >= 0x7F80_0001 {
        0x7FFF
    } else if size >= 0x477F_F000 {
        0x7C00
    } else if size < 0x3880_0000 {
        tiny
    } else {
        normal
    };
    // NVIDIA's canonical NaN has no sign.
    if size >= 0x7F80_0001 {
        value
    } else {
        sign | value
    }
}

/// f32 of a f16, by bits; exact.
#[inline(always)]
pub fn f16_value(bits: u32) -> f32 {
    let sign = (bits & 0x8000) << 16;
    let size = bits & 0x7FFF;
    let normal = (size << 13).wrapping_add(112 << 23);
    let tiny = (size as f32) * (1.0 / 16_777_216.0);
    let special = size << 13 | 0x7F80_0000;
    let value = if size >= 0x7C00 {
        special
    } else if size < 0x400 {
        tiny.to_bits()
    } else {
        normal
    };
    f32::from_bits(sign | value)
}

/// Nearest even bf16 of a f32, by bits.
#[inline(always)]
pub fn bf16_bits(x: f32) -> u32 {
    let bits = x.to_bits();
    if bits & 0x7FFF_FFFF > 0x7F80_0000 {
        0x7FFF
    } else {
        bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_convert_as_the_half_crate_says() {
        for bits in 0..=u16::MAX {
            let half = half::f16::from_bits(bits);
            let value = f16_value(u32::from(bits));
            if half.is_nan() {
                assert!(value.is_nan());
                continue;
            }
            assert_eq!(value.to_bits(), half.to_f32().to_bits(), "{bits:#x}");
            assert_eq!(f16_bits(value), u32::from(bits), "{bits:#x}");
        }
        for i in 0..4_000_000u32 {
            let x = f32::from_bits(i.wrapping_mul(0x9E37_79B1));
            if x.is_nan() {
                continue;
            }
            assert_eq!(
                f16_bits(x),
                u32::from(half::f16::from_f32(x).to_bits()),
                "{x:e}"
            );
            assert_eq!(
                bf16_bits(x),
                u32::from(half::bf16::from_f32(x).to_bits()),
                "{x:e}"
            );
        }
    }

    #[test]
    fn approximations_stay_within_their_documented_errors_and_use_them() {
        let (mut largest, mut steps) = (0.0f64, 0);
        for i in 0..200_000 {
            let x = -40.0 + i as f32 * 4e-4;
            let exact = f64::from(x).exp2();
            largest = largest.max((f64::from(ex2(x)) / exact - 1.0).abs());
            let y = x + 41.0;
            let ulps = rcp(y).to_bits() as i32 - (1.0 / y).to_bits() as i32;
            assert!(ulps.abs() <= 1, "{y}");
            steps += ulps.abs();
        }
        let bound = 1.0 / 4_194_304.0;
        assert!(largest < bound && largest > 0.8 * bound, "{largest:e}");
        assert!(steps > 50_000, "{steps}");
        assert_eq!((ex2(f32::NEG_INFINITY), flushed(-127.5, ex2)), (0.0, 0.0));
        assert_eq!(ex2(200.0), f32::INFINITY);
        assert!(ex2(f32::NAN).is_nan());
    }

    #[test]
    fn directed_sums() {
        let run =
            |function: fn(u64, u64, u64) -> u64, a: f32, c: f32| f(function(b(a), b(1.0), b(c)));
        let tiny = 1e-20;
        assert_eq!(run(fma_down, 1.0, -tiny), 1.0f32.next_down());
        assert_eq!(run(fma_down, 1.0, tiny), 1.0);
        assert_eq!(run(fma_up, 1.0, tiny), 1.0f32.next_up());
        assert_eq!(run(fma_to_zero, -1.0, tiny), (-1.0f32).next_up());
        let (most, all) = (f32::MAX, [fma_down, fma_to_zero, fma_up]);
        let three = |a, c| all.map(|function| run(function, a, c));
        assert_eq!(three(most, most), [most, most, f32::INFINITY]);
        assert_eq!(three(-most, -most), [f32::NEG_INFINITY, -most, -most]);
        assert_eq!(three(f32::INFINITY, -most), [f32::INFINITY; 3]);
        let signs = |a, c| three(a, c).map(f32::is_sign_negative);
        assert_eq!(signs(1.0, -1.0), [true, false, false]);
        assert_eq!(signs(0.0, 0.0), [false; 3]);
    }

    #[test]
    fn fields_of_bits() {
        assert_eq!(permute(0x3322_1100, 0x7766_5544, 0x7410), 0x7744_1100);
        assert_eq!(permute(0x8000_0000, 0, 0xB), 0xFF);
        assert_eq!(extract(0xABCD_1234, 8, 8), 0x12);
        assert_eq!(extract_signed(0xF000, 12, 4), 0xFFFF_FFFF);
        assert_eq!(insert(0xFF, 0, 4, 4), 0xF0);
    }
}
