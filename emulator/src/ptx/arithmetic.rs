//! Instructions whose operands are registers alone, a line each: those that have a loop over lanes of
//! their own, and the rarer ones that a function of one lane serves.

use super::program::{File, Op, Scalar};
use super::scalar::{self, b, d, f};

const N: File = File::Narrow;
const W: File = File::Wide;

/// The function of one f32 with `.ftz`.
macro_rules! flushed {
    ($function:path) => {
        |x, y, z| b(scalar::flushed(f(x), |x| f($function(b(x), y, z))))
    };
}

/// What the opcode does, and the files of target and sources; `None` for any other.
pub fn arithmetic(opcode: &str) -> Option<(Op, Vec<File>)> {
    let narrow = |op: Op, sources: usize| Some((op, vec![N; sources + 1]));
    let wide = |op: Op, sources: usize| Some((op, vec![W; sources + 1]));
    match opcode {
        "add.s32" | "add.u32" => narrow(Op::Add, 2),
        "sub.s32" | "sub.u32" => narrow(Op::Sub, 2),
        "mul.lo.s32" | "mul.lo.u32" => narrow(Op::Mul, 2),
        "mad.lo.s32" | "mad.lo.u32" => narrow(Op::Mad, 3),
        "and.b32" | "and.b16" => narrow(Op::And, 2),
        "or.b32" | "or.b16" => narrow(Op::Or, 2),
        "xor.b32" | "xor.b16" => narrow(Op::Xor, 2),
        "not.b32" => narrow(Op::Not, 1),
        "min.s32" => narrow(Op::MinS, 2),
        "max.s32" => narrow(Op::MaxS, 2),
        "shl.b32" => narrow(Op::Shl, 2),
        "shr.u32" | "shr.b32" | "shr.u16" | "shr.b16" => narrow(Op::ShrU, 2),
        "shr.s32" => narrow(Op::ShrS, 2),
        "add.f32" | "add.rn.f32" => narrow(Op::AddF, 2),
        "sub.f32" | "sub.rn.f32" => narrow(Op::SubF, 2),
        "mul.f32" | "mul.rn.f32" => narrow(Op::MulF, 2),
        "fma.rn.f32" => narrow(Op::FmaF, 3),
        "neg.f32" => narrow(Op::NegF, 1),
        "abs.f32" => narrow(Op::AbsF, 1),
        "min.f32" => narrow(Op::MinF, 2),
        "max.f32" => narrow(Op::MaxF, 2),
        "div.rn.f32" => narrow(Op::DivF, 2),
        "sqrt.rn.f32" => narrow(Op::SqrtF, 1),
        "ex2.approx.ftz.f32" => narrow(Op::Ex2F, 1),
        "rcp.approx.ftz.f32" => narrow(Op::RcpF, 1),
        "add.s64" | "add.u64" => wide(Op::AddW, 2),
        "sub.s64" | "sub.u64" => wide(Op::SubW, 2),
        "mul.lo.s64" | "mul.lo.u64" => wide(Op::MulW, 2),
        "shl.b64" => Some((Op::ShlW, vec![W, W, N])),
        "mul.wide.u32" => Some((Op::MulWideU, vec![W, N, N])),
        "mul.wide.s32" => Some((Op::MulWideS, vec![W, N, N])),
        "mad.wide.u32" => Some((Op::MadWideU, vec![W, N, N, W])),
        "mad.wide.s32" => Some((Op::MadWideS, vec![W, N, N, W])),
        "cvt.u64.u32" | "cvt.s64.u32" => Some((Op::WidenU, vec![W, N])),
        "cvt.s64.s32" | "cvt.u64.s32" => Some((Op::WidenS, vec![W, N])),
        "cvt.u32.u64" | "cvt.s32.s64" | "cvt.u32.s64" | "cvt.s32.u64" => {
            Some((Op::Narrow, vec![N, W]))
        }
        "cvt.u32.s32" | "cvt.s32.u32" => narrow(Op::Mov, 1),
        "cvt.f32.f16" => narrow(Op::F32FromF16, 1),
        "cvt.rn.f16.f32" => narrow(Op::F16FromF32, 1),
        "cvt.rn.f16x2.f32" => narrow(Op::F16x2FromF32, 2),
        "cvt.rn.bf16x2.f32" => narrow(Op::Bf16x2FromF32, 2),
        "cvt.rn.f32.s32" => narrow(Op::F32FromS32, 1),
        _ => rare(opcode),
    }
}

/// Those that a function of one lane serves.
fn rare(opcode: &str) -> Option<(Op, Vec<File>)> {
    let made = |function: Scalar, files: &[File]| {
        let is_wide = |i: usize| files.get(i) == Some(&W);
        let op = Op::Scalar {
            function,
            wide_d: is_wide(0),
            wide: [is_wide(1), is_wide(2), is_wide(3)],
        };
        Some((op, files.to_vec()))
    };
    match opcode {
        // 16 bits.
        "add.s16" | "add.u16" => made(|x, y, _| (x + y) & 0xFFFF, &[N, N, N]),
        "sub.s16" | "sub.u16" => made(|x, y, _| x.wrapping_sub(y) & 0xFFFF, &[N, N, N]),
        "mul.lo.s16" | "mul.lo.u16" => made(|x, y, _| (x * y) & 0xFFFF, &[N, N, N]),
        "mul.wide.u16" => made(|x, y, _| x * y, &[N, N, N]),
        "mul.wide.s16" => made(
            |x, y, _| (i32::from(x as i16) * i32::from(y as i16)) as u32 as u64,
            &[N, N, N],
        ),
        "not.b16" => made(|x, _, _| !x & 0xFFFF, &[N, N]),
        "shl.b16" => made(
            |x, y, _| if y > 15 { 0 } else { (x << y) & 0xFFFF },
            &[N, N, N],
        ),
        "shr.s16" => made(
            |x, y, _| (i32::from(x as i16) >> y.min(15)) as u64 & 0xFFFF,
            &[N, N, N],
        ),
        // 32 bits.
        "mul.hi.u32" => made(|x, y, _| (x * y) >> 32, &[N, N, N]),
        "mul.hi.s32" => made(
            |x, y, _| ((i64::from(x as i32) * i64::from(y as i32)) >> 32) as u32 as u64,
            &[N, N, N],
        ),
        "mad.hi.u32" => made(|x, y, z| ((x * y) >> 32) + z, &[N, N, N, N]),
        "min.u32" | "min.u16" => made(|x, y, _| x.min(y), &[N, N, N]),
        "max.u32" | "max.u16" => made(|x, y, _| x.max(y), &[N, N, N]),
        "neg.s32" => made(|x, _, _| (x as u32).wrapping_neg().into(), &[N, N]),
        "abs.s32" => made(|x, _, _| (x as i32).unsigned_abs().into(), &[N, N]),
        "popc.b32" => made(|x, _, _| x.count_ones().into(), &[N, N]),
        "clz.b32" => made(|x, _, _| (x as u32).leading_zeros().into(), &[N, N]),
        "brev.b32" => made(|x, _, _| (x as u32).reverse_bits().into(), &[N, N]),
        "prmt.b32" => made(scalar::permute, &[N, N, N, N]),
        "bfe.u32" => made(scalar::extract, &[N, N, N, N]),
        "bfe.s32" => made(scalar::extract_signed, &[N, N, N, N]),
        "shf.l.wrap.b32" => made(|x, y, z| ((y << 32 | x) << (z & 31)) >> 32, &[N, N, N, N]),
        "shf.r.wrap.b32" => made(|x, y, z| (y << 32 | x) >> (z & 31), &[N, N, N, N]),
        // 64 bits.
        "and.b64" => made(|x, y, _| x & y, &[W, W, W]),
        "or.b64" => made(|x, y, _| x | y, &[W, W, W]),
        "xor.b64" => made(|x, y, _| x ^ y, &[W, W, W]),
        "not.b64" => made(|x, _, _| !x, &[W, W]),
        "neg.s64" => made(|x, _, _| x.wrapping_neg(), &[W, W]),
        "abs.s64" => made(|x, _, _| (x as i64).unsigned_abs(), &[W, W]),
        "min.s64" => made(|x, y, _| (x as i64).min(y as i64) as u64, &[W, W, W]),
        "max.s64" => made(|x, y, _| (x as i64).max(y as i64) as u64, &[W, W, W]),
        "min.u64" => made(|x, y, _| x.min(y), &[W, W, W]),
        "max.u64" => made(|x, y, _| x.max(y), &[W, W, W]),
        "shr.u64" | "shr.b64" => made(|x, y, _| if y > 63 { 0 } else { x >> y }, &[W, W, N]),
        "shr.s64" => made(|x, y, _| ((x as i64) >> y.min(63)) as u64, &[W, W, N]),
        "mad.lo.s64" | "mad.lo.u64" => {
            made(|x, y, z| x.wrapping_mul(y).wrapping_add(z), &[W, W, W, W])
        }
        "mul.hi.u64" => made(|x, y, _| ((x as u128 * y as u128) >> 64) as u64, &[W, W, W]),
        "mul.hi.s64" => made(
            |x, y, _| ((i128::from(x as i64) * i128::from(y as i64)) >> 64) as u64,
            &[W, W, W],
        ),
        "popc.b64" => made(|x, _, _| x.count_ones().into(), &[N, W]),
        "clz.b64" => made(|x, _, _| x.leading_zeros().into(), &[N, W]),
        // f32.
        "fma.rm.f32" => made(scalar::fma_down, &[N, N, N, N]),
        "fma.rp.f32" => made(scalar::fma_up, &[N, N, N, N]),
        "fma.rz.f32" => made(scalar::fma_to_zero, &[N, N, N, N]),
        "rcp.rn.f32" => made(|x, _, _| b(1.0 / f(x)), &[N, N]),
        "div.full.f32" | "div.approx.f32" => made(scalar::div_approx, &[N, N, N]),
        "ex2.approx.f32" => made(|x, _, _| b(scalar::ex2(f(x))), &[N, N]),
        "rcp.approx.f32" => made(|x, _, _| b(scalar::rcp(f(x))), &[N, N]),
        "sqrt.approx.f32" => made(scalar::sqrt_approx, &[N, N]),
        "sqrt.approx.ftz.f32" => made(flushed!(scalar::sqrt_approx), &[N, N]),
        "rsqrt.approx.f32" => made(scalar::rsqrt_approx, &[N, N]),
        "rsqrt.approx.ftz.f32" => made(flushed!(scalar::rsqrt_approx), &[N, N]),
        "lg2.approx.f32" => made(scalar::lg2_approx, &[N, N]),
        "lg2.approx.ftz.f32" => made(flushed!(scalar::lg2_approx), &[N, N]),
        "sin.approx.f32" => made(scalar::sin_approx, &[N, N]),
        "cos.approx.f32" => made(scalar::cos_approx, &[N, N]),
        "tanh.approx.f32" => made(scalar::tanh_approx, &[N, N]),
        "copysign.f32" => made(|x, y, _| b(f(y).copysign(f(x))), &[N, N, N]),
        "cvt.sat.f32.f32" => made(
            |x, _, _| b(if f(x) > 0.0 { f(x).min(1.0) } else { 0.0 }),
            &[N, N],
        ),
        "cvt.rni.f32.f32" => made(|x, _, _| b(f(x).round_ties_even()), &[N, N]),
        "cvt.rmi.f32.f32" => made(|x, _, _| b(f(x).floor()), &[N, N]),
        "cvt.rpi.f32.f32" => made(|x, _, _| b(f(x).ceil()), &[N, N]),
        "cvt.rzi.f32.f32" => made(|x, _, _| b(f(x).trunc()), &[N, N]),
        // f64.
        "add.f64" | "add.rn.f64" => made(|x, y, _| (d(x) + d(y)).to_bits(), &[W, W, W]),
        "sub.f64" | "sub.rn.f64" => made(|x, y, _| (d(x) - d(y)).to_bits(), &[W, W, W]),
        "mul.f64" | "mul.rn.f64" => made(|x, y, _| (d(x) * d(y)).to_bits(), &[W, W, W]),
        "div.rn.f64" => made(|x, y, _| (d(x) / d(y)).to_bits(), &[W, W, W]),
        "fma.rn.f64" => made(|x, y, z| d(x).mul_add(d(y), d(z)).to_bits(), &[W, W, W, W]),
        "sqrt.rn.f64" => made(|x, _, _| d(x).sqrt().to_bits(), &[W, W]),
        "neg.f64" => made(|x, _, _| (-d(x)).to_bits(), &[W, W]),
        "abs.f64" => made(|x, _, _| d(x).abs().to_bits(), &[W, W]),
        _ => conversion(opcode).and_then(|(function, files)| made(function, &files)),
    }
}

/// `cvt`, "Data Movement and Conversion Instructions". Its operand may lie in a wider register.
fn conversion(opcode: &str) -> Option<(Scalar, Vec<File>)> {
    Some(match opcode {
        "cvt.u16.u32" | "cvt.u16.s32" | "cvt.s16.s32" | "cvt.s16.u32" => {
            (|x, _, _| x & 0xFFFF, vec![N, N])
        }
        "cvt.u16.u64" | "cvt.s16.s64" => (|x, _, _| x & 0xFFFF, vec![N, W]),
        "cvt.u16.u8" | "cvt.u32.u8" | "cvt.s16.u8" | "cvt.s32.u8" | "cvt.u8.u32" => {
            (|x, _, _| x & 0xFF, vec![N, N])
        }
        "cvt.s16.s8" => (|x, _, _| x as i8 as i16 as u16 as u64, vec![N, N]),
        "cvt.s32.s8" => (|x, _, _| x as i8 as i32 as u32 as u64, vec![N, N]),
        "cvt.s32.s16" | "cvt.u32.s16" => (|x, _, _| x as i16 as i32 as u32 as u64, vec![N, N]),
        "cvt.u64.u16" | "cvt.s64.u16" => (|x, _, _| x & 0xFFFF, vec![W, N]),
        "cvt.u64.u8" => (|x, _, _| x & 0xFF, vec![W, N]),
        "cvt.s64.s16" => (|x, _, _| x as i16 as i64 as u64, vec![W, N]),
        "cvt.s64.s8" => (|x, _, _| x as i8 as i64 as u64, vec![W, N]),
        "cvt.rn.f32.u32" => (|x, _, _| b(x as f32), vec![N, N]),
        "cvt.rn.f32.u16" => (|x, _, _| b(f32::from(x as u16)), vec![N, N]),
        "cvt.rn.f32.u8" => (|x, _, _| b(f32::from(x as u8)), vec![N, N]),
        "cvt.rn.f32.s16" => (|x, _, _| b(f32::from(x as i16)), vec![N, N]),
        "cvt.rn.f32.s64" => (|x, _, _| b(x as i64 as f32), vec![N, W]),
        "cvt.rn.f32.u64" => (|x, _, _| b(x as f32), vec![N, W]),
        "cvt.rzi.s32.f32" => (|x, _, _| f(x) as i32 as u32 as u64, vec![N, N]),
        "cvt.rzi.u32.f32" => (|x, _, _| f(x) as u32 as u64, vec![N, N]),
        "cvt.rzi.s64.f32" => (
            |x, _, _| unless_nan(f64::from(f(x)), |x| x as i64 as u64, 1 << 63),
            vec![W, N],
        ),
        "cvt.rzi.u64.f32" => (
            |x, _, _| unless_nan(f64::from(f(x)), |x| x as u64, 1 << 63),
            vec![W, N],
        ),
        "cvt.rni.s32.f32" => (
            |x, _, _| f(x).round_ties_even() as i32 as u32 as u64,
            vec![N, N],
        ),
        "cvt.rmi.s32.f32" => (|x, _, _| f(x).floor() as i32 as u32 as u64, vec![N, N]),
        "cvt.rpi.s32.f32" => (|x, _, _| f(x).ceil() as i32 as u32 as u64, vec![N, N]),
        "cvt.rn.bf16.f32" => (|x, _, _| scalar::bf16_bits(f(x)).into(), vec![N, N]),
        "cvt.f32.bf16" => (|x, _, _| x << 16, vec![N, N]),
        "cvt.f64.f32" => (|x, _, _| f64::from(f(x)).to_bits(), vec![W, N]),
        "cvt.rn.f32.f64" => (|x, _, _| b(d(x) as f32), vec![N, W]),
        "cvt.rn.f64.s32" => (|x, _, _| f64::from(x as i32).to_bits(), vec![W, N]),
        "cvt.rn.f64.u32" => (|x, _, _| f64::from(x as u32).to_bits(), vec![W, N]),
        "cvt.rn.f64.s64" => (|x, _, _| (x as i64 as f64).to_bits(), vec![W, W]),
        "cvt.rzi.s32.f64" => (
            |x, _, _| unless_nan(d(x), |x| x as i32 as u32 as u64, 1 << 31),
            vec![N, W],
        ),
        _ => return None,
    })
}

/// An integer of a float. That of a NaN is 0 in 32 bits of a f32 and the highest bit otherwise.
fn unless_nan(x: f64, integer: fn(f64) -> u64, of_nan: u64) -> u64 {
    if x.is_nan() { of_nan } else { integer(x) }
}
