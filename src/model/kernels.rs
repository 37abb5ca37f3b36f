//! The kernels that a model launches, and what they take of a GPU.

use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;

use super::config::VitConfig;
use super::presets;
use crate::device::architecture::{Architecture, Resources};
use crate::device::cache::Cache;
use crate::device::compiler::Compiler;
use crate::device::nvrtc::{self, Nvrtc, Wanted};
use crate::device::{ElementType, OLDEST_CAPABILITY, Properties, Specialisation};
use crate::error::{Error, Result};
use crate::ops::REGISTRY;
use crate::ops::gpu::{ModelDims, Plan};

/// The preset whose kernels are compiled soonest.
const SMALLEST: &str = "vit_digits_patch2_8";

/// What of `config` decides which kernels are launched.
pub fn dims(config: &VitConfig, batch: usize) -> ModelDims {
    ModelDims {
        batch,
        image: config.image_size,
        patch: config.patch_size,
        channels: config.num_channels,
        tokens: config.tokens(),
        width: config.hidden_size,
        heads: config.num_attention_heads,
        mlp: config.intermediate_size,
        classes: config.num_labels().max(1),
    }
}

/// The kernels that a step of `config` launches on such a GPU, each once, in order of their names.
pub fn plans(gpu: &Properties, config: &VitConfig, batch: usize) -> Vec<Plan> {
    let dims = dims(config, batch);
    let ops = REGISTRY.iter().filter_map(|op| op.gpu());
    let mut plans: Vec<Plan> = ops.flat_map(|op| op.plans(gpu, &dims)).collect();
    plans.sort();
    plans.dedup();
    plans
}

/// Finds an NVRTC for a GPU, and has it compile one of each kernel: those of the smallest preset,
/// into this user's cache.
///
/// [`Error::Device`] where there is none, or it refuses a kernel.
pub fn try_out(wanted: Wanted, element: ElementType) -> Result<()> {
    let nvrtc = Arc::new(nvrtc::find(wanted)?);
    let capability = wanted.capability.unwrap_or(OLDEST_CAPABILITY);
    let config = presets::preset(SMALLEST).expect("a name of the list");
    let mut plans = plans(&Architecture::near(capability).properties(), &config, 1);
    plans.dedup_by(|a, b| a.kernel == b.kernel);
    let compiler = Compiler::new(nvrtc, Cache::of_this_user(), capability, element);
    plans
        .par_iter()
        .try_for_each(|plan| compiler.compile(&plan.spec).map(drop))
}

/// A kernel as the compiler made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    pub plan: Plan,
    pub element: ElementType,
    pub architecture: Architecture,
    pub resources: Resources,
}

/// Compiles `plans` for an architecture, in parallel.
///
/// [`Error::Device`] where NVRTC refuses a kernel, or says nothing about its registers.
pub fn make(
    nvrtc: &Arc<Nvrtc>,
    cache: &Cache,
    architecture: Architecture,
    element: ElementType,
    plans: &[Plan],
) -> Result<Vec<Made>> {
    let capability = architecture.capability();
    let compiler = Compiler::new(nvrtc.clone(), cache.clone(), capability, element);
    let mut specs: Vec<&Specialisation> = plans.iter().map(|plan| &plan.spec).collect();
    specs.sort();
    specs.dedup();
    let compiled: BTreeMap<&Specialisation, Vec<Resources>> = specs
        .into_par_iter()
        .map(|spec| Ok((spec, Resources::of(&compiler.compile(spec)?.log))))
        .collect::<Result<_>>()?;
    let made = plans.iter().map(|plan| {
        let found = compiled[&plan.spec]
            .iter()
            .find(|r| r.kernel == plan.kernel);
        let resources = found.cloned().ok_or_else(|| {
            Error::device(
                format!(
                    "this NVRTC says nothing about the registers of {}",
                    plan.kernel
                ),
                "take NVIDIA's: pip install nvidia-cuda-nvrtc",
            )
        })?;
        Ok(Made {
            plan: plan.clone(),
            element,
            architecture,
            resources,
        })
    });
    made.collect()
}

impl Made {
    /// Shared memory of a block, static and dynamic, in bytes.
    pub fn shared(&self) -> u32 {
        self.resources.shared + self.plan.shared
    }

    /// Blocks that a multiprocessor runs at once.
    pub fn resident(&self) -> u32 {
        let threads = self.plan.threads;
        self.architecture
            .resident_blocks(threads, self.resources.registers, self.shared())
    }

    /// Resident threads of the most there could be, in percent.
    pub fn occupancy(&self) -> u32 {
        100 * self.resident() * self.plan.threads / self.architecture.threads
    }

    /// What is wrong with it: spilled registers, local memory, too few blocks at once.
    pub fn problems(&self) -> Vec<String> {
        let Resources { stack, spills, .. } = self.resources;
        let (resident, wanted) = (self.resident(), self.plan.resident);
        let problems = [
            (spills > 0).then(|| format!("{spills} bytes of spilled registers")),
            (stack > 0).then(|| format!("{stack} bytes of local memory")),
            (resident < wanted).then(|| {
                format!("{resident} blocks fit a multiprocessor, the launcher counts on {wanted}")
            }),
        ];
        problems.into_iter().flatten().collect()
    }
}

impl std::fmt::Display for Made {
    /// Kernel, macros, element type, architecture.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.plan.kernel)?;
        for (name, value) in &self.plan.spec.defines {
            write!(f, " {name}={value}")?;
        }
        write!(f, " {} sm_{}", self.element, self.architecture.sm)
    }
}
