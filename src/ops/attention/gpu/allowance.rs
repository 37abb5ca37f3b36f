//! How far tensor cores and `ex2` may take the results beyond rounding to nearest; to first order,
//! value by value (see `ops/gpu_rounding.rs`). Names are those of `kernels/attention.cu`.

use crate::device::{ElementType, Properties};
use crate::ops::attention::Attention;
use crate::ops::gpu::Allowance;
use crate::ops::gpu_rounding::{EXP2, LOG, TensorCore};
use crate::ops::linear::gpu::allowance::as_elements;
use crate::ops::plain::{self, Head};
use crate::ops::registry::{Case, Gradients};

/// Keys are taken in blocks of at least so many.
const SMALLEST_BLOCK: usize = 16;

/// One query's row of scores.
struct Row {
    /// exp(S − largest), and its sum.
    exponentials: Vec<f64>,
    sum: f64,
    /// Of each S.
    score_losses: Vec<f64>,
}

impl Row {
    fn new(core: TensorCore, q: Head<f64>, k: Head<f64>, i: usize) -> Self {
        let (scores, largest, sum) = plain::scores(q, k, i);
        let scale = 1.0 / (q.size as f64).sqrt();
        let loss = |j: usize| scale * core.loss(products(q.row(i), k.row(j)));
        Self {
            exponentials: scores.iter().map(|s| (s - largest).exp()).collect(),
            sum,
            score_losses: (0..k.count).map(loss).collect(),
        }
    }

    fn probability(&self, j: usize) -> f64 {
        self.exponentials[j] / self.sum
    }

    /// Of log Σ exp S, but for the exponentials: the mean of the scores' by P.
    fn mean_loss(&self) -> f64 {
        let losses = self.score_losses.iter().zip(&self.exponentials);
        losses.map(|(loss, e)| loss * e).sum::<f64>() / self.sum
    }

    /// Of lse. `ex2` makes a term of the sum, and shrinks the sum where a block raises the maximum.
    fn lse_loss(&self) -> f64 {
        let blocks = self.exponentials.len().div_ceil(SMALLEST_BLOCK);
        self.mean_loss() + (1 + blocks) as f64 * EXP2 + self.sum.ln() * LOG
    }

    /// Of O's row: P is off by S, by the sum, and by `ex2` in both. A P is rounded and multiplied as it
    /// stands to the largest score of its time, in an accumulator of that scale: to the scale of the end
    /// a cut is up to twice as coarse. (What shrinks both sums alike cancels.)
    fn output_losses(&self, core: TensorCore, element: ElementType, v: Head<f64>) -> Vec<f64> {
        let shared = self.mean_loss() + 2.0 * EXP2;
        let operands = as_elements(element, &self.exponentials);
        let value = |c: usize| {
            let spread = |j: usize| {
                self.probability(j) * (self.score_losses[j] + shared) * v.row(j)[c].abs()
            };
            let terms = operands.iter().enumerate();
            let cuts = core.loss(terms.map(|(j, p)| p * v.row(j)[c]));
            (0..v.count).map(spread).sum::<f64>() + 2.0 * cuts / self.sum
        };
        (0..v.size).map(value).collect()
    }
}

fn products<'a>(a: &'a [f64], b: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
    a.iter().zip(b).map(|(a, b)| a * b)
}

/// dQ, dK, dV of a head.
fn gradient_losses(
    core: TensorCore,
    element: ElementType,
    d_out: Head<f64>,
    [q, k, v]: [Head<f64>; 3],
) -> [Vec<f64>; 3] {
    let out = plain::attention(q, k, v, |x| f64::from(element.round(x as f32)));
    // By query and key: the operands P and dS, and how far they may be off.
    let (mut p, mut p_loss, mut ds, mut ds_loss) = (vec![], vec![], vec![], vec![]);
    for i in 0..q.count {
        let row = Row::new(core, q, k, i);
        let (d_o, o) = (d_out.row(i), &out[i * q.size..][..q.size]);
        let o_losses = row.output_losses(core, element, v);
        let delta: f64 = products(d_o, o).sum();
        let delta_loss =
            core.loss(products(d_o, o)) + products(d_o, &o_losses).map(f64::abs).sum::<f64>();
        let lse_loss = row.lse_loss();
        for j in 0..k.count {
            let probability = row.probability(j);
            let off = probability * (row.score_losses[j] + lse_loss + EXP2);
            let d: f64 = products(d_o, v.row(j)).sum::<f64>() - delta;
            p.push(probability);
            p_loss.push(off);
            ds.push(probability * d);
            let d_loss = core.loss(products(d_o, v.row(j))) + delta_loss;
            ds_loss.push(d.abs() * off + probability * d_loss);
        }
    }
    let [p, ds] = [p, ds].map(|values| as_elements(element, &values));
    let scale = 1.0 / (q.size as f64).sqrt();
    let (size, keys) = (q.size, k.count);
    // Value n of a gradient is Σ over the rows of `right` of an operand's values, from `first` of the
    // gradient's row on, `step` apart: cuts, and what is off about the operand.
    let product = |operand: &[f64], loss: &[f64], right: Head<f64>, [first, step]: [usize; 2]| {
        let value = move |n: usize| {
            let (row, c) = (n / size, n % size);
            let place = |r: usize| row * first + r * step;
            let cuts = core.loss((0..right.count).map(|r| operand[place(r)] * right.row(r)[c]));
            let off = (0..right.count).map(|r| loss[place(r)] * f64::abs(right.row(r)[c]));
            cuts + off.sum::<f64>()
        };
        let rows = p.len() / right.count;
        (0..rows * size).map(value).collect::<Vec<f64>>()
    };
    let (by_query, by_key) = ([keys, 1], [1, keys]);
    let scaled = |losses: Vec<f64>| losses.into_iter().map(|loss| scale * loss).collect();
    [
        scaled(product(&ds, &ds_loss, k, by_query)),
        scaled(product(&ds, &ds_loss, q, by_key)),
        product(&p, &p_loss, d_out, by_key),
    ]
}

impl Attention {
    /// Queries, keys and values as the device stores them.
    fn stored_operands(element: ElementType, case: &Case, inputs: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let tensors = Self::projected(case, inputs);
        tensors.iter().map(|t| as_elements(element, t)).collect()
    }
}

impl Allowance for Attention {
    fn forward(
        &self,
        gpu: &Properties,
        element: ElementType,
        case: &Case,
        inputs: &[Vec<f64>],
    ) -> Vec<Vec<f64>> {
        let core = TensorCore::of(gpu.capability, element);
        let tensors = Self::stored_operands(element, case, inputs);
        Self::by_head(case, &tensors, |[q, k, v]| {
            let rows = (0..q.count).map(|i| Row::new(core, q, k, i));
            let losses = rows.map(|row| (row.output_losses(core, element, v), row.lse_loss()));
            let (outputs, lse): (Vec<_>, Vec<_>) = losses.unzip();
            (outputs.concat(), lse)
        })
    }

    fn backward(
        &self,
        gpu: &Properties,
        element: ElementType,
        case: &Case,
        inputs: &[Vec<f64>],
        dy: &[Vec<f64>],
    ) -> Gradients<f64> {
        let core = TensorCore::of(gpu.capability, element);
        let tensors = Self::stored_operands(element, case, inputs);
        Self::gradients_by_head(case, &tensors, dy, |d_out, heads| {
            gradient_losses(core, element, d_out, heads)
        })
    }
}
