//! Image to tokens: x₀ = cls + pos₀, and xₜ = W · patchₜ + b + posₜ for t ≥ 1
//! (Dosovitskiy et al. 2021), W of shape (C, V) with V = channels · P².
//!
//! The convolution of the papers has stride P, so it is a product with the patches cut out; token 0
//! gets a patch of zeros, which keeps rows and tokens the same thing in both passes:
//! dW = dxᵀ · patches, dpos = Σ_images dx, dcls = dpos₀, db = Σ_{t ≥ 1} dposₜ.
//!
//! Saved for the backward pass: the patches (B, T, V). Images get no gradient.

mod bench;
pub mod gpu;

use rayon::prelude::*;

use super::gemm::{Accumulate, Mat, MatMut, Packed, matmul_packed};
use super::gpu::GpuOp;
use super::linear;
use super::plain;
use super::real::{Real, simd};
use super::registry::{Case, Input, Op, Role, real_passes};

/// Sizes of a patch embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// B.
    pub images: usize,
    pub channels: usize,
    /// Side of the image in pixels.
    pub side: usize,
    /// Side of a patch in pixels, P.
    pub patch: usize,
    /// C.
    pub width: usize,
}

impl Shape {
    /// T: the class token and the patches.
    pub fn tokens(&self) -> usize {
        1 + (self.side / self.patch).pow(2)
    }

    /// V: values in a patch.
    pub fn values(&self) -> usize {
        self.channels * self.patch * self.patch
    }

    fn pixels(&self) -> usize {
        self.channels * self.side * self.side
    }

    fn linear(&self) -> linear::Shape {
        linear::Shape {
            rows: self.images * self.tokens(),
            inputs: self.values(),
            outputs: self.width,
        }
    }
}

/// Pictures, (B, channels, side, side).
#[derive(Clone, Copy)]
pub enum Images<'a, T> {
    /// Bytes, and the value of each byte in each channel: rescaling and normalisation in one.
    Bytes {
        pixels: &'a [u8],
        lookup: &'a [[f32; 256]],
    },
    /// Normalised already.
    Values(&'a [T]),
}

/// Cuts image `b` into `patches` (T, V), the first of them zeros.
fn cut<T: Real>(patches: &mut [T], images: Images<T>, b: usize, shape: Shape) {
    let Shape { side, patch, .. } = shape;
    let across = side / patch;
    let (class, patches) = patches.split_at_mut(shape.values());
    class.fill(T::zero());
    for (t, values) in patches.chunks_exact_mut(shape.values()).enumerate() {
        let (top, left) = (t / across * patch, t % across * patch);
        for (line, values) in values.chunks_exact_mut(patch).enumerate() {
            let (channel, y) = (line / patch, top + line % patch);
            let at = b * shape.pixels() + (channel * side + y) * side + left;
            match images {
                Images::Bytes { pixels, lookup } => {
                    for (v, &byte) in values.iter_mut().zip(&pixels[at..]) {
                        *v = T::of(f64::from(lookup[channel][usize::from(byte)]));
                    }
                }
                Images::Values(pixels) => values.copy_from_slice(&pixels[at..at + patch]),
            }
        }
    }
}

/// The parameters, or their gradients; `S` is a slice.
pub struct Params<S> {
    /// (C).
    pub class: S,
    /// (T, C).
    pub position: S,
    /// (C, V).
    pub weight: S,
    /// (C).
    pub bias: S,
}

/// Tokens `x` (B, T, C); `patches` (B, T, V) are kept for [`backward`].
pub fn forward<T: Real>(
    x: &mut [T],
    patches: &mut [T],
    images: Images<T>,
    params: &Params<&[T]>,
    shape: Shape,
) {
    let (tokens, values, width) = (shape.tokens(), shape.values(), shape.width);
    let pixels = match images {
        Images::Bytes { pixels, .. } => pixels.len(),
        Images::Values(pixels) => pixels.len(),
    };
    assert_eq!(pixels, shape.images * shape.pixels(), "patch_embed: images");
    assert_eq!(x.len(), shape.images * tokens * width, "patch_embed: x");
    assert_eq!(
        patches.len(),
        shape.images * tokens * values,
        "patch_embed: patches"
    );
    let w = Packed::new(Mat::new(params.weight, width, values).t());
    x.par_chunks_mut(tokens * width)
        .zip(patches.par_chunks_mut(tokens * values))
        .enumerate()
        .for_each(|(b, (x, patches))| {
            cut(patches, images, b, shape);
            x.copy_from_slice(params.position);
            simd(
                #[inline(always)]
                || {
                    for (t, x) in x.chunks_exact_mut(width).enumerate() {
                        let shift = if t == 0 { params.class } else { params.bias };
                        for (x, &s) in x.iter_mut().zip(shift) {
                            *x += s;
                        }
                    }
                },
            );
            let x = MatMut::new(x, tokens, width);
            matmul_packed(x, Accumulate::Add, Mat::new(patches, tokens, values), &w);
        });
}

/// Gradients of the parameters for `dx` (B, T, C), by `accumulate`.
pub fn backward<T: Real>(
    d: Params<&mut [T]>,
    dx: &[T],
    patches: &[T],
    accumulate: Accumulate,
    shape: Shape,
) {
    linear::backward_weight(d.weight, &mut [], dx, patches, accumulate, shape.linear());
    if accumulate == Accumulate::Overwrite {
        for gradient in [&mut *d.class, &mut *d.position, &mut *d.bias] {
            gradient.fill(T::zero());
        }
    }
    let width = shape.width;
    let image = shape.tokens() * width;
    // This micro-batch's sum over images first: class token and bias are sums of it.
    let mut sum = vec![T::zero(); image];
    sum.par_chunks_mut(width).enumerate().for_each(|(t, sum)| {
        for dx in dx.chunks_exact(image) {
            for (s, &d) in sum.iter_mut().zip(&dx[t * width..]) {
                *s += d;
            }
        }
    });
    for (t, sum) in sum.chunks_exact(width).enumerate() {
        let shift = if t == 0 { &mut *d.class } else { &mut *d.bias };
        let position = &mut d.position[t * width..][..width];
        for c in 0..width {
            position[c] += sum[c];
            shift[c] += sum[c];
        }
    }
}

/// Registry entry; variants: images as values, or as `bytes`.
pub struct PatchEmbed;

impl PatchEmbed {
    fn shape(case: &Case) -> Shape {
        Shape {
            images: case.dim("B"),
            channels: 3,
            side: case.dim("side"),
            patch: case.dim("P"),
            width: case.dim("C"),
        }
    }

    fn params<T>(inputs: &[Vec<T>]) -> Params<&[T]> {
        Params {
            class: &inputs[1],
            position: &inputs[2],
            weight: &inputs[3],
            bias: &inputs[4],
        }
    }

    /// Some value for each byte in each channel.
    fn lookup() -> [[f32; 256]; 3] {
        std::array::from_fn(|c| std::array::from_fn(|byte| byte as f32 / 100.0 - c as f32))
    }

    /// `(x, patches)`.
    fn run<T: Real>(case: &Case, inputs: &[Vec<T>]) -> (Vec<T>, Vec<T>) {
        let shape = Self::shape(case);
        let rows = shape.images * shape.tokens();
        let mut x = vec![T::zero(); rows * shape.width];
        let mut patches = vec![T::zero(); rows * shape.values()];
        let bytes: Vec<u8> = inputs[0].iter().map(|v| v.f64() as u8).collect();
        let lookup = Self::lookup();
        let images = match case.variant {
            "bytes" => Images::Bytes {
                pixels: &bytes,
                lookup: &lookup,
            },
            _ => Images::Values(&inputs[0]),
        };
        forward(&mut x, &mut patches, images, &Self::params(inputs), shape);
        (x, patches)
    }

    fn run_forward<T: Real>(&self, case: &Case, inputs: &[Vec<T>]) -> Vec<Vec<T>> {
        vec![Self::run(case, inputs).0]
    }

    fn run_backward<T: Real>(
        &self,
        case: &Case,
        inputs: &[Vec<T>],
        dy: &[Vec<T>],
    ) -> Vec<Option<Vec<T>>> {
        let (_, patches) = Self::run(case, inputs);
        let mut d: Vec<Vec<T>> = inputs.iter().map(|v| vec![T::nan(); v.len()]).collect();
        let [_, class, position, weight, bias] = d.as_mut_slice() else {
            unreachable!()
        };
        let gradients = Params {
            class: class.as_mut_slice(),
            position,
            weight,
            bias,
        };
        let shape = Self::shape(case);
        backward(gradients, &dy[0], &patches, Accumulate::Overwrite, shape);
        let mut d: Vec<_> = d.into_iter().map(Some).collect();
        d[0] = None;
        d
    }

    fn plain_forward<T: Real>(&self, case: &Case, inputs: &[Vec<T>]) -> Vec<Vec<T>> {
        vec![plain::patch_embed(
            &Self::plain_pixels(case, inputs),
            &Self::params(inputs),
            Self::shape(case),
        )]
    }

    fn plain_backward<T: Real>(
        &self,
        case: &Case,
        inputs: &[Vec<T>],
        dy: &[Vec<T>],
    ) -> Vec<Option<Vec<T>>> {
        let pixels = Self::plain_pixels(case, inputs);
        let d = plain::patch_embed_backward(&dy[0], &pixels, Self::shape(case));
        std::iter::once(None).chain(d.map(Some)).collect()
    }

    /// The images as values, whatever the variant.
    fn plain_pixels<T: Real>(case: &Case, inputs: &[Vec<T>]) -> Vec<T> {
        let plane = Self::shape(case).side.pow(2);
        let value = |(i, byte): (usize, &T)| {
            T::of(f64::from(
                Self::lookup()[i / plane % 3][byte.f64() as usize],
            ))
        };
        match case.variant {
            "bytes" => inputs[0].iter().enumerate().map(value).collect(),
            _ => inputs[0].clone(),
        }
    }
}

impl Op for PatchEmbed {
    fn name(&self) -> &'static str {
        "patch_embed"
    }

    fn cases(&self) -> Vec<Case> {
        vec![
            Case::new(&[("B", 1), ("side", 3), ("P", 3), ("C", 1)]),
            Case::new(&[("B", 2), ("side", 10), ("P", 2), ("C", 9)]),
            Case::new(&[("B", 3), ("side", 8), ("P", 4), ("C", 20)]).variant("bytes"),
            Case::new(&[("B", 2), ("side", 28), ("P", 14), ("C", 24)]).variant("bytes"),
        ]
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let s = Self::shape(case);
        let pixels = s.images * s.pixels();
        let images = match case.variant {
            "bytes" => Input::whole("images", pixels, 256),
            _ => Input::normal("images", pixels, 1.0).role(Role::Constant),
        };
        let parameter = |name, len| Input::normal(name, len, 0.5).role(Role::Parameter);
        vec![
            images,
            parameter("class", s.width),
            parameter("position", s.tokens() * s.width),
            parameter("weight", s.width * s.values()),
            parameter("bias", s.width),
        ]
    }

    fn gpu(&self) -> Option<&dyn GpuOp> {
        Some(self)
    }

    real_passes!();
}
