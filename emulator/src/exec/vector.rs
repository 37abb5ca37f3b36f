//! Arithmetic of a warp, 32 lanes at once: loops that the compiler turns into vector instructions.
//!
//! All is inlined into [`super::warp::Turn::run`], which is compiled for several processors.

use std::cmp::Ordering;

use crate::ptx::program::*;
use crate::ptx::scalar;

/// One loop for each comparison, so that each becomes vector code.
macro_rules! compare {
    ($test:expr, $a:expr, $b:expr, $as:ty) => {
        match $test {
            Test::Eq => bits($a, $b, |x, y| x as $as == y as $as),
            Test::Ne => bits($a, $b, |x, y| x as $as != y as $as),
            Test::Lt => bits($a, $b, |x, y| (x as $as) < y as $as),
            Test::Le => bits($a, $b, |x, y| x as $as <= y as $as),
            Test::Gt => bits($a, $b, |x, y| x as $as > y as $as),
            _ => bits($a, $b, |x, y| x as $as >= y as $as),
        }
    };
}

pub const LANES: usize = 32;
pub const ALL: u32 = u32::MAX;

/// A register of all lanes.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Lanes<T>(pub [T; LANES]);

/// The register files of a warp.
#[derive(Debug, Default)]
pub struct Registers {
    pub narrow: Vec<Lanes<u32>>,
    pub wide: Vec<Lanes<u64>>,
    pub predicates: Vec<u32>,
}

/// Writes the lanes of `mask`.
#[inline(always)]
pub fn put<T: Copy>(to: &mut Lanes<T>, from: [T; LANES], mask: u32) {
    if mask == ALL {
        to.0 = from;
        return;
    }
    for lane in 0..LANES {
        if mask >> lane & 1 != 0 {
            to.0[lane] = from[lane];
        }
    }
}

#[inline(always)]
fn map1<A: Copy, D: Copy + Default>(a: &Lanes<A>, f: impl Fn(A) -> D) -> [D; LANES] {
    let mut out = [D::default(); LANES];
    for lane in 0..LANES {
        out[lane] = f(a.0[lane]);
    }
    out
}

#[inline(always)]
fn map2<A: Copy, B: Copy, D: Copy + Default>(
    a: &Lanes<A>,
    b: &Lanes<B>,
    f: impl Fn(A, B) -> D,
) -> [D; LANES] {
    let mut out = [D::default(); LANES];
    for lane in 0..LANES {
        out[lane] = f(a.0[lane], b.0[lane]);
    }
    out
}

#[inline(always)]
fn map3<A: Copy, B: Copy, C: Copy, D: Copy + Default>(
    a: &Lanes<A>,
    b: &Lanes<B>,
    c: &Lanes<C>,
    f: impl Fn(A, B, C) -> D,
) -> [D; LANES] {
    let mut out = [D::default(); LANES];
    for lane in 0..LANES {
        out[lane] = f(a.0[lane], b.0[lane], c.0[lane]);
    }
    out
}

/// A bit for each lane.
#[inline(always)]
fn bits<A: Copy>(a: &Lanes<A>, b: &Lanes<A>, f: impl Fn(A, A) -> bool) -> u32 {
    let mut out = 0;
    for lane in 0..LANES {
        out |= u32::from(f(a.0[lane], b.0[lane])) << lane;
    }
    out
}

/// The least number that is no NaN, and -0 before 0 (`min.f32`).
#[inline(always)]
fn least(x: f32, y: f32) -> f32 {
    if x.is_nan() || (y < x) || (y == x && y.is_sign_negative()) {
        y
    } else {
        x
    }
}

#[inline(always)]
fn largest(x: f32, y: f32) -> f32 {
    if x.is_nan() || (y > x) || (y == x && y.is_sign_positive()) {
        y
    } else {
        x
    }
}

impl Registers {
    #[inline(always)]
    fn n1(&mut self, i: &Instruction, mask: u32, f: impl Fn(u32) -> u32) {
        let out = map1(&self.narrow[i.a as usize], f);
        put(&mut self.narrow[i.d as usize], out, mask);
    }

    #[inline(always)]
    fn n2(&mut self, i: &Instruction, mask: u32, f: impl Fn(u32, u32) -> u32) {
        let out = map2(&self.narrow[i.a as usize], &self.narrow[i.b as usize], f);
        put(&mut self.narrow[i.d as usize], out, mask);
    }

    #[inline(always)]
    fn n3(&mut self, i: &Instruction, mask: u32, f: impl Fn(u32, u32, u32) -> u32) {
        let [a, b, c] = [i.a, i.b, i.c].map(|one| &self.narrow[one as usize]);
        let out = map3(a, b, c, f);
        put(&mut self.narrow[i.d as usize], out, mask);
    }

    #[inline(always)]
    fn f1(&mut self, i: &Instruction, mask: u32, f: impl Fn(f32) -> f32) {
        self.n1(i, mask, |a| f(f32::from_bits(a)).to_bits());
    }

    #[inline(always)]
    fn f2(&mut self, i: &Instruction, mask: u32, f: impl Fn(f32, f32) -> f32) {
        self.n2(i, mask, |a, b| {
            f(f32::from_bits(a), f32::from_bits(b)).to_bits()
        });
    }

    #[inline(always)]
    fn w2(&mut self, i: &Instruction, mask: u32, f: impl Fn(u64, u64) -> u64) {
        let out = map2(&self.wide[i.a as usize], &self.wide[i.b as usize], f);
        put(&mut self.wide[i.d as usize], out, mask);
    }

    #[inline(always)]
    fn widened(&mut self, i: &Instruction, mask: u32, f: impl Fn(u32, u32) -> u64) {
        let out = map2(&self.narrow[i.a as usize], &self.narrow[i.b as usize], f);
        put(&mut self.wide[i.d as usize], out, mask);
    }

    #[inline(always)]
    fn widened_sum(&mut self, i: &Instruction, mask: u32, f: impl Fn(u32, u32) -> u64) {
        let [a, b] = [i.a, i.b].map(|one| &self.narrow[one as usize]);
        let out = map3(a, b, &self.wide[i.c as usize], |a, b, c| {
            f(a, b).wrapping_add(c)
        });
        put(&mut self.wide[i.d as usize], out, mask);
    }

    /// Runs an instruction that does nothing but arithmetic; false if it is none.
    #[inline(always)]
    pub fn arithmetic(&mut self, program: &Program, i: &Instruction, mask: u32) -> bool {
        match i.op {
            Op::Mov => self.n1(i, mask, |a| a),
            Op::Add => self.n2(i, mask, u32::wrapping_add),
            Op::Sub => self.n2(i, mask, u32::wrapping_sub),
            Op::Mul => self.n2(i, mask, u32::wrapping_mul),
            Op::Mad => self.n3(i, mask, |a, b, c| a.wrapping_mul(b).wrapping_add(c)),
            Op::And => self.n2(i, mask, |a, b| a & b),
            Op::Or => self.n2(i, mask, |a, b| a | b),
            Op::Xor => self.n2(i, mask, |a, b| a ^ b),
            Op::Not => self.n1(i, mask, |a| !a),
            Op::MinS => self.n2(i, mask, |a, b| (a as i32).min(b as i32) as u32),
            Op::MaxS => self.n2(i, mask, |a, b| (a as i32).max(b as i32) as u32),
            // Shifts by more than the width are shifts by the width.
            Op::Shl => self.n2(i, mask, |a, b| if b > 31 { 0 } else { a << (b & 31) }),
            Op::ShrU => self.n2(i, mask, |a, b| if b > 31 { 0 } else { a >> (b & 31) }),
            Op::ShrS => self.n2(i, mask, |a, b| ((a as i32) >> b.min(31)) as u32),
            Op::AddF => self.f2(i, mask, |a, b| a + b),
            Op::SubF => self.f2(i, mask, |a, b| a - b),
            Op::MulF => self.f2(i, mask, |a, b| a * b),
            Op::FmaF => self.n3(i, mask, |a, b, c| {
                f32::from_bits(a)
                    .mul_add(f32::from_bits(b), f32::from_bits(c))
                    .to_bits()
            }),
            Op::NegF => self.n1(i, mask, |a| a ^ 0x8000_0000),
            Op::AbsF => self.n1(i, mask, |a| a & 0x7FFF_FFFF),
            Op::MinF => self.f2(i, mask, least),
            Op::MaxF => self.f2(i, mask, largest),
            Op::DivF => self.f2(i, mask, |a, b| a / b),
            Op::SqrtF => self.f1(i, mask, f32::sqrt),
            Op::Ex2F => self.f1(i, mask, |x| scalar::flushed(x, scalar::ex2)),
            Op::RcpF => self.f1(i, mask, |x| scalar::flushed(x, scalar::rcp)),
            Op::MovW => {
                let out = self.wide[i.a as usize].0;
                put(&mut self.wide[i.d as usize], out, mask);
            }
            Op::AddW => self.w2(i, mask, u64::wrapping_add),
            Op::SubW => self.w2(i, mask, u64::wrapping_sub),
            Op::MulW => self.w2(i, mask, u64::wrapping_mul),
            Op::ShlW => {
                let (a, b) = (&self.wide[i.a as usize], &self.narrow[i.b as usize]);
                let out = map2(a, b, |a, b| if b > 63 { 0 } else { a << (b & 63) });
                put(&mut self.wide[i.d as usize], out, mask);
            }
            Op::MulWideU => self.widened(i, mask, |a, b| u64::from(a) * u64::from(b)),
            Op::MulWideS => self.widened(i, mask, |a, b| {
                (i64::from(a as i32) * i64::from(b as i32)) as u64
            }),
            Op::MadWideU => self.widened_sum(i, mask, |a, b| u64::from(a) * u64::from(b)),
            Op::MadWideS => self.widened_sum(i, mask, |a, b| {
                (i64::from(a as i32) * i64::from(b as i32)) as u64
            }),
            Op::WidenU => {
                let out = map1(&self.narrow[i.a as usize], u64::from);
                put(&mut self.wide[i.d as usize], out, mask);
            }
            Op::WidenS => {
                let out = map1(&self.narrow[i.a as usize], |a: u32| a as i32 as i64 as u64);
                put(&mut self.wide[i.d as usize], out, mask);
            }
            Op::Narrow => {
                let out = map1(&self.wide[i.a as usize], |a: u64| a as u32);
                put(&mut self.narrow[i.d as usize], out, mask);
            }
            Op::F32FromF16 => self.n1(i, mask, |a| scalar::f16_value(a).to_bits()),
            Op::F16FromF32 => self.n1(i, mask, |a| scalar::f16_bits(f32::from_bits(a))),
            Op::F16x2FromF32 => self.n2(i, mask, |a, b| {
                scalar::f16_bits(f32::from_bits(a)) << 16 | scalar::f16_bits(f32::from_bits(b))
            }),
            Op::Bf16x2FromF32 => self.n2(i, mask, |a, b| {
                scalar::bf16_bits(f32::from_bits(a)) << 16 | scalar::bf16_bits(f32::from_bits(b))
            }),
            Op::F32FromS32 => self.n1(i, mask, |a| (a as i32 as f32).to_bits()),
            Op::Bfi => {
                let length = self.narrow[program.list(i)[0] as usize];
                let [a, b, c] = [i.a, i.b, i.c].map(|one| self.narrow[one as usize]);
                let mut out = [0; LANES];
                for lane in 0..LANES {
                    out[lane] = scalar::insert(a.0[lane], b.0[lane], c.0[lane], length.0[lane]);
                }
                put(&mut self.narrow[i.d as usize], out, mask);
            }
            Op::Scalar {
                function,
                wide_d,
                wide,
            } => self.scalar(i, mask, function, wide_d, wide),
            Op::Set { test, kind, with } => self.set(i, mask, test, kind, with),
            Op::Select => {
                let chosen = self.predicates[i.c as usize];
                let (a, b) = (self.narrow[i.a as usize], self.narrow[i.b as usize].0);
                let mut out = b;
                for lane in 0..LANES {
                    out[lane] = if chosen >> lane & 1 != 0 {
                        a.0[lane]
                    } else {
                        b[lane]
                    };
                }
                put(&mut self.narrow[i.d as usize], out, mask);
            }
            Op::SelectW => {
                let chosen = self.predicates[i.c as usize];
                let (a, b) = (self.wide[i.a as usize], self.wide[i.b as usize].0);
                let mut out = b;
                for lane in 0..LANES {
                    out[lane] = if chosen >> lane & 1 != 0 {
                        a.0[lane]
                    } else {
                        b[lane]
                    };
                }
                put(&mut self.wide[i.d as usize], out, mask);
            }
            Op::MovP => self.predicate(i, mask, self.predicates[i.a as usize]),
            Op::NotP => self.predicate(i, mask, !self.predicates[i.a as usize]),
            Op::LogicP(logic) => {
                let value = combine(
                    logic,
                    self.predicates[i.a as usize],
                    self.predicates[i.b as usize],
                );
                self.predicate(i, mask, value);
            }
            Op::Pack16 => self.pack16(program.list(i), i, mask),
            Op::Unpack16 => {
                let from = self.narrow[i.a as usize];
                let list = program.list(i);
                put(
                    &mut self.narrow[list[0] as usize],
                    from.0.map(|x| x & 0xFFFF),
                    mask,
                );
                put(
                    &mut self.narrow[list[1] as usize],
                    from.0.map(|x| x >> 16),
                    mask,
                );
            }
            Op::Pack32 => {
                let list = program.list(i);
                let (low, high) = (
                    &self.narrow[list[0] as usize],
                    &self.narrow[list[1] as usize],
                );
                let out = map2(low, high, |low, high| {
                    u64::from(low) | u64::from(high) << 32
                });
                put(&mut self.wide[i.d as usize], out, mask);
            }
            Op::Unpack32 => {
                let from = self.wide[i.a as usize];
                let list = program.list(i);
                put(
                    &mut self.narrow[list[0] as usize],
                    from.0.map(|x| x as u32),
                    mask,
                );
                put(
                    &mut self.narrow[list[1] as usize],
                    from.0.map(|x| (x >> 32) as u32),
                    mask,
                );
            }
            _ => return false,
        }
        true
    }

    #[inline(always)]
    fn pack16(&mut self, list: &[u32], i: &Instruction, mask: u32) {
        let (low, high) = (
            &self.narrow[list[0] as usize],
            &self.narrow[list[1] as usize],
        );
        let out = map2(low, high, |low, high| low & 0xFFFF | high << 16);
        put(&mut self.narrow[i.d as usize], out, mask);
    }

    #[inline(always)]
    fn predicate(&mut self, i: &Instruction, mask: u32, value: u32) {
        let to = &mut self.predicates[i.d as usize];
        *to = *to & !mask | value & mask;
    }

    /// A register's lanes, those of a narrow one with zeros above; zeros where there is none.
    #[inline(always)]
    pub fn widest(&self, register: u32, wide: bool) -> [u64; LANES] {
        if register == NONE {
            [0; LANES]
        } else if wide {
            self.wide[register as usize].0
        } else {
            self.narrow[register as usize].0.map(u64::from)
        }
    }

    fn scalar(
        &mut self,
        i: &Instruction,
        mask: u32,
        function: Scalar,
        wide_d: bool,
        wide: [bool; 3],
    ) {
        let [a, b, c] = [(i.a, wide[0]), (i.b, wide[1]), (i.c, wide[2])]
            .map(|(one, wide)| self.widest(one, wide));
        let mut out = [0; LANES];
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
            out[lane] = function(a[lane], b[lane], c[lane]);
        }
        self.put_widest(i.d, wide_d, out, mask);
    }

    /// Writes the lanes of `mask` to a register, without what a narrow one has no room for.
    #[inline(always)]
    pub fn put_widest(&mut self, register: u32, wide: bool, values: [u64; LANES], mask: u32) {
        if wide {
            put(&mut self.wide[register as usize], values, mask);
        } else {
            let values = values.map(|x| x as u32);
            put(&mut self.narrow[register as usize], values, mask);
        }
    }

    #[inline(always)]
    fn set(&mut self, i: &Instruction, mask: u32, test: Test, kind: Kind, with: Option<Logic>) {
        let mut value = self.compared(i, test, kind);
        if let Some(logic) = with {
            value = combine(logic, value, self.predicates[i.c as usize]);
        }
        self.predicate(i, mask, value);
    }

    /// A bit for each lane: whether the comparison holds.
    #[inline(always)]
    pub fn compared(&self, i: &Instruction, test: Test, kind: Kind) -> u32 {
        match kind {
            Kind::S32 => {
                let (a, b) = (&self.narrow[i.a as usize], &self.narrow[i.b as usize]);
                compare!(test, a, b, i32)
            }
            Kind::U32 => {
                let (a, b) = (&self.narrow[i.a as usize], &self.narrow[i.b as usize]);
                compare!(test, a, b, u32)
            }
            Kind::F32 => self.set_f32(i, test),
            _ => self.set_rare(i, test, kind),
        }
    }

    #[inline(always)]
    fn set_f32(&self, i: &Instruction, test: Test) -> u32 {
        let [a, b] = [i.a, i.b].map(|one| Lanes(self.narrow[one as usize].0.map(f32::from_bits)));
        match test {
            Test::Eq => bits(&a, &b, |x, y| x == y),
            Test::Ne => bits(&a, &b, |x, y| (x < y) | (x > y)),
            Test::Lt => bits(&a, &b, |x, y| x < y),
            Test::Le => bits(&a, &b, |x, y| x <= y),
            Test::Gt => bits(&a, &b, |x, y| x > y),
            Test::Ge => bits(&a, &b, |x, y| x >= y),
            Test::Equ => !bits(&a, &b, |x, y| (x < y) | (x > y)),
            Test::Neu => bits(&a, &b, |x, y| x != y),
            Test::Ltu => !bits(&a, &b, |x, y| x >= y),
            Test::Leu => !bits(&a, &b, |x, y| x > y),
            Test::Gtu => !bits(&a, &b, |x, y| x <= y),
            Test::Geu => !bits(&a, &b, |x, y| x < y),
            Test::Num => bits(&a, &b, |x, y| !x.is_nan() && !y.is_nan()),
            Test::Nan => bits(&a, &b, |x, y| x.is_nan() || y.is_nan()),
        }
    }

    fn set_rare(&self, i: &Instruction, test: Test, kind: Kind) -> u32 {
        let wide = kind.file() == File::Wide;
        let [a, b] = [i.a, i.b].map(|one| Lanes(self.widest(one, wide)));
        if kind == Kind::F64 {
            return bits(&a, &b, |x, y| {
                let order = f64::from_bits(x).partial_cmp(&f64::from_bits(y));
                match (order, test) {
                    (None, Test::Num) => false,
                    (None, _) => matches!(
                        test,
                        Test::Equ
                            | Test::Neu
                            | Test::Ltu
                            | Test::Leu
                            | Test::Gtu
                            | Test::Geu
                            | Test::Nan
                    ),
                    (Some(_), Test::Num) => true,
                    (Some(_), Test::Nan) => false,
                    (Some(order), _) => holds(test, order),
                }
            });
        }
        bits(&a, &b, |x, y| {
            let order = match kind {
                Kind::S16 => (x as i16).cmp(&(y as i16)),
                Kind::U16 => (x as u16).cmp(&(y as u16)),
                Kind::S64 => (x as i64).cmp(&(y as i64)),
                _ => x.cmp(&y),
            };
            holds(test, order)
        })
    }
}

#[inline(always)]
fn combine(logic: Logic, a: u32, b: u32) -> u32 {
    match logic {
        Logic::And => a & b,
        Logic::Or => a | b,
        Logic::Xor => a ^ b,
    }
}

fn holds(test: Test, order: Ordering) -> bool {
    match test {
        Test::Eq | Test::Equ => order == Ordering::Equal,
        Test::Ne | Test::Neu => order != Ordering::Equal,
        Test::Lt | Test::Ltu => order == Ordering::Less,
        Test::Le | Test::Leu => order != Ordering::Greater,
        Test::Gt | Test::Gtu => order == Ordering::Greater,
        Test::Ge | Test::Geu => order != Ordering::Less,
        Test::Num => true,
        Test::Nan => false,
    }
}
