//! What the registry's cases do not reach: every tile, split sums, sums of squares, the patch
//! embedding's rows. Where two ways add the same numbers in the same order, their bits are equal.

use libtest_mimic::{Failed, Trial};
use vitcuda::device::{Buffer, Element, ElementType, Gpu};
use vitcuda::ops::column_sum;
use vitcuda::ops::gemm::Accumulate;
use vitcuda::ops::linear::Shape;
use vitcuda::ops::linear::gpu::tile::Tile;
use vitcuda::ops::linear::gpu::{self as linear, Layer, WeightPlan};
use vitcuda::ops::rows::Rows;
use vitcuda::rng::{Philox, Purpose};

use super::emulated::Devices;

pub fn trials(devices: Devices) -> Vec<Trial> {
    type Test = fn(&Gpu) -> Result<(), Failed>;
    let tests: [(&str, Test); 4] = [
        (
            "every tile gives the same bits, and a bias's gradient",
            every_tile,
        ),
        ("a split sum is the sum, to rounding", split_sum),
        ("patches go to the rows behind the class tokens", patches),
        (
            "the patches' weight gradient passes over the class rows",
            patch_gradient,
        ),
    ];
    let mut trials = Vec::new();
    for architecture in ["sm_75", "sm_80"] {
        for (fact, test) in tests {
            let name = format!("linear: {fact}: {architecture}");
            trials.push(devices.trial(name, (architecture, ElementType::F16), test));
        }
    }
    trials
}

/// Ragged for every tile, several tiles of the smaller ones.
const SHAPE: Shape = Shape {
    rows: 300,
    inputs: 136,
    outputs: 200,
};

fn normal(len: usize, index: u64) -> Vec<f32> {
    let mut stream = Philox::new(7, Purpose::Test, index);
    (0..len).map(|_| stream.normal() as f32).collect()
}

/// The operands of all passes: x, w, dy, b.
struct Tensors {
    x: Buffer<Element>,
    w: Buffer<Element>,
    dy: Buffer<Element>,
    b: Buffer<f32>,
}

impl Tensors {
    fn new(gpu: &Gpu, shape: Shape) -> Result<Self, Failed> {
        let Shape {
            rows,
            inputs,
            outputs,
        } = shape;
        Ok(Self {
            x: gpu.upload_elements(&normal(rows * inputs, 1))?,
            w: gpu.upload_elements(&normal(outputs * inputs, 2))?,
            dy: gpu.upload_elements(&normal(rows * outputs, 3))?,
            b: gpu.upload(&normal(outputs, 4))?,
        })
    }

    fn layer(&self, shape: Shape) -> Layer<'_> {
        Layer {
            weight: Rows::packed(self.w.all(), shape.inputs),
            bias: Some(self.b.all()),
        }
    }
}

/// Σ over k runs in the same order in every tile.
fn every_tile(gpu: &Gpu) -> Result<(), Failed> {
    let Shape {
        rows,
        inputs,
        outputs,
    } = SHAPE;
    let tensors = Tensors::new(gpu, SHAPE)?;
    let (x, dy) = (
        Rows::packed(tensors.x.all(), inputs),
        Rows::packed(tensors.dy.all(), outputs),
    );
    let layer = tensors.layer(SHAPE);
    let mut first = None;
    let tiles = Tile::candidates(gpu.properties());
    assert_eq!(tiles.len(), 5);
    for tile in tiles {
        let (y, dx) = (gpu.alloc(rows * outputs)?, gpu.alloc(rows * inputs)?);
        let [to, dto] = [(&y, outputs), (&dx, inputs)].map(|(m, n)| Rows::packed(m.all(), n));
        linear::forward_on(gpu, &tile, to, x, layer, SHAPE)?;
        linear::backward_input_on(gpu, &tile, dto, dy, layer.weight, SHAPE)?;
        let whole = WeightPlan::with(tile, rows.next_multiple_of(32), SHAPE);
        let dw = weight(gpu, &whole, &tensors)?;
        let bits = (
            gpu.read(y.all())?,
            gpu.read(dx.all())?,
            dw.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
        );
        let first = first.get_or_insert_with(|| bits.clone());
        if bits.0 != first.0 {
            return Err(format!("y of {tile:?}").into());
        }
        if bits.1 != first.1 {
            return Err(format!("dx of {tile:?}").into());
        }
        if bits.2 != first.2 {
            return Err(format!("dw of {tile:?}").into());
        }
    }
    Ok(())
}

/// dw by this plan; its squares are compared with it, the bias's gradient with dy, and what it is
/// without one.
fn weight(gpu: &Gpu, plan: &WeightPlan, tensors: &Tensors) -> Result<Vec<f32>, Failed> {
    let Shape {
        inputs, outputs, ..
    } = SHAPE;
    let (x, dy) = (
        Rows::packed(tensors.x.all(), inputs),
        Rows::packed(tensors.dy.all(), outputs),
    );
    let (dw, squares) = (gpu.alloc(outputs * inputs)?, gpu.alloc(plan.squares())?);
    let (workspace, overwrite) = (gpu.alloc(plan.workspace())?, Accumulate::Overwrite);
    let (to, room) = (dw.all(), workspace.all());
    linear::backward_weight_on(gpu, plan, to, None, room, dy, x, overwrite)?;
    let without_bias = gpu.read(dw.all())?;
    let (partials, db) = (gpu.alloc(plan.parts * outputs)?, gpu.alloc(outputs)?);
    let sums = linear::backward_weight_and_bias(
        gpu,
        plan,
        to,
        Some(squares.all()),
        partials.all(),
        room,
        dy,
        x,
        overwrite,
    )?;
    column_sum::finish(gpu, db.all(), None, sums, overwrite)?;
    let dw = gpu.read(dw.all())?;
    assert!(dw == without_bias, "dw changes with the bias's gradient");
    check_bias(&gpu.read(db.all())?, &gpu.read_elements(tensors.dy.all())?)?;
    let wide = |v: &f32| f64::from(*v);
    let found: f64 = gpu.read(squares.all())?.iter().map(wide).sum();
    let exact: f64 = dw.iter().map(|v| wide(v) * wide(v)).sum();
    // Each partial sum adds fewer positive terms than dw has, in f32.
    let limit = dw.len() as f64 * f64::from(f32::EPSILON) / 2.0;
    if (found / exact - 1.0).abs() <= limit {
        Ok(dw)
    } else {
        Err(format!("squares add up to {found}, not {exact}").into())
    }
}

/// db against the column sums of dy.
fn check_bias(db: &[f32], dy: &[f32]) -> Result<(), Failed> {
    for (o, &found) in db.iter().enumerate() {
        let terms = dy.iter().skip(o).step_by(db.len()).copied().map(f64::from);
        near(&format!("db[{o}]"), found, terms)?;
    }
    Ok(())
}

/// Fails unless `found` is a sum of `terms` in f32, in any order.
fn near(what: &str, found: f32, terms: impl Iterator<Item = f64>) -> Result<(), Failed> {
    let add = |(n, sum, size), t: f64| (n + 1.0, sum + t, size + t.abs());
    let (n, sum, size) = terms.fold((0.0, 0.0, 0.0), add);
    let error = (f64::from(found) - sum).abs();
    if error <= n * f64::from(f32::EPSILON) / 2.0 * size {
        Ok(())
    } else {
        Err(format!("{what} is {found}, should be {sum}").into())
    }
}

fn split_sum(gpu: &Gpu) -> Result<(), Failed> {
    let Shape {
        rows,
        inputs,
        outputs,
    } = SHAPE;
    let tensors = Tensors::new(gpu, SHAPE)?;
    let [x, dy] = [&tensors.x, &tensors.dy].map(|t| gpu.read_elements(t.all()));
    let (x, dy) = (x?, dy?);
    let tile = *Tile::candidates(gpu.properties())
        .last()
        .expect("the smallest");
    let plan = WeightPlan::with(tile, 96, SHAPE);
    assert_eq!(plan.parts, 4, "the last one is ragged");
    let dw = weight(gpu, &plan, &tensors)?;
    for (i, &found) in dw.iter().enumerate() {
        let (o, i) = (i / inputs, i % inputs);
        let terms =
            (0..rows).map(|n| f64::from(dy[n * outputs + o]) * f64::from(x[n * inputs + i]));
        near(&format!("dw[{o}][{i}]"), found, terms)?;
    }
    twice(gpu, &plan, &tensors, &dw)
}

/// A second micro-batch of the same rows doubles dw.
fn twice(gpu: &Gpu, plan: &WeightPlan, tensors: &Tensors, dw: &[f32]) -> Result<(), Failed> {
    let Shape {
        inputs, outputs, ..
    } = SHAPE;
    let (x, dy) = (
        Rows::packed(tensors.x.all(), inputs),
        Rows::packed(tensors.dy.all(), outputs),
    );
    let (sum, room) = (gpu.upload(dw)?, gpu.alloc(plan.workspace())?);
    let add = Accumulate::Add;
    linear::backward_weight_on(gpu, plan, sum.all(), None, room.all(), dy, x, add)?;
    let doubled: Vec<f32> = dw.iter().map(|d| 2.0 * d).collect();
    assert!(gpu.read(sum.all())? == doubled, "dw is not added to");
    Ok(())
}

const PER_IMAGE: usize = 12;
const IMAGES: usize = 7;
const PATCHES: Shape = Shape {
    rows: IMAGES * PER_IMAGE,
    inputs: 108, // 8-byte copies, as of patches of 14
    outputs: 72,
};

/// As a layer whose residual is the position's embedding.
fn patches(gpu: &Gpu) -> Result<(), Failed> {
    let Shape {
        rows,
        inputs,
        outputs,
    } = PATCHES;
    let tensors = Tensors::new(gpu, PATCHES)?;
    let positions = normal((1 + PER_IMAGE) * outputs, 5);
    let behind_class = positions[outputs..].repeat(IMAGES);
    let residual = gpu.upload(&behind_class)?;
    let expected = gpu.alloc(rows * outputs)?;
    let [to, from] = [&expected, &residual].map(|m| Rows::packed(m.all(), outputs));
    let x = Rows::packed(tensors.x.all(), inputs);
    linear::forward_residual(gpu, to, from, x, tensors.layer(PATCHES), PATCHES)?;
    let expected = gpu.read(expected.all())?;

    let before = normal(IMAGES * (1 + PER_IMAGE) * outputs, 6);
    let stream = gpu.upload(&before)?;
    let positions = gpu.upload(&positions)?;
    let (to, patches) = (stream.all(), tensors.x.all());
    linear::forward_patches(
        gpu,
        to,
        patches,
        tensors.layer(PATCHES),
        positions.all(),
        PATCHES,
    )?;
    let stream = gpu.read(stream.all())?;
    let image = outputs * (1 + PER_IMAGE);
    for (i, (found, before)) in stream.chunks(image).zip(before.chunks(image)).enumerate() {
        assert_eq!(
            found[..outputs],
            before[..outputs],
            "class row of image {i}"
        );
        let expected = &expected[i * PER_IMAGE * outputs..][..PER_IMAGE * outputs];
        assert_eq!(found[outputs..], *expected, "patches of image {i}");
    }
    Ok(())
}

/// As of a gradient without class rows, in one sum and in parts.
fn patch_gradient(gpu: &Gpu) -> Result<(), Failed> {
    patch_gradient_of(gpu, IMAGES, |parts| parts == 1)?;
    patch_gradient_of(gpu, 250, |parts| parts > 1)
}

fn patch_gradient_of(gpu: &Gpu, images: usize, split: fn(usize) -> bool) -> Result<(), Failed> {
    let shape = Shape {
        rows: images * PER_IMAGE,
        ..PATCHES
    };
    let Shape {
        inputs, outputs, ..
    } = shape;
    let dx = normal(images * (1 + PER_IMAGE) * outputs, 8);
    let without = dx.chunks((1 + PER_IMAGE) * outputs);
    let without: Vec<f32> = without
        .flat_map(|image| image[outputs..].to_vec())
        .collect();
    let [dx, without] = [dx, without].map(|values| gpu.upload_elements(&values));
    let (dx, without) = (dx?, without?);
    let patches = gpu.upload_elements(&normal(shape.rows * inputs, 1))?;
    let plan = WeightPlan::new(gpu.properties(), shape);
    assert!(split(plan.parts), "{plan:?}");
    let workspace = gpu.alloc(plan.workspace())?;
    let (found, expected) = (gpu.alloc(outputs * inputs)?, gpu.alloc(outputs * inputs)?);
    let overwrite = Accumulate::Overwrite;
    linear::backward_weight(
        gpu,
        expected.all(),
        None,
        workspace.all(),
        Rows::packed(without.all(), outputs),
        Rows::packed(patches.all(), inputs),
        overwrite,
        shape,
    )?;
    linear::backward_weight_of_patches(
        gpu,
        found.all(),
        None,
        workspace.all(),
        dx.all(),
        patches.all(),
        PER_IMAGE,
        overwrite,
        shape,
    )?;
    assert_eq!(gpu.read(found.all())?, gpu.read(expected.all())?);
    Ok(())
}
