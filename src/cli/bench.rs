//! `vitcuda bench`.

use clap::Args;

use super::Global;
use super::model;
use super::numbers::count;
use super::output::{self, Outcome, Table};
use vitcuda::bench::{self, Ceiling, Ceilings, KernelSetup, KernelTime, Pass, Place, Setup};
use vitcuda::device::{Device, Gpu};
use vitcuda::model::config::VitConfig;
use vitcuda::ops::REGISTRY;

/// Measure how fast this machine runs a model: each kernel, and whole steps
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Only the kernels, one by one
    #[arg(long, conflicts_with = "step")]
    pub kernels: bool,
    /// Only whole steps, training and inference
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
    /// Runs before the clock starts [default: 3 of a kernel, 1 of a step]
    #[arg(long, value_name = "N")]
    pub warmup: Option<usize>,
    /// Runs on the clock [default: 20 of a kernel, 5 of a step]
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    pub repeats: Option<usize>,
}

pub fn run(args: &BenchArgs, global: &Global) -> Outcome {
    let mut config = model::config(&args.model, global)?;
    if config.num_labels() == 0 {
        config.set_labels(&["cat", "dog"]);
    }
    if !args.step {
        kernels(args, &config, global)?;
    }
    if !args.kernels {
        steps(args, config, global)?;
    }
    Ok(())
}

fn kernels(args: &BenchArgs, config: &VitConfig, global: &Global) -> Outcome {
    let gpu = match global.device()? {
        Device::Cpu => None,
        Device::Cuda { ordinal, element } => Some(Gpu::open(ordinal, element)?),
    };
    let place = gpu.as_ref().map_or(Place::Cpu, Place::Gpu);
    let ceilings = &Ceilings::of(place)?;
    if ceilings.emulated {
        global.notice("the GPU is emulated: these times say nothing about any GPU");
    }
    if global.json {
        output::json(ceilings)?;
    }
    let setup = KernelSetup {
        place,
        ceilings,
        model: &args.model,
        config,
        batch_size: args.batch_size,
        warmup: args.warmup.unwrap_or(3),
        repeats: args.repeats.unwrap_or(20),
    };
    let mut times = Vec::new();
    for &op in REGISTRY {
        for time in bench::kernels(op, &setup)? {
            if global.json {
                output::json(&time)?;
            }
            times.push(time);
        }
    }
    if global.json {
        Ok(())
    } else {
        print(&times, &setup)
    }
}

fn print(times: &[KernelTime], setup: &KernelSetup) -> Outcome {
    let ceilings = setup.ceilings;
    let precision = times.first().map_or("", |time| &time.precision);
    output::result(format_args!(
        "{} on {}, {precision}, batch {}, {} runs each, caches cleared before each",
        setup.model, ceilings.device, setup.batch_size, setup.repeats
    ))?;
    output::result(format_args!(
        "copy: {:.1} GB/s, read and written, measured",
        ceilings.copy_gb_s
    ))?;
    if let (Some(tflops), Some(how)) = (ceilings.tensor_tflops, &ceilings.tensor_computed_as) {
        output::result(format_args!(
            "tensor cores: {tflops:.1} TFLOP/s, computed: {how}"
        ))?;
    }
    let mut table = Table::new(&["kernel", "ms", "ms (min)", "TFLOP/s", "GB/s", "of"]);
    for time in times {
        let ceiling = match (time.ceiling, time.percent) {
            (Some(Ceiling::Copy), Some(percent)) => format!("{percent:.1} % of copy"),
            (Some(Ceiling::Tensor), Some(percent)) => format!("{percent:.1} % of tensor"),
            _ => "-".into(),
        };
        table.row(vec![
            format!("{} {}", time.op, time.call),
            format!("{:.4}", time.ms),
            format!("{:.4}", time.ms_min),
            time.tflops.map_or("-".into(), |t| format!("{t:.2}")),
            format!("{:.1}", time.gb_s),
            ceiling,
        ]);
    }
    table.print()?;
    if ceilings.emulated {
        output::result("EMULATED: these times say nothing about any GPU")
    } else {
        Ok(())
    }
}

fn steps(args: &BenchArgs, config: VitConfig, global: &Global) -> Outcome {
    let device = global.device()?;
    let mut engine = bench::random_engine(device, config, args.batch_size)?;
    let setup = Setup {
        device,
        model: &args.model,
        batch_size: args.batch_size,
        warmup: args.warmup.unwrap_or(1),
        repeats: args.repeats.unwrap_or(5),
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
        setup.batch_size,
        setup.repeats
    ))?;
    table.print()
}
