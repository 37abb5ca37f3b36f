//! The registry entry of attention.

use std::borrow::Cow;

use super::gpu::Queries;
use super::{Layout, Qkv, Shape, backward, forward, image};
use crate::ops::gpu::GpuOp;
use crate::ops::plain::{self, Head};
use crate::ops::real::Real;
use crate::ops::registry::{Case, Input, Op, Role, real_passes};

/// Only the class token asks.
pub(super) const CLASS_TOKEN: &str = "class-token";
/// The projection's bias is an input and is added to q, k and v: its gradient is what the backward
/// pass is fused with.
const BIAS: &str = "bias";
const CLASS_TOKEN_BIAS: &str = "class-token bias";

/// Registry entry. Inputs are qkv, or query and key_value where only the class token asks; then
/// the bias. Outputs are the attention's, and lse, which is kept.
pub struct Attention;

impl Attention {
    pub(super) fn shape(case: &Case) -> Shape {
        Shape {
            images: case.dim("B"),
            tokens: case.dim("T"),
            heads: case.dim("NH"),
            head_size: case.dim("HS"),
        }
    }

    pub(super) fn queries(case: &Case) -> Queries {
        match case.variant {
            CLASS_TOKEN | CLASS_TOKEN_BIAS => Queries::ClassToken,
            _ => Queries::EveryToken,
        }
    }

    pub(super) fn has_bias(case: &Case) -> bool {
        matches!(case.variant, BIAS | CLASS_TOKEN_BIAS)
    }

    /// Queries, keys and values, without the bias's slot, the bias added.
    pub(super) fn projected<'a, T: Real>(case: &Case, inputs: &'a [Vec<T>]) -> Cow<'a, [Vec<T>]> {
        if !Self::has_bias(case) {
            return Cow::Borrowed(inputs);
        }
        let (bias, tensors) = inputs.split_last().expect("the bias");
        let mut sums = tensors.to_vec();
        for (tensor, bias) in sums.iter_mut().zip(Self::by_tensor(case, bias)) {
            for row in tensor.chunks_exact_mut(bias.len()) {
                for (x, &bias) in row.iter_mut().zip(bias) {
                    *x += bias;
                }
            }
        }
        Cow::Owned(sums)
    }

    /// The 3 C columns of the projection, as they are spread over the tensors.
    fn by_tensor<'a, T>(case: &Case, columns: &'a [T]) -> Vec<&'a [T]> {
        let (query, key_value) = columns.split_at(columns.len() / 3);
        match Self::queries(case) {
            Queries::EveryToken => vec![columns],
            Queries::ClassToken => vec![query, key_value],
        }
    }

    /// `d` with the gradient of the bias behind it, where there is one.
    fn with_bias_gradient<T: Real>(case: &Case, mut d: Vec<Vec<T>>) -> Vec<Option<Vec<T>>> {
        if Self::has_bias(case) {
            let columns = vec![T::zero(); 3 * Self::shape(case).width()];
            let lengths = Self::by_tensor(case, &columns).into_iter().map(<[T]>::len);
            let sums = d.iter().zip(lengths).map(|(d, columns)| {
                let mut sums = vec![T::zero(); columns];
                for row in d.chunks_exact(columns) {
                    for (sum, &d) in sums.iter_mut().zip(row) {
                        *sum += d;
                    }
                }
                sums
            });
            d.push(sums.collect::<Vec<_>>().concat());
        }
        d.into_iter().map(Some).collect()
    }

    fn qkv<T>(tensors: &[Vec<T>]) -> Qkv<&[T]> {
        match tensors {
            [packed] => Qkv::Packed(packed),
            [query, key_value] => Qkv::ClassToken { query, key_value },
            _ => unreachable!(),
        }
    }

    fn run<T: Real>(case: &Case, tensors: &[Vec<T>]) -> (Vec<T>, Vec<T>) {
        let shape = Self::shape(case);
        let rows = shape.images * Self::queries(case).count(shape.tokens);
        let mut out = vec![T::zero(); rows * shape.width()];
        let mut lse = vec![T::zero(); rows * shape.heads];
        forward(&mut out, &mut lse, Self::qkv(tensors), shape);
        (out, lse)
    }

    fn run_forward<T: Real>(&self, case: &Case, inputs: &[Vec<T>]) -> Vec<Vec<T>> {
        let (out, lse) = Self::run(case, &Self::projected(case, inputs));
        vec![out, lse]
    }

    fn run_backward<T: Real>(
        &self,
        case: &Case,
        inputs: &[Vec<T>],
        dy: &[Vec<T>],
    ) -> Vec<Option<Vec<T>>> {
        let tensors = Self::projected(case, inputs);
        let (out, lse) = Self::run(case, &tensors);
        let mut d: Vec<Vec<T>> = tensors.iter().map(|v| vec![T::nan(); v.len()]).collect();
        let d_qkv = match d.as_mut_slice() {
            [packed] => Qkv::Packed(packed.as_mut_slice()),
            [query, key_value] => Qkv::ClassToken {
                query: query.as_mut_slice(),
                key_value,
            },
            _ => unreachable!(),
        };
        let shape = Self::shape(case);
        backward(d_qkv, &dy[0], &out, &lse, Self::qkv(&tensors), shape);
        Self::with_bias_gradient(case, d)
    }

    /// Head `head` of image `b`: queries, keys and values.
    fn plain_heads<'a, T>(
        case: &Case,
        tensors: &'a [Vec<T>],
        b: usize,
        head: usize,
    ) -> [Head<'a, T>; 3] {
        let shape = Self::shape(case);
        let qkv = Self::qkv(tensors);
        let layout: Layout = qkv.layout(shape);
        let (query, key_value) = image(&qkv, layout, shape.tokens, b);
        let at = head * shape.head_size;
        let view = |data, at, stride, count| Head {
            data,
            at,
            stride,
            count,
            size: shape.head_size,
        };
        [
            view(query, at, layout.query_stride, layout.queries),
            view(key_value, layout.key + at, layout.stride, shape.tokens),
            view(
                key_value,
                layout.key + layout.width + at,
                layout.stride,
                shape.tokens,
            ),
        ]
    }

    fn plain_forward<T: Real>(&self, case: &Case, inputs: &[Vec<T>]) -> Vec<Vec<T>> {
        Self::plain(case, &Self::projected(case, inputs), |x| x)
    }

    /// The outputs by plain loops; `round` is what becomes of operands of matrix products.
    pub(super) fn plain<T: Real>(
        case: &Case,
        tensors: &[Vec<T>],
        round: impl Fn(T) -> T + Copy,
    ) -> Vec<Vec<T>> {
        Self::by_head(case, tensors, |[q, k, v]| {
            (plain::attention(q, k, v, round), plain::log_sum_exp(q, k))
        })
    }

    /// A value for each of the outputs: `of_head` has those of a head's, rows one after the other.
    pub(super) fn by_head<T: Real>(
        case: &Case,
        tensors: &[Vec<T>],
        of_head: impl Fn([Head<T>; 3]) -> (Vec<T>, Vec<T>),
    ) -> Vec<Vec<T>> {
        let shape = Self::shape(case);
        let queries = Self::queries(case).count(shape.tokens);
        let mut out = vec![T::zero(); shape.images * queries * shape.width()];
        let mut lse = Vec::new();
        for b in 0..shape.images {
            for head in 0..shape.heads {
                let (rows, of_queries) = of_head(Self::plain_heads(case, tensors, b, head));
                lse.extend(of_queries);
                for (i, row) in rows.chunks_exact(shape.head_size).enumerate() {
                    let at = (b * queries + i) * shape.width() + head * shape.head_size;
                    out[at..][..shape.head_size].copy_from_slice(row);
                }
            }
        }
        vec![out, lse]
    }

    fn plain_backward<T: Real>(
        &self,
        case: &Case,
        inputs: &[Vec<T>],
        dy: &[Vec<T>],
    ) -> Vec<Option<Vec<T>>> {
        Self::plain_gradients(case, &Self::projected(case, inputs), dy, |x| x)
    }

    /// The gradients by plain loops, as [`Attention::plain`].
    pub(super) fn plain_gradients<T: Real>(
        case: &Case,
        tensors: &[Vec<T>],
        dy: &[Vec<T>],
        round: impl Fn(T) -> T + Copy,
    ) -> Vec<Option<Vec<T>>> {
        Self::gradients_by_head(case, tensors, dy, |d_out, [q, k, v]| {
            plain::attention_backward(d_out, q, k, v, round)
        })
    }

    /// A value for each of the gradients: `of_head` has those of a head's queries, keys and values,
    /// rows one after the other. Those of the bias are sums.
    pub(super) fn gradients_by_head<T: Real>(
        case: &Case,
        tensors: &[Vec<T>],
        dy: &[Vec<T>],
        of_head: impl Fn(Head<T>, [Head<T>; 3]) -> [Vec<T>; 3],
    ) -> Vec<Option<Vec<T>>> {
        let shape = Self::shape(case);
        let queries = Self::queries(case).count(shape.tokens);
        let mut d: Vec<Vec<T>> = tensors.iter().map(|v| vec![T::nan(); v.len()]).collect();
        let last = d.len() - 1;
        let image_sizes = [d[0].len(), d[last].len()].map(|len| len / shape.images);
        for b in 0..shape.images {
            for head in 0..shape.heads {
                let heads = Self::plain_heads(case, tensors, b, head);
                let d_out = Head {
                    data: &dy[0],
                    at: b * queries * shape.width() + head * shape.head_size,
                    stride: shape.width(),
                    count: queries,
                    size: shape.head_size,
                };
                let parts = of_head(d_out, heads);
                for (part, (rows, head)) in parts.iter().zip(heads).enumerate() {
                    let tensor = if part == 0 { 0 } else { last };
                    let first = b * image_sizes[tensor.min(1)] + head.at;
                    for (i, row) in rows.chunks_exact(head.size).enumerate() {
                        d[tensor][first + i * head.stride..][..head.size].copy_from_slice(row);
                    }
                }
            }
        }
        Self::with_bias_gradient(case, d)
    }
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cases(&self) -> Vec<Case> {
        vec![
            Case::new(&[("B", 1), ("T", 1), ("NH", 1), ("HS", 4)]),
            Case::new(&[("B", 2), ("T", 5), ("NH", 3), ("HS", 7)]),
            Case::new(&[("B", 2), ("T", 5), ("NH", 3), ("HS", 8)]),
            Case::new(&[("B", 1), ("T", 197), ("NH", 2), ("HS", 16)]),
            Case::new(&[("B", 2), ("T", 257), ("NH", 1), ("HS", 24)]),
            Case::new(&[("B", 28), ("T", 130), ("NH", 2), ("HS", 8)]),
            Case::new(&[("B", 1), ("T", 257), ("NH", 1), ("HS", 64)]).variant(BIAS),
            Case::new(&[("B", 1), ("T", 300), ("NH", 1), ("HS", 64)]),
            Case::new(&[("B", 1), ("T", 70), ("NH", 2), ("HS", 128)]).variant(BIAS),
            Case::new(&[("B", 2), ("T", 40), ("NH", 2), ("HS", 24)]).variant(BIAS),
            Case::new(&[("B", 1), ("T", 333), ("NH", 1), ("HS", 120)]),
            Case::new(&[("B", 3), ("T", 17), ("NH", 2), ("HS", 8)]).variant(CLASS_TOKEN),
            Case::new(&[("B", 2), ("T", 50), ("NH", 2), ("HS", 80)]).variant(CLASS_TOKEN_BIAS),
            // Of one image, log-sum-exp would be a single number, and how near a plain loop comes to
            // one number is luck: 3.0e-7 there, 9.0e-7 by the kernel.
            Case::new(&[("B", 4), ("T", 340), ("NH", 1), ("HS", 128)]).variant(CLASS_TOKEN),
        ]
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let s = Self::shape(case);
        let tokens = s.images * s.tokens * s.width();
        let mut inputs = match Self::queries(case) {
            Queries::ClassToken => vec![
                Input::normal("query", s.images * s.width(), 1.5),
                Input::normal("key_value", 2 * tokens, 1.5),
            ],
            Queries::EveryToken => vec![Input::normal("qkv", 3 * tokens, 1.5)],
        };
        if Self::has_bias(case) {
            // Of queries, keys and values. That of the keys changes nothing: its gradient is rounding.
            let bias = Input::normal("bias", 3 * s.width(), 0.5);
            inputs.push(bias.role(Role::Parameter).pieces(3));
        }
        inputs
    }

    fn kept(&self) -> usize {
        1
    }

    fn gpu(&self) -> Option<&dyn GpuOp> {
        Some(self)
    }

    real_passes!();
}
