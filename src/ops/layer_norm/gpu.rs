//! Layer norm on a GPU: `kernels/layer_norm.cu`.

use crate::device::kernels::{LayerNormBackward, LayerNormForward};
use crate::device::{Element, Geometry, Gpu, Kernel, Properties, Ptr, Slice, Specialisation};
use crate::error::Result;
use crate::ops::column_sum::{self, Partials};
use crate::ops::gemm::Accumulate;
use crate::ops::gpu::{GpuOp, Storage, Stored};
use crate::ops::registry::{Case, Gradients, Pass};
use crate::ops::rows::Rows;

use super::{EPS, LayerNorm};

/// Of both kernels.
const THREADS: u32 = 128;
const WARPS: usize = THREADS as usize / 32;

/// Blocks of the backward kernel that fit a multiprocessor at once, by their registers.
fn resident(width: usize) -> usize {
    match width {
        0..=256 => 6,
        257..=512 => 5,
        _ => 3,
    }
}

/// Whether addresses and distances allow packs of four values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Packs,
    Single,
}

impl Access {
    fn of(width: usize, stride: usize, f32s: &[Slice<f32>], elements: &[Slice<Element>]) -> Self {
        let aligned = width.is_multiple_of(4)
            && stride.is_multiple_of(4)
            && f32s.iter().all(|slice| slice.is_aligned_to(16))
            && elements.iter().all(|slice| slice.is_aligned_to(8));
        if aligned { Self::Packs } else { Self::Single }
    }
}

/// Warps that share a row of the backward pass: at most 24 columns a lane, so that three sums for
/// each, and the row itself, stay in registers.
fn team(width: usize) -> usize {
    match width {
        0..=768 => 1,
        769..=1536 => 2,
        _ => 4,
    }
}

fn specialise(width: usize, access: Access) -> Specialisation {
    let vector = match access {
        Access::Packs => 4,
        Access::Single => 1,
    };
    LayerNormForward::specialise(&[
        ("WIDTH", width as i64),
        ("VECTOR", vector),
        ("TEAM", team(width) as i64),
    ])
}

/// Layer norm of `x` (N, C) into `y` (N, C); `mean` and `rstd` (N) are kept for [`backward`]. N is
/// the length of `mean`, C that of `w`.
///
/// # Panics
/// If lengths disagree, or there are no rows.
pub fn forward(
    gpu: &Gpu,
    y: Slice<Element>,
    mean: Slice<f32>,
    rstd: Slice<f32>,
    x: Rows<f32>,
    w: Slice<f32>,
    b: Slice<f32>,
    eps: f32,
) -> Result<()> {
    let (rows, width) = (mean.len(), w.len());
    x.check("layer_norm: x", rows, width);
    assert_eq!(y.len(), rows * width, "layer_norm: y");
    assert_eq!((rstd.len(), b.len()), (rows, width), "layer_norm: rstd, b");
    let access = Access::of(width, x.stride, &[x.values, w, b], &[y]);
    let kernel = LayerNormForward {
        y: y.ptr(),
        mean: mean.ptr(),
        rstd: rstd.ptr(),
        x: x.values.ptr(),
        w: w.ptr(),
        b: b.ptr(),
        rows: rows as i32,
        x_stride: x.stride as i32,
        eps,
    };
    let geometry = Geometry::line(rows.div_ceil(WARPS), THREADS);
    // SAFETY: every length was compared with the rows and columns that the kernel visits.
    unsafe { gpu.launch(&kernel, &specialise(width, access), geometry) }
}

/// The gradient that reaches x by another path, added to dx.
#[derive(Debug, Clone, Copy)]
pub enum Residual<'a> {
    None,
    /// (N, C); dx itself may be given.
    EveryRow(Slice<'a, f32>),
    /// (N / period, C): of the rows whose number is a multiple of `period`, as the class tokens'
    /// are; the others have none.
    EveryNth {
        gradient: Slice<'a, f32>,
        period: usize,
    },
}

/// Rows of partial sums that [`backward`] leaves: one a block, as many blocks as the GPU runs at
/// once.
pub fn parts(gpu: &Properties, rows: usize, width: usize) -> usize {
    let teams = WARPS / team(width);
    rows.div_ceil(teams)
        .min(resident(width) * gpu.multiprocessors as usize)
}

/// Gradients of [`forward`]: `dx` (N, C), a copy of it in elements, and partial sums, of which
/// `partials` must hold [`parts`] · 3 C.
///
/// Of the sums, columns 0..2C are (dw, db), and 2C..3C the column sums of dx, the gradient of the
/// bias of the linear layer that added into the stream; [`column_sum::finish`] makes gradients of
/// them.
///
/// # Panics
/// If lengths disagree, or there are no rows.
pub fn backward<'a>(
    gpu: &Gpu,
    dx: Slice<f32>,
    dx_copy: Option<Slice<Element>>,
    partials: Slice<'a, f32>,
    dy: Slice<Element>,
    x: Rows<f32>,
    w: Slice<f32>,
    mean: Slice<f32>,
    rstd: Slice<f32>,
    residual: Residual,
) -> Result<Partials<'a>> {
    let (rows, width) = (mean.len(), w.len());
    let values = rows * width;
    x.check("layer_norm: x", rows, width);
    assert_eq!((dx.len(), dy.len()), (values, values), "layer_norm: dx, dy");
    assert_eq!(rstd.len(), rows, "layer_norm: rstd");
    assert_eq!(
        dx_copy.map_or(values, Slice::len),
        values,
        "layer_norm: copy"
    );
    let (residual, period) = match residual {
        Residual::None => (None, 1),
        Residual::EveryRow(gradient) => (Some(gradient), 1),
        Residual::EveryNth { gradient, period } => (Some(gradient), period),
    };
    if let Some(residual) = residual {
        let expected = rows.div_ceil(period) * width;
        assert_eq!(residual.len(), expected, "layer_norm: residual");
    }
    let access = Access::of(
        width,
        x.stride,
        &[dx, x.values, w, partials, residual.unwrap_or(dx)],
        &[dy, dx_copy.unwrap_or(dy)],
    );
    let parts = parts(gpu.properties(), rows, width);
    let partials = Partials::new(partials, parts, 3 * width);
    let kernel = LayerNormBackward {
        dx: dx.ptr(),
        dx_copy: Ptr::from(dx_copy),
        partials: partials.ptr(),
        dy: dy.ptr(),
        x: x.values.ptr(),
        w: w.ptr(),
        mean: mean.ptr(),
        rstd: rstd.ptr(),
        residual: Ptr::from(residual),
        rows: rows as i32,
        x_stride: x.stride as i32,
        residual_period: period as i32,
    };
    let geometry = Geometry::line(parts, THREADS).resident(resident(width));
    // SAFETY: every length was compared with the rows and columns that the kernel visits, and a
    // block writes one row of the partial sums.
    unsafe { gpu.launch(&kernel, &specialise(width, access), geometry)? };
    Ok(partials)
}

impl GpuOp for LayerNorm {
    fn stored(&self, case: &Case) -> Stored {
        use Storage::{Element, F32};
        match case.variant {
            // dx is read from its copy.
            super::IN_STREAM => Stored {
                inputs: &[F32; 4],
                outputs: &[Element, F32],
                output_gradients: &[Element, F32],
                input_gradients: &[Element, F32, F32, F32],
            },
            _ => Stored {
                inputs: &[F32; 3],
                outputs: &[Element],
                output_gradients: &[Element],
                input_gradients: &[F32; 3],
            },
        }
    }

    fn gpu_forward(&self, gpu: &Gpu, case: &Case, inputs: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let (n, c) = (case.dim("N"), case.dim("C"));
        let stream = self.stream(case, inputs);
        // Rows apart, as the class tokens are in the stream.
        let apart = c + 8;
        let spread: Vec<f32> = stream
            .chunks(c)
            .flat_map(|row| [row, &[0.0; 8]].concat())
            .collect();
        let x = gpu.upload(&spread)?;
        let (w, b) = (gpu.upload(&inputs[1])?, gpu.upload(&inputs[2])?);
        let y = gpu.alloc(n * c)?;
        let (mean, rstd) = (gpu.alloc(n)?, gpu.alloc(n)?);
        let rows = Rows {
            values: x.all(),
            stride: apart,
        };
        let (w, b, eps) = (w.all(), b.all(), EPS as f32);
        forward(gpu, y.all(), mean.all(), rstd.all(), rows, w, b, eps)?;
        let y = gpu.read_elements(y.all())?;
        Ok(self.outputs(case, y, &stream))
    }

    fn gpu_backward(
        &self,
        gpu: &Gpu,
        case: &Case,
        inputs: &[Vec<f32>],
        dy: &[Vec<f32>],
        micro_batches: usize,
    ) -> Result<Gradients<f32>> {
        let (n, c) = (case.dim("N"), case.dim("C"));
        let x = gpu.upload(&self.stream(case, inputs))?;
        let (w, b) = (gpu.upload(&inputs[1])?, gpu.upload(&inputs[2])?);
        let (y, mean, rstd) = (gpu.alloc(n * c)?, gpu.alloc(n)?, gpu.alloc(n)?);
        let (mean, rstd, w) = (mean.all(), rstd.all(), w.all());
        let rows = Rows::packed(x.all(), c);
        forward(gpu, y.all(), mean, rstd, rows, w, b.all(), EPS as f32)?;
        let d = gpu.upload_elements(&dy[0])?;
        let partials = gpu.alloc(parts(gpu.properties(), n, c) * 3 * c)?;
        let (dx, copy) = (gpu.alloc(n * c)?, gpu.alloc(n * c)?);
        let (parameters, bias) = (gpu.alloc(2 * c)?, gpu.alloc(c)?);
        let passed_on = gpu.alloc(dy.get(1).map_or(0, Vec::len))?;
        for micro_batch in 0..micro_batches {
            let residual = match dy.get(1) {
                None => Residual::None,
                Some(passed) if passed.len() == n * c => {
                    gpu.write(dx.all(), passed)?;
                    Residual::EveryRow(dx.all())
                }
                Some(passed) => {
                    gpu.write(passed_on.all(), passed)?;
                    Residual::EveryNth {
                        gradient: passed_on.all(),
                        period: case.dim("every"),
                    }
                }
            };
            let (dx, copy, d) = (dx.all(), Some(copy.all()), d.all());
            let sums = partials.all();
            let sums = backward(gpu, dx, copy, sums, d, rows, w, mean, rstd, residual)?;
            let accumulate = Accumulate::part(micro_batch);
            let (own, next) = (sums.columns(0..2 * c), sums.columns(2 * c..3 * c));
            column_sum::finish(gpu, parameters.all(), None, own, accumulate)?;
            column_sum::finish(gpu, bias.all(), None, next, accumulate)?;
        }
        let dx = match case.variant {
            super::IN_STREAM => gpu.read_elements(copy.all())?,
            _ => gpu.read(dx.all())?,
        };
        let (dw, db) = (parameters.slice(0..c), parameters.slice(c..2 * c));
        let mut gradients = vec![Some(dx), Some(gpu.read(dw)?), Some(gpu.read(db)?)];
        if case.variant == super::IN_STREAM {
            gradients.push(Some(gpu.read(bias.all())?));
        }
        Ok(gradients)
    }

    fn gpu_bytes(&self, gpu: &Properties, case: &Case, pass: Pass) -> u64 {
        let (n, c) = (case.dim("N"), case.dim("C"));
        let forward = n * c * (4 + 2) + 2 * 4 * c + 2 * 4 * n;
        let bytes = match pass {
            Pass::Forward => forward,
            Pass::Backward => {
                let residual = match case.variant {
                    super::IN_STREAM => 4 * n.div_ceil(case.dim("every")) * c,
                    _ => 0,
                };
                let rows = n * c * (2 + 4 + 4 + 2) + residual + 4 * c + 2 * 4 * n;
                let partials = 4 * parts(gpu, n, c) * 3 * c;
                forward + rows + 2 * partials + 4 * 3 * c
            }
        };
        bytes as u64
    }
}
