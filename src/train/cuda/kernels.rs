//! The kernels that a model launches, and what they take of a GPU.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rayon::prelude::*;

use super::work::record;
use crate::device::architecture::{Architecture, Resources};
use crate::device::cache::Cache;
use crate::device::compiler::Compiler;
use crate::device::nvrtc::{self, Nvrtc, Wanted};
use crate::device::{
    ElementType, Geometry, Gpu, Launch, OLDEST_CAPABILITY, Properties, Specialisation,
};
use crate::error::{Error, Result};
use crate::model::config::VitConfig;
use crate::model::presets;
use crate::model::vit::Vit;
use crate::ops::grad_norm;
use crate::ops::patch_embed::{self, gpu::Images};

/// The preset whose kernels are compiled soonest.
const SMALLEST: &str = "vit_digits_patch2_8";

/// A kernel as a model launches it, on whatever grid.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Plan {
    /// The `__global__` function.
    pub kernel: &'static str,
    pub spec: Specialisation,
    /// Threads of a block.
    pub threads: u32,
    /// Dynamic shared memory of a block, in bytes.
    pub shared: u32,
    /// Blocks that a multiprocessor must be able to run at once, for the launcher's sake.
    pub resident: u32,
}

impl From<&Launch> for Plan {
    fn from(launch: &Launch) -> Self {
        let Geometry {
            block,
            shared,
            resident,
            ..
        } = launch.geometry;
        Self {
            kernel: launch.kernel,
            spec: launch.spec.clone(),
            threads: block.iter().product(),
            shared,
            resident,
        }
    }
}

/// What was launched, each kernel once, in order of their names.
pub fn each(launches: &[Launch]) -> Vec<Plan> {
    let plans: BTreeSet<Plan> = launches.iter().map(Plan::from).collect();
    plans.into_iter().collect()
}

/// The kernels that a training step of `config` on `batch` images launches on such a GPU, each once,
/// in order of their names. Inference launches no others.
pub fn plans(gpu: &Properties, config: &VitConfig, batch: usize) -> Vec<Plan> {
    let config = config.clone().with_a_head();
    each(&record(gpu, config, batch).launches)
}

/// The kernels that checks launch and no step does: for pictures that are values already, and for
/// gradients whose own kernel leaves no sums of squares.
pub fn plans_of_checks(gpu: &Properties, config: &VitConfig) -> Vec<Plan> {
    let vit = Vit::new(config.clone());
    let (shape, width) = (vit.patch_shape(1), config.hidden_size);
    let rows = config.patches() * config.patch_values();
    let stream = config.tokens() * width;
    let work = |gpu: &Gpu| {
        let (patches, x) = (gpu.alloc(rows)?, gpu.alloc(stream)?);
        let (class, position) = (gpu.alloc(width)?, gpu.alloc(stream)?);
        let pixels = gpu.alloc(config.num_channels * config.image_size.pow(2))?;
        let images = Images::Values(pixels.all());
        let (patches, x) = (patches.all(), x.all());
        patch_embed::gpu::cut(gpu, patches, x, images, class.all(), position.all(), shape)?;
        let squares = gpu.alloc(grad_norm::gpu::parts(stream))?;
        grad_norm::gpu::squares(gpu, squares.all(), position.all())
    };
    let recorded = Gpu::record(gpu.clone(), ElementType::F16, work);
    each(&recorded.expect("nothing of it can fail").launches)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::kernels::NAMES;
    use crate::model::gpu::check;
    use crate::train::cuda::MemoryPlan;
    use crate::train::engine::EpochBatches;

    fn every_preset() -> impl Iterator<Item = VitConfig> {
        presets::names().map(|name| presets::preset(name).expect("a name of the list"))
    }

    /// The engine allocates nothing but what was planned, and the step, whose launchers are given
    /// nothing but what was allocated, takes all of it.
    #[test]
    fn a_step_holds_what_was_planned() {
        for architecture in Architecture::ALL {
            let gpu = architecture.properties();
            for config in every_preset() {
                for images in [1, 3, 64] {
                    let config = config.clone().with_a_head();
                    let vit = Vit::new(config.clone());
                    let batches = EpochBatches::one(images);
                    let plan = MemoryPlan::for_training(&gpu, &vit, batches, images);
                    let held = record(&gpu, config, images).allocations;
                    let small = 1 << 20; // AdamW's tiles, the lookup, the state, the rates
                    let held: usize = held.into_iter().sum();
                    let planned = plan.bytes();
                    assert!(
                        (planned..planned + small).contains(&held),
                        "{planned} {held}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_kernel_is_planned() {
        let mut planned: BTreeSet<&str> = BTreeSet::new();
        for architecture in Architecture::ALL {
            let gpu = architecture.properties();
            for config in every_preset() {
                check(&Vit::new(config.clone())).expect("presets run on GPUs");
                let plans = [plans(&gpu, &config, 16), plans_of_checks(&gpu, &config)];
                planned.extend(plans.concat().iter().map(|plan| plan.kernel));
            }
        }
        assert_eq!(planned, NAMES.iter().copied().collect());
    }
}
