//! What the benchmark times of the MLP: a block's, over all tokens. On a GPU its two layers are
//! launched apart, and timed so; the CPU's forward pass keeps a few rows between them.

use super::{Hidden, Mlp, Params, Shape, backward, backward_weight, forward};
use crate::device::Gpu;
use crate::error::Result;
use crate::ops::bench::{Bench, Sizes, Stopwatch, Work, random};
use crate::ops::gemm::Accumulate;
use crate::ops::linear;
use crate::ops::linear::bench::{Before, Call, Follows};

impl Bench for Mlp {
    fn bench_cpu(&self, sizes: &Sizes, watch: &mut dyn Stopwatch) -> Result<()> {
        let (n, c, f) = (sizes.rows(), sizes.dims.width, sizes.dims.mlp);
        let shape = Shape {
            rows: n,
            width: c,
            hidden: f,
        };
        let work = |call: &str, bytes: usize| Work {
            op: "mlp",
            call: call.into(),
            bytes: 4 * bytes,
            flops: 4 * n * c * f,
        };
        let (x, dy, residual) = (random(n * c), random(n * c), random(n * c));
        let weights = [random(f * c), random(f), random(c * f), random(c)];
        let params = params(weights.each_ref().map(Vec::as_slice));
        let (mut y, mut h) = (random(n * c), random(n * f));
        let (mut dx, mut dh, mut gelu) = (random(n * c), random(n * f), random(n * f));
        let mut d = weights.clone();
        let weight_bytes = 2 * c * f;
        let forward_bytes = 3 * n * c + n * f + weight_bytes;
        watch.time(work("forward", forward_bytes), &mut || {
            forward(&mut y, Hidden::Keep(&mut h), &x, &residual, &params, shape);
            Ok(())
        })?;
        let backward_bytes = 2 * n * c + 3 * n * f + weight_bytes;
        watch.time(work("input gradient", backward_bytes), &mut || {
            backward(&mut dx, &mut dh, &mut gelu, &dy, &h, &params, shape);
            Ok(())
        })?;
        let weight_bytes = 2 * n * c + 2 * n * f + weight_bytes;
        watch.time(work("weight gradient", weight_bytes), &mut || {
            let d = self::params(d.each_mut().map(Vec::as_mut_slice));
            backward_weight(d, &dy, &dh, &gelu, &x, Accumulate::Overwrite, shape);
            Ok(())
        })
    }

    fn bench_gpu(&self, gpu: &Gpu, sizes: &Sizes, watch: &mut dyn Stopwatch) -> Result<()> {
        let (c, f) = (sizes.dims.width, sizes.dims.mlp);
        let call = |name, inputs, outputs, follows, before| Call {
            op: "mlp",
            name,
            shape: linear::Shape {
                rows: sizes.rows(),
                inputs,
                outputs,
            },
            follows,
            before,
        };
        call("fc1", c, f, Follows::Gelu, Before::Plain).time_gpu(gpu, watch)?;
        call("fc2", f, c, Follows::Residual, Before::Gelu).time_gpu(gpu, watch)
    }
}

fn params<S>([fc1_weight, fc1_bias, fc2_weight, fc2_bias]: [S; 4]) -> Params<S> {
    Params {
        fc1_weight,
        fc1_bias,
        fc2_weight,
        fc2_bias,
    }
}
