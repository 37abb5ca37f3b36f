//! The end of a step on emulated GPUs: overflow, loss scale, schedule, AdamW.

use libtest_mimic::Failed;
use vitcuda::device::structs::StepState;
use vitcuda::device::{Buffer, Gpu};
use vitcuda::error::Result;
use vitcuda::ops::adamw::gpu::{Arenas, Decay, Tiles};
use vitcuda::ops::adamw::{self, Constants};
use vitcuda::ops::grad_norm::gpu::LossScaling;
use vitcuda::ops::{Input, grad_norm};

use super::Test;
use super::emulated::{counters, set_seed};

pub const TESTS: [(&str, Test); 5] = [
    ("an overflow skips the step, and nothing is lost", overflow),
    ("a loss that is not finite skips the step", nonfinite_loss),
    ("the loss scale doubles after enough good steps", growth),
    ("AdamW's steps are the CPU's", adamw_is_the_cpus),
    (
        "a step's end as a graph, without a word with the host",
        graph,
    ),
];

const CONSTANTS: Constants = Constants {
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
};
const WEIGHT_DECAY: f64 = 0.05;
const MAX_NORM: f64 = 1.0;
const RATES: [f64; 5] = [1e-3, 7e-4, 5e-4, 4e-4, 2e-4];

/// Arenas of odd tensors, some that decay, at any address.
fn tensors() -> Vec<(std::ops::Range<usize>, Decay)> {
    let ends = [5000, 5003, 9300, 9301, 9400];
    let kinds = [Decay::Applies, Decay::None].into_iter().cycle();
    let starts = std::iter::once(0).chain(ends);
    let ranges = starts.zip(ends).map(|(start, end)| start..end);
    ranges.zip(kinds).collect()
}

const LEN: usize = 9400;

/// An optimiser on the device.
struct Optimizer<'a> {
    gpu: &'a Gpu,
    params: Buffer<f32>,
    first: Buffer<f32>,
    second: Buffer<f32>,
    copy: Buffer<vitcuda::device::Element>,
    gradients: Buffer<f32>,
    squares: Buffer<f32>,
    tiles: Tiles,
    state: Buffer<StepState>,
    schedule: Buffer<vitcuda::device::structs::UpdateRates>,
    scaling: LossScaling,
}

fn values(name: &'static str, spread: f64) -> Vec<f32> {
    Input::normal(name, LEN, spread).values(1)
}

impl<'a> Optimizer<'a> {
    fn new(gpu: &'a Gpu, scale: f32, scaling: LossScaling) -> Result<Self> {
        let params = values("p", 0.02);
        Ok(Self {
            gpu,
            copy: gpu.upload_elements(&params)?,
            params: gpu.upload(&params)?,
            first: gpu.zeros(LEN)?,
            second: gpu.zeros(LEN)?,
            gradients: gpu.alloc(LEN)?,
            squares: gpu.alloc(grad_norm::gpu::parts(LEN))?,
            tiles: Tiles::new(gpu, tensors())?,
            state: gpu.upload(&[StepState::new(scale, 0)])?,
            schedule: gpu.upload(&adamw::gpu::schedule(RATES, WEIGHT_DECAY, CONSTANTS))?,
            scaling,
        })
    }

    /// The end of a step whose gradients, scaled, are `gradients`.
    fn step(&self, gradients: &[f32]) -> Result<StepState> {
        self.gpu.write(self.gradients.all(), gradients)?;
        self.issue()?;
        Ok(self.gpu.read(self.state.all())?[0])
    }

    /// The same for the gradients that are there, without waiting.
    fn issue(&self) -> Result<()> {
        let (gpu, scaling) = (self.gpu, self.scaling);
        let (state, schedule) = (self.state.all(), self.schedule.all());
        let (gradients, squares) = (self.gradients.all(), self.squares.all());
        grad_norm::gpu::squares(gpu, squares, gradients)?;
        grad_norm::gpu::finish(gpu, state, squares, schedule, MAX_NORM, scaling)?;
        let arenas = Arenas {
            params: self.params.all(),
            first: self.first.all(),
            second: self.second.all(),
            copy: self.copy.all(),
            gradients,
        };
        adamw::gpu::update(gpu, arenas, &self.tiles, state, CONSTANTS)
    }

    /// Parameters, moments and copy, as bits.
    fn bits(&self) -> Result<Vec<u32>> {
        let mut bits = Vec::new();
        for arena in [&self.params, &self.first, &self.second] {
            bits.extend(self.gpu.read(arena.all())?.iter().map(|v| v.to_bits()));
        }
        bits.extend(
            self.gpu
                .read(self.copy.all())?
                .iter()
                .map(|e| u32::from(e.0)),
        );
        Ok(bits)
    }
}

/// `work` with threads in the order that `seed` draws.
fn in_order<T>(seed: usize, work: impl FnOnce() -> T) -> T {
    set_seed(seed);
    work()
}

fn scaled(gradients: &[f32], scale: f32) -> Vec<f32> {
    gradients.iter().map(|g| g * scale).collect()
}

fn overflow(gpu: &Gpu) -> Result<(), Failed> {
    let optimizer = Optimizer::new(gpu, LossScaling::START, LossScaling::DYNAMIC)?;
    let gradients = values("g", 0.01);
    let good = optimizer.step(&scaled(&gradients, LossScaling::START))?;
    assert_eq!((good.updates, good.skipped, good.found_inf), (1, 0, 0));
    let before = optimizer.bits()?;
    let mut scale = LossScaling::START;
    for (skipped, wrong) in (1..).zip([f32::INFINITY, f32::NEG_INFINITY, f32::NAN]) {
        let mut gradients = scaled(&gradients, scale);
        // In the first tile, in the last, and in the tail of a block.
        gradients[[17, LEN - 1, 5002][skipped as usize - 1]] = wrong;
        let state = optimizer.step(&gradients)?;
        scale /= 2.0;
        assert_eq!(
            (state.updates, state.skipped, state.found_inf),
            (1, skipped, 1)
        );
        assert_eq!((state.loss_scale, state.good_steps), (scale, 0));
        assert!(!state.grad_norm.is_finite(), "{}", state.grad_norm);
        assert!(
            optimizer.bits()? == before,
            "a skipped step changes nothing"
        );
    }
    // The next step goes on where the last good one was: the norm is the same, the schedule's
    // second row is used.
    let state = optimizer.step(&scaled(&gradients, scale))?;
    assert_eq!((state.updates, state.skipped, state.found_inf), (2, 3, 0));
    assert_eq!((state.loss_scale, state.good_steps), (scale, 1));
    assert_eq!(state.grad_norm, good.grad_norm);
    assert_eq!(state.learning_rate, RATES[1] as f32);
    assert!(optimizer.bits()? != before);
    Ok(())
}

fn nonfinite_loss(gpu: &Gpu) -> Result<(), Failed> {
    let optimizer = Optimizer::new(gpu, 8.0, LossScaling::Fixed)?;
    let before = optimizer.bits()?;
    let state = StepState {
        loss: f32::NAN,
        ..StepState::new(8.0, 0)
    };
    gpu.write(optimizer.state.all(), &[state])?;
    let state = optimizer.step(&values("g", 0.01))?;
    assert_eq!((state.updates, state.skipped, state.found_inf), (0, 1, 1));
    assert_eq!(state.loss_scale, 8.0, "a fixed scale stays");
    assert!(state.grad_norm.is_finite());
    assert!(optimizer.bits()? == before);
    Ok(())
}

fn growth(gpu: &Gpu) -> Result<(), Failed> {
    let scaling = LossScaling::Dynamic { growth_interval: 2 };
    let optimizer = Optimizer::new(gpu, 4.0, scaling)?;
    let gradients = values("g", 0.01);
    let mut bad = gradients.clone();
    bad[0] = f32::NAN;
    let steps = [
        (&gradients, 4.0, 1),
        (&gradients, 8.0, 0),
        (&gradients, 8.0, 1),
        (&bad, 4.0, 0), // the count starts anew
        (&gradients, 4.0, 1),
        (&gradients, 8.0, 0),
    ];
    let mut of_step = 4.0;
    for (i, (gradients, scale, good_steps)) in steps.into_iter().enumerate() {
        let state = optimizer.step(gradients)?;
        if state.found_inf == 0 {
            // Nothing is clipped; AdamW gets the scale that the step's gradients have.
            assert_eq!(state.gradient_factor, 1.0 / of_step, "step {i}");
        }
        of_step = scale;
        assert_eq!(
            (state.loss_scale, state.good_steps),
            (scale, good_steps),
            "step {i}"
        );
    }
    // Rows behind the schedule's end are its last.
    let state = optimizer.step(&gradients)?;
    assert_eq!(state.updates, 6);
    assert_eq!(state.learning_rate, RATES[4] as f32);
    // As large as f32 goes, it stays.
    let largest = StepState {
        good_steps: 1,
        ..StepState::new(2f32.powi(127), 0)
    };
    gpu.write(optimizer.state.all(), &[largest])?;
    let state = optimizer.step(&gradients)?;
    assert_eq!((state.loss_scale, state.good_steps), (2f32.powi(127), 0));
    Ok(())
}

/// Five steps beside the CPU device, decay and clipping included, and for any order of threads.
fn adamw_is_the_cpus(gpu: &Gpu) -> Result<(), Failed> {
    let gradients = |step: usize| Input::normal("g", LEN, 0.008 * step as f64).values(step as u64);
    let run = || -> Result<_> {
        let optimizer = Optimizer::new(gpu, LossScaling::START, LossScaling::DYNAMIC)?;
        let steps = (1..=RATES.len())
            .map(|step| optimizer.step(&scaled(&gradients(step), LossScaling::START)));
        let states: Vec<StepState> = steps.collect::<Result<_>>()?;
        Ok((optimizer, states))
    };
    let (optimizer, states) = in_order(0, run)?;
    let (mut p, mut m, mut v) = (values("p", 0.02), vec![0.0; LEN], vec![0.0; LEN]);
    for ((step, lr), state) in (1..).zip(RATES).zip(&states) {
        let g = gradients(step);
        let norm = grad_norm::norm(&g);
        // A part sums 8,192 squares in 32 additions a thread and 13 more; square root halves it.
        let error = f64::from(state.grad_norm) / norm - 1.0;
        assert!(
            error.abs() < 50.0 * f64::from(f32::EPSILON) / 2.0,
            "norm off by {error:e}"
        );
        for (range, decay) in tensors() {
            let update = adamw::Update {
                constants: CONSTANTS,
                lr,
                weight_decay: match decay {
                    Decay::Applies => WEIGHT_DECAY,
                    Decay::None => 0.0,
                },
                coefficient: grad_norm::clip_coefficient(norm, MAX_NORM),
                step: step as u64,
            };
            let (p, m, v) = (
                &mut p[range.clone()],
                &mut m[range.clone()],
                &mut v[range.clone()],
            );
            adamw::update(p, m, v, &g[range], update);
        }
    }
    let found = gpu.read(optimizer.params.all())?;
    // Each step rounds a parameter twice, and its change, at most a few learning rates, about
    // twenty times.
    let rounding = f32::EPSILON / 2.0;
    for (i, (&found, &p)) in found.iter().zip(&p).enumerate() {
        let limit = RATES.len() as f32 * rounding * (2.0 * p.abs() + 20.0 * 5.0 * RATES[0] as f32);
        assert!(
            (found - p).abs() <= limit,
            "parameter {i}: {found:e}, not {p:e} ± {limit:e}"
        );
    }
    let copy = gpu.read(optimizer.copy.all())?;
    let rounded: Vec<_> = found.iter().map(|&p| gpu.element().from_f32(p)).collect();
    assert!(copy == rounded, "the copy is the parameters, rounded");
    let bits = optimizer.bits()?;
    for seed in [1, 2] {
        let (again, states_again) = in_order(seed, run)?;
        assert!(
            states_again == states && again.bits()? == bits,
            "seed {seed}"
        );
    }
    Ok(())
}

/// Six steps issued without waiting, one of them skipped: the schedule follows by itself.
fn graph(gpu: &Gpu) -> Result<(), Failed> {
    let scale = LossScaling::START;
    let mut steps: Vec<Vec<f32>> = (1..=6)
        .map(|step| Input::normal("g", LEN, 0.01).values(step))
        .map(|gradients| scaled(&gradients, scale))
        .collect();
    steps[2][4000] = f32::INFINITY;
    let new = || Optimizer::new(gpu, scale, LossScaling::DYNAMIC);
    let one_by_one = new()?;
    let expected: Vec<StepState> = steps
        .iter()
        .map(|gradients| one_by_one.step(gradients))
        .collect::<Result<_>>()?;
    let updates: Vec<i32> = expected.iter().map(|state| state.updates).collect();
    assert_eq!(updates, [1, 2, 2, 3, 4, 5]);

    let captured = new()?;
    let ready = steps.iter().map(|gradients| gpu.upload(gradients));
    let ready: Vec<Buffer<f32>> = ready.collect::<Result<_>>()?;
    let mut ring = gpu.pinned::<StepState>(steps.len())?;
    let graph = gpu.capture(|| captured.issue())?;
    counters::reset_counters();
    for (i, gradients) in ready.iter().enumerate() {
        gpu.copy(captured.gradients.all(), gradients.all())?;
        // SAFETY: `captured` has all the memory and is alive.
        unsafe { graph.launch()? };
        gpu.main()
            .download(&mut ring, i..i + 1, captured.state.all())?;
    }
    assert_eq!(counters::host_synchronisations(), 0);
    assert_eq!(ring.values()?, expected);
    assert!(captured.bits()? == one_by_one.bits()?);
    Ok(())
}
