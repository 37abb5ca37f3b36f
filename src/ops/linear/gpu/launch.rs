//! From operands to a specialisation and a launch of `kernels/linear.cu`.

use super::tile::Tile;
use crate::device::kernels::{
    LinearBackwardInput, LinearBackwardInputGelu, LinearBackwardWeight, LinearBackwardWeightPart,
    LinearForward, LinearForwardF32, LinearForwardGelu, LinearForwardPatch, LinearForwardResidual,
};
use crate::device::{Element, Geometry, Gpu, Kernel, Slice, Specialisation};
use crate::error::Result;
use crate::ops::rows::Rows;

/// A kernel of `kernels/linear.cu` that computes a product.
pub trait ProductKernel: Kernel {
    /// The macro that asks for it.
    const MACRO: &'static str;
}

macro_rules! product_kernels {
    ($($kernel:ty: $name:literal,)*) => {
        $(impl ProductKernel for $kernel {
            const MACRO: &'static str = $name;
        })*
    };
}

product_kernels! {
    LinearForward: "LINEAR_FORWARD",
    LinearForwardF32: "LINEAR_FORWARD_F32",
    LinearForwardGelu: "LINEAR_FORWARD_GELU",
    LinearForwardResidual: "LINEAR_FORWARD_RESIDUAL",
    LinearForwardPatch: "LINEAR_FORWARD_PATCH",
    LinearBackwardInput: "LINEAR_BACKWARD_INPUT",
    LinearBackwardInputGelu: "LINEAR_BACKWARD_INPUT_GELU",
    LinearBackwardWeight: "LINEAR_BACKWARD_WEIGHT",
    LinearBackwardWeightPart: "LINEAR_BACKWARD_WEIGHT_PART",
}

/// How memory may be accessed, which rows are passed over, what is summed up: macros of the
/// specialisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Bytes of a copy of the operands a and b.
    pub copies: [usize; 2],
    /// Columns that the epilogue moves at once.
    pub pack: usize,
    /// Patches of an image, where the rows of an operand or the result are those of the stream.
    pub patches: Option<usize>,
    pub column_sums: ColumnSums,
}

/// What a weight's gradient makes of dy's columns besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnSums {
    /// Nothing: whoever made dy has summed them up.
    None,
    /// Their sums, the gradient of the bias.
    OfDy,
}

impl Access {
    /// For operands with rows of these lengths.
    pub fn of(a: (Rows<Element>, usize), b: (Rows<Element>, usize)) -> Self {
        let copy = |(rows, width): (Rows<Element>, usize)| {
            largest_copy(rows.values.address(), rows.stride, width)
        };
        Self {
            copies: [copy(a), copy(b)],
            pack: 4,
            patches: None,
            column_sums: ColumnSums::None,
        }
    }

    /// The smaller of the copies.
    pub fn copy(&self) -> usize {
        self.copies[0].min(self.copies[1])
    }

    /// With an epilogue that visits `columns` columns of these tensors, and a bias of as many.
    pub fn epilogue(
        self,
        columns: usize,
        bias: Option<Slice<f32>>,
        f32s: &[Rows<f32>],
        elements: &[Rows<Element>],
    ) -> Self {
        let bias = bias.map(|bias| (bias.is_aligned_to(16), columns));
        let f32s = f32s
            .iter()
            .map(|rows| (rows.values.is_aligned_to(16), rows.stride));
        let elements = elements
            .iter()
            .map(|rows| (rows.values.is_aligned_to(8), rows.stride));
        let packs = columns.is_multiple_of(4)
            && bias
                .into_iter()
                .chain(f32s)
                .chain(elements)
                .all(|(aligned, stride)| aligned && stride.is_multiple_of(4));
        Self {
            pack: if packs { 4 } else { 1 },
            ..self
        }
    }

    /// With images of `patches` patches.
    pub fn patches(self, patches: usize) -> Self {
        Self {
            patches: Some(patches),
            ..self
        }
    }
}

/// The largest copy that divides address, stride and length: each is then inside a row or outside.
fn largest_copy(address: u64, stride: usize, width: usize) -> usize {
    let fits = |bytes: &usize| {
        address.is_multiple_of(*bytes as u64)
            && (2 * stride).is_multiple_of(*bytes)
            && (2 * width).is_multiple_of(*bytes)
    };
    [16, 8, 4].into_iter().find(fits).unwrap_or(2)
}

/// The same for packed rows of `width` values at an address that allows everything.
pub fn copy_bytes(width: usize) -> usize {
    largest_copy(0, width, width)
}

/// The kernel `K` for this tile.
pub fn specialise<K: ProductKernel>(tile: &Tile, access: Access) -> Specialisation {
    let mut defines = vec![(K::MACRO, 1)];
    defines.extend(tile.defines());
    defines.extend([
        ("COPY_A", access.copies[0] as i64),
        ("COPY_B", access.copies[1] as i64),
        ("PACK", access.pack as i64),
    ]);
    defines.extend(access.patches.map(|patches| ("PATCHES", patches as i64)));
    if access.column_sums == ColumnSums::OfDy {
        defines.push(("COLUMN_SUMS", 1));
    }
    K::specialise(&defines)
}

/// Runs `kernel` for a product c (m, n) in `parts` parts of the sum.
///
/// # Safety
/// As [`Gpu::launch`]: the caller has compared the lengths of all tensors with m, n and k.
pub unsafe fn launch<K: ProductKernel>(
    gpu: &Gpu,
    kernel: &K,
    tile: &Tile,
    access: Access,
    (m, n): (usize, usize),
    parts: usize,
) -> Result<()> {
    let geometry = Geometry::plane(tile.count(m, n), parts, tile.threads());
    let geometry = geometry.shared(tile.shared()).resident(tile.blocks());
    // SAFETY: the caller's promise; the macros and the geometry are those of the tile.
    unsafe { gpu.launch(kernel, &specialise::<K>(tile, access), geometry) }
}
