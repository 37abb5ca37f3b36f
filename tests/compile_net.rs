//! Every kernel that the presets launch, and those of odder models, compiled by NVIDIA's NVRTC for
//! every architecture: no spilled registers, no local memory, shared memory and occupancy as the
//! launchers assume.
//!
//! `VITCUDA_NVRTC` names the library (`pip install nvidia-cuda-nvrtc` brings one; no GPU and no
//! driver are needed), or several of them with `:` between. The newest compiles each specialisation for
//! every architecture that launches it, in f16 and bf16 by turns: of 2,023 pairs 1,959 take the same registers,
//! none differs by more than 8, and all 247 of 240 registers or more are alike (NVRTC 12.0 to 13.5). An
//! older release compiles what the presets launch at one batch size and the odd heads, each
//! specialisation once, for one of the architectures and element types that launch it (which one
//! changes from release to release). Each compiles each kernel for every architecture that it knows, in
//! both types. `VITCUDA_NET=full` has every release compile all, in some ten minutes of two cores for
//! each.
//!
//! Without a library the tests are reported as ignored, with `VITCUDA_REQUIRE_NVRTC=1`, as in CI, they
//! fail. The table of all kernels is left in `target/tmp/kernels.txt`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Failed, Trial};
use vitcuda::device::architecture::Architecture;
use vitcuda::device::cache::Cache;
use vitcuda::device::nvrtc::{self, Nvrtc};
use vitcuda::device::{ElementType, Gpu, Properties, Specialisation};
use vitcuda::model::config::VitConfig;
use vitcuda::model::presets;
use vitcuda::ops::attention::Shape;
use vitcuda::ops::attention::gpu::{self as attention, Queries};
use vitcuda::train::cuda::kernels::{self, Made, Plan};

/// Batches with full and with half empty grids: launchers choose tiles by them.
const BATCHES: [usize; 3] = [1, 16, 256];
const ELEMENTS: [ElementType; 2] = [ElementType::F16, ElementType::Bf16];
/// Capabilities of chips beside those that launchers are tuned for: Orin, B300, Thor, GB10. The newest
/// release compiles each kernel for them, too.
const RELATIVES: [(u32, u32); 4] = [(8, 7), (10, 3), (11, 0), (12, 1)];

static MADE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Where a kernel is launched.
type Place = (Architecture, ElementType);
/// What is compiled for each place.
type Work = Vec<(Place, Vec<Plan>)>;

fn main() {
    let named = std::env::var_os("VITCUDA_NVRTC").filter(|value| !value.is_empty());
    let required = std::env::var_os("VITCUDA_REQUIRE_NVRTC").is_some_and(|v| v == "1");
    let trials = match named {
        Some(paths) => trials(std::env::split_paths(&paths).collect::<Vec<_>>()),
        None => {
            let label = "every kernel compiles [needs VITCUDA_NVRTC, not set]";
            let missing = || Err("VITCUDA_NVRTC names no library".into());
            vec![Trial::test(label, missing).with_ignored_flag(!required)]
        }
    };
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1); // each compiles in parallel
    let conclusion = libtest_mimic::run(&arguments, trials);
    write_table();
    conclusion.exit()
}

/// Tests of all libraries, one for each architecture and element type.
fn trials(paths: Vec<impl AsRef<Path>>) -> Vec<Trial> {
    let open = |path: &Path| {
        let library = nvrtc::open(path);
        Arc::new(library.unwrap_or_else(|error| panic!("VITCUDA_NVRTC: {error}")))
    };
    let mut libraries: Vec<Arc<Nvrtc>> = paths.iter().map(|path| open(path.as_ref())).collect();
    libraries.sort_by_key(|nvrtc| nvrtc.version);
    let newest = libraries.len() - 1;
    let full = std::env::var_os("VITCUDA_NET").is_some_and(|value| value == "full");
    let mut trials = Vec::new();
    for (release, nvrtc) in libraries.into_iter().enumerate() {
        let (major, minor) = nvrtc.version;
        let knows = |architecture: &Architecture| nvrtc.architectures.contains(&architecture.sm);
        let known = Architecture::ALL.into_iter().filter(knows);
        let mut work: Work = if full {
            all(known, plans)
        } else if release == newest {
            known
                .flat_map(|one| each_once(all([one].into_iter(), plans), release))
                .collect()
        } else {
            each_once(all(known, fewer_plans), release)
        };
        if release == newest {
            let relatives = RELATIVES.map(Architecture::near).into_iter().filter(knows);
            work.extend(all_kernels(relatives));
        }
        for ((architecture, element), plans) in work {
            let count = plans.len();
            let label = format!(
                "{major}.{minor} sm_{} {element}, {count} kernels",
                architecture.sm
            );
            let nvrtc = nvrtc.clone();
            let test = move || compile(&nvrtc, architecture, element, &plans);
            trials.push(Trial::test(label, test));
        }
    }
    trials
}

/// All of `plans` for these architectures.
fn all(
    architectures: impl Iterator<Item = Architecture>,
    plans: fn(&Properties) -> Vec<Plan>,
) -> Work {
    let mut work = Vec::new();
    for architecture in architectures {
        let plans = plans(&architecture.properties());
        let elements = ELEMENTS.into_iter();
        let elements = elements.filter(|element| architecture.capability() >= element.needs());
        work.extend(elements.map(|element| ((architecture, element), plans.clone())));
    }
    work
}

/// One plan of each kernel, on each of these architectures.
fn all_kernels(architectures: impl Iterator<Item = Architecture>) -> Work {
    let mut work = all(architectures, fewer_plans);
    for (_, plans) in &mut work {
        plans.dedup_by(|a, b| a.kernel == b.kernel);
    }
    work
}

/// Of `all` each specialisation once, and each kernel in every place.
fn each_once(mut all: Work, release: usize) -> Work {
    let mut launched: BTreeMap<&Specialisation, Vec<usize>> = BTreeMap::new();
    for (place, (_, plans)) in all.iter().enumerate() {
        let specs: BTreeSet<&Specialisation> = plans.iter().map(|plan| &plan.spec).collect();
        for spec in specs {
            launched.entry(spec).or_default().push(place);
        }
    }
    let one_of = |(turn, (spec, places)): (usize, (&Specialisation, Vec<usize>))| {
        (spec.clone(), places[(turn + release) % places.len()])
    };
    let chosen: BTreeMap<Specialisation, usize> =
        launched.into_iter().enumerate().map(one_of).collect();
    for (place, (_, plans)) in all.iter_mut().enumerate() {
        let mut kernels = BTreeSet::new();
        plans.retain(|plan| kernels.insert(plan.kernel) | (chosen[&plan.spec] == place));
    }
    all
}

/// What the presets and odder models launch on such a GPU, sorted.
fn plans(gpu: &Properties) -> Vec<Plan> {
    let configs: Vec<VitConfig> = every_preset().chain(odd_widths()).collect();
    let of = |batch| {
        configs
            .iter()
            .flat_map(move |config| kernels::plans(gpu, config, batch))
    };
    each(
        BATCHES
            .into_iter()
            .flat_map(of)
            .chain(of_checks(gpu))
            .chain(odd_heads(gpu)),
    )
}

/// What the presets launch with the batch size in the middle, and odd heads.
fn fewer_plans(gpu: &Properties) -> Vec<Plan> {
    let presets = every_preset().flat_map(|config| kernels::plans(gpu, &config, BATCHES[1]));
    each(presets.chain(of_checks(gpu)).chain(odd_heads(gpu)))
}

/// What no step launches.
fn of_checks(gpu: &Properties) -> impl Iterator<Item = Plan> {
    every_preset().flat_map(|config| kernels::plans_of_checks(gpu, &config))
}

/// Sorted, and each once.
fn each(plans: impl Iterator<Item = Plan>) -> Vec<Plan> {
    let plans: BTreeSet<Plan> = plans.collect();
    plans.into_iter().collect()
}

fn every_preset() -> impl Iterator<Item = VitConfig> {
    presets::names().map(|name| presets::preset(name).expect("a name of the list"))
}

fn compile(
    nvrtc: &Arc<Nvrtc>,
    architecture: Architecture,
    element: ElementType,
    plans: &[Plan],
) -> Result<(), Failed> {
    let made = kernels::make(nvrtc, &Cache::none(), architecture, element, plans)?;
    let bad = made.iter().filter(|made| !made.problems().is_empty());
    let bad: Vec<String> = bad
        .map(|made| format!("{made}: {}", made.problems().join("; ")))
        .collect();
    let (major, minor) = nvrtc.version;
    let rows = made.iter().map(|made| row(made, (major, minor)));
    MADE.lock().expect("tests run one by one").extend(rows);
    if bad.is_empty() {
        Ok(())
    } else {
        Err(bad.join("\n").into())
    }
}

/// Models whose MLP and head have rows that 16 bytes do not divide, but 8, 4 or 2: copies are as
/// small, and large tiles of them want the most registers.
fn odd_widths() -> impl Iterator<Item = VitConfig> {
    ["vit_small_patch16_224", "vit_base_patch14_224"]
        .into_iter()
        .flat_map(|name| {
            [(4, 100), (2, 10), (1, 3)].map(|(more, classes)| {
                let mut config = presets::preset(name).expect("a name of the list");
                config.intermediate_size += more;
                let labels: Vec<String> = (0..classes).map(|label| label.to_string()).collect();
                config.set_labels(&labels);
                config
            })
        })
}

/// Head sizes and numbers of tokens that no preset has: at the ends of what strips of whole rows of
/// scores, and two strips with their sums, leave of the registers.
fn odd_heads(gpu: &Properties) -> Vec<Plan> {
    let shapes = [
        (8, [50, 288, 300]),
        (24, [197, 288, 300]),
        (32, [217, 257, 333]),
        (48, [197, 208, 300]),
        (80, [176, 226, 240]),
        (96, [130, 144, 577]),
        (128, [128, 257, 1025]),
    ];
    let plans = shapes.into_iter().flat_map(|(head_size, tokens)| {
        tokens.into_iter().flat_map(move |tokens| {
            let shape = Shape {
                images: 64,
                tokens,
                heads: 8,
                head_size,
            };
            [Queries::EveryToken, Queries::ClassToken]
                .into_iter()
                .flat_map(move |queries| attention_plans(gpu, shape, queries))
        })
    });
    plans.collect()
}

/// What both passes of attention launch.
fn attention_plans(gpu: &Properties, shape: Shape, queries: Queries) -> Vec<Plan> {
    let (rows, width) = (shape.images * queries.count(shape.tokens), shape.width());
    let packed = shape.images * shape.tokens * 3 * width;
    let work = |gpu: &Gpu| {
        let [qkv, d_qkv] = [gpu.alloc(packed)?, gpu.alloc(packed)?];
        let [o, d_o] = [gpu.alloc(rows * width)?, gpu.alloc(rows * width)?];
        let lse = gpu.alloc(rows * shape.heads)?;
        let statistics = gpu.alloc(attention::statistics(shape, queries))?;
        let parts = attention::parts(gpu.properties(), shape, queries);
        let partials = gpu.alloc(parts * 3 * width)?;
        attention::forward(gpu, o.all(), lse.all(), qkv.all(), shape, queries)?;
        attention::backward(
            gpu,
            d_qkv.all(),
            statistics.all(),
            partials.all(),
            d_o.all(),
            o.all(),
            qkv.all(),
            lse.all(),
            shape,
            queries,
        )?;
        Ok(())
    };
    let recorded = Gpu::record(gpu.clone(), ElementType::F16, work);
    kernels::each(&recorded.expect("nothing of it can fail").launches)
}

fn row(made: &Made, (major, minor): (u32, u32)) -> String {
    format!(
        "{:<90} {:>6} {:>9} {:>8} {:>6} {:>7} %",
        made.to_string(),
        format!("{major}.{minor}"),
        made.resources.registers,
        made.shared(),
        made.resident(),
        made.occupancy(),
    )
}

fn write_table() {
    let mut made = MADE.lock().expect("the tests are over");
    if made.is_empty() {
        return;
    }
    made.sort();
    let mut text = format!(
        "{:<90} {:>6} {:>9} {:>8} {:>6} {:>9}\n",
        "kernel", "NVRTC", "registers", "shared", "blocks", "occupancy"
    );
    for row in made.iter() {
        writeln!(text, "{row}").expect("a String takes everything");
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernels.txt");
    std::fs::write(&path, text).expect("the target folder is writable");
    println!("{} kernels in {}", made.len(), path.display());
}
