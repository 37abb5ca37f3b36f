//! Every operation of the registry against central differences, against plain loops, and against
//! itself with other threads.

use libtest_mimic::{Arguments, Failed, Trial};
use vitcuda::ops::{Case, Input, Op, REGISTRY, Role};
use vitcuda::rng::{Philox, Purpose};

fn main() {
    let mut trials = Vec::new();
    for &op in REGISTRY {
        for case in op.cases() {
            let mut add = |fact: &str, test: fn(&dyn Op, &Case) -> Result<(), Failed>| {
                let case = case.clone();
                let name = format!("{} {case}: {fact}", op.name());
                trials.push(Trial::test(name, move || test(op, &case)));
            };
            add("f64 is the plain loop's", f64_is_plain);
            add(
                "f32 is at most twice as wrong as a plain loop",
                f32_within_budget,
            );
            add("equal bits for any number of threads", equal_bits);
            if op.differentiable() {
                add("gradients are the central differences", gradients);
            }
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

struct Inputs {
    specs: Vec<Input>,
    f32: Vec<Vec<f32>>,
    f64: Vec<Vec<f64>>,
}

fn inputs(op: &dyn Op, case: &Case) -> Inputs {
    let specs = op.inputs(case);
    let f32: Vec<Vec<f32>> = specs.iter().map(|input| input.values(1)).collect();
    let f64 = f32.iter().map(|v| widen(v)).collect();
    Inputs { specs, f32, f64 }
}

/// A gradient for each output that is not only kept, exact in f32.
fn output_gradients(op: &dyn Op, outputs: &[Vec<f64>]) -> Vec<Vec<f32>> {
    let spec = |len| Input::normal("dy", len, 1.0);
    let outputs = &outputs[..outputs.len() - op.kept()];
    outputs.iter().map(|y| spec(y.len()).values(2)).collect()
}

fn max_abs(values: &[f64]) -> f64 {
    values
        .iter()
        .fold(0.0, |m, v| if v.abs() <= m { m } else { v.abs() })
}

/// Largest difference; NaN if one of the values is.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    max_abs(&differences)
}

/// Fails unless `found <= limit`, NaN included.
fn at_most(what: &str, found: f64, limit: f64) -> Result<(), Failed> {
    if found <= limit {
        Ok(())
    } else {
        Err(format!("{what}: {found:.3e} is more than {limit:.3e}").into())
    }
}

fn f64_is_plain(op: &dyn Op, case: &Case) -> Result<(), Failed> {
    let inputs = inputs(op, case);
    let ours = op.forward_f64(case, &inputs.f64);
    let plain = op.plain_forward_f64(case, &inputs.f64);
    for (ours, plain) in ours.iter().zip(&plain) {
        at_most(
            "output",
            distance(ours, plain),
            1e-12 * (1.0 + max_abs(plain)),
        )?;
    }
    Ok(())
}

/// The budget of a tensor: twice the plain loop's error, and one rounding of its largest value.
fn within_budget(what: &str, ours: &[f32], plain: &[f32], exact: &[f64]) -> Result<(), Failed> {
    let rounding = f64::from(f32::EPSILON) / 2.0 * max_abs(exact);
    let budget = 2.0 * distance(&widen(plain), exact) + rounding;
    at_most(what, distance(&widen(ours), exact), budget)
}

fn f32_within_budget(op: &dyn Op, case: &Case) -> Result<(), Failed> {
    let inputs = inputs(op, case);
    let exact = op.forward_f64(case, &inputs.f64);
    let ours = op.forward_f32(case, &inputs.f32);
    let plain = op.plain_forward_f32(case, &inputs.f32);
    for (i, exact) in exact.iter().enumerate() {
        within_budget(&format!("output {i}"), &ours[i], &plain[i], exact)?;
    }
    if !op.differentiable() {
        return Ok(());
    }
    let dy = output_gradients(op, &exact);
    let exact_dy: Vec<Vec<f64>> = dy.iter().map(|d| widen(d)).collect();
    let exact = op.backward_f64(case, &inputs.f64, &exact_dy);
    let ours = op.backward_f32(case, &inputs.f32, &dy);
    let plain = op.plain_backward_f32(case, &inputs.f32, &dy);
    for (i, spec) in inputs.specs.iter().enumerate() {
        let gradients = (&ours[i], &plain[i], &exact[i]);
        match (spec.role, gradients) {
            (Role::Constant, (None, None, None)) => {}
            (_, (Some(ours), Some(plain), Some(exact))) => {
                let length = spec.piece().max(1);
                let pieces = ours.chunks(length).zip(plain.chunks(length));
                for ((ours, plain), exact) in pieces.zip(exact.chunks(length)) {
                    within_budget(&format!("d{}", spec.name), ours, plain, exact)?;
                }
            }
            _ => return Err(format!("d{}: missing, or of a constant", spec.name).into()),
        }
    }
    Ok(())
}

fn equal_bits(op: &dyn Op, case: &Case) -> Result<(), Failed> {
    let inputs = inputs(op, case);
    let bits = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("thread pool");
        pool.install(|| {
            let y = op.forward_f32(case, &inputs.f32);
            let mut all: Vec<u32> = y.iter().flatten().map(|v| v.to_bits()).collect();
            if op.differentiable() {
                let shapes: Vec<Vec<f64>> = y.iter().map(|y| widen(y)).collect();
                let d = op.backward_f32(case, &inputs.f32, &output_gradients(op, &shapes));
                all.extend(d.iter().flatten().flatten().map(|v| v.to_bits()));
            }
            all
        })
    };
    let once = bits(1);
    for threads in [1, 2, 3, 7] {
        if bits(threads) != once {
            return Err(format!("{threads} threads give other bits than one").into());
        }
    }
    Ok(())
}

/// Σ output · dy at `inputs` with input `which` moved by `h · direction`.
fn loss(
    op: &dyn Op,
    case: &Case,
    inputs: &[Vec<f64>],
    dy: &[Vec<f64>],
    which: usize,
    direction: &[f64],
    h: f64,
) -> f64 {
    let mut moved = inputs.to_vec();
    for (x, d) in moved[which].iter_mut().zip(direction) {
        *x += h * d;
    }
    let outputs = op.forward_f64(case, &moved);
    let products = outputs.iter().flatten().zip(dy.iter().flatten());
    products.map(|(y, d)| y * d).sum()
}

/// Directional derivatives by the four-point central difference (error h⁴) against the gradient:
/// along random directions, and along up to ten single elements.
fn gradients(op: &dyn Op, case: &Case) -> Result<(), Failed> {
    const STEP: f64 = 1e-3;
    let inputs = inputs(op, case);
    let dy: Vec<Vec<f64>> = output_gradients(op, &op.forward_f64(case, &inputs.f64))
        .iter()
        .map(|d| widen(d))
        .collect();
    let found = op.backward_f64(case, &inputs.f64, &dy);
    for (which, spec) in inputs.specs.iter().enumerate() {
        let Some(gradient) = &found[which] else {
            continue;
        };
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        assert!(norm > 0.0, "d{} is zero everywhere", spec.name);
        let mut stream = Philox::new(3, Purpose::Test, which as u64);
        let check = |kind: &str, direction: Vec<f64>| {
            // A random direction of length 1 per element sees √Σg² of the gradient.
            let at = |h| loss(op, case, &inputs.f64, &dy, which, &direction, h);
            let difference = 8.0 * (at(STEP) - at(-STEP)) - (at(2.0 * STEP) - at(-2.0 * STEP));
            let numeric = difference / (12.0 * STEP);
            let analytic: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
            let length = direction.iter().map(|d| d * d).sum::<f64>().sqrt();
            let scale = norm * length / (gradient.len() as f64).sqrt();
            at_most(
                &format!("d{} along {kind}", spec.name),
                (numeric - analytic).abs() / scale,
                1e-6,
            )
        };
        for _ in 0..3 {
            let direction = (0..spec.len).map(|_| stream.normal()).collect();
            check("a random direction", direction)?;
        }
        for i in (0..spec.len).step_by(spec.len.div_ceil(10)) {
            let mut direction = vec![0.0; spec.len];
            direction[i] = 1.0;
            check(&format!("element {i}"), direction)?;
        }
    }
    Ok(())
}
