//! `vitcuda doctor --kernels`: what each kernel takes of each architecture.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::super::Global;
use super::super::output::{self, Outcome, Table};
use vitcuda::Error;
use vitcuda::device::ElementType;
use vitcuda::device::architecture::Architecture;
use vitcuda::device::cache::Cache;
use vitcuda::device::nvrtc::Nvrtc;
use vitcuda::model::config::VitConfig;
use vitcuda::train::cuda::kernels::{self, Made};

/// Images in a step, where launchers choose tiles by it.
const BATCH: usize = 32;

/// Compiles the kernels of `config` for every architecture that `nvrtc` knows, and prints a table
/// or lines of JSON.
pub fn print(nvrtc: &Arc<Nvrtc>, config: &VitConfig, global: &Global) -> Outcome {
    let known = |architecture: &Architecture| nvrtc.architectures.contains(&architecture.sm);
    let architectures: Vec<Architecture> = Architecture::ALL.into_iter().filter(known).collect();
    let cache = Cache::of_this_user();
    let mut made = Vec::new();
    for &architecture in &architectures {
        let plans = kernels::plans(&architecture.properties(), config, BATCH);
        for element in [ElementType::F16, ElementType::Bf16] {
            if architecture.capability() >= element.needs() {
                made.extend(kernels::make(nvrtc, &cache, architecture, element, &plans)?);
            }
        }
    }
    if global.json {
        made.iter()
            .try_for_each(|made| output::json(&as_json(made)))?
    } else {
        table(&architectures, &made)?
    }
    let bad = made.iter().filter(|made| !made.problems().is_empty());
    let bad: Vec<String> = bad
        .map(|made| format!("{made}: {}", made.problems().join("; ")))
        .collect();
    if bad.is_empty() {
        Ok(())
    } else {
        Err(Error::device(
            bad.join("\n"),
            "this NVRTC makes poor code of these kernels; another version may do better",
        )
        .into())
    }
}

fn as_json(made: &Made) -> serde_json::Value {
    json!({
        "what": "kernel",
        "kernel": made.plan.kernel,
        "file": made.plan.spec.file,
        "macros": made.plan.spec.defines.iter().copied().collect::<BTreeMap<_, _>>(),
        "element": made.element.to_string(),
        "architecture": format!("sm_{}", made.architecture.sm),
        "threads": made.plan.threads,
        "registers": made.resources.registers,
        "shared_bytes": made.shared(),
        "blocks_per_multiprocessor": made.resident(),
        "occupancy_percent": made.occupancy(),
        "spill_bytes": made.resources.spills,
        "stack_bytes": made.resources.stack,
    })
}

/// A row for each kernel, its macros and element type; a column for each architecture.
fn table(architectures: &[Architecture], made: &[Made]) -> Outcome {
    let mut rows: BTreeMap<String, BTreeMap<u32, String>> = BTreeMap::new();
    for made in made {
        let name = made.to_string();
        let name = name.rsplit_once(' ').map_or(&*name, |(name, _)| name);
        let cell = format!(
            "{} {:.1} {}%",
            made.resources.registers,
            f64::from(made.shared()) / 1024.0,
            made.occupancy()
        );
        let row = rows.entry(name.to_owned()).or_default();
        row.insert(made.architecture.sm, cell);
    }
    output::result("\nregisters of a thread, KiB of shared memory of a block, occupancy:")?;
    let heads = architectures.iter().map(|a| format!("sm_{}", a.sm));
    let heads: Vec<String> = ["kernel".to_owned()].into_iter().chain(heads).collect();
    let mut table = Table::new(&heads.iter().map(String::as_str).collect::<Vec<_>>());
    for (name, mut cells) in rows {
        let columns = architectures.iter().map(|a| cells.remove(&a.sm));
        let columns = columns.map(|cell| cell.unwrap_or_else(|| "-".into()));
        table.row([name].into_iter().chain(columns).collect());
    }
    table.print()
}
