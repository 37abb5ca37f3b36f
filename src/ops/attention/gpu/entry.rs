//! What the registry entry can do on a GPU.

use super::{Queries, backward, check, forward, packed, parts, rows, statistics};
use crate::device::{Buffer, Element, ElementType, Gpu, Properties};
use crate::error::Result;
use crate::ops::attention::{Attention, Shape};
use crate::ops::column_sum;
use crate::ops::gemm::Accumulate;
use crate::ops::gpu::{Allowance, GpuOp, Storage, Stored};
use crate::ops::registry::{Case, Gradients, Pass};

/// The tensors of a case and where their rows lie in (B, T, 3, C): first value, length, distance to
/// the next row.
fn places(shape: Shape, queries: Queries) -> Vec<(usize, usize, usize)> {
    let c = shape.width();
    match queries {
        Queries::EveryToken => vec![(0, 3 * c, 3 * c)],
        Queries::ClassToken => vec![(0, c, shape.tokens * 3 * c), (c, 2 * c, 3 * c)],
    }
}

/// Queries, keys and values as the projection leaves them; where only the class token asks, the
/// other queries hold anything.
fn upload(
    gpu: &Gpu,
    tensors: &[Vec<f32>],
    shape: Shape,
    queries: Queries,
) -> Result<Buffer<Element>> {
    let qkv = gpu.alloc(packed(shape))?;
    for (tensor, (first, len, stride)) in tensors.iter().zip(places(shape, queries)) {
        for (row, values) in tensor.chunks_exact(len).enumerate() {
            let values = values.iter().map(|&value| gpu.element().from_f32(value));
            let at = first + row * stride;
            gpu.write(qkv.slice(at..at + len), &values.collect::<Vec<_>>())?;
        }
    }
    Ok(qkv)
}

/// The gradients of the tensors.
fn download(
    gpu: &Gpu,
    d_qkv: &Buffer<Element>,
    shape: Shape,
    queries: Queries,
) -> Result<Vec<Vec<f32>>> {
    let tensor = |(first, len, stride)| {
        let starts = (first..packed(shape)).step_by(stride);
        let rows = starts.map(|at| gpu.read_elements(d_qkv.slice(at..at + len)));
        Ok(rows.collect::<Result<Vec<_>>>()?.concat())
    };
    places(shape, queries).into_iter().map(tensor).collect()
}

/// The projected tensors as the device stores them.
fn stored_tensors(element: ElementType, case: &Case, inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let tensors = Attention::projected(case, inputs);
    let rounded = tensors.iter();
    rounded
        .map(|tensor| Storage::Element.round(element, tensor))
        .collect()
}

impl GpuOp for Attention {
    fn takes(&self, case: &Case) -> bool {
        check(case.dim("HS")).is_ok()
    }

    fn stored(&self, case: &Case) -> Stored {
        use Storage::{Element, F32};
        let inputs: &[Storage] = match (Self::queries(case), Self::has_bias(case)) {
            (Queries::EveryToken, false) => &[Element],
            (Queries::EveryToken, true) => &[Element, F32],
            (Queries::ClassToken, false) => &[Element; 2],
            (Queries::ClassToken, true) => &[Element, Element, F32],
        };
        Stored {
            inputs,
            outputs: &[Element, F32],
            output_gradients: &[Element],
            input_gradients: inputs,
        }
    }

    fn gpu_forward(&self, gpu: &Gpu, case: &Case, inputs: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let (shape, queries) = (Self::shape(case), Self::queries(case));
        let qkv = upload(gpu, &Self::projected(case, inputs), shape, queries)?;
        let rows = rows(shape, queries);
        let (o, lse) = (gpu.alloc(rows * shape.head_size)?, gpu.alloc(rows)?);
        forward(gpu, o.all(), lse.all(), qkv.all(), shape, queries)?;
        Ok(vec![gpu.read_elements(o.all())?, gpu.read(lse.all())?])
    }

    fn gpu_backward(
        &self,
        gpu: &Gpu,
        case: &Case,
        inputs: &[Vec<f32>],
        dy: &[Vec<f32>],
        micro_batches: usize,
    ) -> Result<Gradients<f32>> {
        let (shape, queries) = (Self::shape(case), Self::queries(case));
        let qkv = upload(gpu, &Self::projected(case, inputs), shape, queries)?;
        let rows = rows(shape, queries);
        let (o, lse) = (gpu.alloc(rows * shape.head_size)?, gpu.alloc(rows)?);
        let (o, lse, qkv) = (o.all(), lse.all(), qkv.all());
        forward(gpu, o, lse, qkv, shape, queries)?;
        let d_o = gpu.upload_elements(&dy[0])?;
        let d_qkv = gpu.alloc(packed(shape))?;
        let scratch = gpu.alloc(statistics(shape, queries))?;
        let columns = 3 * shape.width();
        let partials = gpu.alloc(parts(gpu.properties(), shape, queries) * columns)?;
        let bias = gpu.alloc(columns)?;
        for micro_batch in 0..micro_batches {
            let (d_qkv, scratch, d_o) = (d_qkv.all(), scratch.all(), d_o.all());
            let sums = partials.all();
            let sums = backward(gpu, d_qkv, scratch, sums, d_o, o, qkv, lse, shape, queries)?;
            let accumulate = Accumulate::part(micro_batch);
            if Self::has_bias(case) {
                column_sum::finish(gpu, bias.all(), None, sums, accumulate)?;
            }
        }
        let mut gradients = download(gpu, &d_qkv, shape, queries)?;
        if Self::has_bias(case) {
            gradients.push(gpu.read(bias.all())?);
        }
        Ok(gradients.into_iter().map(Some).collect())
    }

    fn gpu_bytes(&self, gpu: &Properties, case: &Case, pass: Pass) -> u64 {
        let (shape, queries) = (Self::shape(case), Self::queries(case));
        let (rows, columns) = (rows(shape, queries), 3 * shape.width());
        let o = 2 * rows * shape.head_size;
        let kv = 2 * shape.images * shape.tokens * 2 * shape.width();
        let qkv = o + kv; // q is as large as o
        let (lse, statistics) = (4 * rows, 8 * rows);
        let forward = qkv + o + lse;
        let bytes = match pass {
            Pass::Forward => forward,
            Pass::Backward => {
                let parts = parts(gpu, shape, queries);
                let partials = 4 * parts * columns;
                let once = qkv + 2 * o + lse + 2 * statistics + qkv + partials;
                // The second launch of long sequences reads q, k, v and dO again.
                let again = if parts > shape.images { qkv + o } else { 0 };
                let bias = if Self::has_bias(case) {
                    partials + 4 * columns
                } else {
                    0
                };
                forward + once + again + bias
            }
        };
        bytes as u64
    }

    /// P and dS are rounded: they are operands of the tensor cores.
    fn rounded_forward(
        &self,
        element: ElementType,
        case: &Case,
        inputs: &[Vec<f32>],
    ) -> Vec<Vec<f32>> {
        let tensors = stored_tensors(element, case, inputs);
        Self::plain(case, &tensors, |x| element.round(x))
    }

    fn rounded_backward(
        &self,
        element: ElementType,
        case: &Case,
        inputs: &[Vec<f32>],
        dy: &[Vec<f32>],
    ) -> Gradients<f32> {
        let tensors = stored_tensors(element, case, inputs);
        let gradients = Self::plain_gradients(case, &tensors, dy, |x| element.round(x));
        let stored = self.stored(case).input_gradients;
        let pairs = gradients.into_iter().zip(stored);
        pairs
            .map(|(d, storage)| d.map(|d| storage.round(element, &d)))
            .collect()
    }

    fn allowance(&self) -> Option<&dyn Allowance> {
        Some(self)
    }
}
