//! The gradient of a weight, dW = dyᵀ x: the one product with a long sum and a small result, so its
//! sum may be split, and the parts added in order by a kernel of its own.

use super::launch::{Access, ColumnSums, copy_bytes, launch};
use super::tile::{Product, Tile};
use crate::device::kernels::{
    LinearBackwardWeight, LinearBackwardWeightPart, LinearBackwardWeightSum,
};
use crate::device::{Element, Geometry, Gpu, Kernel, Properties, Ptr, Slice, Specialisation};
use crate::error::Result;
use crate::ops::column_sum::Partials;
use crate::ops::gemm::Accumulate;
use crate::ops::linear::Shape;
use crate::ops::rows::Rows;

/// Values that a block of the adding kernel makes, and its threads.
const SUM_VALUES: usize = 4096;
pub(super) const SUM_THREADS: u32 = 256;

pub(super) fn sum_specialisation() -> Specialisation {
    LinearBackwardWeightSum::specialise(&[("LINEAR_BACKWARD_WEIGHT_SUM", 1)])
}

/// How the gradient of a weight is computed for a shape on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightPlan {
    pub tile: Tile,
    /// Parts of the sum over the rows, of [`WeightPlan::part_rows`] rows each.
    pub parts: usize,
    /// A multiple of the tile's depth.
    pub part_rows: usize,
    shape: Shape,
}

impl WeightPlan {
    /// The fastest by estimate.
    pub fn new(gpu: &Properties, shape: Shape) -> Self {
        let (tile, part_rows) = Tile::choose_split(
            gpu,
            Product {
                m: shape.outputs,
                n: shape.inputs,
                k: shape.rows,
                epilogue: 4,
                copy: copy_bytes(shape.outputs).min(copy_bytes(shape.inputs)),
            },
        );
        Self::with(tile, part_rows, shape)
    }

    /// With a tile and a split of the caller's choice, to test or to time it.
    pub fn with(tile: Tile, part_rows: usize, shape: Shape) -> Self {
        Self {
            tile,
            parts: shape.rows.div_ceil(part_rows),
            part_rows,
            shape,
        }
    }

    /// Values of dW.
    fn values(&self) -> usize {
        self.shape.outputs * self.shape.inputs
    }

    /// Floats of scratch memory that [`backward_weight`] needs.
    pub fn workspace(&self) -> usize {
        match self.parts {
            1 => 0,
            parts => parts * self.values(),
        }
    }

    /// Sums of squares that [`backward_weight`] leaves.
    pub fn squares(&self) -> usize {
        match self.parts {
            1 => self.tile.count(self.shape.outputs, self.shape.inputs),
            _ => self.values().div_ceil(SUM_VALUES),
        }
    }
}

/// `dw` (outputs, inputs), packed, = dyᵀ x of `dy` (N, outputs) and `x` (N, inputs), by `accumulate`;
/// `squares`, where given, gets the sums of squares of what dw becomes, in
/// [`WeightPlan::squares`] parts. `workspace` has at least [`WeightPlan::workspace`] values.
pub fn backward_weight(
    gpu: &Gpu,
    dw: Slice<f32>,
    squares: Option<Slice<f32>>,
    workspace: Slice<f32>,
    dy: Rows<Element>,
    x: Rows<Element>,
    accumulate: Accumulate,
    shape: Shape,
) -> Result<()> {
    let plan = WeightPlan::new(gpu.properties(), shape);
    backward_weight_on(gpu, &plan, dw, squares, workspace, dy, x, accumulate)
}

/// [`backward_weight`] with a plan of the caller's.
pub fn backward_weight_on(
    gpu: &Gpu,
    plan: &WeightPlan,
    dw: Slice<f32>,
    squares: Option<Slice<f32>>,
    workspace: Slice<f32>,
    dy: Rows<Element>,
    x: Rows<Element>,
    accumulate: Accumulate,
) -> Result<()> {
    let to = Results {
        dw,
        squares,
        column_sums: None,
    };
    dy.check("linear: dy", plan.shape.rows, plan.shape.outputs);
    // SAFETY: dy was checked against the shape.
    unsafe { run(gpu, plan, to, workspace, dy, None, x, accumulate) }
}

/// [`backward_weight_on`], and the column sums of `dy`, the gradient of the bias, for a dy whose maker
/// does not leave them; `partials` must hold as many rows of `outputs` values as the plan has parts.
pub fn backward_weight_and_bias<'a>(
    gpu: &Gpu,
    plan: &WeightPlan,
    dw: Slice<f32>,
    squares: Option<Slice<f32>>,
    partials: Slice<'a, f32>,
    workspace: Slice<f32>,
    dy: Rows<Element>,
    x: Rows<Element>,
    accumulate: Accumulate,
) -> Result<Partials<'a>> {
    let partials = Partials::new(partials, plan.parts, plan.shape.outputs);
    let to = Results {
        dw,
        squares,
        column_sums: Some(partials),
    };
    dy.check("linear: dy", plan.shape.rows, plan.shape.outputs);
    // SAFETY: dy was checked against the shape.
    unsafe { run(gpu, plan, to, workspace, dy, None, x, accumulate)? };
    Ok(partials)
}

/// [`backward_weight`] of the patch embedding: `dx` (images, 1 + patches, outputs) is the gradient of
/// the stream, of which the class rows are passed over, `patches` (images · `per_image`, inputs) the
/// layer's input. `shape.rows` is images · `per_image`.
pub fn backward_weight_of_patches(
    gpu: &Gpu,
    dw: Slice<f32>,
    squares: Option<Slice<f32>>,
    workspace: Slice<f32>,
    dx: Slice<Element>,
    patches: Slice<Element>,
    per_image: usize,
    accumulate: Accumulate,
    shape: Shape,
) -> Result<()> {
    let images = shape.rows / per_image;
    assert_eq!(shape.rows, images * per_image, "linear: rows of patches");
    let dx = Rows::packed(dx, shape.outputs);
    dx.check("linear: dx", images * (per_image + 1), shape.outputs);
    let x = Rows::packed(patches, shape.inputs);
    let plan = WeightPlan::new(gpu.properties(), shape);
    let to = Results {
        dw,
        squares,
        column_sums: None,
    };
    let per_image = Some(per_image);
    // SAFETY: dx has the rows of the patches, and a class row for each image.
    unsafe { run(gpu, &plan, to, workspace, dx, per_image, x, accumulate) }
}

/// What is written.
struct Results<'a> {
    dw: Slice<'a, f32>,
    squares: Option<Slice<'a, f32>>,
    /// A row for each of the plan's parts.
    column_sums: Option<Partials<'a>>,
}

/// # Safety
/// `dy` has the rows of the plan's shape, with `per_image` also one before each so many.
unsafe fn run(
    gpu: &Gpu,
    plan: &WeightPlan,
    to: Results,
    workspace: Slice<f32>,
    dy: Rows<Element>,
    per_image: Option<usize>,
    x: Rows<Element>,
    accumulate: Accumulate,
) -> Result<()> {
    let WeightPlan {
        tile, parts, shape, ..
    } = *plan;
    let Results { dw, squares, .. } = to;
    x.check("linear: x", shape.rows, shape.inputs);
    assert_eq!(dw.len(), plan.values(), "linear: dw");
    if let Some(squares) = squares {
        assert_eq!(squares.len(), plan.squares(), "linear: squares");
    }
    assert!(workspace.len() >= plan.workspace(), "linear: workspace");
    let access = Access {
        patches: per_image,
        column_sums: match to.column_sums {
            Some(_) => ColumnSums::OfDy,
            None => ColumnSums::None,
        },
        ..Access::of((dy, shape.outputs), (x, shape.inputs))
    };
    let result = match parts {
        1 => dw,
        _ => workspace,
    };
    let access = access.epilogue(
        shape.inputs,
        None,
        &[Rows::packed(result, shape.inputs)],
        &[],
    );
    let column_sums = to.column_sums.map_or(Ptr::NULL, |sums| sums.ptr());
    let [rows, outputs, inputs] = shape.dims();
    let accumulate = accumulate.flag();
    let size = (shape.outputs, shape.inputs);
    if parts == 1 {
        let kernel = LinearBackwardWeight {
            dw: dw.ptr(),
            squares: Ptr::from(squares),
            column_sums,
            dy: dy.values.ptr(),
            x: x.values.ptr(),
            rows,
            outputs,
            inputs,
            dy_stride: dy.stride as i32,
            x_stride: x.stride as i32,
            accumulate,
        };
        // SAFETY: the tensors were compared with the shape, by the caller and above.
        return unsafe { launch(gpu, &kernel, &tile, access, size, 1) };
    }
    let kernel = LinearBackwardWeightPart {
        parts: workspace.ptr(),
        column_sums,
        dy: dy.values.ptr(),
        x: x.values.ptr(),
        rows,
        outputs,
        inputs,
        dy_stride: dy.stride as i32,
        x_stride: x.stride as i32,
        part_rows: plan.part_rows as i32,
    };
    // SAFETY: as above; the workspace holds all parts.
    unsafe { launch(gpu, &kernel, &tile, access, size, parts)? };
    let kernel = LinearBackwardWeightSum {
        dw: dw.ptr(),
        squares: Ptr::from(squares),
        parts: workspace.ptr(),
        count: plan.values() as i32,
        part_count: parts as i32,
        accumulate,
    };
    let geometry = Geometry::line(plan.values().div_ceil(SUM_VALUES), SUM_THREADS);
    // SAFETY: the parts were written by the launch before, dw has as many values as one of them.
    unsafe { gpu.launch(&kernel, &sum_specialisation(), geometry) }
}
