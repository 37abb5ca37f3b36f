//! Checks an operation's kernels on the device at hand: the results against the f64 reference, and
//! equal bits from run to run.
//!
//! `vitcuda doctor --full` runs it on the GPU there is; the tests run it on emulated ones, each run
//! with another order of threads.

pub mod faults;
pub mod prove;

use std::cmp::Ordering::{Equal, Less};

use super::gpu::GpuOp;
use super::registry::{Case, Input, Pass, Role};
use crate::device::{ElementType, Gpu};
use crate::error::Result;

type Tensors<T> = Vec<Vec<T>>;

/// What a check looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// How far the first run's results are from the reference.
    Distance,
    /// That later runs give the same bits.
    EqualBits,
    /// That a parameter's gradient over two micro-batches is twice that over one.
    MicroBatches,
}

/// What a check found wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// `output 0`, or `dw`.
    pub tensor: String,
    pub check: Check,
    /// Where, and by how much.
    detail: String,
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.tensor, self.detail)
    }
}

/// Runs of a check; later ones are compared bit by bit with the first.
const RUNS: usize = 4;

/// Runs a pass several times, `before_run` before each with its number.
///
/// Inputs are rounded as the device stores them. The first run's results may be at most twice as
/// far from the f64 reference as those of plain loops in the same precision, plus one f32 rounding
/// of the largest value, plus, value by value, what tensor cores and approximate instructions may lose
/// beyond rounding to nearest ([`gpu_rounding`](super::gpu_rounding)); NaN is never near. Later runs must
/// give equal bits, and of a backward pass over two micro-batches the parameters' gradients must be
/// twice those of one, exactly.
///
/// The first thing that is wrong, if anything is; an error is the device's own.
pub fn check(
    op: &dyn GpuOp,
    case: &Case,
    pass: Pass,
    gpu: &Gpu,
    before_run: &mut dyn FnMut(usize),
) -> Result<Option<Wrong>> {
    let checked = match pass {
        Pass::Forward => forward(op, case, gpu, before_run)?,
        Pass::Backward => backward(op, case, gpu, before_run)?,
    };
    Ok(checked.err())
}

/// What a comparison comes to: nothing, or what is wrong.
type Verdict = std::result::Result<(), Wrong>;

/// A case's inputs, as the device stores them.
pub(super) fn rounded_inputs(
    op: &dyn GpuOp,
    case: &Case,
    element: ElementType,
) -> (Vec<Input>, Tensors<f32>) {
    let specs = op.inputs(case);
    let stored = op.stored(case).inputs;
    assert_eq!(specs.len(), stored.len(), "storage of the inputs");
    let values = specs.iter().zip(stored);
    let values = values.map(|(input, storage)| storage.round(element, &input.values(1)));
    let values = values.collect();
    (specs, values)
}

/// In f64.
pub(super) fn widen(tensors: &[Vec<f32>]) -> Tensors<f64> {
    let wide = |tensor: &Vec<f32>| tensor.iter().map(|&v| f64::from(v)).collect();
    tensors.iter().map(wide).collect()
}

/// Gradients of a case's outputs, as the device stores them.
pub(super) fn output_gradients(
    op: &dyn GpuOp,
    case: &Case,
    inputs: &[Vec<f64>],
    element: ElementType,
) -> Tensors<f32> {
    let outputs = op.forward_f64(case, inputs);
    let stored = op.stored(case).output_gradients;
    let given = outputs.len() - op.kept();
    assert_eq!(given, stored.len(), "storage of their gradients");
    let dy = outputs.iter().zip(stored).map(|(y, storage)| {
        let dy = Input::normal("dy", y.len(), 1.0).values(2);
        storage.round(element, &dy)
    });
    dy.collect()
}

fn forward(
    op: &dyn GpuOp,
    case: &Case,
    gpu: &Gpu,
    before_run: &mut dyn FnMut(usize),
) -> Result<Verdict> {
    let (_, inputs) = rounded_inputs(op, case, gpu.element());
    let mut run = |number| {
        before_run(number);
        op.gpu_forward(gpu, case, &inputs)
    };
    let runs = (0..RUNS).map(&mut run).collect::<Result<Vec<_>>>()?;
    let (element, wide) = (gpu.element(), widen(&inputs));
    let exact = op.forward_f64(case, &wide);
    let plain = op.rounded_forward(element, case, &inputs);
    let allowance = op
        .allowance()
        .map(|of| of.forward(gpu.properties(), element, case, &wide));
    let allowance = allowance.unwrap_or_default();
    Ok(exact.iter().enumerate().try_for_each(|(i, exact)| {
        let what = format!("output {i}");
        for (number, again) in runs.iter().enumerate().skip(1) {
            let check = Check::EqualBits;
            equal_bits(&what, number, check, &again[i], &runs[0][i])?;
        }
        let allowed = allowance.get(i).map(Vec::as_slice);
        within_budget(&what, &runs[0][i], &plain[i], exact, allowed)
    }))
}

fn backward(
    op: &dyn GpuOp,
    case: &Case,
    gpu: &Gpu,
    before_run: &mut dyn FnMut(usize),
) -> Result<Verdict> {
    let element = gpu.element();
    let (specs, inputs) = rounded_inputs(op, case, element);
    let dy = output_gradients(op, case, &widen(&inputs), element);
    let mut run = |number| {
        before_run(number);
        op.gpu_backward(gpu, case, &inputs, &dy, micro_batches(number))
    };
    let runs = (0..RUNS).map(&mut run).collect::<Result<Vec<_>>>()?;
    let (wide, wide_dy) = (widen(&inputs), widen(&dy));
    let exact = op.backward_f64(case, &wide, &wide_dy);
    let plain = op.rounded_backward(element, case, &inputs, &dy);
    let allowance = op
        .allowance()
        .map(|of| of.backward(gpu.properties(), element, case, &wide, &wide_dy));
    let allowance = allowance.unwrap_or_default();
    Ok(specs.iter().enumerate().try_for_each(|(i, spec)| {
        let what = format!("d{}", spec.name);
        let gradient = |run: usize| runs[run].get(i).and_then(Option::as_ref);
        let (Some(found), Some(plain), Some(exact)) = (gradient(0), &plain[i], &exact[i]) else {
            assert!(
                spec.role == Role::Constant && gradient(0).is_none() && exact[i].is_none(),
                "{what}: missing, or of a constant"
            );
            return Ok(());
        };
        for number in 1..RUNS {
            let (factor, check) = match (spec.role, micro_batches(number)) {
                (Role::Parameter, count @ 2..) => (count as f32, Check::MicroBatches),
                _ => (1.0, Check::EqualBits),
            };
            let expected: Vec<f32> = found.iter().map(|d| factor * d).collect();
            let again = gradient(number).expect("as in the first run");
            equal_bits(&what, number, check, again, &expected)?;
        }
        let allowed = allowance.get(i).and_then(Option::as_ref);
        let length = spec.piece().max(1);
        (0..found.len()).step_by(length).try_for_each(|at| {
            let what = match spec.pieces {
                1 => what.clone(),
                _ => format!("{what}, piece {}", at / length),
            };
            let piece = at..found.len().min(at + length);
            let allowed = allowed.map(|allowed| &allowed[piece.clone()]);
            let (found, plain) = (&found[piece.clone()], &plain[piece.clone()]);
            within_budget(&what, found, plain, &exact[piece], allowed)
        })
    }))
}

/// The last run of a backward pass has two.
fn micro_batches(run: usize) -> usize {
    1 + usize::from(run == RUNS - 1)
}

/// Largest absolute value; NaN if one of them is.
fn max_abs(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |m, v| if v.abs() <= m { m } else { v.abs() })
}

fn distance(found: &[f32], exact: &[f64]) -> f64 {
    assert_eq!(found.len(), exact.len(), "length");
    max_abs(found.iter().zip(exact).map(|(&a, &b)| f64::from(a) - b))
}

/// Every value of `found` within its budget: `allowed` is what the device may lose beyond rounding to
/// nearest, a value each, nothing where there is none.
pub(super) fn within_budget(
    what: &str,
    found: &[f32],
    plain: &[f32],
    exact: &[f64],
    allowed: Option<&[f64]>,
) -> Verdict {
    assert!(found.len() == exact.len() && allowed.is_none_or(|a| a.len() == exact.len()));
    let rounding = f64::from(f32::EPSILON) / 2.0 * max_abs(exact.iter().copied());
    let of_tensor = 2.0 * distance(plain, exact) + rounding;
    let pairs = found.iter().zip(exact).enumerate();
    let budgets = pairs.map(|(i, (&found, exact))| {
        let budget = of_tensor + allowed.map_or(0.0, |allowed| allowed[i]);
        (i, (f64::from(found) - exact).abs(), budget)
    });
    // NaN is not within anything, and farther off than all else.
    let beyond = budgets
        .filter(|(_, error, budget)| !matches!(error.partial_cmp(budget), Some(Less | Equal)));
    let excess = |(_, error, budget): &(usize, f64, f64)| error - budget;
    match beyond.max_by(|a, b| excess(a).total_cmp(&excess(b))) {
        None => Ok(()),
        Some((i, error, budget)) => Err(Wrong {
            tensor: what.to_owned(),
            check: Check::Distance,
            detail: format!(": value {i} is off by {error:.3e}, {budget:.3e} is the budget"),
        }),
    }
}

fn equal_bits(what: &str, run: usize, check: Check, a: &[f32], b: &[f32]) -> Verdict {
    assert_eq!(a.len(), b.len(), "{what}");
    let pairs = a.iter().zip(b);
    let different = pairs.clone().position(|(a, b)| a.to_bits() != b.to_bits());
    match different {
        None => Ok(()),
        Some(i) => Err(Wrong {
            tensor: what.to_owned(),
            check,
            detail: format!(", run {run}: value {i} is {:e}, should be {:e}", a[i], b[i]),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(found: f32, plain: f32, exact: f64, allowed: Option<f64>) -> Verdict {
        let allowed = allowed.as_ref().map(std::slice::from_ref);
        within_budget("x", &[found], &[plain], &[exact], allowed)
    }

    fn bits(a: f32, b: f32) -> Verdict {
        equal_bits("x", 1, Check::EqualBits, &[a], &[b])
    }

    #[test]
    fn nan_is_never_near() {
        assert!(judge(f32::NAN, 0.0, 1.0, None).is_err());
        assert!(judge(1.0, f32::NAN, 1.0, None).is_err());
        assert!(judge(1.0, 1.0, 1.0, Some(f64::NAN)).is_err());
        assert!(bits(0.0, -0.0).is_err());
        assert!(bits(f32::NAN, f32::NAN).is_ok());
    }

    #[test]
    fn twice_the_plain_error_is_the_limit() {
        let rounding = f32::EPSILON;
        assert!(judge(1.2, 1.1, 1.0, None).is_ok());
        assert!(judge(1.2 + 4.0 * rounding, 1.1, 1.0, None).is_err());
    }

    #[test]
    fn an_allowance_is_the_values_own() {
        let judge =
            |found: [f32; 2]| within_budget("x", &found, &[1.0; 2], &[1.0; 2], Some(&[0.125, 0.0]));
        assert_eq!(judge([1.125, 1.0]), Ok(()));
        assert!(judge([1.25, 1.0]).is_err());
        let wrong = judge([1.0, 1.125]).unwrap_err();
        assert_eq!(
            wrong.to_string(),
            "x: value 1 is off by 1.250e-1, 5.960e-8 is the budget"
        );
    }
}
