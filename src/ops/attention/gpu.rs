//! Attention on a GPU: `kernels/attention.cu`.
//!
//! Head sizes are multiples of 8 up to 128 ([`check`]); any number of tokens.

mod allowance;
mod entry;
mod geometry;

use crate::device::kernels::{
    AttentionBackward, AttentionBackwardKey, AttentionBackwardQuery, AttentionForward,
};
use crate::device::{Element, Geometry, Gpu, Kernel, Properties, Slice, Specialisation};
use crate::error::{Error, Result};
use crate::ops::column_sum::Partials;

use super::Shape;
use geometry::Tiling;

/// Which tokens ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queries {
    /// All of them.
    EveryToken,
    /// The first of each image, as in the last layer of a classifier. Of the others only keys and
    /// values are read, and only their gradients written: what lies in the other rows of Q stays
    /// unread, and the same rows of dQ stay as they were. Nobody may read them.
    ClassToken,
}

impl Queries {
    /// Queries of an image with `tokens` tokens.
    pub fn count(self, tokens: usize) -> usize {
        match self {
            Self::EveryToken => tokens,
            Self::ClassToken => 1,
        }
    }
}

/// [`Error::Device`] unless the kernels have this head size.
pub fn check(head_size: usize) -> Result<()> {
    match head_size {
        8..=128 if head_size.is_multiple_of(8) => Ok(()),
        _ => Err(Error::device(
            format!(
                "attention heads of {head_size} values: the GPU kernels have multiples of 8 up to 128"
            ),
            "run with --device cpu",
        )),
    }
}

/// Values of q, k, v together, or of their gradients: (B, T, 3, NH, HS).
fn packed(shape: Shape) -> usize {
    shape.images * shape.tokens * 3 * shape.width()
}

/// Queries of all heads.
fn rows(shape: Shape, queries: Queries) -> usize {
    shape.images * shape.heads * queries.count(shape.tokens)
}

/// 1 / √HS.
fn scale(shape: Shape) -> f32 {
    (1.0 / (shape.head_size as f64).sqrt()) as f32
}

/// log₂ e / √HS: of scores it makes exponents of 2. Rounded once, for its error grows with them.
fn to_exponent(shape: Shape) -> f32 {
    (std::f64::consts::LOG2_E / (shape.head_size as f64).sqrt()) as f32
}

/// The macros of a pass.
fn specialise(
    pass: &'static str,
    tiling: &Tiling,
    shape: Shape,
    queries: Queries,
) -> Specialisation {
    AttentionForward::specialise(&[
        (pass, 1),
        ("TOKENS", shape.tokens as i64),
        ("QUERIES", queries.count(shape.tokens) as i64),
        ("HEAD_SIZE", shape.head_size as i64),
        ("WARPS", tiling.warps as i64),
        ("BLOCKS", tiling.blocks as i64),
        ("TILE", tiling.tile as i64),
        ("BLOCK", tiling.block as i64),
    ])
}

fn forward_specialisation(tiling: &Tiling, shape: Shape, queries: Queries) -> Specialisation {
    specialise("FORWARD", tiling, shape, queries)
}

fn backward_specialisation(tiling: &Tiling, shape: Shape, queries: Queries) -> Specialisation {
    specialise("BACKWARD", tiling, shape, queries)
}

/// Attention of `qkv` (B, T, 3, NH, HS) into `o` (B, queries, NH, HS); `lse` (B, NH, queries), the
/// logarithm of each query's Σ exp S, is kept for [`backward`].
///
/// # Panics
/// If lengths disagree, `qkv` is not aligned to 16 bytes, or the head size is none of [`check`]'s.
pub fn forward(
    gpu: &Gpu,
    o: Slice<Element>,
    lse: Slice<f32>,
    qkv: Slice<Element>,
    shape: Shape,
    queries: Queries,
) -> Result<()> {
    check(shape.head_size).expect("attention: a head size that was checked");
    let rows = rows(shape, queries);
    assert_eq!(qkv.len(), packed(shape), "attention: qkv");
    assert_eq!(o.len(), rows * shape.head_size, "attention: o");
    assert_eq!(lse.len(), rows, "attention: lse");
    assert!(
        qkv.is_aligned_to(16) && o.is_aligned_to(4),
        "attention: alignment"
    );
    let tiling = Tiling::forward(gpu.properties(), shape, queries);
    let kernel = AttentionForward {
        o: o.ptr(),
        lse: lse.ptr(),
        qkv: qkv.ptr(),
        heads: shape.heads as i32,
        parts: tiling.parts as i32,
        to_exponent: to_exponent(shape),
    };
    let spec = forward_specialisation(&tiling, shape, queries);
    // SAFETY: every length was compared with the rows that the kernel visits.
    unsafe { gpu.launch(&kernel, &spec, geometry(&tiling, shape)) }
}

fn geometry(tiling: &Tiling, shape: Shape) -> Geometry {
    let blocks = shape.images * shape.heads * tiling.parts;
    Geometry::line(blocks, tiling.threads()).shared(tiling.shared)
}

/// Rows of partial sums that [`backward`] leaves.
pub fn parts(gpu: &Properties, shape: Shape, queries: Queries) -> usize {
    shape.images * Tiling::backward(gpu, shape, queries).parts
}

/// Floats of scratch memory that [`backward`] wants.
pub fn statistics(shape: Shape, queries: Queries) -> usize {
    2 * rows(shape, queries)
}

/// Gradients of [`forward`] for `d_o` (B, queries, NH, HS), in the layout of `qkv`, and partial
/// sums of their columns, of which `partials` must hold [`parts`] · 3 C: the gradient of the
/// projection's bias is their sum.
///
/// `statistics`, [`statistics`] floats, is scratch.
///
/// # Panics
/// If lengths disagree, `qkv` or `d_o` is not aligned to 16 bytes, or the head size is none of
/// [`check`]'s.
pub fn backward<'a>(
    gpu: &Gpu,
    d_qkv: Slice<Element>,
    statistics: Slice<f32>,
    partials: Slice<'a, f32>,
    d_o: Slice<Element>,
    o: Slice<Element>,
    qkv: Slice<Element>,
    lse: Slice<f32>,
    shape: Shape,
    queries: Queries,
) -> Result<Partials<'a>> {
    check(shape.head_size).expect("attention: a head size that was checked");
    let rows = rows(shape, queries);
    let out = rows * shape.head_size;
    assert_eq!(qkv.len(), packed(shape), "attention: qkv");
    assert_eq!(d_qkv.len(), qkv.len(), "attention: d_qkv");
    assert_eq!((o.len(), d_o.len()), (out, out), "attention: o, d_o");
    assert_eq!(lse.len(), rows, "attention: lse");
    assert_eq!(statistics.len(), 2 * rows, "attention: statistics");
    assert!(
        qkv.is_aligned_to(16)
            && d_o.is_aligned_to(16)
            && o.is_aligned_to(4)
            && d_qkv.is_aligned_to(4)
            && statistics.is_aligned_to(8),
        "attention: alignment"
    );
    let tiling = Tiling::backward(gpu.properties(), shape, queries);
    let parts = shape.images * tiling.parts;
    let sums = Partials::new(partials, parts, 3 * shape.width());
    let spec = backward_specialisation(&tiling, shape, queries);
    let geometry = geometry(&tiling, shape);
    let (scale, to_exponent) = (scale(shape), to_exponent(shape));
    if tiling.resident {
        let kernel = AttentionBackward {
            d_qkv: d_qkv.ptr(),
            statistics: statistics.ptr(),
            sums: sums.ptr(),
            d_o: d_o.ptr(),
            o: o.ptr(),
            qkv: qkv.ptr(),
            lse: lse.ptr(),
            heads: shape.heads as i32,
            parts: tiling.parts as i32,
            scale,
            to_exponent,
        };
        // SAFETY: every length was compared with the rows that the kernel visits, and a block
        // writes its head's columns of its image's partial sums.
        unsafe { gpu.launch(&kernel, &spec, geometry)? };
        return Ok(sums);
    }
    let query = AttentionBackwardQuery {
        d_qkv: d_qkv.ptr(),
        statistics: statistics.ptr(),
        sums: sums.ptr(),
        d_o: d_o.ptr(),
        o: o.ptr(),
        qkv: qkv.ptr(),
        lse: lse.ptr(),
        heads: shape.heads as i32,
        parts: tiling.parts as i32,
        scale,
        to_exponent,
    };
    let key = AttentionBackwardKey {
        d_qkv: d_qkv.ptr(),
        sums: sums.ptr(),
        d_o: d_o.ptr(),
        qkv: qkv.ptr(),
        statistics: statistics.ptr(),
        heads: shape.heads as i32,
        parts: tiling.parts as i32,
        scale,
        to_exponent,
    };
    // SAFETY: as above; a block writes one row of partial sums, the columns of its head, of the
    // queries in the first launch and of keys and values in the second.
    unsafe {
        gpu.launch(&query, &spec, geometry)?;
        gpu.launch(&key, &spec, geometry)?;
    }
    Ok(sums)
}
