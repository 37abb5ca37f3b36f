//! Linear layers on a GPU: `kernels/linear.cu`.
//!
//! The weight (outputs, inputs) is the 16-bit copy; biases and the gradients of parameters are f32.
//! The rows of activations may lie apart. All launchers panic if a tensor is too short.

pub(in crate::ops) mod allowance;
mod check;
mod launch;
pub mod tile;
mod weight;

pub(in crate::ops) use check::weight_bytes;
pub use weight::{
    WeightPlan, backward_weight, backward_weight_and_bias, backward_weight_of_patches,
    backward_weight_on,
};

use super::Shape;
use crate::device::kernels::{
    LinearBackwardInput, LinearBackwardInputGelu, LinearForward, LinearForwardF32,
    LinearForwardGelu, LinearForwardPatch, LinearForwardResidual,
};
use crate::device::{Element, Gpu, Properties, Ptr, Slice};
use crate::error::Result;
use crate::ops::column_sum::Partials;
use crate::ops::rows::Rows;
use launch::{Access, copy_bytes, launch};
use tile::{Product, Tile};

/// A layer's parameters, as the forward pass reads them.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    /// (outputs, inputs).
    pub weight: Rows<'a, Element>,
    /// (outputs).
    pub bias: Option<Slice<'a, f32>>,
}

impl Layer<'_> {
    /// Checks x and the parameters, and says how they may be read.
    fn access(&self, x: Rows<Element>, shape: Shape) -> Access {
        x.check("linear: x", shape.rows, shape.inputs);
        self.weight.check("linear: w", shape.outputs, shape.inputs);
        let outputs = self.bias.map_or(shape.outputs, Slice::len);
        assert_eq!(outputs, shape.outputs, "linear: bias");
        Access::of((x, shape.inputs), (self.weight, shape.inputs))
    }
}

/// A kernel of x Wᵀ + b: its own arguments, and those that all of them have.
macro_rules! forward_kernel {
    ($kernel:ident { $($own:ident: $value:expr,)* }, $x:ident, $layer:ident, $shape:ident) => {{
        let [rows, outputs, inputs] = $shape.dims();
        $kernel {
            $($own: $value,)*
            x: $x.values.ptr(),
            w: $layer.weight.values.ptr(),
            bias: Ptr::from($layer.bias),
            rows,
            outputs,
            inputs,
            x_stride: $x.stride as i32,
            w_stride: $layer.weight.stride as i32,
        }
    }};
}

impl Shape {
    /// As kernels take it: rows, outputs, inputs.
    fn dims(self) -> [i32; 3] {
        [self.rows, self.outputs, self.inputs].map(|n| i32::try_from(n).expect("linear: size"))
    }

    /// y = x Wᵀ + b as a product of operands accessed so; `epilogue` bytes are read and written for each
    /// value of y.
    fn forward(self, epilogue: usize, access: Access) -> Product {
        Product {
            m: self.rows,
            n: self.outputs,
            k: self.inputs,
            epilogue,
            copy: access.copy(),
        }
    }

    /// dx = dy W as a product, `copy` bytes of its operands at once; `epilogue` bytes are read and written
    /// for each value of dx.
    fn backward_input(self, epilogue: usize, copy: usize) -> Product {
        Product {
            m: self.rows,
            n: self.inputs,
            k: self.outputs,
            epilogue,
            copy,
        }
    }
}

// ------------------------------------------------------------------------------------------ forward

/// `y` (N, outputs) = x Wᵀ + b, of `x` (N, inputs).
pub fn forward(
    gpu: &Gpu,
    y: Rows<Element>,
    x: Rows<Element>,
    layer: Layer,
    shape: Shape,
) -> Result<()> {
    let access = layer.access(x, shape);
    let tile = Tile::choose(gpu.properties(), shape.forward(2, access));
    forward_on(gpu, &tile, y, x, layer, shape)
}

/// [`forward`] with a tile of the caller's choice, to test or to time it.
pub fn forward_on(
    gpu: &Gpu,
    tile: &Tile,
    y: Rows<Element>,
    x: Rows<Element>,
    layer: Layer,
    shape: Shape,
) -> Result<()> {
    y.check("linear: y", shape.rows, shape.outputs);
    let access = layer.access(x, shape);
    let access = access.epilogue(shape.outputs, layer.bias, &[], &[y]);
    let kernel = forward_kernel!(
        LinearForward {
            y: y.values.ptr(),
            y_stride: y.stride as i32,
        },
        x,
        layer,
        shape
    );
    // SAFETY: the tensors were checked against the shape.
    unsafe { launch(gpu, &kernel, tile, access, (shape.rows, shape.outputs), 1) }
}

/// [`forward`] with `y` in f32: logits.
pub fn forward_f32(
    gpu: &Gpu,
    y: Rows<f32>,
    x: Rows<Element>,
    layer: Layer,
    shape: Shape,
) -> Result<()> {
    y.check("linear: y", shape.rows, shape.outputs);
    let access = layer.access(x, shape);
    let access = access.epilogue(shape.outputs, layer.bias, &[y], &[]);
    let tile = Tile::choose(gpu.properties(), shape.forward(4, access));
    let kernel = forward_kernel!(
        LinearForwardF32 {
            y: y.values.ptr(),
            y_stride: y.stride as i32,
        },
        x,
        layer,
        shape
    );
    // SAFETY: the tensors were checked against the shape.
    unsafe { launch(gpu, &kernel, &tile, access, (shape.rows, shape.outputs), 1) }
}

/// `y` = gelu(h) with h = x Wᵀ + b, both (N, outputs) and packed; `h` is kept where a backward pass
/// follows.
pub fn forward_gelu(
    gpu: &Gpu,
    y: Slice<Element>,
    h: Option<Slice<Element>>,
    x: Rows<Element>,
    layer: Layer,
    shape: Shape,
) -> Result<()> {
    let (y, h) = (
        Rows::packed(y, shape.outputs),
        h.map(|h| Rows::packed(h, shape.outputs)),
    );
    y.check("linear: y", shape.rows, shape.outputs);
    h.unwrap_or(y).check("linear: h", shape.rows, shape.outputs);
    let access = layer.access(x, shape);
    let access = access.epilogue(shape.outputs, layer.bias, &[], &[y, h.unwrap_or(y)]);
    let tile = Tile::choose(gpu.properties(), shape.forward(4, access));
    let kernel = forward_kernel!(
        LinearForwardGelu {
            y: y.values.ptr(),
            h: Ptr::from(h.map(|h| h.values)),
            y_stride: y.stride as i32,
        },
        x,
        layer,
        shape
    );
    // SAFETY: the tensors were checked against the shape.
    unsafe { launch(gpu, &kernel, &tile, access, (shape.rows, shape.outputs), 1) }
}

/// `y` (N, outputs) = residual + x Wᵀ + b in f32; `residual` may be `y` itself.
pub fn forward_residual(
    gpu: &Gpu,
    y: Rows<f32>,
    residual: Rows<f32>,
    x: Rows<Element>,
    layer: Layer,
    shape: Shape,
) -> Result<()> {
    y.check("linear: y", shape.rows, shape.outputs);
    residual.check("linear: residual", shape.rows, shape.outputs);
    let access = layer.access(x, shape);
    let access = access.epilogue(shape.outputs, layer.bias, &[y, residual], &[]);
    let tile = Tile::choose(gpu.properties(), shape.forward(8, access));
    let kernel = forward_kernel!(
        LinearForwardResidual {
            y: y.values.ptr(),
            residual: residual.values.ptr(),
            y_stride: y.stride as i32,
            residual_stride: residual.stride as i32,
        },
        x,
        layer,
        shape
    );
    // SAFETY: the tensors were checked against the shape.
    unsafe { launch(gpu, &kernel, &tile, access, (shape.rows, shape.outputs), 1) }
}

/// The patch rows of the stream `x` (images, 1 + patches, outputs), f32, of `patches` (images ·
/// patches, inputs): the product, the bias, and `positions` (1 + patches, outputs) from its second
/// row on. The class rows of x are left alone. `shape.rows` is images · patches.
pub fn forward_patches(
    gpu: &Gpu,
    x: Slice<f32>,
    patches: Slice<Element>,
    layer: Layer,
    positions: Slice<f32>,
    shape: Shape,
) -> Result<()> {
    let per_image = positions.len() / shape.outputs - 1;
    assert_eq!(
        positions.len(),
        (per_image + 1) * shape.outputs,
        "linear: positions"
    );
    let images = shape.rows / per_image;
    assert_eq!(shape.rows, images * per_image, "linear: rows of patches");
    let stream = Rows::packed(x, shape.outputs);
    stream.check("linear: x", images * (per_image + 1), shape.outputs);
    let patches = Rows::packed(patches, shape.inputs);
    assert_eq!(layer.weight.stride, shape.inputs, "linear: w is packed");
    let positions = Rows::packed(positions, shape.outputs);
    let access = layer.access(patches, shape).patches(per_image);
    let access = access.epilogue(shape.outputs, layer.bias, &[stream, positions], &[]);
    let tile = Tile::choose(gpu.properties(), shape.forward(4, access));
    let [rows, outputs, inputs] = shape.dims();
    let kernel = LinearForwardPatch {
        x: x.ptr(),
        patches: patches.values.ptr(),
        w: layer.weight.values.ptr(),
        bias: Ptr::from(layer.bias),
        positions: positions.values.ptr(),
        rows,
        outputs,
        inputs,
    };
    // SAFETY: the tensors were checked against the shape.
    unsafe { launch(gpu, &kernel, &tile, access, (shape.rows, shape.outputs), 1) }
}

// ----------------------------------------------------------------------------------------- backward

/// Checks dy and the weight, and says how they may be read.
fn backward_access(dy: Rows<Element>, weight: Rows<Element>, shape: Shape) -> Access {
    dy.check("linear: dy", shape.rows, shape.outputs);
    weight.check("linear: w", shape.outputs, shape.inputs);
    Access::of((dy, shape.outputs), (weight, shape.inputs))
}

/// `dx` (N, inputs) = dy W, of `dy` (N, outputs).
pub fn backward_input(
    gpu: &Gpu,
    dx: Rows<Element>,
    dy: Rows<Element>,
    weight: Rows<Element>,
    shape: Shape,
) -> Result<()> {
    let access = backward_access(dy, weight, shape);
    let product = shape.backward_input(2, access.copy());
    let tile = Tile::choose(gpu.properties(), product);
    backward_input_on(gpu, &tile, dx, dy, weight, shape)
}

/// [`backward_input`] with a tile of the caller's choice, to test or to time it.
pub fn backward_input_on(
    gpu: &Gpu,
    tile: &Tile,
    dx: Rows<Element>,
    dy: Rows<Element>,
    weight: Rows<Element>,
    shape: Shape,
) -> Result<()> {
    dx.check("linear: dx", shape.rows, shape.inputs);
    let access = backward_access(dy, weight, shape).epilogue(shape.inputs, None, &[], &[dx]);
    let [rows, outputs, inputs] = shape.dims();
    let kernel = LinearBackwardInput {
        dx: dx.values.ptr(),
        dy: dy.values.ptr(),
        w: weight.values.ptr(),
        rows,
        outputs,
        inputs,
        dx_stride: dx.stride as i32,
        dy_stride: dy.stride as i32,
        w_stride: weight.stride as i32,
    };
    // SAFETY: the tensors were checked against the shape.
    unsafe { launch(gpu, &kernel, tile, access, (shape.rows, shape.inputs), 1) }
}

/// By the widths alone: the room for its sums is planned before there are addresses. Where a weight's
/// address allows less than they do, the MLP's own width, an operand's here, is what put it there.
fn gelu_tile(gpu: &Properties, shape: Shape) -> Tile {
    let copy = copy_bytes(shape.outputs).min(copy_bytes(shape.inputs));
    Tile::choose(gpu, shape.backward_input(4, copy))
}

/// Rows of partial sums, `shape.inputs` values each, that [`backward_input_gelu`] leaves.
pub fn gelu_parts(gpu: &Properties, shape: Shape) -> usize {
    gelu_tile(gpu, shape).rows(shape.rows)
}

/// `dh` (N, inputs) = (dy W) ⊙ gelu′(h), packed as `h` is, where gelu(h) was the layer's input, and
/// its column sums, the gradient of the bias in h; `partials` must hold [`gelu_parts`] · inputs.
pub fn backward_input_gelu<'a>(
    gpu: &Gpu,
    dh: Slice<Element>,
    partials: Slice<'a, f32>,
    dy: Rows<Element>,
    weight: Rows<Element>,
    h: Slice<Element>,
    shape: Shape,
) -> Result<Partials<'a>> {
    let (dh, h) = (
        Rows::packed(dh, shape.inputs),
        Rows::packed(h, shape.inputs),
    );
    dh.check("linear: dh", shape.rows, shape.inputs);
    h.check("linear: h", shape.rows, shape.inputs);
    let tile = gelu_tile(gpu.properties(), shape);
    let partials = Partials::new(partials, tile.rows(shape.rows), shape.inputs);
    let access = backward_access(dy, weight, shape).epilogue(shape.inputs, None, &[], &[dh, h]);
    let [rows, outputs, inputs] = shape.dims();
    let kernel = LinearBackwardInputGelu {
        dh: dh.values.ptr(),
        column_sums: partials.ptr(),
        dy: dy.values.ptr(),
        w: weight.values.ptr(),
        h: h.values.ptr(),
        rows,
        outputs,
        inputs,
        dh_stride: dh.stride as i32,
        dy_stride: dy.stride as i32,
        w_stride: weight.stride as i32,
    };
    // SAFETY: the tensors were checked against the shape, the partial sums against its tiles.
    unsafe { launch(gpu, &kernel, &tile, access, (shape.rows, shape.inputs), 1)? };
    Ok(partials)
}
