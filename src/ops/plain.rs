//! Every operation by the shortest loops that do the maths, one sum at a time.
//!
//! In f64 they check the judge; in f32 their error is the yardstick: an operation may be at most
//! twice as wrong. Dimensions follow from the lengths of the slices.

use super::patch_embed::{Params, Shape};
use super::real::Real;

/// `(mean, 1 / √(var + eps))` of a row.
fn statistics<T: Real>(row: &[T], eps: T) -> (T, T) {
    let count = T::of(row.len() as f64);
    let mut sum = T::zero();
    for &v in row {
        sum += v;
    }
    let mean = sum / count;
    let mut squares = T::zero();
    for &v in row {
        squares += (v - mean) * (v - mean);
    }
    (mean, T::one() / (squares / count + eps).sqrt())
}

/// y (N, C) of layer norm.
pub fn layer_norm<T: Real>(x: &[T], w: &[T], b: &[T], eps: T) -> Vec<T> {
    let mut y = Vec::with_capacity(x.len());
    for row in x.chunks_exact(w.len()) {
        let (mean, rstd) = statistics(row, eps);
        y.extend((0..row.len()).map(|i| (row[i] - mean) * rstd * w[i] + b[i]));
    }
    y
}

/// dx, dw, db of layer norm.
pub fn layer_norm_backward<T: Real>(dy: &[T], x: &[T], w: &[T], eps: T) -> [Vec<T>; 3] {
    let c = w.len();
    let count = T::of(c as f64);
    let (mut dx, mut dw, mut db) = (Vec::new(), vec![T::zero(); c], vec![T::zero(); c]);
    for (row, dy) in x.chunks_exact(c).zip(dy.chunks_exact(c)) {
        let (mean, rstd) = statistics(row, eps);
        let hat: Vec<T> = row.iter().map(|&v| (v - mean) * rstd).collect();
        let (mut g_mean, mut gx_mean) = (T::zero(), T::zero());
        for i in 0..c {
            g_mean += dy[i] * w[i] / count;
            gx_mean += dy[i] * w[i] * hat[i] / count;
            dw[i] += dy[i] * hat[i];
            db[i] += dy[i];
        }
        dx.extend((0..c).map(|i| rstd * (dy[i] * w[i] - g_mean - hat[i] * gx_mean)));
    }
    [dx, dw, db]
}

/// x Wᵀ + b, with W (outputs, inputs).
pub fn linear<T: Real>(x: &[T], w: &[T], b: &[T]) -> Vec<T> {
    let inputs = w.len() / b.len();
    let mut y = Vec::with_capacity(x.len() / inputs * b.len());
    for x in x.chunks_exact(inputs) {
        for (w, &b) in w.chunks_exact(inputs).zip(b) {
            let mut sum = T::zero();
            for (&x, &w) in x.iter().zip(w) {
                sum += x * w;
            }
            y.push(sum + b);
        }
    }
    y
}

/// dx, dw, db of x Wᵀ + b with `outputs` columns.
pub fn linear_backward<T: Real>(dy: &[T], x: &[T], w: &[T], outputs: usize) -> [Vec<T>; 3] {
    let inputs = w.len() / outputs;
    let (mut dx, mut dw) = (vec![T::zero(); x.len()], vec![T::zero(); w.len()]);
    let mut db = vec![T::zero(); outputs];
    for (n, dy) in dy.chunks_exact(outputs).enumerate() {
        for (o, &d) in dy.iter().enumerate() {
            db[o] += d;
            for i in 0..inputs {
                dx[n * inputs + i] += d * w[o * inputs + i];
                dw[o * inputs + i] += d * x[n * inputs + i];
            }
        }
    }
    [dx, dw, db]
}

/// h Φ(h).
pub fn gelu<T: Real>(h: &[T]) -> Vec<T> {
    h.iter().map(|&h| h * h.plain_normal().0).collect()
}

/// dy ⊙ (Φ(h) + h φ(h)).
pub fn gelu_backward<T: Real>(dy: &[T], h: &[T]) -> Vec<T> {
    let slope = |h: T| {
        let (below, density) = h.plain_normal();
        below + h * density
    };
    dy.iter().zip(h).map(|(&d, &h)| d * slope(h)).collect()
}

/// One head of one image: vectors of `size` values, `stride` apart, from `at` on.
#[derive(Clone, Copy)]
pub struct Head<'a, T> {
    pub data: &'a [T],
    pub at: usize,
    pub stride: usize,
    pub count: usize,
    pub size: usize,
}

impl<T: Real> Head<'_, T> {
    /// Vector `i`.
    pub fn row(&self, i: usize) -> &[T] {
        &self.data[self.at + i * self.stride..][..self.size]
    }

    fn dot(&self, i: usize, other: &[T]) -> T {
        let mut sum = T::zero();
        for (&a, &b) in self.row(i).iter().zip(other) {
            sum += a * b;
        }
        sum
    }
}

/// Scores of query `i` over the keys, their maximum, and Σ exp(score − maximum).
pub fn scores<T: Real>(q: Head<T>, k: Head<T>, i: usize) -> (Vec<T>, T, T) {
    let scale = T::one() / T::of(q.size as f64).sqrt();
    let scores: Vec<T> = (0..k.count).map(|j| k.dot(j, q.row(i)) * scale).collect();
    let max = scores.iter().fold(T::neg_infinity(), |m, &s| m.max(s));
    let mut sum = T::zero();
    for &s in &scores {
        sum += (s - max).exp();
    }
    (scores, max, sum)
}

/// Probabilities of query `i` over the keys.
fn probabilities<T: Real>(q: Head<T>, k: Head<T>, i: usize) -> Vec<T> {
    let (scores, max, sum) = scores(q, k, i);
    scores.iter().map(|&s| (s - max).exp() / sum).collect()
}

/// log Σ exp(Q Kᵀ / √size) over the keys, for each query.
pub fn log_sum_exp<T: Real>(q: Head<T>, k: Head<T>) -> Vec<T> {
    let query = |i| {
        let (_, max, sum) = scores(q, k, i);
        max + sum.ln()
    };
    (0..q.count).map(query).collect()
}

/// softmax(Q Kᵀ / √size) V, rows one after the other. `round` is what happens to probabilities on
/// their way into a matrix product, and to the output: nothing, or a rounding to fewer bits.
pub fn attention<T: Real>(
    q: Head<T>,
    k: Head<T>,
    v: Head<T>,
    round: impl Fn(T) -> T + Copy,
) -> Vec<T> {
    let mut out = Vec::with_capacity(q.count * q.size);
    for i in 0..q.count {
        let p = probabilities(q, k, i);
        for c in 0..q.size {
            let mut sum = T::zero();
            for (j, &p) in p.iter().enumerate() {
                sum += round(p) * v.row(j)[c];
            }
            out.push(round(sum));
        }
    }
    out
}

/// dQ, dK, dV, rows one after the other, for the gradient `d_out` of the output, from the output
/// as [`attention`] leaves it; `round` is what happens to P and dS on their way into a product.
pub fn attention_backward<T: Real>(
    d_out: Head<T>,
    q: Head<T>,
    k: Head<T>,
    v: Head<T>,
    round: impl Fn(T) -> T + Copy,
) -> [Vec<T>; 3] {
    let size = q.size;
    let scale = T::one() / T::of(size as f64).sqrt();
    let out = attention(q, k, v, round);
    let mut dq = vec![T::zero(); q.count * size];
    let [mut dk, mut dv] = [(); 2].map(|()| vec![T::zero(); k.count * size]);
    for i in 0..q.count {
        let p = probabilities(q, k, i);
        let delta = d_out.dot(i, &out[i * size..][..size]);
        for j in 0..k.count {
            let p_rounded = round(p[j]);
            let ds = round(p[j] * (v.dot(j, d_out.row(i)) - delta));
            for c in 0..size {
                dq[i * size + c] += ds * k.row(j)[c] * scale;
                dk[j * size + c] += ds * q.row(i)[c] * scale;
                dv[j * size + c] += p_rounded * d_out.row(i)[c];
            }
        }
    }
    [dq, dk, dv]
}

/// Weighted mean loss and dlogits; see [`super::cross_entropy`].
pub fn cross_entropy<T: Real>(
    logits: &[T],
    labels: &[usize],
    weights: &[T],
    smoothing: T,
) -> (T, Vec<T>) {
    let k = weights.len();
    let (mut loss, mut total) = (T::zero(), T::zero());
    for &label in labels {
        total += weights[label];
    }
    let mut d = Vec::with_capacity(logits.len());
    for (row, &label) in logits.chunks_exact(k).zip(labels) {
        let max = row.iter().fold(T::neg_infinity(), |m, &v| m.max(v));
        let mut sum = T::zero();
        for &v in row {
            sum += (v - max).exp();
        }
        let mut target_sum = T::zero();
        let target = |c: usize| {
            let spread = smoothing / T::of(k as f64) * weights[c];
            if c == label {
                (T::one() - smoothing) * weights[c] + spread
            } else {
                spread
            }
        };
        for c in 0..k {
            loss -= target(c) * (row[c] - max - sum.ln()) / total;
            target_sum += target(c);
        }
        d.extend((0..k).map(|c| ((row[c] - max).exp() / sum * target_sum - target(c)) / total));
    }
    (loss, d)
}

/// Pixel `(channel, y, x)` under value `v` of patch `t`, as an index into one image.
pub fn pixel(shape: Shape, t: usize, v: usize) -> usize {
    let (p, across) = (shape.patch, shape.side / shape.patch);
    let (channel, y, x) = (v / (p * p), v / p % p, v % p);
    (channel * shape.side + t / across * p + y) * shape.side + t % across * p + x
}

/// x (B, T, C) of the patch embedding of `images` (B, channels, side, side).
pub fn patch_embed<T: Real>(images: &[T], params: &Params<&[T]>, shape: Shape) -> Vec<T> {
    let (c, v) = (shape.width, shape.values());
    let mut x = Vec::new();
    for image in images.chunks_exact(shape.channels * shape.side * shape.side) {
        x.extend((0..c).map(|o| params.class[o] + params.position[o]));
        for t in 1..shape.tokens() {
            for o in 0..c {
                let mut sum = T::zero();
                for i in 0..v {
                    sum += params.weight[o * v + i] * image[pixel(shape, t - 1, i)];
                }
                x.push(sum + params.bias[o] + params.position[t * c + o]);
            }
        }
    }
    x
}

/// Gradients of class token, positions, weight and bias.
pub fn patch_embed_backward<T: Real>(dx: &[T], images: &[T], shape: Shape) -> [Vec<T>; 4] {
    let (c, v, tokens) = (shape.width, shape.values(), shape.tokens());
    let [mut class, mut bias] = [(); 2].map(|()| vec![T::zero(); c]);
    let (mut position, mut weight) = (vec![T::zero(); tokens * c], vec![T::zero(); c * v]);
    let size = shape.channels * shape.side * shape.side;
    for (dx, image) in dx.chunks_exact(tokens * c).zip(images.chunks_exact(size)) {
        for (i, &d) in dx.iter().enumerate() {
            position[i] += d;
            let (t, o) = (i / c, i % c);
            if t == 0 {
                class[o] += d;
                continue;
            }
            bias[o] += d;
            for j in 0..v {
                weight[o * v + j] += d * image[pixel(shape, t - 1, j)];
            }
        }
    }
    [class, position, weight, bias]
}
