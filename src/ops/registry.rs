//! The list of operations, and what an entry must be able to do.
//!
//! From one line in [`REGISTRY`] follow the tests of `tests/ops.rs` and the rows of the benchmark:
//! gradients against central differences in f64, f32 against f64 with a budget of twice the error
//! of a plain loop, and equal bits from run to run and for any number of threads.

use super::bench::Bench;
use super::gpu::GpuOp;
use crate::rng::{Philox, Purpose};

/// Every operation of the model and the optimiser.
pub const REGISTRY: &[&dyn Op] = &[
    &super::patch_embed::PatchEmbed,
    &super::layer_norm::LayerNorm,
    &super::linear::Linear,
    &super::mlp::Mlp,
    &super::attention::Attention,
    &super::cross_entropy::CrossEntropy,
    &super::grad_norm::GradNorm,
    &super::adamw::AdamW,
];

/// Direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    Forward,
    Backward,
}

impl std::fmt::Display for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
        })
    }
}

/// One set of shapes to test.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    dims: &'static [(&'static str, usize)],
    /// A word that selects a variant of the operation; empty for the plain one.
    pub variant: &'static str,
}

impl Case {
    /// A case for the tests.
    pub const fn new(dims: &'static [(&'static str, usize)]) -> Self {
        Self { dims, variant: "" }
    }

    /// The same shapes, another variant.
    pub const fn variant(mut self, variant: &'static str) -> Self {
        self.variant = variant;
        self
    }

    /// The dimension called `name`; panics if the case has none.
    pub fn dim(&self, name: &str) -> usize {
        let found = self.dims.iter().find(|(n, _)| *n == name);
        found.unwrap_or_else(|| panic!("case without {name}")).1
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dims: Vec<String> = self.dims.iter().map(|(n, v)| format!("{n}={v}")).collect();
        write!(f, "{}", dims.join(" "))?;
        match self.variant {
            "" => Ok(()),
            variant => write!(f, " {variant}"),
        }
    }
}

/// What an input is to the gradient check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Activation,
    Parameter,
    /// Has no gradient: labels, images, settings.
    Constant,
}

/// One input tensor of an operation, and how a test fills it.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    pub name: &'static str,
    pub len: usize,
    pub role: Role,
    /// Equal pieces that a check judges one by one, each by its own largest value and error.
    pub pieces: usize,
    center: f64,
    spread: f64,
    below: Option<u32>,
}

impl Input {
    /// Normal with standard deviation `spread` around 0.
    pub fn normal(name: &'static str, len: usize, spread: f64) -> Self {
        Self {
            name,
            len,
            role: Role::Activation,
            pieces: 1,
            center: 0.0,
            spread,
            below: None,
        }
    }

    /// Whole numbers from 0 to `below` − 1; constant.
    pub fn whole(name: &'static str, len: usize, below: u32) -> Self {
        Self {
            role: Role::Constant,
            below: Some(below),
            ..Self::normal(name, len, 0.0)
        }
    }

    /// Shifts the mean.
    pub fn around(mut self, center: f64) -> Self {
        self.center = center;
        self
    }

    /// Sets the role.
    pub fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// Sets the pieces that its gradient is judged by.
    pub fn pieces(mut self, pieces: usize) -> Self {
        assert!(self.len.is_multiple_of(pieces), "{}: pieces", self.name);
        self.pieces = pieces;
        self
    }

    /// Values of a piece.
    pub fn piece(&self) -> usize {
        self.len / self.pieces
    }

    /// The values of this input for a seed, exact in f32.
    pub fn values(&self, seed: u64) -> Vec<f32> {
        let index = self.name.bytes().fold(0, |h, b| h * 31 + u64::from(b));
        let mut stream = Philox::new(seed, Purpose::Test, index);
        (0..self.len)
            .map(|_| match self.below {
                Some(below) => (stream.next_u32() % below) as f32,
                None => (self.center + self.spread * stream.normal()) as f32,
            })
            .collect()
    }
}

/// Gradient of each input, `None` for constants.
pub type Gradients<T> = Vec<Option<Vec<T>>>;

/// A registry entry.
pub trait Op: Bench + Sync {
    /// The file's name.
    fn name(&self) -> &'static str;

    /// Shapes to test, odd ones included.
    fn cases(&self) -> Vec<Case>;

    /// The tensors [`Op::forward_f64`] and the others take, in order.
    fn inputs(&self, case: &Case) -> Vec<Input>;

    /// Whether there is a backward pass to check.
    fn differentiable(&self) -> bool {
        true
    }

    /// How many of the outputs, the last ones, are only kept for the backward pass: they are
    /// compared, and no gradient comes for them.
    fn kept(&self) -> usize {
        0
    }

    /// The passes there are.
    fn passes(&self) -> &'static [Pass] {
        if self.differentiable() {
            &[Pass::Forward, Pass::Backward]
        } else {
            &[Pass::Forward]
        }
    }

    /// The operation's kernels; `None` where it has none.
    fn gpu(&self) -> Option<&dyn GpuOp> {
        None
    }

    /// The outputs, those that are kept last.
    fn forward_f32(&self, case: &Case, inputs: &[Vec<f32>]) -> Vec<Vec<f32>>;
    /// The outputs.
    fn forward_f64(&self, case: &Case, inputs: &[Vec<f64>]) -> Vec<Vec<f64>>;
    /// The gradients of `Σ output · d_output`.
    fn backward_f32(&self, case: &Case, inputs: &[Vec<f32>], dy: &[Vec<f32>]) -> Gradients<f32>;
    /// The gradients of `Σ output · d_output`.
    fn backward_f64(&self, case: &Case, inputs: &[Vec<f64>], dy: &[Vec<f64>]) -> Gradients<f64>;
    /// The outputs by the shortest loop that does the maths.
    fn plain_forward_f32(&self, case: &Case, inputs: &[Vec<f32>]) -> Vec<Vec<f32>>;
    /// The same in f64, an independent check of the judge.
    fn plain_forward_f64(&self, case: &Case, inputs: &[Vec<f64>]) -> Vec<Vec<f64>>;
    /// The gradients by the shortest loop that does the maths.
    fn plain_backward_f32(
        &self,
        case: &Case,
        inputs: &[Vec<f32>],
        dy: &[Vec<f32>],
    ) -> Gradients<f32>;
}

/// Forwards the typed methods of [`Op`] to generic ones of the entry: `run_forward`,
/// `run_backward`, `plain_forward`, `plain_backward`.
macro_rules! real_passes {
    () => {
        fn forward_f32(&self, case: &Case, inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
            self.run_forward(case, inputs)
        }
        fn forward_f64(&self, case: &Case, inputs: &[Vec<f64>]) -> Vec<Vec<f64>> {
            self.run_forward(case, inputs)
        }
        fn backward_f32(
            &self,
            case: &Case,
            inputs: &[Vec<f32>],
            dy: &[Vec<f32>],
        ) -> Vec<Option<Vec<f32>>> {
            self.run_backward(case, inputs, dy)
        }
        fn backward_f64(
            &self,
            case: &Case,
            inputs: &[Vec<f64>],
            dy: &[Vec<f64>],
        ) -> Vec<Option<Vec<f64>>> {
            self.run_backward(case, inputs, dy)
        }
        fn plain_forward_f32(&self, case: &Case, inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
            self.plain_forward(case, inputs)
        }
        fn plain_forward_f64(&self, case: &Case, inputs: &[Vec<f64>]) -> Vec<Vec<f64>> {
            self.plain_forward(case, inputs)
        }
        fn plain_backward_f32(
            &self,
            case: &Case,
            inputs: &[Vec<f32>],
            dy: &[Vec<f32>],
        ) -> Vec<Option<Vec<f32>>> {
            self.plain_backward(case, inputs, dy)
        }
    };
}
pub(crate) use real_passes;
