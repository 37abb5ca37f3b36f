//! Checks an operation's kernels on the device at hand: the results against the f64 reference, and
//! equal bits from run to run.
//!
//! `vitcuda doctor --full` runs it on the GPU there is; the tests run it on emulated ones, each run
//! with another order of threads.

use super::gpu::GpuOp;
use super::registry::{Case, Input, Pass, Role};
use crate::device::{ElementType, Gpu};
use crate::error::{Error, Result};

type Tensors<T> = Vec<Vec<T>>;

/// Runs that are compared bit by bit with the first one.
const AGAIN: [usize; 3] = [1, 2, 3];

/// Runs a pass several times, `before_run` before each with its number.
///
/// Inputs are rounded as the device stores them. The first run's results may be at most twice as
/// far from the f64 reference as those of plain loops in the same precision, plus one f32 rounding
/// of the largest value; NaN is never near. Later runs must give equal bits, and of a backward pass
/// over two micro-batches the parameters' gradients must be twice those of one, exactly.
///
/// [`Error::Device`] that says which tensor is wrong, or what the device refused.
pub fn check(
    op: &dyn GpuOp,
    case: &Case,
    pass: Pass,
    gpu: &Gpu,
    before_run: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<()> {
    let checked = match pass {
        Pass::Forward => forward(op, case, gpu, before_run),
        Pass::Backward => backward(op, case, gpu, before_run),
    };
    checked.map_err(|error| match error {
        Error::Device { problem, help } => Error::Device {
            problem: format!("{} {case} {pass}: {problem}", op.name()),
            help,
        },
        other => other,
    })
}

fn inputs(op: &dyn GpuOp, case: &Case, element: ElementType) -> (Vec<Input>, Tensors<f32>) {
    let specs = op.inputs(case);
    let stored = op.stored(case).inputs;
    assert_eq!(specs.len(), stored.len(), "storage of the inputs");
    let values = specs.iter().zip(stored);
    let values = values.map(|(input, storage)| storage.round(element, &input.values(1)));
    let values = values.collect();
    (specs, values)
}

fn widen(tensors: &[Vec<f32>]) -> Tensors<f64> {
    let wide = |tensor: &Vec<f32>| tensor.iter().map(|&v| f64::from(v)).collect();
    tensors.iter().map(wide).collect()
}

fn forward(
    op: &dyn GpuOp,
    case: &Case,
    gpu: &Gpu,
    before_run: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<()> {
    let (_, inputs) = inputs(op, case, gpu.element());
    before_run(0)?;
    let found = op.gpu_forward(gpu, case, &inputs)?;
    for run in AGAIN {
        before_run(run)?;
        let again = op.gpu_forward(gpu, case, &inputs)?;
        for (i, (again, found)) in again.iter().zip(&found).enumerate() {
            equal_bits(&format!("output {i} of run {run}"), again, found)?;
        }
    }
    let exact = op.forward_f64(case, &widen(&inputs));
    let plain = op.rounded_forward(gpu.element(), case, &inputs);
    assert_eq!(found.len(), exact.len(), "outputs");
    for (i, exact) in exact.iter().enumerate() {
        within_budget(&format!("output {i}"), &found[i], &plain[i], exact)?;
    }
    Ok(())
}

fn backward(
    op: &dyn GpuOp,
    case: &Case,
    gpu: &Gpu,
    before_run: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<()> {
    let element = gpu.element();
    let (specs, inputs) = inputs(op, case, element);
    let outputs = op.forward_f64(case, &widen(&inputs));
    let stored = op.stored(case).output_gradients;
    assert_eq!(outputs.len(), stored.len(), "storage of their gradients");
    let dy = outputs.iter().zip(stored).map(|(y, storage)| {
        let dy = Input::normal("dy", y.len(), 1.0).values(2);
        storage.round(element, &dy)
    });
    let dy: Tensors<f32> = dy.collect();
    before_run(0)?;
    let found = op.gpu_backward(gpu, case, &inputs, &dy, 1)?;
    assert_eq!(found.len(), specs.len(), "gradients");
    for run in AGAIN {
        before_run(run)?;
        // The last run has two equal micro-batches.
        let (micro_batches, factor) = match run {
            3 => (2, 2.0),
            _ => (1, 1.0),
        };
        let again = op.gpu_backward(gpu, case, &inputs, &dy, micro_batches)?;
        for (i, spec) in specs.iter().enumerate() {
            let (Some(again), Some(found)) = (&again[i], &found[i]) else {
                continue;
            };
            let factor = match spec.role {
                Role::Parameter => factor,
                _ => 1.0,
            };
            let found: Vec<f32> = found.iter().map(|d| factor * d).collect();
            let what = format!(
                "d{} of run {run} ({micro_batches} micro-batches)",
                spec.name
            );
            equal_bits(&what, again, &found)?;
        }
    }
    let exact = op.backward_f64(case, &widen(&inputs), &widen(&dy));
    let plain = op.rounded_backward(element, case, &inputs, &dy);
    for (i, spec) in specs.iter().enumerate() {
        match (spec.role, &found[i], &plain[i], &exact[i]) {
            (Role::Constant, None, _, None) => {}
            (_, Some(found), Some(plain), Some(exact)) => {
                within_budget(&format!("d{}", spec.name), found, plain, exact)?;
            }
            _ => panic!("d{}: missing, or of a constant", spec.name),
        }
    }
    Ok(())
}

/// Largest absolute value; NaN if one of them is.
fn max_abs(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |m, v| if v.abs() <= m { m } else { v.abs() })
}

fn distance(found: &[f32], exact: &[f64]) -> f64 {
    assert_eq!(found.len(), exact.len(), "length");
    max_abs(found.iter().zip(exact).map(|(&a, &b)| f64::from(a) - b))
}

fn within_budget(what: &str, found: &[f32], plain: &[f32], exact: &[f64]) -> Result<()> {
    let rounding = f64::from(f32::EPSILON) / 2.0 * max_abs(exact.iter().copied());
    let budget = 2.0 * distance(plain, exact) + rounding;
    let error = distance(found, exact);
    match error <= budget {
        true => Ok(()),
        false => Err(wrong(format!(
            "{what}: off by {error:.3e}, {budget:.3e} is the budget"
        ))),
    }
}

fn equal_bits(what: &str, a: &[f32], b: &[f32]) -> Result<()> {
    assert_eq!(a.len(), b.len(), "{what}");
    let pairs = a.iter().zip(b);
    let different = pairs.clone().position(|(a, b)| a.to_bits() != b.to_bits());
    match different {
        None => Ok(()),
        Some(i) => Err(wrong(format!(
            "{what}: value {i} is {:e}, should be {:e}",
            a[i], b[i]
        ))),
    }
}

fn wrong(problem: String) -> Error {
    Error::device(
        problem,
        "this is a bug of vitcuda, or a faulty device: run vitcuda doctor --full again, and report it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_is_never_near() {
        assert!(within_budget("x", &[f32::NAN], &[0.0], &[1.0]).is_err());
        assert!(within_budget("x", &[1.0], &[f32::NAN], &[1.0]).is_err());
        assert!(equal_bits("x", &[0.0], &[-0.0]).is_err());
        assert!(equal_bits("x", &[f32::NAN], &[f32::NAN]).is_ok());
    }

    #[test]
    fn twice_the_plain_error_is_the_limit() {
        let rounding = f32::EPSILON;
        assert!(within_budget("x", &[1.2], &[1.1], &[1.0]).is_ok());
        assert!(within_budget("x", &[1.2 + 4.0 * rounding], &[1.1], &[1.0]).is_err());
    }
}
