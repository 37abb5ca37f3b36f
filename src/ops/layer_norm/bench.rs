//! What the benchmark times of layer norm: a block's, over all tokens.

use super::{EPS, LayerNorm, Residual, backward, forward, gpu};
use crate::device::Gpu;
use crate::error::Result;
use crate::ops::bench::{Bench, Sizes, Stopwatch, Work, elements, f32s, random};
use crate::ops::column_sum;
use crate::ops::gemm::Accumulate;
use crate::ops::rows::Rows;

fn work(call: &str, bytes: usize) -> Work {
    Work {
        op: "layer_norm",
        call: call.into(),
        bytes,
        flops: 0,
    }
}

impl Bench for LayerNorm {
    fn bench_cpu(&self, sizes: &Sizes, watch: &mut dyn Stopwatch) -> Result<()> {
        let (n, c) = (sizes.rows(), sizes.dims.width);
        let (x, w, b, dy) = (random(n * c), random(c), random(c), random(n * c));
        let (mut y, mut dx) = (random(n * c), random(n * c));
        let (mut mean, mut rstd) = (random(n), random(n));
        let (mut dw, mut db) = (random(c), random(c));
        watch.time(
            work("forward", 4 * (2 * n * c + 2 * n + 2 * c)),
            &mut || {
                forward(&mut y, &mut mean, &mut rstd, &x, &w, &b, EPS as f32);
                Ok(())
            },
        )?;
        // dx is read, too: the residual's gradient is added to.
        let bytes = 4 * (4 * n * c + 2 * n + 3 * c);
        watch.time(work("backward", bytes), &mut || {
            let (residual, accumulate) = (Residual::Add, Accumulate::Overwrite);
            backward(
                &mut dx, &mut dw, &mut db, &dy, &x, &w, &mean, &rstd, residual, accumulate,
            );
            Ok(())
        })
    }

    fn bench_gpu(&self, gpu: &Gpu, sizes: &Sizes, watch: &mut dyn Stopwatch) -> Result<()> {
        let (n, c) = (sizes.rows(), sizes.dims.width);
        let (x, w, b) = (f32s(gpu, n * c)?, f32s(gpu, c)?, f32s(gpu, c)?);
        let (y, mean, rstd) = (gpu.alloc(n * c)?, gpu.alloc(n)?, gpu.alloc(n)?);
        let (w, b, mean, rstd) = (w.all(), b.all(), mean.all(), rstd.all());
        let rows = Rows::packed(x.all(), c);
        let bytes = n * c * (4 + 2) + 4 * (2 * n + 2 * c);
        watch.time(work("forward", bytes), &mut || {
            gpu::forward(gpu, y.all(), mean, rstd, rows, w, b, EPS as f32)
        })?;
        let (dy, dx, copy) = (elements(gpu, n * c)?, f32s(gpu, n * c)?, gpu.alloc(n * c)?);
        let partials = gpu.alloc(gpu::parts(gpu.properties(), n, c) * 3 * c)?;
        let (parameters, bias) = (gpu.alloc(2 * c)?, gpu.alloc(c)?);
        // x and the residual's gradient there, dx and its copy back.
        let bytes = n * c * (2 + 4 + 4 + 4 + 2) + 4 * (2 * n + 4 * c);
        watch.time(work("backward", bytes), &mut || {
            let (dx, copy, sums) = (dx.all(), Some(copy.all()), partials.all());
            let residual = gpu::Residual::EveryRow(dx);
            let sums = gpu::backward(gpu, dx, copy, sums, dy.all(), rows, w, mean, rstd, residual)?;
            let (own, next) = (sums.columns(0..2 * c), sums.columns(2 * c..3 * c));
            column_sum::finish(gpu, parameters.all(), None, own, Accumulate::Overwrite)?;
            column_sum::finish(gpu, bias.all(), None, next, Accumulate::Overwrite)
        })
    }
}
