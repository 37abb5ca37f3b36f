//! Checks an operation's kernels on the device at hand: the results against the f64 reference, and
//! equal bits from run to run.
//!
//! `vitcuda doctor --full` runs it on the GPU there is; the tests run it on emulated ones, each run
//! with another order of threads.

use super::gpu::GpuOp;
use super::registry::{Case, Input, Pass, Role};
use crate::device::{ElementType, Gpu};
use crate::error::Result;

type Tensors<T> = Vec<Vec<T>>;

/// Runs of a check; later ones are compared bit by bit with the first.
const RUNS: usize = 4;

/// Runs a pass several times, `before_run` before each with its number.
///
/// Inputs are rounded as the device stores them. The first run's results may be at most twice as
/// far from the f64 reference as those of plain loops in the same precision, plus one f32 rounding
/// of the largest value; NaN is never near. Later runs must give equal bits, and of a backward pass
/// over two micro-batches the parameters' gradients must be twice those of one, exactly.
///
/// What is wrong, if anything; an error is the device's own.
pub fn check(
    op: &dyn GpuOp,
    case: &Case,
    pass: Pass,
    gpu: &Gpu,
    before_run: &mut dyn FnMut(usize),
) -> Result<Option<String>> {
    let checked = match pass {
        Pass::Forward => forward(op, case, gpu, before_run)?,
        Pass::Backward => backward(op, case, gpu, before_run)?,
    };
    let wrong = checked.err();
    Ok(wrong.map(|wrong| format!("{} {case} {pass}: {wrong}", op.name())))
}

/// What a comparison comes to: nothing, or what is wrong.
type Verdict = std::result::Result<(), String>;

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
    before_run: &mut dyn FnMut(usize),
) -> Result<Verdict> {
    let (_, inputs) = inputs(op, case, gpu.element());
    let mut run = |number| {
        before_run(number);
        op.gpu_forward(gpu, case, &inputs)
    };
    let runs = (0..RUNS).map(&mut run).collect::<Result<Vec<_>>>()?;
    let exact = op.forward_f64(case, &widen(&inputs));
    let plain = op.rounded_forward(gpu.element(), case, &inputs);
    Ok(exact.iter().enumerate().try_for_each(|(i, exact)| {
        let what = format!("output {i}");
        for (number, again) in runs.iter().enumerate().skip(1) {
            equal_bits(&format!("{what}, run {number}"), &again[i], &runs[0][i])?;
        }
        within_budget(&what, &runs[0][i], &plain[i], exact)
    }))
}

fn backward(
    op: &dyn GpuOp,
    case: &Case,
    gpu: &Gpu,
    before_run: &mut dyn FnMut(usize),
) -> Result<Verdict> {
    let element = gpu.element();
    let (specs, inputs) = inputs(op, case, element);
    let outputs = op.forward_f64(case, &widen(&inputs));
    let stored = op.stored(case).output_gradients;
    let given = outputs.len() - op.kept();
    assert_eq!(given, stored.len(), "storage of their gradients");
    let dy = outputs.iter().zip(stored).map(|(y, storage)| {
        let dy = Input::normal("dy", y.len(), 1.0).values(2);
        storage.round(element, &dy)
    });
    let dy: Tensors<f32> = dy.collect();
    let mut run = |number| {
        before_run(number);
        op.gpu_backward(gpu, case, &inputs, &dy, micro_batches(number))
    };
    let runs = (0..RUNS).map(&mut run).collect::<Result<Vec<_>>>()?;
    let exact = op.backward_f64(case, &widen(&inputs), &widen(&dy));
    let plain = op.rounded_backward(element, case, &inputs, &dy);
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
            let factor = match spec.role {
                Role::Parameter => micro_batches(number) as f32,
                _ => 1.0,
            };
            let expected: Vec<f32> = found.iter().map(|d| factor * d).collect();
            let again = gradient(number).expect("as in the first run");
            equal_bits(&format!("{what}, run {number}"), again, &expected)?;
        }
        let length = spec.piece().max(1);
        let pieces = found.chunks(length).zip(plain.chunks(length));
        let mut pieces = pieces.zip(exact.chunks(length)).enumerate();
        pieces.try_for_each(|(piece, ((found, plain), exact))| {
            let what = match spec.pieces {
                1 => what.clone(),
                _ => format!("{what}, piece {piece}"),
            };
            within_budget(&what, found, plain, exact)
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

fn within_budget(what: &str, found: &[f32], plain: &[f32], exact: &[f64]) -> Verdict {
    let rounding = f64::from(f32::EPSILON) / 2.0 * max_abs(exact.iter().copied());
    let budget = 2.0 * distance(plain, exact) + rounding;
    let error = distance(found, exact);
    match error <= budget {
        true => Ok(()),
        false => Err(format!(
            "{what}: off by {error:.3e}, {budget:.3e} is the budget"
        )),
    }
}

fn equal_bits(what: &str, a: &[f32], b: &[f32]) -> Verdict {
    assert_eq!(a.len(), b.len(), "{what}");
    let pairs = a.iter().zip(b);
    let different = pairs.clone().position(|(a, b)| a.to_bits() != b.to_bits());
    match different {
        None => Ok(()),
        Some(i) => Err(format!(
            "{what}: value {i} is {:e}, should be {:e}",
            a[i], b[i]
        )),
    }
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
