//! Every kernel that the presets launch, and those of odder models, compiled by NVIDIA's NVRTC for
//! every architecture: no spilled registers, no local memory, shared memory and occupancy as the
//! launchers assume.
//!
//! `VITCUDA_NVRTC` names the library (`pip install nvidia-cuda-nvrtc` brings one; no GPU and no
//! driver are needed). Without it the tests are reported as ignored, with `VITCUDA_REQUIRE_NVRTC=1`,
//! as in CI, they fail. The table of all kernels is left in `target/tmp/kernels.txt`.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Failed, Trial};
use vitcuda::device::ElementType;
use vitcuda::device::Properties;
use vitcuda::device::architecture::Architecture;
use vitcuda::device::cache::Cache;
use vitcuda::device::nvrtc::{self, Nvrtc, Wanted};
use vitcuda::model::config::VitConfig;
use vitcuda::model::kernels::{self, Made};
use vitcuda::model::presets;
use vitcuda::ops::attention::Shape;
use vitcuda::ops::attention::gpu::{self as attention, Queries};
use vitcuda::ops::gpu::Plan;

/// Batches with full and with half empty grids: launchers choose tiles by them.
const BATCHES: [usize; 3] = [1, 16, 256];

/// NVRTC is loaded once for all architectures.
static NVRTC: Mutex<Option<Arc<Nvrtc>>> = Mutex::new(None);
static MADE: Mutex<Vec<Made>> = Mutex::new(Vec::new());

fn main() {
    let named = std::env::var_os("VITCUDA_NVRTC").is_some_and(|v| !v.is_empty());
    let required = std::env::var_os("VITCUDA_REQUIRE_NVRTC").is_some_and(|v| v == "1");
    let mut trials = Vec::new();
    for architecture in Architecture::ALL {
        for element in [ElementType::F16, ElementType::Bf16] {
            if architecture.capability() < element.needs() {
                continue;
            }
            let name = format!("sm_{} {element}", architecture.sm);
            let label = match named {
                true => name,
                false => format!("{name} [needs VITCUDA_NVRTC, not set]"),
            };
            let test = Trial::test(label, move || compile(architecture, element));
            trials.push(test.with_ignored_flag(!named && !required));
        }
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1); // each compiles in parallel
    let conclusion = libtest_mimic::run(&arguments, trials);
    write_table();
    conclusion.exit()
}

fn compile(architecture: Architecture, element: ElementType) -> Result<(), Failed> {
    if std::env::var_os("VITCUDA_NVRTC").is_none() {
        return Err("VITCUDA_NVRTC names no library".into());
    }
    let mut slot = NVRTC.lock().expect("tests run one by one");
    let nvrtc = match &*slot {
        Some(nvrtc) => nvrtc.clone(),
        None => slot
            .insert(Arc::new(nvrtc::find(Wanted::default())?))
            .clone(),
    };
    let gpu = architecture.properties();
    let presets = presets::names().map(|name| presets::preset(name).expect("a name of the list"));
    let configs = presets.chain(odd_widths());
    let mut plans: Vec<Plan> = configs
        .flat_map(|config| BATCHES.map(|batch| kernels::plans(&gpu, &config, batch)))
        .flatten()
        .chain(odd_heads(&gpu))
        .collect();
    plans.sort();
    plans.dedup();
    let made = kernels::make(&nvrtc, &Cache::none(), architecture, element, &plans)?;
    let bad = made.iter().filter(|made| !made.problems().is_empty());
    let bad: Vec<String> = bad
        .map(|made| format!("{made}: {}", made.problems().join("; ")))
        .collect();
    MADE.lock().expect("tests run one by one").extend(made);
    match bad.is_empty() {
        true => Ok(()),
        false => Err(bad.join("\n").into()),
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
        (8, [50, 197, 300]),
        (24, [197, 288, 300]),
        (32, [257, 300, 333]),
        (48, [197, 288, 300]),
        (96, [130, 226, 577]),
        (128, [130, 257, 1025]),
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
                .flat_map(move |queries| attention::plans(gpu, shape, queries))
        })
    });
    plans.collect()
}

fn write_table() {
    let mut made = MADE.lock().expect("the tests are over");
    if made.is_empty() {
        return;
    }
    made.sort_by_key(|made| made.to_string());
    let mut text = format!(
        "{:<90} {:>9} {:>8} {:>6} {:>9}\n",
        "kernel", "registers", "shared", "blocks", "occupancy"
    );
    for made in made.iter() {
        writeln!(
            text,
            "{:<90} {:>9} {:>8} {:>6} {:>7} %",
            made.to_string(),
            made.resources.registers,
            made.shared(),
            made.resident(),
            made.occupancy(),
        )
        .expect("a String takes everything");
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernels.txt");
    std::fs::write(&path, text).expect("the target folder is writable");
    println!("{} kernels in {}", made.len(), path.display());
}
