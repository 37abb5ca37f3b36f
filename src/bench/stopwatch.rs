//! Two stopwatches: events for a GPU, the wall clock for the CPU. Both clear the caches before each
//! run, so that a row shows what memory gives, not what the row before has left behind.

use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;

use crate::device::{Buffer, Gpu, Timing};
use crate::error::Result;
use crate::ops::bench::{Stopwatch, Work};

/// What computes.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    Cpu,
    Gpu(&'a Gpu),
}

/// A row's work, and the milliseconds of its runs, sorted.
pub(super) type Timed = (Work, Vec<f64>);

/// How often something runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Runs {
    /// Before the clock starts.
    pub warmup: usize,
    /// On the clock, at least 1.
    pub repeats: usize,
}

/// Written before each run of the CPU, in bytes: more than a core's share of the last cache.
const CPU_FLUSH: usize = 128 << 20;
/// Of a GPU, in L2 caches. Clearing so much also takes longer than issuing a run, so that the GPU
/// never waits for the host between the two events.
const GPU_FLUSH: usize = 4;
/// The least that is written.
const LEAST_GPU_FLUSH: usize = 16 << 20;

pub(super) struct CpuWatch {
    runs: Runs,
    flush: Vec<u8>,
    pub timed: Vec<Timed>,
}

impl CpuWatch {
    pub fn new(runs: Runs) -> Self {
        Self {
            runs,
            flush: vec![0; CPU_FLUSH],
            timed: Vec::new(),
        }
    }
}

impl Stopwatch for CpuWatch {
    fn time(&mut self, work: Work, run: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let mut milliseconds = Vec::with_capacity(self.runs.repeats);
        for repeat in 0..self.runs.warmup + self.runs.repeats {
            let chunks = self.flush.par_chunks_mut(1 << 20);
            chunks.for_each(|chunk| chunk.fill(repeat as u8));
            black_box(&mut self.flush);
            let start = Instant::now();
            run()?;
            if repeat >= self.runs.warmup {
                milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
        milliseconds.sort_by(f64::total_cmp);
        self.timed.push((work, milliseconds));
        Ok(())
    }
}

pub(super) struct GpuWatch<'a> {
    gpu: &'a Gpu,
    runs: Runs,
    flush: Buffer<u8>,
    pub timed: Vec<Timed>,
}

impl<'a> GpuWatch<'a> {
    pub fn new(gpu: &'a Gpu, runs: Runs) -> Result<Self> {
        let bytes = GPU_FLUSH * gpu.properties().l2 as usize;
        Ok(Self {
            gpu,
            runs,
            flush: gpu.alloc(bytes.max(LEAST_GPU_FLUSH))?,
            timed: Vec::new(),
        })
    }
}

impl Stopwatch for GpuWatch<'_> {
    fn time(&mut self, work: Work, run: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let gpu = self.gpu;
        // At least one: it compiles and loads the kernel.
        for _ in 0..self.runs.warmup.max(1) {
            run()?;
        }
        gpu.synchronise()?;
        let mut events = Vec::with_capacity(self.runs.repeats);
        for _ in 0..self.runs.repeats {
            gpu.zero(self.flush.all())?;
            let start = gpu.main().record(Timing::On)?;
            run()?;
            events.push((start, gpu.main().record(Timing::On)?));
        }
        gpu.synchronise()?;
        let times = events.iter().map(|(start, end)| {
            let milliseconds = end.milliseconds_since(start)?;
            Ok(f64::from(milliseconds))
        });
        let mut milliseconds = times.collect::<Result<Vec<f64>>>()?;
        milliseconds.sort_by(f64::total_cmp);
        self.timed.push((work, milliseconds));
        Ok(())
    }
}
