//! What the benchmark times of linear layers: the projections of a block, over all tokens, and the
//! head's, over the class tokens. Those of the MLP are [`mlp`](crate::ops::mlp)'s.

use super::{Epilogue, Linear, Shape, backward_input, backward_weight, forward, gpu};
use crate::device::Gpu;
use crate::error::Result;
use crate::ops::bench::{Bench, Sizes, Stopwatch, Work, elements, f32s, random};
use crate::ops::gemm::Accumulate;
use crate::ops::rows::Rows;

/// A layer of the model that is timed, and what its kernels are fused with.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops) struct Call {
    pub op: &'static str,
    pub name: &'static str,
    pub shape: Shape,
    pub follows: Follows,
    pub before: Before,
}

/// What the forward pass ends with, on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) enum Follows {
    Bias,
    /// h and gelu(h) are written.
    Gelu,
    /// The sum is f32.
    Residual,
    /// The output is f32.
    Logits,
}

/// Where the layer's input came from: what the gradient for it ends with, on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) enum Before {
    Plain,
    /// gelu(h): the gradient is that of h, and its column sums.
    Gelu,
}

impl Call {
    fn work(&self, pass: &str, bytes: usize) -> Work {
        let Shape {
            rows,
            inputs,
            outputs,
        } = self.shape;
        Work {
            op: self.op,
            call: format!("{} {pass}", self.name),
            bytes,
            flops: 2 * rows * inputs * outputs,
        }
    }

    /// Forward, input gradient, weight gradient.
    pub fn time_gpu(&self, gpu: &Gpu, watch: &mut dyn Stopwatch) -> Result<()> {
        self.time_forward(gpu, watch)?;
        self.time_backward_input(gpu, watch)?;
        let shape @ Shape {
            rows,
            inputs,
            outputs,
        } = self.shape;
        let plan = gpu::WeightPlan::new(gpu.properties(), shape);
        let (dy, x) = (
            elements(gpu, rows * outputs)?,
            elements(gpu, rows * inputs)?,
        );
        let (dy, x) = (
            Rows::packed(dy.all(), outputs),
            Rows::packed(x.all(), inputs),
        );
        let (dw, squares) = (gpu.alloc(outputs * inputs)?, gpu.alloc(plan.squares())?);
        let workspace = gpu.alloc(plan.workspace())?;
        let bytes = 2 * rows * (inputs + outputs) + 4 * inputs * outputs;
        watch.time(self.work("weight gradient", bytes), &mut || {
            let (dw, squares, room) = (dw.all(), Some(squares.all()), workspace.all());
            let accumulate = Accumulate::Overwrite;
            gpu::backward_weight(gpu, dw, squares, room, dy, x, accumulate, shape)
        })
    }

    fn time_forward(&self, gpu: &Gpu, watch: &mut dyn Stopwatch) -> Result<()> {
        let shape @ Shape {
            rows,
            inputs,
            outputs,
        } = self.shape;
        let (x, w) = (
            elements(gpu, rows * inputs)?,
            elements(gpu, inputs * outputs)?,
        );
        let b = f32s(gpu, outputs)?;
        let layer = gpu::Layer {
            weight: Rows::packed(w.all(), inputs),
            bias: Some(b.all()),
        };
        let x = Rows::packed(x.all(), inputs);
        let values = rows * outputs;
        let read = 2 * (rows * inputs + inputs * outputs) + 4 * outputs;
        let work = |bytes| self.work("forward", read + bytes * values);
        match self.follows {
            Follows::Bias => {
                let y = gpu.alloc(values)?;
                let y = Rows::packed(y.all(), outputs);
                watch.time(work(2), &mut || gpu::forward(gpu, y, x, layer, shape))
            }
            Follows::Gelu => {
                let (y, h) = (gpu.alloc(values)?, gpu.alloc(values)?);
                watch.time(work(2 + 2), &mut || {
                    gpu::forward_gelu(gpu, y.all(), Some(h.all()), x, layer, shape)
                })
            }
            Follows::Residual => {
                let (y, residual) = (gpu.alloc(values)?, f32s(gpu, values)?);
                let [y, residual] = [y.all(), residual.all()].map(|y| Rows::packed(y, outputs));
                watch.time(work(4 + 4), &mut || {
                    gpu::forward_residual(gpu, y, residual, x, layer, shape)
                })
            }
            Follows::Logits => {
                let y = gpu.alloc(values)?;
                let y = Rows::packed(y.all(), outputs);
                watch.time(work(4), &mut || gpu::forward_f32(gpu, y, x, layer, shape))
            }
        }
    }

    fn time_backward_input(&self, gpu: &Gpu, watch: &mut dyn Stopwatch) -> Result<()> {
        let shape @ Shape {
            rows,
            inputs,
            outputs,
        } = self.shape;
        let (dy, w) = (
            elements(gpu, rows * outputs)?,
            elements(gpu, inputs * outputs)?,
        );
        let (dy, w) = (
            Rows::packed(dy.all(), outputs),
            Rows::packed(w.all(), inputs),
        );
        let dx = gpu.alloc(rows * inputs)?;
        let bytes = 2 * (rows * outputs + inputs * outputs + rows * inputs);
        match self.before {
            Before::Plain => watch.time(self.work("input gradient", bytes), &mut || {
                gpu::backward_input(gpu, Rows::packed(dx.all(), inputs), dy, w, shape)
            }),
            Before::Gelu => {
                let h = elements(gpu, rows * inputs)?;
                let sums = gpu.alloc(gpu::gelu_parts(gpu.properties(), shape) * inputs)?;
                let work = self.work("input gradient", bytes + 2 * rows * inputs);
                watch.time(work, &mut || {
                    let (dh, sums) = (dx.all(), sums.all());
                    gpu::backward_input_gelu(gpu, dh, sums, dy, w, h.all(), shape).map(drop)
                })
            }
        }
    }

    /// The same without what the CPU does not fuse.
    fn time_cpu(&self, watch: &mut dyn Stopwatch) -> Result<()> {
        let shape @ Shape {
            rows,
            inputs,
            outputs,
        } = self.shape;
        let (x, dy) = (random(rows * inputs), random(rows * outputs));
        let (w, b) = (random(inputs * outputs), random(outputs));
        let (mut y, mut dx) = (random(rows * outputs), random(rows * inputs));
        let (mut dw, mut db) = (random(inputs * outputs), random(outputs));
        let bytes = 4 * (rows * (inputs + outputs) + inputs * outputs);
        let residual = match self.follows {
            Follows::Residual => 4 * rows * outputs,
            _ => 0,
        };
        watch.time(self.work("forward", bytes + residual), &mut || {
            let epilogue = match self.follows {
                Follows::Residual => Epilogue::Residual(&dy),
                _ => Epilogue::Bias,
            };
            forward(&mut y, epilogue, &x, &w, &b, shape);
            Ok(())
        })?;
        watch.time(self.work("input gradient", bytes), &mut || {
            backward_input(&mut dx, &dy, &w, shape);
            Ok(())
        })?;
        watch.time(self.work("weight gradient", bytes), &mut || {
            backward_weight(&mut dw, &mut db, &dy, &x, Accumulate::Overwrite, shape);
            Ok(())
        })
    }
}

fn calls(sizes: &Sizes) -> [Call; 3] {
    let c = sizes.dims.width;
    let call = |name, rows, outputs, follows| Call {
        op: "linear",
        name,
        shape: Shape {
            rows,
            inputs: c,
            outputs,
        },
        follows,
        before: Before::Plain,
    };
    [
        call("qkv", sizes.rows(), 3 * c, Follows::Bias),
        call("projection", sizes.rows(), c, Follows::Residual),
        call(
            "head",
            sizes.dims.batch,
            sizes.dims.classes,
            Follows::Logits,
        ),
    ]
}

impl Bench for Linear {
    fn bench_cpu(&self, sizes: &Sizes, watch: &mut dyn Stopwatch) -> Result<()> {
        let mut calls = calls(sizes).into_iter();
        calls.try_for_each(|call| call.time_cpu(watch))
    }

    fn bench_gpu(&self, gpu: &Gpu, sizes: &Sizes, watch: &mut dyn Stopwatch) -> Result<()> {
        let mut calls = calls(sizes).into_iter();
        calls.try_for_each(|call| call.time_gpu(gpu, watch))
    }
}
