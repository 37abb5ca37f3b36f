//! The command line: one file a subcommand, each of which parses, calls the library and prints.

mod bench;
mod data;
mod doctor;
mod ending;
mod eval;
mod hub;
mod hugging_face;
mod images;
mod info;
mod interrupt;
mod license;
mod model;
mod numbers;
mod once;
mod output;
mod plot;
mod predict;
mod push;
mod report;
mod source;
mod thumbnail;
mod train;
mod unknown_flag;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use output::Outcome;
use vitcuda::Error;
use vitcuda::data::LoaderOptions;
use vitcuda::device::{self, Device, DeviceChoice, ElementType, Machine, cuda};
use vitcuda::train::cuda::kernels;

/// Fine-tune, train, evaluate and run Vision Transformers.
#[derive(Debug, Parser)]
#[command(
    name = "vitcuda",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(after_help = "First run, nothing needed:  vitcuda train")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(Box<train::TrainArgs>),
    Eval(eval::EvalArgs),
    Predict(predict::PredictArgs),
    #[command(subcommand)]
    Data(data::DataCommand),
    Report(report::ReportArgs),
    Plot(plot::PlotArgs),
    Info(info::InfoArgs),
    Push(push::PushArgs),
    Bench(bench::BenchArgs),
    Doctor(doctor::DoctorArgs),
}

/// What every subcommand takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(
        long,
        global = true,
        value_name = "DEVICE",
        default_value_t,
        env = "VITCUDA_DEVICE"
    )]
    device: DeviceChoice,
    #[arg(
        long,
        global = true,
        value_name = "TYPE",
        env = "VITCUDA_PRECISION",
        value_enum
    )]
    #[arg(
        help = "Type of products: fp16 or bf16 (sm_80 or later) on a GPU, fp32 on the CPU \
                  [default: fp16 on a GPU]"
    )]
    precision: Option<Precision>,
    /// CPU threads [default: all cores]
    #[arg(long, global = true, value_name = "N", env = "VITCUDA_THREADS")]
    #[arg(value_parser = numbers::count::<usize>)]
    threads: Option<usize>,
    /// Print results on stdout as JSON; text for people stays on stderr
    #[arg(long, global = true)]
    json: bool,
    /// No progress, no notices; results and errors only
    #[arg(long, short, global = true)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Precision {
    Fp16,
    Bf16,
    Fp32,
}

/// Runs the program.
pub fn main() -> ExitCode {
    interrupt::ignore_file_size_signal();
    output::exit_code(run())
}

fn run() -> Outcome {
    let translation = hugging_face::translate(std::env::args_os())?;
    let cli = parse(&translation.arguments)?;
    for notice in &translation.notices {
        cli.global.notice(notice);
    }
    cli.global.start_threads()?;
    match &cli.command {
        Command::Train(args) => train::run(args, &cli.global),
        Command::Eval(args) => eval::run(args, &cli.global),
        Command::Predict(args) => predict::run(args, &cli.global),
        Command::Data(command) => data::run(command, &cli.global),
        Command::Report(args) => report::run(args, &cli.global),
        Command::Plot(args) => plot::run(args, &cli.global),
        Command::Info(args) => info::run(args, &cli.global),
        Command::Push(args) => push::run(args, &cli.global),
        Command::Bench(args) => bench::run(args, &cli.global),
        Command::Doctor(args) => doctor::run(args, &cli.global),
    }
}

/// Reads the command line. Help and most complaints are clap's, printed as it likes.
fn parse(words: &[OsString]) -> Result<Cli, Error> {
    Cli::try_parse_from(words).map_err(|complaint| {
        let command = unknown_flag::subcommand(Cli::command(), words);
        unknown_flag::error(&complaint, &command).unwrap_or_else(|| complaint.exit())
    })
}

impl Global {
    /// A line for people, unless they asked for quiet.
    fn notice(&self, line: impl std::fmt::Display) {
        if !self.quiet {
            output::notice(format_args!("notice: {line}"));
        }
    }

    /// Threads that decode images.
    fn decoding_threads(&self) -> usize {
        self.threads
            .unwrap_or_else(|| LoaderOptions::default().threads)
    }

    fn start_threads(&self) -> Result<(), Error> {
        let Some(threads) = self.threads else {
            return Ok(());
        };
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()
            .map_err(|e| {
                Error::usage(
                    format!("cannot start {threads} threads: {e}"),
                    "ask for fewer --threads",
                )
            })
    }

    /// The device to compute on; says so when `auto` fell back, or the CPU has no such precision.
    fn device(&self) -> Result<Device, Error> {
        let element = match self.precision {
            Some(Precision::Fp32) => return self.device_of_f32(),
            Some(Precision::Bf16) => ElementType::Bf16,
            Some(Precision::Fp16) | None => ElementType::F16,
        };
        let machine = Machine {
            driver: cuda::probe,
            compiler: |wanted| kernels::try_out(wanted, element),
        };
        let selection = device::select(self.device, element, machine)?;
        if let Some(notice) = selection.notice.filter(|_| !self.quiet)
            && once::today(&notice)
        {
            self.notice(notice);
        }
        if self.precision.is_some() && selection.device == Device::Cpu {
            self.notice(format_args!("the CPU computes in f32, not in {element}"));
        }
        Ok(selection.device)
    }

    fn device_of_f32(&self) -> Result<Device, Error> {
        match self.device {
            DeviceChoice::Cpu => {}
            DeviceChoice::Auto => self.notice("running on the CPU: GPUs compute in fp16 or bf16"),
            DeviceChoice::Cuda(_) => {
                return Err(Error::usage(
                    "`--precision fp32` is for the CPU; a GPU multiplies in 16 bits and adds in f32",
                    "use --precision fp16 or bf16, or --device cpu",
                ));
            }
        }
        Ok(Device::Cpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }
}
