//! The rows of the benchmark of kernels: an operation's work in the time it took.

use serde::Serialize;

use super::ceilings::Ceilings;
use super::median;
use super::stopwatch::{CpuWatch, GpuWatch, Place, Runs, Timed};
use crate::error::Result;
use crate::model::config::VitConfig;
use crate::model::params::ParamTable;
use crate::ops::Op;
use crate::ops::bench::{ModelDims, Sizes};

/// What is timed, and how often.
#[derive(Debug, Clone, Copy)]
pub struct KernelSetup<'a> {
    pub place: Place<'a>,
    pub ceilings: &'a Ceilings,
    /// Name of the architecture, for the result.
    pub model: &'a str,
    pub config: &'a VitConfig,
    /// Images in a step, at least 1.
    pub batch_size: usize,
    /// Runs before the clock starts.
    pub warmup: usize,
    /// Runs that are timed, at least 1.
    pub repeats: usize,
}

/// How long the runs of one row took; as JSON, a line of a benchmark.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KernelTime {
    /// Always `kernel`.
    pub what: &'static str,
    pub op: &'static str,
    /// Which of a model's calls, and which pass.
    pub call: String,
    /// Median, in milliseconds.
    pub ms: f64,
    /// Shortest, in milliseconds.
    pub ms_min: f64,
    /// Of the tensors that go in and out, each touched once; by the median, as the next two.
    pub gb_s: f64,
    /// Of the matrix products; `None` where there is none.
    pub tflops: Option<f64>,
    /// The ceiling that the work would hit first; `None` for products where the tensor cores' rate
    /// is not known, or there are none.
    pub ceiling: Option<Ceiling>,
    /// Shortest time that it allows ÷ median, in percent.
    pub percent: Option<f64>,
    pub device: String,
    pub model: String,
    pub batch_size: usize,
    /// Of the products.
    pub precision: String,
    /// Runs timed.
    pub repeats: usize,
    /// Whether the kernels were played on a CPU: then no time means anything.
    pub emulated: bool,
}

/// What keeps a kernel from being faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ceiling {
    /// Measured copy bandwidth.
    Copy,
    /// Computed rate of the tensor cores.
    Tensor,
}

/// Times what `op` does in a step of the model.
///
/// # Errors
/// What the device reports, out of memory among it.
///
/// # Panics
/// If there is nothing to time.
pub fn kernels(op: &dyn Op, setup: &KernelSetup) -> Result<Vec<KernelTime>> {
    assert!(setup.batch_size > 0 && setup.repeats > 0, "nothing to time");
    let sizes = Sizes {
        dims: dims(setup.config, setup.batch_size),
        parameters: ParamTable::new(setup.config).len,
    };
    let runs = Runs {
        warmup: setup.warmup,
        repeats: setup.repeats,
    };
    let (timed, precision) = match setup.place {
        Place::Cpu => {
            let mut watch = CpuWatch::new(runs);
            op.bench_cpu(&sizes, &mut watch)?;
            (watch.timed, "f32".to_owned())
        }
        Place::Gpu(gpu) => {
            let mut watch = GpuWatch::new(gpu, runs)?;
            op.bench_gpu(gpu, &sizes, &mut watch)?;
            (watch.timed, gpu.element().to_string())
        }
    };
    let rows = timed.into_iter();
    Ok(rows.map(|timed| row(timed, setup, &precision)).collect())
}

/// What of `config` decides the shapes of a step's calls.
fn dims(config: &VitConfig, batch: usize) -> ModelDims {
    ModelDims {
        batch,
        image: config.image_size,
        patch: config.patch_size,
        channels: config.num_channels,
        tokens: config.tokens(),
        width: config.hidden_size,
        heads: config.num_attention_heads,
        mlp: config.intermediate_size,
        classes: config.num_labels().max(1),
    }
}

fn row((work, milliseconds): Timed, setup: &KernelSetup, precision: &str) -> KernelTime {
    let ceilings = setup.ceilings;
    let ms = median(&milliseconds);
    let (gb_s, tflops) = (
        work.bytes as f64 / ms / 1e6,
        (work.flops > 0).then(|| work.flops as f64 / ms / 1e9),
    );
    let (ceiling, percent) = place_under(ceilings, gb_s, tflops).unzip();
    KernelTime {
        what: "kernel",
        op: work.op,
        call: work.call,
        ms,
        ms_min: milliseconds[0],
        gb_s,
        tflops,
        ceiling,
        percent,
        device: ceilings.device.clone(),
        model: setup.model.to_owned(),
        batch_size: setup.batch_size,
        precision: precision.to_owned(),
        repeats: setup.repeats,
        emulated: ceilings.emulated,
    }
}

/// The ceiling that is nearer, and how near it is in percent.
fn place_under(ceilings: &Ceilings, gb_s: f64, tflops: Option<f64>) -> Option<(Ceiling, f64)> {
    let copy = 100.0 * gb_s / ceilings.copy_gb_s;
    let Some(tflops) = tflops else {
        return Some((Ceiling::Copy, copy));
    };
    match 100.0 * tflops / ceilings.tensor_tflops? {
        tensor if tensor >= copy => Some((Ceiling::Tensor, tensor)),
        _ => Some((Ceiling::Copy, copy)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearer_ceiling_is_named() {
        let ceilings = Ceilings {
            what: "ceilings",
            device: "Test GPU".into(),
            copy_gb_s: 1000.0,
            tensor_tflops: Some(100.0),
            tensor_computed_as: None,
            emulated: false,
        };
        let under = |gb_s, tflops| place_under(&ceilings, gb_s, tflops);
        assert_eq!(under(800.0, None), Some((Ceiling::Copy, 80.0)));
        assert_eq!(under(300.0, Some(60.0)), Some((Ceiling::Tensor, 60.0)));
        assert_eq!(under(500.0, Some(20.0)), Some((Ceiling::Copy, 50.0)));
        let unknown = Ceilings {
            tensor_tflops: None,
            ..ceilings
        };
        assert_eq!(place_under(&unknown, 500.0, Some(20.0)), None);
    }
}
