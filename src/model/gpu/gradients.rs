//! Where a backward pass puts its gradients, and what all its parts share.

use std::ops::Range;

use super::Pass;
use super::scratch::{Scratch, Sums};
use crate::device::{Element, Slice};
use crate::error::Result;
use crate::ops::column_sum::{self, Partials};
use crate::ops::gemm::Accumulate;
use crate::ops::layer_norm;
use crate::ops::layer_norm::gpu::Residual;
use crate::ops::linear::gpu::{WeightPlan, backward_weight_on};
use crate::ops::rows::Rows;

/// Where gradients go.
#[derive(Debug, Clone, Copy)]
pub struct Gradients<'a> {
    /// Of every trained parameter: an arena of the table's layout, its beginning perhaps left out.
    pub params: Slice<'a, f32>,
    pub scratch: &'a Scratch,
    /// Overwrite for the first micro-batch of a step.
    pub accumulate: Accumulate,
}

/// Gradient of the residual stream behind, and then before, a part of a block.
#[derive(Clone, Copy)]
pub(super) struct Stream<'a> {
    pub(super) values: Slice<'a, f32>,
    /// For GEMMs.
    pub(super) copy: Slice<'a, Element>,
    pub(super) rows: usize,
}

/// A backward pass under way.
pub(super) struct Backward<'a> {
    pub(super) pass: Pass<'a>,
    pub(super) gradients: Gradients<'a>,
    /// What it took of the scratch memory for sums in parts so far.
    pub(super) taken: Sums,
}

impl<'a> Backward<'a> {
    /// The next `count` sums of squares.
    pub(super) fn squares(&mut self, count: usize) -> Slice<'a, f32> {
        let start = self.taken.squares;
        self.taken.squares += count;
        let all = self.pass.arena.at(self.gradients.scratch.squares);
        all.range(start..self.taken.squares)
    }

    pub(super) fn gradient(&self, range: &Range<usize>) -> Slice<'a, f32> {
        let left_out = self.pass.vit.table.len - self.gradients.params.len();
        self.gradients
            .params
            .range(range.start - left_out..range.end - left_out)
    }

    /// `floats` for the partial sums of one operation, until the next one wants some.
    pub(super) fn partials(&mut self, floats: usize) -> Slice<'a, f32> {
        self.taken.partials = self.taken.partials.max(floats);
        let place = self.gradients.scratch.partials;
        self.pass.arena.first(place, floats)
    }

    /// `floats` for the parts of one weight's gradient, until the next one wants some.
    pub(super) fn workspace(&mut self, floats: usize) -> Slice<'a, f32> {
        self.taken.workspace = self.taken.workspace.max(floats);
        let place = self.gradients.scratch.workspace;
        self.pass.arena.first(place, floats)
    }

    pub(super) fn branch(&self, rows: usize) -> Slice<'a, Element> {
        let place = self.gradients.scratch.branch;
        self.pass.arena.first(place, rows * self.pass.width())
    }

    pub(super) fn d_qkv(&self) -> Slice<'a, Element> {
        let (pass, place) = (self.pass, self.gradients.scratch.qkv);
        pass.arena.first(place, pass.rows() * 3 * pass.width())
    }

    /// The gradient at `range` from partial sums, unless it is frozen; an empty range is that of a
    /// bias there is not.
    pub(super) fn sum(&mut self, range: &Range<usize>, partials: Partials) -> Result<()> {
        if range.is_empty() || range.start < self.pass.vit.trained().start {
            return Ok(());
        }
        let squares = self.squares(column_sum::squares(range.len()));
        column_sum::finish(
            self.pass.gpu,
            self.gradient(range),
            Some(squares),
            partials,
            self.gradients.accumulate,
        )
    }

    /// dW at `range` = dyᵀ x.
    pub(super) fn weight(
        &mut self,
        range: &Range<usize>,
        dy: Rows<Element>,
        x: Rows<Element>,
        rows: usize,
        inputs: usize,
    ) -> Result<()> {
        let pass = self.pass;
        let shape = pass.vit.linear_shape(rows, inputs, range.len() / inputs);
        let plan = WeightPlan::new(pass.gpu.properties(), shape);
        let squares = self.squares(plan.squares());
        let workspace = self.workspace(plan.workspace());
        backward_weight_on(
            pass.gpu,
            &plan,
            self.gradient(range),
            Some(squares),
            workspace,
            dy,
            x,
            self.gradients.accumulate,
        )
    }

    /// Gradients of a norm of `x`: `stream` becomes the norm's and `residual`'s sum. `added` is the
    /// bias of the linear layer that added into the stream.
    pub(super) fn norm(
        &mut self,
        stream: Stream,
        dy: Slice<Element>,
        x: Slice<f32>,
        (mean, rstd): (Slice<f32>, Slice<f32>),
        (weight, bias): (&Range<usize>, &Range<usize>),
        residual: Residual,
        added: Option<&Range<usize>>,
    ) -> Result<()> {
        let (pass, c) = (self.pass, self.pass.width());
        let parts = layer_norm::gpu::parts(pass.gpu.properties(), stream.rows, c);
        let partials = layer_norm::gpu::backward(
            pass.gpu,
            stream.values,
            Some(stream.copy),
            self.partials(parts * 3 * c),
            dy,
            Rows::packed(x, c),
            pass.param(weight),
            mean,
            rstd,
            residual,
        )?;
        assert_eq!(weight.end, bias.start, "a norm's bias follows its weight");
        self.sum(&(weight.start..bias.end), partials.columns(0..2 * c))?;
        match added {
            Some(bias) => self.sum(bias, partials.columns(2 * c..3 * c)),
            None => Ok(()),
        }
    }
}
