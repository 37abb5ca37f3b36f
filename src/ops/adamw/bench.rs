//! What the benchmark times of AdamW: one update of all parameters.

use super::gpu::{self, Arenas, Decay, Tiles};
use super::{AdamW, CHECK, Rates, update};
use crate::device::Gpu;
use crate::device::structs::StepState;
use crate::error::Result;
use crate::ops::bench::{Bench, Sizes, Stopwatch, Work, f32s, random};

/// Four arrays read and three written; a GPU writes a 16-bit copy, too.
fn work(sizes: &Sizes, copy: usize) -> Work {
    Work {
        op: "adamw",
        call: "update".into(),
        bytes: (7 * 4 + copy) * sizes.parameters,
        flops: 0,
    }
}

/// Second moments are squares.
fn squares(len: usize) -> Vec<f32> {
    random(len).iter().map(|v| v * v).collect()
}

impl Bench for AdamW {
    fn bench_cpu(&self, sizes: &Sizes, watch: &mut dyn Stopwatch) -> Result<()> {
        let n = sizes.parameters;
        let (mut p, mut m, mut v, g) = (random(n), random(n), squares(n), random(n));
        watch.time(work(sizes, 0), &mut || {
            update(&mut p, &mut m, &mut v, &g, CHECK);
            Ok(())
        })
    }

    fn bench_gpu(&self, gpu: &Gpu, sizes: &Sizes, watch: &mut dyn Stopwatch) -> Result<()> {
        let n = sizes.parameters;
        let (p, m, v, g) = (
            f32s(gpu, n)?,
            f32s(gpu, n)?,
            gpu.upload(&squares(n))?,
            f32s(gpu, n)?,
        );
        let copy = gpu.alloc(n)?;
        let rates = Rates::new(CHECK.constants, CHECK.lr, CHECK.weight_decay, CHECK.step);
        let state = gpu.upload(&[StepState {
            gradient_factor: CHECK.coefficient as f32,
            keep: rates.keep as f32,
            rate: rates.rate as f32,
            root: rates.root as f32,
            ..StepState::new(1.0, CHECK.step as i32)
        }])?;
        let tiles = Tiles::new(gpu, [(0..n, Decay::Applies)])?;
        watch.time(work(sizes, 2), &mut || {
            let arenas = Arenas {
                params: p.all(),
                first: m.all(),
                second: v.all(),
                copy: copy.all(),
                gradients: g.all(),
            };
            gpu::update(gpu, arenas, &tiles, state.all(), CHECK.constants)
        })
    }
}
