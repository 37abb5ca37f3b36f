//! What a registry entry can do on a GPU, for the tests, the benchmark and `vitcuda doctor`.

use super::registry::{Case, Gradients, Op, Pass};
use crate::device::{ElementType, Gpu, Properties};
use crate::error::Result;

/// How a tensor lies in device memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    F32,
    /// [`ElementType`]: activations between operations, and the weights that GEMMs read.
    Element,
}

impl Storage {
    /// `values` as the device holds them.
    pub fn round(self, element: ElementType, values: &[f32]) -> Vec<f32> {
        match self {
            Self::F32 => values.to_vec(),
            Self::Element => values.iter().map(|&v| element.round(v)).collect(),
        }
    }

    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Element => 2,
        }
    }
}

/// How the tensors of an operation lie in device memory, each list in the order of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    pub inputs: &'static [Storage],
    pub outputs: &'static [Storage],
    /// Gradients that the backward pass is given: of all outputs but those that are kept.
    pub output_gradients: &'static [Storage],
    /// Gradients that it makes, one for each input; a constant's is not looked at.
    pub input_gradients: &'static [Storage],
}

/// The operation's kernels. Host values in, host values out, through the launchers that the model
/// uses.
pub trait GpuOp: Op {
    /// Whether the kernels have the shapes of `case`; a model with others is refused on a GPU.
    fn takes(&self, _case: &Case) -> bool {
        true
    }

    /// How the tensors lie in device memory.
    fn stored(&self, case: &Case) -> Stored;

    /// The outputs; `inputs` are rounded as [`GpuOp::stored`] says.
    fn gpu_forward(&self, gpu: &Gpu, case: &Case, inputs: &[Vec<f32>]) -> Result<Vec<Vec<f32>>>;

    /// The gradients of `Σ output · d_output`, once for each of `micro_batches` equal
    /// micro-batches: the first overwrites a parameter's gradient, later ones add to it.
    fn gpu_backward(
        &self,
        gpu: &Gpu,
        case: &Case,
        inputs: &[Vec<f32>],
        dy: &[Vec<f32>],
        micro_batches: usize,
    ) -> Result<Gradients<f32>>;

    /// Bytes that the kernels of a pass must move, each tensor touched once, partial sums included.
    fn gpu_bytes(&self, gpu: &Properties, case: &Case, pass: Pass) -> u64;

    /// The yardstick: the outputs by plain loops in f32, stored as the device stores them. An
    /// operation that must round on its way (to hand a tensor core 16 bits) rounds there, too.
    fn rounded_forward(
        &self,
        element: ElementType,
        case: &Case,
        inputs: &[Vec<f32>],
    ) -> Vec<Vec<f32>> {
        let outputs = self.plain_forward_f32(case, inputs);
        let stored = self.stored(case).outputs;
        let pairs = outputs.iter().zip(stored);
        pairs
            .map(|(y, storage)| storage.round(element, y))
            .collect()
    }

    /// The yardstick for the gradients.
    fn rounded_backward(
        &self,
        element: ElementType,
        case: &Case,
        inputs: &[Vec<f32>],
        dy: &[Vec<f32>],
    ) -> Gradients<f32> {
        let gradients = self.plain_backward_f32(case, inputs, dy);
        let stored = self.stored(case).input_gradients;
        let pairs = gradients.into_iter().zip(stored);
        pairs
            .map(|(d, storage)| d.map(|d| storage.round(element, &d)))
            .collect()
    }

    /// What the GPU's arithmetic loses beyond rounding to nearest, where it loses anything.
    fn allowance(&self) -> Option<&dyn Allowance> {
        None
    }
}

/// How far the GPU's arithmetic may take each value from the exact one beyond rounding to nearest, which
/// the yardstick has (see [`gpu_rounding`](super::gpu_rounding)).
pub trait Allowance {
    /// Of the outputs, each as long as it; those that are not there are as near as the yardstick.
    fn forward(
        &self,
        gpu: &Properties,
        element: ElementType,
        case: &Case,
        inputs: &[Vec<f64>],
    ) -> Vec<Vec<f64>>;

    /// Of the gradients.
    fn backward(
        &self,
        gpu: &Properties,
        element: ElementType,
        case: &Case,
        inputs: &[Vec<f64>],
        dy: &[Vec<f64>],
    ) -> Gradients<f64>;
}
