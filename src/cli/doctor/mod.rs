//! `vitcuda doctor`.

mod full;
mod kernels;
mod prove;

use std::sync::Arc;

use clap::Args;
use serde_json::{Map, Value, json};

use super::Global;
use super::model;
use super::output::{self, Outcome};
use vitcuda::Error;
use vitcuda::device::cache::Cache;
use vitcuda::device::nvrtc::{self, Nvrtc, Wanted};
use vitcuda::device::{DeviceChoice, ElementType, Gpu, cuda};

/// Show what this machine has for training on a GPU, what is missing and how to get it
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Also compile a model's kernels for every architecture, and show their registers, shared memory
    /// and occupancy; needs NVRTC, but no GPU
    #[arg(long)]
    pub kernels: bool,
    /// Whose kernels: a preset, or a folder with config.json
    #[arg(
        long,
        short,
        value_name = "PRESET|DIR",
        default_value = "vit_small_patch14_224"
    )]
    pub model: String,
    /// Also run every kernel on the GPU and compare it with the CPU, forward and backward
    #[arg(long)]
    pub full: bool,
    /// Then plant faults into the kernels, one after the other, and see each found by its check
    #[arg(long, requires = "full")]
    pub prove: bool,
}

/// One line of the report.
struct Line {
    label: String,
    text: String,
    help: Option<String>,
}

impl Line {
    fn found(label: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            text: text.into(),
            help: None,
        }
    }

    fn missing(label: impl Into<String>, error: &Error) -> Self {
        Self {
            label: label.into(),
            text: error.to_string(),
            help: error.help().map(str::to_owned),
        }
    }
}

/// What was looked at.
struct Findings {
    lines: Vec<Line>,
    nvrtc: Option<Arc<Nvrtc>>,
    gpu: Result<Gpu, Error>,
}

pub fn run(args: &DoctorArgs, global: &Global) -> Outcome {
    let findings = examine(global.device);
    if global.json {
        output::json(&as_json(&findings))?
    } else {
        print(&findings.lines)?
    }
    if args.kernels {
        let config = model::config(&args.model, global)?;
        let nvrtc = match findings.nvrtc {
            Some(nvrtc) => nvrtc,
            None => Arc::new(nvrtc::find(Wanted::default())?),
        };
        kernels::print(&nvrtc, &config, global)?;
    }
    match (args.full, global.device) {
        (true, _) => {
            let gpu = findings.gpu?;
            full::run(&gpu, global)?;
            if args.prove {
                prove::run(&gpu, global)
            } else {
                Ok(())
            }
        }
        // Asked for by name, a GPU that cannot be used is a failure.
        (false, DeviceChoice::Cuda(_)) => Ok(findings.gpu.map(drop)?),
        (false, _) => Ok(()),
    }
}

fn examine(choice: DeviceChoice) -> Findings {
    let mut lines = vec![Line::found("vitcuda", version()), Line::found("cpu", cpu())];
    let driver = cuda::probe();
    let mut wanted = Wanted::default();
    match &driver {
        Ok(driver) => {
            let (major, minor) = driver.version;
            wanted.driver = Some(driver.version);
            lines.push(Line::found(
                "driver",
                format!("{}, CUDA {major}.{minor}", driver.library.display()),
            ));
        }
        Err(error) => lines.push(Line::missing("driver", error)),
    }
    let ordinal = match choice {
        DeviceChoice::Cuda(ordinal) => ordinal,
        DeviceChoice::Auto | DeviceChoice::Cpu => 0,
    };
    for (i, gpu) in driver.iter().flat_map(|driver| &driver.gpus).enumerate() {
        let (major, minor) = gpu.compute_capability;
        if i == ordinal {
            wanted.capability = Some(gpu.compute_capability);
        }
        let text = format!("{}, sm_{major}{minor}", gpu.name);
        lines.push(Line::found(format!("cuda:{i}"), text));
    }
    let nvrtc = nvrtc::find(wanted);
    lines.push(match &nvrtc {
        Ok(nvrtc) => {
            let ((major, minor), path) = (nvrtc.version, nvrtc.path.display());
            Line::found(
                "nvrtc",
                format!("{major}.{minor}, {path} ({})", nvrtc.origin),
            )
        }
        Err(error) => Line::missing("nvrtc", error),
    });
    lines.push(Line::found("cache", cache()));
    let gpu = driver.and_then(|_| Gpu::open(ordinal, ElementType::F16));
    if let Ok(gpu) = &gpu {
        lines.extend(details(gpu));
    }
    lines.push(Line::found(
        "ready",
        match &gpu {
            Ok(_) => format!("for --device cuda:{ordinal}"),
            Err(error) => format!("for --device cpu only: {error}"),
        },
    ));
    Findings {
        lines,
        nvrtc: nvrtc.ok().map(Arc::new),
        gpu,
    }
}

/// What only a driver's context can say.
fn details(gpu: &Gpu) -> Vec<Line> {
    let properties = gpu.properties();
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let free = match gpu.memory_info() {
        Ok((free, _)) => format!("{:.1} GiB free", gib(free)),
        Err(error) => error.to_string(),
    };
    let bf16 = if properties.capability >= ElementType::Bf16.needs() {
        "f16, bf16"
    } else {
        "f16"
    };
    vec![
        Line::found(
            "memory",
            format!("{:.1} GiB, {free}", gib(properties.memory)),
        ),
        Line::found(
            "processors",
            format!(
                "{} multiprocessors with {} KiB of shared memory, {} KiB a block; {bf16}",
                properties.multiprocessors,
                properties.shared_per_multiprocessor >> 10,
                properties.shared_per_block >> 10,
            ),
        ),
        Line::found(
            "tensor cores",
            if properties.lacks_tensor_cores() {
                "none (GTX 16 and its like): the same results, many times slower"
            } else {
                "yes"
            },
        ),
    ]
}

fn version() -> String {
    format!(
        "{} ({} {})",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

fn cpu() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut text = format!("{cores} cores, {} threads", rayon::current_num_threads());
    for feature in features() {
        text.push_str(", ");
        text.push_str(feature);
    }
    text
}

/// Instruction sets that the CPU's kernels use where they are.
#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    let all = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("amx", vitcuda::ops::gemm::has_tiles()),
    ];
    let found = all.into_iter().filter(|(_, there)| *there);
    found.map(|(name, _)| name).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<&'static str> {
    Vec::new()
}

fn cache() -> String {
    let cache = Cache::of_this_user();
    let (entries, bytes) = cache.size();
    match cache.folder() {
        Some(folder) => format!(
            "{}, {entries} compiled files, {:.1} MB",
            folder.display(),
            bytes as f64 / 1e6
        ),
        None => "none: neither VITCUDA_CACHE nor HOME is set".to_owned(),
    }
}

fn print(lines: &[Line]) -> Outcome {
    let widths = lines.iter().map(|line| line.label.chars().count());
    let width = widths.max().unwrap_or(0);
    for Line { label, text, help } in lines {
        output::result(format_args!("{label:<width$}  {text}"))?;
        for help in help.iter().flat_map(|help| help.lines()) {
            output::result(format_args!("{:<width$}  help: {help}", ""))?;
        }
    }
    Ok(())
}

fn as_json(findings: &Findings) -> Value {
    let mut object = Map::new();
    for line in &findings.lines {
        let value = match &line.help {
            Some(help) => json!({ "missing": line.text, "help": help }),
            None => json!(line.text),
        };
        object.insert(line.label.clone(), value);
    }
    object["ready"] = json!(findings.gpu.is_ok());
    Value::Object(object)
}
