//! `vitcuda info`.

use clap::Args;
use serde_json::{Value, json};

use super::Global;
use super::model;
use super::numbers::count;
use super::output::{self, Outcome, Table};
use vitcuda::model::config::VitConfig;
use vitcuda::model::cost::{self, Parameters, Pass};
use vitcuda::report::format::thousands;

/// Show a model's configuration, parameters, work and memory
#[derive(Debug, Args)]
pub struct InfoArgs {
    /// Folder with config.json, OWNER/NAME of the Hugging Face hub, or the name of a preset
    #[arg(value_name = "MODEL|CHECKPOINT|PRESET")]
    pub model: String,
    /// Side of the input in pixels [default: the model's]
    #[arg(long, value_name = "PIXELS", value_parser = count::<usize>)]
    pub image_size: Option<usize>,
}

/// Batches that the table of memory shows.
const BATCHES: [usize; 6] = [1, 8, 16, 32, 64, 128];

pub fn run(args: &InfoArgs, global: &Global) -> Outcome {
    let mut config = model::config(&args.model, global)?;
    if let Some(size) = args.image_size {
        config.set_image_size(size)?;
    }
    match global.json {
        true => output::json(&as_json(&args.model, &config)),
        false => print(&args.model, &config),
    }
}

fn as_json(name: &str, config: &VitConfig) -> Value {
    let parameters = Parameters::of(config);
    let memory = BATCHES.map(|batch| {
        json!({
            "batch_size": batch,
            "training": cost::memory_bytes(config, batch, Pass::Training),
            "inference": cost::memory_bytes(config, batch, Pass::Inference),
        })
    });
    json!({
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
    })
}

fn print(name: &str, config: &VitConfig) -> Outcome {
    let parameters = Parameters::of(config);
    let giga = |pass| format!("{:.2} G", cost::flops_per_image(config, pass) as f64 / 1e9);
    let mebibytes = |batch, pass| thousands(cost::memory_bytes(config, batch, pass) >> 20);
    let labels = match config.num_labels() {
        0 => "none (no head)".into(),
        n => format!("{n}: {}", some_of(&config.labels())),
    };
    for (what, value) in [
        ("model", name.to_owned()),
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
    let mut memory = Table::new(&["batch size", "training MiB", "inference MiB"]);
    for batch in BATCHES {
        memory.row(vec![
            batch.to_string(),
            mebibytes(batch, Pass::Training),
            mebibytes(batch, Pass::Inference),
        ]);
    }
    memory.print()
}

/// The first few names.
fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len() > SHOWN {
        true => format!("{shown}, …"),
        false => shown,
    }
}
