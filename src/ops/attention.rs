//! Softmax attention, head by head (Vaswani et al. 2017):
//! S = Q Kᵀ / √HS, P = softmax(S) over keys, O = P V.
//!
//! dV = Pᵀ dO, dP = dO Vᵀ, dS = P ⊙ (dP − rowsum(dO ⊙ O)), dQ = dS K / √HS, dK = dSᵀ Q / √HS.
//!
//! Saved for the backward pass: Q, K, V, O and lse = log Σ exp S of each query, from which P is
//! computed again (Dao et al. 2022).
//!
//! Q, K and V are read where the projection wrote them, and their gradients written in the same
//! layout: no head is ever moved.

mod bench;
mod entry;
pub mod gpu;

use rayon::prelude::*;

use super::buffer::Scratch;
use super::gemm::{Accumulate, Mat, MatMut, matmul};
use super::real::{Real, lane_max, lane_sum, simd};

pub use entry::Attention;

/// Sizes of an attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// B.
    pub images: usize,
    /// T.
    pub tokens: usize,
    /// NH.
    pub heads: usize,
    /// HS.
    pub head_size: usize,
}

impl Shape {
    /// C = NH · HS.
    pub fn width(&self) -> usize {
        self.heads * self.head_size
    }
}

/// Queries, keys and values, or their gradients; `S` is a slice.
pub enum Qkv<S> {
    /// Every token asks: (B, T, 3, NH, HS).
    Packed(S),
    /// One token an image asks: queries (B, NH, HS), keys and values (B, T, 2, NH, HS).
    ClassToken { query: S, key_value: S },
}

impl<S> Qkv<S> {
    fn layout(&self, shape: Shape) -> Layout {
        let c = shape.width();
        match self {
            Self::Packed(_) => Layout {
                queries: shape.tokens,
                query_stride: 3 * c,
                key: c,
                stride: 3 * c,
                width: c,
            },
            Self::ClassToken { .. } => Layout {
                queries: 1,
                query_stride: c,
                key: 0,
                stride: 2 * c,
                width: c,
            },
        }
    }
}

/// Where things are within one image.
#[derive(Clone, Copy)]
struct Layout {
    /// Queries of an image.
    queries: usize,
    /// From one query to the next.
    query_stride: usize,
    /// The first key; values follow `width` later.
    key: usize,
    /// From one key to the next.
    stride: usize,
    width: usize,
}

/// `(queries, keys and values)` of image `b`; packed, both are the same slice.
fn image<'a, T>(qkv: &Qkv<&'a [T]>, layout: Layout, tokens: usize, b: usize) -> (&'a [T], &'a [T]) {
    let size = tokens * layout.stride;
    match qkv {
        Qkv::Packed(data) => {
            let image = &data[b * size..][..size];
            (image, image)
        }
        Qkv::ClassToken { query, key_value } => (
            &query[b * layout.width..][..layout.width],
            &key_value[b * size..][..size],
        ),
    }
}

/// Elements from one row of the score matrix to the next: whole cache lines.
fn score_stride(tokens: usize) -> usize {
    tokens.next_multiple_of(16)
}

/// Attention of (B, queries, C) into `out`; `lse` (B, NH, queries) is kept for [`backward`].
pub fn forward<T: Real>(out: &mut [T], lse: &mut [T], qkv: Qkv<&[T]>, shape: Shape) {
    let Shape {
        images,
        tokens,
        heads,
        head_size,
    } = shape;
    let layout = qkv.layout(shape);
    let (queries, width) = (layout.queries, layout.width);
    assert_eq!(out.len(), images * queries * width, "attention: out");
    assert_eq!(lse.len(), images * queries * heads, "attention: lse");
    let scale = T::one() / T::of(head_size as f64).sqrt();
    let row = score_stride(tokens);
    let scratch = || (Scratch::new(queries * row), Scratch::new(queries));
    out.par_chunks_mut(queries * width)
        .zip(lse.par_chunks_mut(queries * heads))
        .enumerate()
        .for_each_init(scratch, |(scores, inverse), (b, (out, lse))| {
            let (query, key_value) = image(&qkv, layout, tokens, b);
            for head in 0..heads {
                let at = head * head_size;
                let q = Mat::strided(&query[at..], queries, head_size, layout.query_stride);
                let k = &key_value[layout.key + at..];
                let k = Mat::strided(k, tokens, head_size, layout.stride);
                let v = &key_value[layout.key + width + at..];
                let v = Mat::strided(v, tokens, head_size, layout.stride);
                let s = MatMut::strided(scores, queries, tokens, row);
                matmul(s, Accumulate::Overwrite, q, k.t());
                simd(
                    #[inline(always)]
                    || {
                        for i in 0..queries {
                            let s = &mut scores[i * row..][..tokens];
                            let max = lane_max(s);
                            for v in s.iter_mut() {
                                *v = ((*v - max) * scale).fast_exp();
                            }
                            let sum = lane_sum(tokens, |j| s[j]);
                            lse[head * queries + i] = max * scale + sum.ln();
                            inverse[i] = T::one() / sum;
                        }
                    },
                );
                let p = Mat::strided(scores, queries, tokens, row);
                let o = MatMut::strided(&mut out[at..], queries, head_size, width);
                matmul(o, Accumulate::Overwrite, p, v);
                for (i, &inverse) in inverse.iter().enumerate() {
                    for o in &mut out[i * width + at..][..head_size] {
                        *o *= inverse;
                    }
                }
            }
        });
}

/// The gradients of one image, to be written.
struct ImageGradient<'a, T> {
    /// None when packed: the queries lie in `key_value`.
    query: Option<&'a mut [T]>,
    key_value: &'a mut [T],
}

/// Splits the gradient buffers by image.
fn image_gradients<'a, T: Send>(
    d: Qkv<&'a mut [T]>,
    layout: Layout,
    tokens: usize,
) -> Vec<ImageGradient<'a, T>> {
    let size = tokens * layout.stride;
    match d {
        Qkv::Packed(data) => data
            .chunks_exact_mut(size)
            .map(|key_value| ImageGradient {
                query: None,
                key_value,
            })
            .collect(),
        Qkv::ClassToken { query, key_value } => query
            .chunks_exact_mut(layout.width)
            .zip(key_value.chunks_exact_mut(size))
            .map(|(query, key_value)| ImageGradient {
                query: Some(query),
                key_value,
            })
            .collect(),
    }
}

/// Gradients of [`forward`] for `d_out` (B, queries, C), in the layout of `qkv`.
pub fn backward<T: Real>(
    d_qkv: Qkv<&mut [T]>,
    d_out: &[T],
    out: &[T],
    lse: &[T],
    qkv: Qkv<&[T]>,
    shape: Shape,
) {
    let Shape {
        images,
        tokens,
        heads,
        head_size,
    } = shape;
    let layout = qkv.layout(shape);
    let (queries, width) = (layout.queries, layout.width);
    assert_eq!(out.len(), images * queries * width, "attention: out");
    assert_eq!(d_out.len(), out.len(), "attention: d_out");
    let gradients = image_gradients(d_qkv, layout, tokens);
    assert_eq!(gradients.len(), images, "attention: d_qkv");
    let scale = T::one() / T::of(head_size as f64).sqrt();
    let row = score_stride(tokens);
    let scratch = || [(); 2].map(|()| Scratch::new(queries * row));
    let one_image = |[p, ds]: &mut [Scratch<T>; 2], b: usize, mut d: ImageGradient<T>| {
        let (query, key_value) = image(&qkv, layout, tokens, b);
        let out = &out[b * queries * width..][..queries * width];
        let d_out = &d_out[b * queries * width..][..queries * width];
        let lse = &lse[b * queries * heads..][..queries * heads];
        for head in 0..heads {
            let at = head * head_size;
            let (k_at, v_at) = (layout.key + at, layout.key + width + at);
            let q = Mat::strided(&query[at..], queries, head_size, layout.query_stride);
            let k = Mat::strided(&key_value[k_at..], tokens, head_size, layout.stride);
            let v = Mat::strided(&key_value[v_at..], tokens, head_size, layout.stride);
            let d_o = Mat::strided(&d_out[at..], queries, head_size, width);
            let square = |data| MatMut::strided(data, queries, tokens, row);
            matmul(square(p), Accumulate::Overwrite, q, k.t());
            matmul(square(ds), Accumulate::Overwrite, d_o, v.t());
            simd(
                #[inline(always)]
                || {
                    for i in 0..queries {
                        let o = &out[i * width + at..][..head_size];
                        let d_o = &d_out[i * width + at..][..head_size];
                        let dot = lane_sum(head_size, |c| o[c] * d_o[c]);
                        let lse = lse[head * queries + i];
                        let p = &mut p[i * row..][..tokens];
                        let ds = &mut ds[i * row..][..tokens];
                        for (p, ds) in p.iter_mut().zip(ds) {
                            *p = p.mul_add(scale, -lse).fast_exp();
                            *ds = *p * (*ds - dot) * scale;
                        }
                    }
                },
            );
            let p = Mat::strided(p, queries, tokens, row);
            let ds = Mat::strided(ds, queries, tokens, row);
            let d_v = &mut d.key_value[v_at..];
            let d_v = MatMut::strided(d_v, tokens, head_size, layout.stride);
            matmul(d_v, Accumulate::Overwrite, p.t(), d_o);
            let d_k = &mut d.key_value[k_at..];
            let d_k = MatMut::strided(d_k, tokens, head_size, layout.stride);
            matmul(d_k, Accumulate::Overwrite, ds.t(), q);
            let d_q = d.query.as_deref_mut().unwrap_or(d.key_value);
            let d_q = MatMut::strided(&mut d_q[at..], queries, head_size, layout.query_stride);
            matmul(d_q, Accumulate::Overwrite, ds, k);
        }
    };
    gradients
        .into_par_iter()
        .enumerate()
        .for_each_init(scratch, |scratch, (b, d)| one_image(scratch, b, d));
}
