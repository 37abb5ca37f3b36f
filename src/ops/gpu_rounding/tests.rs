//! A tensor core in software, as the module's head describes it: correct kernels on it keep to their
//! budgets, wrong ones do not.

use super::*;
use crate::device::Properties;
use crate::device::architecture::Architecture;
use crate::ops::gpu::Allowance;
use crate::ops::gpu::GpuOp;
use crate::ops::gpu_check::{output_gradients, rounded_inputs, widen, within_budget};
use crate::ops::linear::Linear;
use crate::ops::linear::gpu::WeightPlan;
use crate::ops::patch_embed::PatchEmbed;
use crate::ops::registry::{Case, Op};
use crate::rng::{Philox, Purpose};

/// Bits that an architecture may keep below an accumulator's while it adds.
const EXTRA_BITS: [i32; 4] = [0, 1, 2, 3];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kernel {
    Right,
    /// The last product is left out.
    DropsOne,
    /// The accumulator has an element's bits.
    NarrowSum(ElementType),
    /// The result has an element's bits where it should be f32.
    NarrowResult(ElementType),
}

#[derive(Debug, Clone, Copy)]
struct Machine {
    core: TensorCore,
    extra_bits: i32,
    kernel: Kernel,
}

/// The f32 next to `value` on the way to zero.
fn toward_zero(value: f64) -> f32 {
    let nearest = value as f32;
    if f64::from(nearest).abs() > value.abs() {
        f32::from_bits(nearest.to_bits() - 1)
    } else {
        nearest
    }
}

impl Machine {
    fn step(self, sum: f32, block: &[f64]) -> f32 {
        let terms = || block.iter().copied().chain([f64::from(sum)]);
        let largest = terms().fold(0.0, |m: f64, term| m.max(term.abs()));
        if largest == 0.0 {
            return 0.0;
        }
        let step = power_of_two(exponent(largest) - MANTISSA - self.extra_bits);
        let sum = toward_zero(terms().map(|term| (term / step).trunc() * step).sum());
        match self.kernel {
            Kernel::NarrowSum(element) => element.round(sum),
            _ => sum,
        }
    }

    fn sum(self, products: &[f64]) -> f32 {
        let kept = match self.kernel {
            Kernel::DropsOne => products.len() - 1,
            _ => products.len(),
        };
        let blocks = products[..kept].chunks(self.core.width);
        blocks.fold(0.0, |sum, block| self.step(sum, block))
    }

    fn result(self, value: f32) -> f32 {
        match self.kernel {
            Kernel::NarrowResult(element) => element.round(value),
            _ => value,
        }
    }
}

/// A tensor as a kernel leaves it, and what it is judged by.
struct Judged {
    found: Vec<f32>,
    plain: Vec<f32>,
    exact: Vec<f64>,
    allowed: Vec<f64>,
}

impl Judged {
    fn passes(&self) -> bool {
        let Self {
            found,
            plain,
            exact,
            allowed,
        } = self;
        within_budget("x", found, plain, exact, Some(allowed)).is_ok()
    }

    /// The largest error over the budget of a device that rounds to nearest.
    fn of_nearest(&self) -> f64 {
        let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
        let distance = |values: &[f32]| {
            let pairs = values.iter().zip(&self.exact);
            largest(&mut pairs.map(|(&v, exact)| (f64::from(v) - exact).abs()))
        };
        let rounding = largest(&mut self.exact.iter().map(|v| v.abs())) * f64::from(f32::EPSILON);
        distance(&self.found) / (2.0 * distance(&self.plain) + rounding / 2.0)
    }
}

/// Patches of 14: sums of 588 products, plus bias and position. Of pixels that elements have, so that
/// the budget has no rounding of theirs in it.
fn patches(gpu: &Properties, element: ElementType, machine: Machine) -> Judged {
    let case = Case::new(&[("B", 2), ("side", 28), ("P", 14), ("C", 24)]);
    let (op, of_bytes) = (PatchEmbed, case.clone().variant("bytes"));
    assert!(op.cases().contains(&of_bytes));
    let (_, mut inputs) = rounded_inputs(&op, &of_bytes, element);
    inputs[0] = PatchEmbed::rounded_pixels(element, &of_bytes, &inputs);
    let wide = widen(&inputs);
    let [_, class, position, weight, bias] = &inputs[..] else {
        unreachable!()
    };
    let (values, width) = (3 * 14 * 14, 24);
    let rows = PatchEmbed::patches(element, &case, &wide);
    let mut found = Vec::new();
    for (row, patch) in rows.chunks_exact(values).enumerate() {
        let t = row % 4 + 1;
        if t == 1 {
            found.extend((0..width).map(|c| class[c] + position[c]));
        }
        found.extend((0..width).map(|c| {
            let weights = weight[c * values..].iter().map(|&w| f64::from(w));
            let products: Vec<f64> = patch.iter().zip(weights).map(|(p, w)| p * w).collect();
            machine.result(machine.sum(&products) + bias[c] + position[t * width + c])
        }));
    }
    Judged {
        found,
        plain: op.rounded_forward(element, &case, &inputs).remove(0),
        exact: op.forward_f64(&case, &wide).remove(0),
        allowed: Allowance::forward(&op, gpu, element, &case, &wide).remove(0),
    }
}

/// dW over 514 rows, in the parts that the launcher would make.
fn weight_gradient(gpu: &Properties, element: ElementType, machine: Machine) -> Judged {
    let case = Case::new(&[("N", 514), ("I", 40), ("O", 10)]).variant("residual");
    let op = Linear;
    assert!(op.cases().contains(&case));
    let (_, inputs) = rounded_inputs(&op, &case, element);
    let wide = widen(&inputs);
    let dy = output_gradients(&op, &case, &wide, element);
    let wide_dy = widen(&dy);
    let shape = crate::ops::linear::Shape {
        rows: 514,
        inputs: 40,
        outputs: 10,
    };
    let plan = WeightPlan::new(gpu, shape);
    let value = |at: usize| {
        let (o, i) = (at / 40, at % 40);
        let products: Vec<f64> = (0..514)
            .map(|n| wide_dy[0][n * 10 + o] * wide[0][n * 40 + i])
            .collect();
        let parts = products.chunks(plan.part_rows);
        machine.result(parts.fold(0.0, |sum, part| sum + machine.sum(part)))
    };
    let taken = |gradients: Vec<Option<Vec<f64>>>| gradients.into_iter().nth(1).flatten().unwrap();
    Judged {
        found: (0..400).map(value).collect(),
        plain: op.rounded_backward(element, &case, &inputs, &dy)[1]
            .take()
            .unwrap(),
        exact: taken(op.backward_f64(&case, &wide, &wide_dy)),
        allowed: taken(Allowance::backward(
            &op, gpu, element, &case, &wide, &wide_dy,
        )),
    }
}

type Product = fn(&Properties, ElementType, Machine) -> Judged;
const PRODUCTS: [(&str, Product); 2] = [("patches", patches), ("dW", weight_gradient)];

/// Each product on each architecture and element type, with these bits and this kernel.
fn everywhere(extra_bits: i32, kernel: Kernel, mut look: impl FnMut(&str, Judged)) {
    for architecture in Architecture::ALL {
        for element in [ElementType::F16, ElementType::Bf16] {
            if architecture.capability() < element.needs() {
                continue;
            }
            let machine = Machine {
                core: TensorCore::of(architecture.capability(), element),
                extra_bits,
                kernel,
            };
            for (name, product) in PRODUCTS {
                let name = format!("{name}: sm_{} {element} {machine:?}", architecture.sm);
                look(&name, product(&architecture.properties(), element, machine));
            }
        }
    }
}

#[test]
fn right_kernels_pass_on_every_architecture() {
    for extra_bits in EXTRA_BITS {
        everywhere(extra_bits, Kernel::Right, |name, judged| {
            assert!(judged.passes(), "{name}");
        });
    }
}

#[test]
fn wrong_kernels_fail_on_every_architecture() {
    let (f16, bf16) = (ElementType::F16, ElementType::Bf16);
    for kernel in [
        Kernel::DropsOne,
        Kernel::NarrowSum(f16),
        Kernel::NarrowSum(bf16),
        Kernel::NarrowResult(f16),
        Kernel::NarrowResult(bf16),
    ] {
        everywhere(0, kernel, |name, judged| {
            assert!(!judged.passes(), "{name}");
        });
    }
}

/// Why there is an allowance: cuts add up, roundings cancel. Of products around zero, sums in blocks of
/// four are now within twice a plain loop's error, now beyond (0.6 to 1.5 times that, drawn eight times);
/// of products that are more often positive they are beyond.
#[test]
fn blocks_of_four_are_farther_off_than_twice_a_plain_loop() {
    let element = ElementType::F16;
    let machine = Machine {
        core: TensorCore::of((7, 5), element),
        extra_bits: 0,
        kernel: Kernel::Right,
    };
    for seed in 0..8 {
        let judged = sums(machine, element, 588, 1.0, seed);
        let factor = judged.of_nearest();
        assert!(factor > 2.0 && judged.passes(), "seed {seed}: {factor}");
    }
}

/// 400 sums of `count` products.
fn sums(machine: Machine, element: ElementType, count: usize, mean: f64, seed: u64) -> Judged {
    let rows: Vec<Vec<f64>> = (0..400)
        .map(|row| products(element, count, mean, 1000 * seed + row))
        .collect();
    let plain = |row: &Vec<f64>| row.iter().fold(0f32, |sum, &p| sum + p as f32);
    Judged {
        found: rows.iter().map(|row| machine.sum(row)).collect(),
        plain: rows.iter().map(plain).collect(),
        exact: rows.iter().map(|row| row.iter().sum()).collect(),
        allowed: rows
            .iter()
            .map(|row| machine.core.loss(row.iter().copied()))
            .collect(),
    }
}

/// Sums of `count` products of elements, with mean `mean` of one factor.
fn products(element: ElementType, count: usize, mean: f64, index: u64) -> Vec<f64> {
    let mut stream = Philox::new(1, Purpose::Test, index);
    let mut next = |mean: f64| f64::from(element.round((mean + stream.normal()) as f32));
    let mut product = || {
        let (a, b) = (next(mean), next(mean));
        a * b
    };
    (0..count).map(|_| product()).collect()
}

#[test]
fn no_sum_is_off_by_more_than_the_loss() {
    for element in [ElementType::F16, ElementType::Bf16] {
        for (index, (count, mean)) in [(3, 0.0), (17, 0.0), (588, 0.0), (588, 3.0), (64, -1.0)]
            .into_iter()
            .cycle()
            .take(200)
            .enumerate()
        {
            let products = products(element, count, mean, index as u64);
            let exact: f64 = products.iter().sum();
            for capability in [(7, 5), (8, 0), (9, 0)] {
                let core = TensorCore::of(capability, element);
                let loss = core.loss(products.iter().copied());
                for extra_bits in EXTRA_BITS {
                    let machine = Machine {
                        core,
                        extra_bits,
                        kernel: Kernel::Right,
                    };
                    let error = (f64::from(machine.sum(&products)) - exact).abs();
                    assert!(error <= loss, "{machine:?} {count} {mean}: {error}, {loss}");
                }
            }
        }
    }
}

/// The bound is no looser than it must be: where all terms have one sign no cut makes up for another, and
/// an average cut takes half of what it may.
#[test]
fn sums_of_one_sign_use_up_a_third_of_the_loss() {
    for capability in [(7, 5), (8, 0), (9, 0)] {
        let core = TensorCore::of(capability, ElementType::F16);
        let machine = Machine {
            core,
            extra_bits: 0,
            kernel: Kernel::Right,
        };
        for index in 0..20 {
            let products = products(ElementType::F16, 588, 4.0, index);
            let exact: f64 = products.iter().sum();
            let error = (f64::from(machine.sum(&products)) - exact).abs();
            let loss = core.loss(products.iter().copied());
            assert!(error >= loss / 3.0, "{machine:?}: {error}, {loss}");
        }
    }
}

#[test]
fn what_cannot_be_cut_loses_nothing_but_the_sum() {
    let core = TensorCore::of((8, 0), ElementType::F16);
    assert_eq!(core.loss([]), 0.0);
    assert_eq!(core.loss([0.0; 20]), 0.0);
    // One product is whole, and the sum of it cut once.
    assert_eq!(core.loss([1.0]), power_of_two(-23));
    assert_eq!(core.loss([1.0, 0.0, 0.0]), power_of_two(-23));
    // The small one may be lost altogether, and is not lost twice.
    let loss = core.loss([1.0, power_of_two(-30)]);
    assert_eq!(loss, power_of_two(-23) + power_of_two(-30));
}
