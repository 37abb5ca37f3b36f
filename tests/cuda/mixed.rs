//! The yardstick: a training step in plain mixed precision on the CPU. Arithmetic in f32, tensors
//! rounded to 16 bits wherever the device stores them so, or hands them to a tensor core. Layers' sums
//! are cut as tensor cores cut them: such errors have one sign, and a layer norm's gradient, which
//! adds hundreds of rows, averages roundings away but not these.

use rayon::prelude::*;
use vitcuda::device::{ElementType, Gpu};
use vitcuda::model::params::LayerRanges;
use vitcuda::model::vit::Vit;
use vitcuda::ops::gemm::Accumulate;
use vitcuda::ops::gpu_rounding::TensorCore;
use vitcuda::ops::layer_norm::{self, Residual};
use vitcuda::ops::plain::{self, Head};

use super::model::{Outcome, Problem};

/// What a layer leaves for its backward pass.
struct Layer {
    x: Vec<f32>,
    norm1: Vec<f32>,
    qkv: Vec<f32>,
    attention: Vec<f32>,
    middle: Vec<f32>,
    norm2: Vec<f32>,
    hidden: Vec<f32>,
    gelu: Vec<f32>,
}

struct Mixed<'a> {
    vit: &'a Vit,
    element: ElementType,
    core: TensorCore,
    params: &'a [f32],
    /// In 16 bits.
    copy: Vec<f32>,
    gradients: Vec<f32>,
}

/// Logits, loss and gradients of `problem` as on `gpu`, the loss scaled by `scale` on the way.
pub fn step(vit: &Vit, problem: &Problem, gpu: &Gpu, scale: f32) -> Outcome<f32> {
    let element = gpu.element();
    let mut mixed = Mixed {
        vit,
        element,
        core: TensorCore::of(gpu.properties().capability, element),
        params: &problem.params,
        copy: Vec::new(),
        gradients: vec![0.0; vit.table.len],
    };
    mixed.copy = mixed.round(problem.params.clone());
    mixed.run(problem, scale)
}

fn column_sums(values: &[f32], columns: usize) -> Vec<f32> {
    let mut sums = vec![0.0; columns];
    for row in values.chunks_exact(columns) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
    sums
}

type Range = std::ops::Range<usize>;

fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    let rows = values.len() / columns;
    let at = |i: usize| values[i % rows * columns + i / rows];
    (0..values.len()).map(at).collect()
}

/// Columns that are computed side by side.
const SIDE: usize = 16;

/// a (m, depth) times b (depth, n), with the sums of a tensor core: see `ops/gpu_rounding.rs`.
fn product(core: TensorCore, a: &[f32], b: &[f32], depth: usize) -> Vec<f32> {
    let columns = b.len() / depth;
    let mut c = vec![0.0; a.len() / depth * columns];
    let rows = c
        .par_chunks_exact_mut(columns)
        .zip(a.par_chunks_exact(depth));
    rows.for_each(|(c, a)| {
        for (at, c) in c.chunks_mut(SIDE).enumerate() {
            let mut sums = [0.0f32; SIDE];
            for (block, a) in a.chunks(core.width).enumerate() {
                let mut products = [[0.0f32; SIDE]; 16];
                for (k, (products, a)) in products.iter_mut().zip(a).enumerate() {
                    let row = &b[(block * core.width + k) * columns + at * SIDE..][..c.len()];
                    products
                        .iter_mut()
                        .zip(row)
                        .for_each(|(product, b)| *product = a * b);
                }
                add_block(&mut sums, &products[..a.len()]);
            }
            c.copy_from_slice(&sums[..c.len()]);
        }
    });
    c
}

/// All are aligned to the largest and cut to 24 bits there, the sum is cut to f32.
fn add_block(sums: &mut [f32; SIDE], products: &[[f32; SIDE]]) {
    let mut largest = sums.map(f32::abs);
    for row in products {
        largest
            .iter_mut()
            .zip(row)
            .for_each(|(largest, x)| *largest = largest.max(x.abs()));
    }
    // 2^(23 - exponent), and back; below 2^-100 nothing matters here.
    let exponent = largest.map(|x| (x.to_bits() >> 23).clamp(27, 250));
    let scale = exponent.map(|e| f32::from_bits((277 - e) << 23));
    let mut totals = [0i32; SIDE];
    for row in products.iter().chain([&*sums]) {
        for i in 0..SIDE {
            // SAFETY: below 2^24, by the scale.
            totals[i] += unsafe { (row[i] * scale[i]).to_int_unchecked::<i32>() };
        }
    }
    for i in 0..SIDE {
        let cut = 8u32.saturating_sub(totals[i].unsigned_abs().leading_zeros());
        let kept = totals[i].unsigned_abs() >> cut << cut;
        let size = kept as f32 * f32::from_bits((exponent[i] - 23) << 23);
        sums[i] = size.copysign(totals[i] as f32);
    }
}

impl Mixed<'_> {
    fn round(&self, values: Vec<f32>) -> Vec<f32> {
        values.into_iter().map(|v| self.element.round(v)).collect()
    }

    /// x Wᵀ + b, in f32.
    fn linear(&self, x: &[f32], weight: &Range, bias: &Range, inputs: usize) -> Vec<f32> {
        let (w, b) = (&self.copy[weight.clone()], &self.params[bias.clone()]);
        let mut y = product(self.core, x, &transposed(w, inputs), inputs);
        for row in y.chunks_exact_mut(b.len()) {
            row.iter_mut().zip(b).for_each(|(y, b)| *y += b);
        }
        y
    }

    /// dy W, in f32.
    fn input_gradient(&self, dy: &[f32], weight: &Range, outputs: usize) -> Vec<f32> {
        product(self.core, dy, &self.copy[weight.clone()], outputs)
    }

    fn weight_gradient(&mut self, dy: &[f32], x: &[f32], weight: &Range, inputs: usize) {
        let outputs = weight.len() / inputs;
        let dw = product(self.core, &transposed(dy, outputs), x, x.len() / inputs);
        self.set(weight, &dw);
    }

    fn norm(&self, x: &[f32], weight: &Range, bias: &Range) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let c = weight.len();
        let rows = x.len() / c;
        let (mut y, mut mean, mut rstd) = (vec![0.0; x.len()], vec![0.0; rows], vec![0.0; rows]);
        layer_norm::forward(
            &mut y,
            &mut mean,
            &mut rstd,
            x,
            &self.params[weight.clone()],
            &self.params[bias.clone()],
            self.vit.config.layer_norm_eps as f32,
        );
        (self.round(y), mean, rstd)
    }

    /// Adds the gradient through a norm of `x` to `stream`.
    fn norm_gradient(
        &mut self,
        stream: &mut [f32],
        dy: &[f32],
        x: &[f32],
        weight: &Range,
        bias: &Range,
    ) {
        let (_, mean, rstd) = self.norm(x, weight, bias);
        let w = self.params[weight.clone()].to_vec();
        let [dw, db] = self
            .gradients
            .get_disjoint_mut([weight.clone(), bias.clone()])
            .expect("two tensors");
        layer_norm::backward(
            stream,
            dw,
            db,
            dy,
            x,
            &w,
            &mean,
            &rstd,
            Residual::Add,
            Accumulate::Overwrite,
        );
    }

    fn set(&mut self, range: &Range, values: &[f32]) {
        self.gradients[range.clone()].copy_from_slice(values);
    }

    fn run(mut self, problem: &Problem, scale: f32) -> Outcome<f32> {
        let (vit, table) = (self.vit, &self.vit.table);
        let (c, tokens) = (vit.config.hidden_size, vit.config.tokens());
        let images = problem.labels.len();
        let patches = self.round(patches(vit, problem));
        let values = vit.config.patch_values();
        let products = self.linear(&patches, &table.patch_weight, &table.patch_bias, values);
        let mut x = vec![0.0; images * tokens * c];
        let positions = &self.params[table.position_embeddings.clone()];
        let class = &self.params[table.cls_token.clone()];
        for (b, image) in x.chunks_exact_mut(tokens * c).enumerate() {
            let own = &products[b * (tokens - 1) * c..];
            for (i, x) in image.iter_mut().enumerate() {
                *x = positions[i] + if i < c { class[i] } else { own[i - c] };
            }
        }
        let mut layers = Vec::new();
        for ranges in &table.layers {
            let (layer, out) = self.layer(x, ranges);
            layers.push(layer);
            x = out;
        }
        let (norm, _, _) = self.norm(&x, &table.norm_weight, &table.norm_bias);
        let pooled: Vec<f32> = norm
            .chunks_exact(tokens * c)
            .flat_map(|image| &image[..c])
            .copied()
            .collect();
        let logits = self.linear(&pooled, &table.head_weight, &table.head_bias, c);
        let labels: Vec<usize> = problem.labels.iter().map(|&label| label as usize).collect();
        let classes = vit.config.num_labels();
        let (loss, d_logits) = plain::cross_entropy(&logits, &labels, &vec![1.0; classes], 0.0);
        let d_logits = self.round(d_logits.iter().map(|d| d * scale).collect());

        self.set(&table.head_bias, &column_sums(&d_logits, classes));
        self.weight_gradient(&d_logits, &pooled, &table.head_weight, c);
        let d_pooled = self.input_gradient(&d_logits, &table.head_weight, classes);
        let d_pooled = self.round(d_pooled);
        let mut d_norm = vec![0.0; x.len()];
        for (image, d) in d_norm
            .chunks_exact_mut(tokens * c)
            .zip(d_pooled.chunks_exact(c))
        {
            image[..c].copy_from_slice(d);
        }
        let mut stream = vec![0.0; x.len()];
        self.norm_gradient(
            &mut stream,
            &d_norm,
            &x,
            &table.norm_weight,
            &table.norm_bias,
        );
        for (layer, ranges) in layers.iter().zip(&table.layers).rev() {
            self.layer_gradient(&mut stream, layer, ranges);
        }
        self.embedding_gradient(&stream, &patches);
        Outcome {
            loss: f64::from(loss),
            logits,
            gradients: self.gradients.iter().map(|g| g / scale).collect(),
        }
    }

    fn heads<'a>(&self, qkv: &'a [f32], head: usize) -> [Head<'a, f32>; 3] {
        let (c, size) = (self.vit.config.hidden_size, self.vit.config.head_size());
        [0, 1, 2].map(|part| Head {
            data: qkv,
            at: part * c + head * size,
            stride: 3 * c,
            count: self.vit.config.tokens(),
            size,
        })
    }

    fn layer(&self, x: Vec<f32>, r: &LayerRanges) -> (Layer, Vec<f32>) {
        let config = &self.vit.config;
        let (c, f, tokens) = (
            config.hidden_size,
            config.intermediate_size,
            config.tokens(),
        );
        let size = config.head_size();
        let add =
            |a: &[f32], b: Vec<f32>| -> Vec<f32> { a.iter().zip(b).map(|(a, b)| a + b).collect() };
        let (norm1, _, _) = self.norm(&x, &r.norm1_weight, &r.norm1_bias);
        let qkv = self.round(self.linear(&norm1, &r.qkv_weight, &r.qkv_bias, c));
        let mut attention = vec![0.0; x.len()];
        for (packed, out) in qkv
            .chunks_exact(tokens * 3 * c)
            .zip(attention.chunks_exact_mut(tokens * c))
        {
            for head in 0..config.num_attention_heads {
                let [q, k, v] = self.heads(packed, head);
                let found = plain::attention(q, k, v, |v| self.element.round(v));
                for (row, found) in out.chunks_exact_mut(c).zip(found.chunks_exact(size)) {
                    row[head * size..][..size].copy_from_slice(found);
                }
            }
        }
        let middle = add(&x, self.linear(&attention, &r.proj_weight, &r.proj_bias, c));
        let (norm2, _, _) = self.norm(&middle, &r.norm2_weight, &r.norm2_bias);
        let hidden = self.round(self.linear(&norm2, &r.fc1_weight, &r.fc1_bias, c));
        let gelu = self.round(plain::gelu(&hidden));
        let out = add(&middle, self.linear(&gelu, &r.fc2_weight, &r.fc2_bias, f));
        let layer = Layer {
            x,
            norm1,
            qkv,
            attention,
            middle,
            norm2,
            hidden,
            gelu,
        };
        (layer, out)
    }

    fn layer_gradient(&mut self, stream: &mut [f32], layer: &Layer, r: &LayerRanges) {
        let config = &self.vit.config;
        let (c, f, tokens) = (
            config.hidden_size,
            config.intermediate_size,
            config.tokens(),
        );
        let (heads, size) = (config.num_attention_heads, config.head_size());
        self.set(&r.fc2_bias, &column_sums(stream, c));
        let copy = self.round(stream.to_vec());
        let d_gelu = self.input_gradient(&copy, &r.fc2_weight, c);
        let d_hidden = self.round(plain::gelu_backward(&d_gelu, &layer.hidden));
        self.set(&r.fc1_bias, &column_sums(&d_hidden, f));
        self.weight_gradient(&copy, &layer.gelu, &r.fc2_weight, f);
        self.weight_gradient(&d_hidden, &layer.norm2, &r.fc1_weight, c);
        let d_norm = self.round(self.input_gradient(&d_hidden, &r.fc1_weight, f));
        let (weight, bias) = (&r.norm2_weight, &r.norm2_bias);
        self.norm_gradient(stream, &d_norm, &layer.middle, weight, bias);

        self.set(&r.proj_bias, &column_sums(stream, c));
        let copy = self.round(stream.to_vec());
        self.weight_gradient(&copy, &layer.attention, &r.proj_weight, c);
        let d_attention = self.round(self.input_gradient(&copy, &r.proj_weight, c));
        let mut d_qkv = vec![0.0; layer.qkv.len()];
        let images = layer.qkv.chunks_exact(tokens * 3 * c);
        for (b, packed) in images.enumerate() {
            for head in 0..heads {
                let [q, k, v] = self.heads(packed, head);
                let d_out = Head {
                    data: &d_attention[b * tokens * c..][..tokens * c],
                    at: head * size,
                    stride: c,
                    count: tokens,
                    size,
                };
                let d = plain::attention_backward(d_out, q, k, v, |v| self.element.round(v));
                for (part, d) in d.iter().enumerate() {
                    for (t, d) in d.chunks_exact(size).enumerate() {
                        let at = (b * tokens + t) * 3 * c + part * c + head * size;
                        d_qkv[at..at + size].copy_from_slice(d);
                    }
                }
            }
        }
        let d_qkv = self.round(d_qkv);
        if !r.qkv_bias.is_empty() {
            self.set(&r.qkv_bias, &column_sums(&d_qkv, 3 * c));
        }
        self.weight_gradient(&d_qkv, &layer.norm1, &r.qkv_weight, c);
        let d_norm = self.round(self.input_gradient(&d_qkv, &r.qkv_weight, 3 * c));
        self.norm_gradient(stream, &d_norm, &layer.x, &r.norm1_weight, &r.norm1_bias);
    }

    fn embedding_gradient(&mut self, stream: &[f32], patches: &[f32]) {
        let table = &self.vit.table;
        let (c, tokens) = (self.vit.config.hidden_size, self.vit.config.tokens());
        let positions = column_sums(stream, tokens * c);
        self.set(&table.cls_token, &positions[..c]);
        self.set(&table.patch_bias, &column_sums(&positions[c..], c));
        self.set(&table.position_embeddings, &positions);
        let rows = stream
            .chunks_exact(tokens * c)
            .flat_map(|image| &image[c..]);
        let copy = self.round(rows.copied().collect());
        let values = self.vit.config.patch_values();
        self.weight_gradient(&copy, patches, &table.patch_weight, values);
    }
}

/// The patches of all images, (B·P, V): from left to right and down, in each channel by channel.
fn patches(vit: &Vit, problem: &Problem) -> Vec<f32> {
    let config = &vit.config;
    let (side, patch, channels) = (config.image_size, config.patch_size, config.num_channels);
    let across = side / patch;
    let mut patches = Vec::with_capacity(problem.pixels.len());
    for image in problem.pixels.chunks_exact(channels * side * side) {
        for (down, right) in (0..across * across).map(|p| (p / across, p % across)) {
            for (channel, line) in (0..channels * patch).map(|i| (i / patch, i % patch)) {
                let start = (channel * side + down * patch + line) * side + right * patch;
                patches.extend_from_slice(&image[start..start + patch]);
            }
        }
    }
    patches
}
