//! `vitcuda info`.

use clap::Args;
use serde_json::{Value, json};

use super::Global;
use super::model;
use super::numbers::count;
use super::output::{self, Outcome, Table};
use vitcuda::Result;
use vitcuda::device::{Device, DeviceChoice, Gpu};
use vitcuda::model::config::VitConfig;
use vitcuda::model::cost::{self, Parameters, Pass};
use vitcuda::model::gpu;
use vitcuda::model::vit::Vit;
use vitcuda::report::format::thousands;
use vitcuda::train::cuda::{MemoryPlan, Room};
use vitcuda::train::engine::EpochBatches;

/// Show a model's configuration, parameters, work and memory, with --device cuda also the GPU's
#[derive(Debug, Args)]
pub struct InfoArgs {
    /// Folder with config.json, OWNER/NAME of the Hugging Face hub, or the name of a preset
    #[arg(value_name = "MODEL|CHECKPOINT|PRESET")]
    pub model: String,
    /// Side of the input in pixels [default: the model's]
    #[arg(long, value_name = "PIXELS", value_parser = count::<usize>)]
    #[arg(aliases = ["imgsz", "img-size"])]
    pub image_size: Option<usize>,
}

/// Batches that the table of memory shows.
const BATCHES: [usize; 6] = [1, 8, 16, 32, 64, 128];

pub fn run(args: &InfoArgs, global: &Global) -> Outcome {
    let mut config = model::config_to_train(&args.model, global)?;
    if let Some(size) = args.image_size {
        config.set_image_size(size)?;
    }
    let gpu = match global.device {
        DeviceChoice::Cuda(_) => Some(OnGpu::new(&config, global)?),
        DeviceChoice::Auto | DeviceChoice::Cpu => None,
    };
    if global.json {
        output::json(&as_json(&args.model, &config, gpu.as_ref()))
    } else {
        print(&args.model, &config, gpu.as_ref())
    }
}

/// The model's memory on a GPU that was asked for.
struct OnGpu {
    name: String,
    /// MiB that a plan may take.
    free: u64,
    /// Bytes of each of [`BATCHES`], for training and for inference.
    bytes: [[usize; 2]; BATCHES.len()],
    /// The largest batches that fit.
    largest: [Option<usize>; 2],
}

/// Batches that nobody asks about.
const ENDLESS: usize = 1 << 20;

impl OnGpu {
    fn new(config: &VitConfig, global: &Global) -> Result<Self> {
        let Device::Cuda { ordinal, element } = global.device()? else {
            unreachable!("a GPU was asked for by name")
        };
        let device = Gpu::open(ordinal, element)?;
        let vit = Vit::new(config.clone().with_a_head());
        gpu::check(&vit)?;
        let (free, _) = device.memory_info()?;
        let properties = device.properties();
        let room = Room::new(properties, &vit, free);
        let bytes = BATCHES.map(|images| {
            let batches = EpochBatches::one(images);
            let training = MemoryPlan::for_training(properties, &vit, batches, 1);
            let inference = MemoryPlan::for_inference(&vit, images);
            [training, inference].map(|plan| plan.bytes())
        });
        Ok(Self {
            name: format!("cuda:{ordinal}, {}, {element}", properties.name),
            free: (room.bytes() >> 20) as u64,
            bytes,
            largest: [
                room.largest_training(ENDLESS, 1),
                room.largest_inference(ENDLESS),
            ],
        })
    }

    fn json(&self) -> Value {
        let rows = BATCHES.iter().zip(self.bytes);
        let rows = rows.map(|(batch, [training, inference])| {
            json!({"batch_size": batch, "training": training, "inference": inference})
        });
        let [training, inference] = self.largest;
        json!({
            "device": self.name,
            "memory_bytes": rows.collect::<Vec<_>>(),
            "largest_batch": {"training": training, "inference": inference},
        })
    }

    /// What fits, in a line.
    fn in_words(&self) -> String {
        let [training, inference] = self.largest.map(|largest| match largest {
            None => "none".into(),
            Some(images) => thousands(images as u64),
        });
        format!(
            "{}: of {} MiB free, batches of up to {training} for training, {inference} for inference",
            self.name,
            thousands(self.free)
        )
    }
}

fn as_json(name: &str, config: &VitConfig, gpu: Option<&OnGpu>) -> Value {
    let parameters = Parameters::of(config);
    let memory = BATCHES.map(|batch| {
        json!({
            "batch_size": batch,
            "training": cost::memory_bytes(config, batch, Pass::Training),
            "inference": cost::memory_bytes(config, batch, Pass::Inference),
        })
    });
    let mut value = json!({
        "model": name,
        "config": config,
        "parameters": {
            "total": parameters.total(),
            "embeddings": parameters.embeddings,
            "attention": parameters.attention,
            "mlp": parameters.mlp,
            "norms": parameters.norms,
            "head": parameters.head,
        },
        "flops_per_image": {
            "training": cost::flops_per_image(config, Pass::Training),
            "inference": cost::flops_per_image(config, Pass::Inference),
        },
        "memory_bytes": memory,
    });
    if let Some(gpu) = gpu {
        value["gpu"] = gpu.json();
    }
    value
}

fn print(name: &str, config: &VitConfig, gpu: Option<&OnGpu>) -> Outcome {
    let parameters = Parameters::of(config);
    let giga = |pass| format!("{:.2} G", cost::flops_per_image(config, pass) as f64 / 1e9);
    let mebibytes = |batch, pass| thousands(cost::memory_bytes(config, batch, pass) >> 20);
    let labels = match config.num_labels() {
        0 => "none (no head)".into(),
        n => format!("{n}: {}", some_of(&config.labels())),
    };
    for (what, value) in [
        ("model", name.to_owned()),
        ("type", config.model_type.describe().to_owned()),
        (
            "input",
            format!(
                "{0} × {0} pixels, {1} tokens",
                config.image_size,
                config.tokens()
            ),
        ),
        ("patch", format!("{0} × {0} pixels", config.patch_size)),
        (
            "layers",
            format!(
                "{} of width {}, {} heads of {}, MLP {}",
                config.num_hidden_layers,
                config.hidden_size,
                config.num_attention_heads,
                config.head_size(),
                config.intermediate_size
            ),
        ),
        ("labels", labels),
        ("parameters", thousands(parameters.total())),
        (
            "FLOPs/image",
            format!(
                "{} training, {} inference",
                giga(Pass::Training),
                giga(Pass::Inference)
            ),
        ),
    ] {
        output::result(format_args!("{what:<11}  {value}"))?;
    }
    output::result("")?;
    let mut groups = Table::new(&["parameters of", "count"]);
    for (group, count) in [
        ("embeddings", parameters.embeddings),
        ("attention", parameters.attention),
        ("MLP", parameters.mlp),
        ("layer norms", parameters.norms),
        ("head", parameters.head),
    ] {
        groups.row(vec![group.into(), thousands(count)]);
    }
    groups.print()?;
    output::result("")?;
    let mut columns = vec!["batch size", "training MiB", "inference MiB"];
    if gpu.is_some() {
        columns.extend(["GPU training", "GPU inference"]);
    }
    let mut memory = Table::new(&columns);
    for (row, batch) in BATCHES.into_iter().enumerate() {
        let mut cells = vec![
            batch.to_string(),
            mebibytes(batch, Pass::Training),
            mebibytes(batch, Pass::Inference),
        ];
        if let Some(gpu) = gpu {
            cells.extend(gpu.bytes[row].map(|bytes| thousands(bytes.div_ceil(1 << 20) as u64)));
        }
        memory.row(cells);
    }
    memory.print()?;
    match gpu {
        Some(gpu) => output::result(format_args!("\n{}", gpu.in_words())),
        None => Ok(()),
    }
}

/// The first few names.
fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN {
        format!("{shown}, …")
    } else {
        shown
    }
}
