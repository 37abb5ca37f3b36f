//! `vitcuda bench`.

use clap::Args;

use super::Global;
use super::model;
use super::numbers::count;
use super::output::{self, Outcome, Table};
use vitcuda::bench::{self, Pass, Setup};

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
    let mut engine = bench::random_engine(device, config, args.batch_size)?;
    let setup = Setup {
        device,
        model: &args.model,
        batch_size: args.batch_size,
        warmup: args.warmup,
        repeats: args.repeats,
    };
    let mut table = Table::new(&["pass", "images/s", "ms", "ms (min)"]);
    for pass in [Pass::Train, Pass::Inference] {
        let time = bench::step(engine.as_mut(), pass, &setup)?;
        if global.json {
            output::json(&time)?;
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
        "{} on {device}, {} threads, {}, batch {}, {} steps each",
        args.model,
        rayon::current_num_threads(),
        device.precision(),
        args.batch_size,
        args.repeats
    ))?;
    table.print()
}
