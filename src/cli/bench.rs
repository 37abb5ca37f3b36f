//! `vitcuda bench`.

use clap::Args;
use serde_json::json;

use super::Global;
use super::model;
use super::numbers::count;
use super::output::{self, Outcome, Table};
use vitcuda::bench::{self, Pass, Repeats};

/// Measure how fast a model trains and runs on this machine
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Time whole steps, training and inference (all that there is in this version)
    #[arg(long)]
    pub step: bool,
    /// Name of a preset, or folder with config.json; the weights are random
    #[arg(
        long,
        short,
        value_name = "PRESET|DIR",
        default_value = "vit_small_patch14_224"
    )]
    pub model: String,
    /// Images in a step
    #[arg(long, short, value_name = "N", default_value_t = 8, value_parser = count::<usize>)]
    pub batch_size: usize,
    /// Steps before the clock starts
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub warmup: usize,
    /// Steps timed, of each kind
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = count::<usize>)]
    pub repeats: usize,
}

pub fn run(args: &BenchArgs, global: &Global) -> Outcome {
    let device = global.device()?;
    let mut config = model::find(&args.model)?.config()?;
    if config.num_labels() == 0 {
        config.set_labels(&["cat", "dog"]);
    }
    let mut engine = bench::random_engine(device, config)?;
    let repeats = Repeats {
        warmup: args.warmup,
        timed: args.repeats,
    };
    let threads = rayon::current_num_threads();
    let head = ["pass", "images/s", "ms", "ms (min)"];
    let mut table = Table::new(&head);
    for pass in [Pass::Train, Pass::Inference] {
        let time = bench::step(engine.as_mut(), pass, args.batch_size, repeats)?;
        if global.json {
            let mut line = json!(time);
            for (key, value) in [
                ("device", json!(device.to_string())),
                ("model", json!(args.model)),
                ("precision", json!("f32")),
                ("threads", json!(threads)),
            ] {
                line[key] = value;
            }
            output::json(&line)?;
        }
        table.row(vec![
            match pass {
                Pass::Train => "training".into(),
                Pass::Inference => "inference".into(),
            },
            format!("{:.2}", time.images_per_s),
            format!("{:.1}", time.ms),
            format!("{:.1}", time.ms_min),
        ]);
    }
    if global.json {
        return Ok(());
    }
    output::result(format_args!(
        "{} on {device}, {threads} threads, f32, batch {}, {} steps each",
        args.model, args.batch_size, args.repeats
    ))?;
    table.print()
}
