//! What a GPU's arithmetic loses beyond rounding to nearest: the sums of its tensor cores, and its
//! approximate functions. The budgets of [`gpu_check`](super::gpu_check) grow by it.
//!
//! A tensor core adds a block of products to an accumulator at a time (Fasi, Higham, Mikaitis, Pranesh,
//! "Numerical behavior of NVIDIA tensor cores", PeerJ Computer Science 7:e330, 2021; Khattak,
//! Mikaitis, "Accurate models of NVIDIA tensor cores", arXiv:2512.07004, 2025). Products are exact.
//! They and the accumulator are aligned to the largest exponent among them and cut to 24 bits there
//! (later architectures keep one or two more), added exactly, and the sum is cut to f32. Every cut is
//! toward zero, so errors do not cancel as roundings do.
//!
//! With e the largest exponent in a block, a step loses at most
//!
//!   2^(e − 23)   of each term with bits below that, positive terms downwards, negative ones upwards,
//!   one unit in the last place of the sum, toward zero,
//!
//! and a sum of K products takes K / width steps. [`TensorCore::loss`] adds that up along the sum as it
//! runs, in f64 (running error analysis: Higham, "Accuracy and stability of numerical algorithms",
//! 2002, section 3.3), below and above apart. It is no estimate of the error but a bound on it, by which no correct tensor
//! core can be accused; a sum that rounds to nearest has its own part in the budget.
//!
//! Of approximate instructions the kernels' PTX has two, `ex2.approx.ftz.f32` and
//! `rcp.approx.ftz.f32`, with errors by the PTX ISA. Divisions and square roots are rounded to nearest.

#[cfg(test)]
mod tests;

use crate::device::ElementType;

/// Relative error of `ex2.approx.ftz.f32`.
pub const EXP2: f64 = 1.0 / (1 << 22) as f64;
/// Relative error of `rcp.approx.ftz.f32`: one unit in the last place.
pub const RECIPROCAL: f64 = 1.0 / (1 << 23) as f64;
/// Relative error of `expf`: `ex2.approx`, and as much as a unit in the last place for what it does to
/// its argument.
pub const EXP: f64 = EXP2 + 1.0 / (1 << 23) as f64;
/// Relative error of `logf`: one unit in the last place (CUDA C++ Programming Guide).
pub const LOG: f64 = 1.0 / (1 << 23) as f64;

/// Bits of an accumulator behind its leading one.
const MANTISSA: i32 = 23;

/// The tensor cores of an architecture, as far as their sums go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorCore {
    /// Products that are added at once.
    pub width: usize,
    /// Significant bits of a product.
    product_bits: i32,
}

impl TensorCore {
    /// Of a GPU of `capability` that multiplies elements of this type.
    pub fn of(capability: (u32, u32), element: ElementType) -> Self {
        Self {
            width: match capability.0 {
                ..8 => 4,
                8 => 8,
                _ => 16,
            },
            product_bits: match element {
                ElementType::F16 => 22,
                ElementType::Bf16 => 16,
            },
        }
    }

    /// How far the sum of `products` of two elements each, in this order and from zero, may be from the
    /// exact one.
    pub fn loss(self, products: impl IntoIterator<Item = f64>) -> f64 {
        let mut products = products.into_iter();
        let mut so_far = Running::default();
        let mut block = Vec::with_capacity(self.width);
        loop {
            block.clear();
            block.extend(products.by_ref().take(self.width));
            if block.is_empty() {
                return so_far.bound();
            }
            so_far.add(self, &block);
        }
    }
}

/// An accumulator: what it should hold, and how far below and above that it may be.
#[derive(Debug, Clone, Copy, Default)]
struct Running {
    sum: f64,
    below: f64,
    above: f64,
}

impl Running {
    fn bound(&self) -> f64 {
        self.below.max(self.above)
    }

    /// A cut toward zero takes up to `loss` of a value around `value`.
    fn cut(&mut self, value: f64, uncertain: f64, loss: f64) {
        if value > -uncertain {
            self.below += loss;
        }
        if value < uncertain {
            self.above += loss;
        }
    }

    fn add(&mut self, core: TensorCore, block: &[f64]) {
        let held = self.sum.abs() + self.bound();
        let largest = block.iter().fold(0.0, |m: f64, p| m.max(p.abs()));
        if largest == 0.0 {
            return; // nothing moves the accumulator
        }
        let top = exponent(held.max(largest));
        let step = power_of_two(top - MANTISSA);
        for &p in block {
            // The last bit of a product is that many below its first, or one more.
            let whole = p == 0.0 || exponent(p.abs()) - (core.product_bits - 1) >= top - MANTISSA;
            if !whole {
                self.cut(p, 0.0, step.min(p.abs()));
            }
        }
        if held > 0.0 && exponent(held) < top {
            self.cut(self.sum, self.bound(), step.min(held));
        }
        self.sum += block.iter().sum::<f64>();
        let held = self.sum.abs() + self.bound();
        if held > 0.0 {
            let last_place = power_of_two(exponent(held) - MANTISSA);
            self.cut(self.sum, self.bound(), last_place);
        }
    }
}

/// e of a positive number in [2^e, 2^(e+1)).
fn exponent(value: f64) -> i32 {
    const BIAS: i32 = 1023;
    ((value.to_bits() >> 52) & 0x7ff) as i32 - BIAS
}

fn power_of_two(exponent: i32) -> f64 {
    2f64.powi(exponent)
}
