//! What a device could do at best: the copy bandwidth, measured, and the rate of the tensor cores,
//! computed from documented numbers.

use rayon::prelude::*;
use serde::Serialize;

use super::median;
use super::stopwatch::{CpuWatch, GpuWatch, Place, Runs};
use crate::device::{Gpu, Properties};
use crate::error::Result;
use crate::ops::bench::{Stopwatch, Work, random_bytes};

/// Bytes of a copy.
const COPY: usize = 256 << 20;
const COPIES: Runs = Runs {
    warmup: 2,
    repeats: 9,
};

/// The two ceilings of a device; as JSON, the first line of a benchmark of kernels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ceilings {
    /// Always `ceilings`.
    pub what: &'static str,
    pub device: String,
    /// Measured: bytes read plus bytes written of a copy in memory, 10⁹ a second.
    pub copy_gb_s: f64,
    /// Of 16-bit products with f32 sums; `None` on a CPU and where the rate is not documented.
    pub tensor_tflops: Option<f64>,
    /// How `tensor_tflops` was computed.
    pub tensor_computed_as: Option<String>,
    /// Whether kernels are played on a CPU: then no time means anything.
    pub emulated: bool,
}

impl Ceilings {
    /// Measures the one, computes the other.
    pub fn of(place: Place) -> Result<Self> {
        match place {
            Place::Cpu => Ok(Self {
                what: "ceilings",
                device: format!("cpu, {} threads", rayon::current_num_threads()),
                copy_gb_s: copy_on_cpu()?,
                tensor_tflops: None,
                tensor_computed_as: None,
                emulated: false,
            }),
            Place::Gpu(gpu) => {
                let properties = gpu.properties();
                let (tensor_tflops, tensor_computed_as) = tensor(gpu)?.unzip();
                Ok(Self {
                    what: "ceilings",
                    device: properties.name.clone(),
                    copy_gb_s: copy_on_gpu(gpu)?,
                    tensor_tflops,
                    tensor_computed_as,
                    emulated: is_emulated(properties),
                })
            }
        }
    }
}

/// The emulator says so in its devices' names.
fn is_emulated(gpu: &Properties) -> bool {
    gpu.name.contains("emulator")
}

fn copy() -> Work {
    Work {
        op: "copy",
        call: String::new(),
        bytes: 2 * COPY,
        flops: 0,
    }
}

fn gigabytes_a_second((work, milliseconds): &(Work, Vec<f64>)) -> f64 {
    work.bytes as f64 / median(milliseconds) / 1e6
}

fn copy_on_cpu() -> Result<f64> {
    let from = random_bytes(COPY);
    let mut to = from.clone();
    let mut watch = CpuWatch::new(COPIES);
    watch.time(copy(), &mut || {
        // A piece a thread: from some size on, the C library's copy does not read what it overwrites.
        let piece = COPY.div_ceil(rayon::current_num_threads());
        let pairs = to.par_chunks_mut(piece).zip(from.par_chunks(piece));
        pairs.for_each(|(to, from)| to.copy_from_slice(from));
        std::hint::black_box(&mut to);
        Ok(())
    })?;
    Ok(gigabytes_a_second(&watch.timed[0]))
}

fn copy_on_gpu(gpu: &Gpu) -> Result<f64> {
    let from = gpu.upload(&random_bytes(COPY))?;
    let to = gpu.alloc(COPY)?;
    let mut watch = GpuWatch::new(gpu, COPIES)?;
    watch.time(copy(), &mut || gpu.copy(to.all(), from.all()))?;
    Ok(gigabytes_a_second(&watch.timed[0]))
}

/// TFLOP/s at the highest clock, and the computation.
fn tensor(gpu: &Gpu) -> Result<Option<(f64, String)>> {
    let properties = gpu.properties();
    let Some(rate) = tensor_rate(&properties.name, properties.capability) else {
        return Ok(None);
    };
    let gigahertz = f64::from(gpu.peak_clock_khz()?) / 1e6;
    let multiprocessors = properties.multiprocessors;
    let tflops = f64::from(rate) * f64::from(multiprocessors) * gigahertz / 1e3;
    let computed =
        format!("{multiprocessors} multiprocessors × {rate} FLOP a clock × {gigahertz:.3} GHz");
    Ok(Some((tflops, computed)))
}

/// Floating-point operations of a multiprocessor in a clock: dense 16-bit products with f32 sums.
///
/// From the tables in NVIDIA's architecture white papers (Turing, A100, GA102, Ada, H100, Blackwell,
/// RTX Blackwell). GeForce cards add in f32 at half the rate of the same chip's other cards.
fn tensor_rate(name: &str, capability: (u32, u32)) -> Option<u32> {
    let rate = match capability {
        (7, 5) | (8, 6) | (8, 9) | (12, 0) => 1024,
        (8, 0) => 2048,
        (9, 0) => 4096,
        (10, 0) => 8192,
        _ => return None,
    };
    if name.contains("GeForce") {
        Some(rate / 2)
    } else {
        Some(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::tensor_rate;

    /// NVIDIA's figures for whole cards, in TFLOP/s, at their boost clocks.
    #[test]
    fn rates_are_those_of_the_data_sheets() {
        for (name, capability, multiprocessors, gigahertz, data_sheet) in [
            ("Tesla T4", (7, 5), 40.0, 1.59, 65.0),
            ("NVIDIA A100-SXM4-80GB", (8, 0), 108.0, 1.41, 312.0),
            ("NVIDIA GeForce RTX 3090", (8, 6), 82.0, 1.695, 71.0),
            ("NVIDIA A40", (8, 6), 84.0, 1.74, 149.7),
            ("NVIDIA GeForce RTX 4090", (8, 9), 128.0, 2.52, 165.2),
            ("NVIDIA L40S", (8, 9), 142.0, 2.52, 362.0),
            ("NVIDIA H100 80GB HBM3", (9, 0), 132.0, 1.83, 989.4),
            ("NVIDIA B200", (10, 0), 148.0, 1.85, 2250.0),
            ("NVIDIA GeForce RTX 5090", (12, 0), 170.0, 2.407, 209.5),
        ] {
            let rate = tensor_rate(name, capability).expect("a documented one");
            let tflops = f64::from(rate) * multiprocessors * gigahertz / 1e3;
            let off = (tflops / data_sheet - 1.0_f64).abs();
            assert!(off < 0.015, "{name}: {tflops} and {data_sheet}");
        }
        assert_eq!(tensor_rate("NVIDIA Thor", (11, 0)), None);
    }
}
