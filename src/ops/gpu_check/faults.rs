//! The faults that the checks must find, a table for each group of operations. Each is one change of
//! the kernels' text, of the kind that slips in: a bound, a term, a factor, an index. None leaves the memory it
//! is given, waits for anything or diverges at a barrier: a kernel that crashes takes the context
//! with it, and proves nothing about a check of numbers.
//!
//! `vitcuda doctor --full --prove` plants them on the device at hand, the tests on an emulated one.

mod attention;
mod linear;
mod rows;
mod step;

use super::Check;
use crate::device::{Patch, Properties};
use crate::ops::linear::Linear;
use crate::ops::linear::gpu::WeightPlan;
use crate::ops::registry::{Op, Pass};

/// One fault, and the check that must find it.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// In words.
    pub what: &'static str,
    pub op: &'static str,
    pub pass: Pass,
    /// What must be found wrong: `output 0`, or `dw`.
    pub tensor: &'static str,
    pub check: Check,
    pub patch: Patch,
    /// Whether a GPU's launchers come by the place.
    on: fn(&Properties) -> bool,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {}, {}: {}",
            self.op, self.pass, self.tensor, self.what
        )
    }
}

impl Fault {
    /// Numbers that are wrong in the forward pass.
    const fn forward(
        op: &'static str,
        tensor: &'static str,
        what: &'static str,
        patch: Patch,
    ) -> Self {
        Self {
            what,
            op,
            pass: Pass::Forward,
            tensor,
            check: Check::Distance,
            patch,
            on: |_| true,
        }
    }

    /// In the backward pass.
    const fn backward(
        op: &'static str,
        tensor: &'static str,
        what: &'static str,
        patch: Patch,
    ) -> Self {
        Self {
            pass: Pass::Backward,
            ..Self::forward(op, tensor, what, patch)
        }
    }

    /// The first run is right, those after it have the fault: for the comparison of bits.
    const fn later(self) -> Self {
        Self {
            check: Check::EqualBits,
            ..self
        }
    }

    /// Only where the sum of some weight's gradient is split.
    const fn where_sums_are_split(self) -> Self {
        Self {
            on: has_split_sums,
            ..self
        }
    }

    /// Whether this GPU runs what the fault is in: how work is cut up depends on its size.
    pub fn is_on(&self, gpu: &Properties) -> bool {
        (self.on)(gpu)
    }

    /// One micro-batch is right, two are not.
    const fn second_micro_batch(self) -> Self {
        Self {
            check: Check::MicroBatches,
            ..self
        }
    }
}

fn has_split_sums(gpu: &Properties) -> bool {
    let mut cases = Linear.cases().into_iter();
    cases.any(|case| WeightPlan::new(gpu, Linear::shape(&case)).parts > 1)
}

const fn patch(file: &'static str, find: &'static str, replacement: &'static str) -> Patch {
    Patch {
        file,
        find,
        replacement,
    }
}

/// All of them, in the order of the registry.
pub fn all() -> impl Iterator<Item = &'static Fault> {
    let tables = [
        linear::PATCH_EMBED,
        rows::LAYER_NORM,
        linear::LINEAR,
        linear::MLP,
        attention::ATTENTION,
        rows::CROSS_ENTROPY,
        step::GRAD_NORM,
        step::ADAMW,
    ];
    tables.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::architecture::Architecture;
    use crate::device::kernels::{HEADERS, SOURCES};
    use crate::ops::gpu::GpuOp;
    use crate::ops::registry::{REGISTRY, Role};

    #[test]
    fn each_changes_one_place() {
        let headers = HEADERS.iter().map(|header| (header.name, header.text));
        let texts: Vec<_> = headers
            .chain(SOURCES.iter().map(|source| (source.name, source.text)))
            .collect();
        for fault in all() {
            let Patch { file, .. } = fault.patch;
            let (_, text) = texts
                .iter()
                .find(|(name, _)| *name == file)
                .unwrap_or_else(|| panic!("{fault}: no {file}"));
            let planted = fault.patch.apply(file, text);
            assert_ne!(planted, *text, "{fault}");
        }
    }

    #[test]
    fn each_has_a_name_of_its_own() {
        let mut names: Vec<String> = all().map(Fault::to_string).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    /// What no kernel writes: the gradient of a residual is dy, the stream beside a norm its input.
    const NO_KERNELS: [&str; 3] = ["linear dresidual", "mlp dresidual", "layer_norm output 1"];

    /// The tensors that a pass is judged by, over all cases.
    fn tensors(op: &dyn GpuOp, pass: Pass) -> Vec<(String, Role)> {
        let mut tensors = Vec::new();
        for case in op.cases().into_iter().filter(|case| op.takes(case)) {
            let outputs = op.stored(&case).outputs.len();
            match pass {
                Pass::Forward => {
                    tensors.extend((0..outputs).map(|i| (format!("output {i}"), Role::Activation)))
                }
                Pass::Backward => {
                    let inputs = op.inputs(&case).into_iter();
                    let inputs = inputs.filter(|input| input.role != Role::Constant);
                    tensors.extend(inputs.map(|input| (format!("d{}", input.name), input.role)));
                }
            }
        }
        tensors.retain(|(tensor, _)| !NO_KERNELS.contains(&&*format!("{} {tensor}", op.name())));
        tensors
    }

    #[test]
    fn every_check_has_one() {
        for op in REGISTRY.iter().filter_map(|op| op.gpu()) {
            for &pass in op.passes() {
                let of = |check: Check| {
                    all().filter(move |f| (f.op, f.pass, f.check) == (op.name(), pass, check))
                };
                let name = format!("{} {pass}", op.name());
                assert!(of(Check::EqualBits).next().is_some(), "{name}: equal bits");
                let tensors = tensors(op, pass);
                for (tensor, _) in &tensors {
                    let found = of(Check::Distance).any(|fault| fault.tensor == tensor);
                    assert!(found, "{name}: {tensor}");
                }
                let parameters = tensors.iter().any(|(_, role)| *role == Role::Parameter);
                assert_eq!(
                    of(Check::MicroBatches).next().is_some(),
                    parameters && pass == Pass::Backward,
                    "{name}: micro-batches"
                );
            }
        }
    }

    #[test]
    fn only_small_gpus_come_by_fewer_places() {
        for architecture in Architecture::ALL {
            let mut gpu = architecture.properties();
            assert!(all().all(|fault| fault.is_on(&gpu)), "{}", gpu.name);
            gpu.multiprocessors = 1;
            let left_out = all().filter(|fault| !fault.is_on(&gpu));
            let left_out: Vec<&str> = left_out.map(|fault| fault.what).collect();
            assert_eq!(left_out, ["the last part of a split sum is left out"]);
        }
    }
}
