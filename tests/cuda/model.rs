//! The whole model's kernels against the f64 reference, measured by plain mixed precision.

use std::path::Path;

use libtest_mimic::Failed;
use vitcuda::data::Preprocessor;
use vitcuda::device::structs::StepState;
use vitcuda::device::{ElementType, Gpu};
use vitcuda::model::activations::{self, LastBlock};
use vitcuda::model::checkpoint::{self, LoadOptions};
use vitcuda::model::gpu::activations::Activations;
use vitcuda::model::gpu::arena::{Arena, Layout};
use vitcuda::model::gpu::scratch::{Batches, Scratch};
use vitcuda::model::gpu::{Gradients, Params, Pass};
use vitcuda::model::init::HeadInit;
use vitcuda::model::scratch;
use vitcuda::model::tensor_file::TensorFile;
use vitcuda::model::vit::Vit;
use vitcuda::ops::cross_entropy::{self, gpu::MicroBatch, gpu::Target};
use vitcuda::ops::gemm::Accumulate;
use vitcuda::ops::patch_embed::{Images, gpu};

use super::common::dinov2::Dinov2;
use super::mixed;
use super::on_any_device::small::at_most;

/// Keeps the gradients of these models inside f16, the smallest and the largest.
const LOSS_SCALE: f32 = 1024.0;

/// A batch for a model.
pub struct Problem {
    pub params: Vec<f32>,
    /// Normalised, (B, channels, side, side).
    pub pixels: Vec<f32>,
    pub labels: Vec<u32>,
}

/// What a step computes.
pub struct Outcome<T> {
    pub loss: f64,
    pub logits: Vec<T>,
    pub gradients: Vec<T>,
}

/// The f64 reference, every token of the last block computed.
fn exact(vit: &Vit, problem: &Problem) -> Outcome<f64> {
    let widen = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let (params, pixels) = (widen(&problem.params), widen(&problem.pixels));
    let count = problem.labels.len();
    let (keep, last) = (vit.keep(), LastBlock::AllTokens);
    let mut a = activations::Activations::new(&vit.config, count, keep, last);
    vit.forward(&mut a, &params, Images::Values(&pixels), count);
    let target = cross_entropy::Target {
        labels: &problem.labels,
        weights: None,
        smoothing: 0.0,
    };
    let mut d_logits = vec![0.0; a.logits.len()];
    let loss = cross_entropy::forward_backward(&mut d_logits, &a.logits, target, 1.0);
    let mut gradients = vec![f64::NAN; vit.table.len];
    let mut scratch = scratch::Scratch::new(&vit.config, count);
    let overwrite = Accumulate::Overwrite;
    vit.backward(
        &mut gradients,
        &mut scratch,
        &d_logits,
        &a,
        &params,
        overwrite,
    );
    Outcome {
        loss,
        logits: a.logits.to_vec(),
        gradients,
    }
}

/// The kernels' step, in an arena with room for `capacity` images.
fn on_device(
    gpu: &Gpu,
    vit: &Vit,
    problem: &Problem,
    last_block: LastBlock,
    capacity: usize,
) -> Result<Outcome<f32>, Failed> {
    let images = problem.labels.len();
    let mut layout = Layout::default();
    let activations = Activations::plan(&mut layout, &vit.config, capacity, vit.keep(), last_block);
    let scratch = Scratch::plan(
        &mut layout,
        gpu.properties(),
        vit,
        &activations,
        Batches::Of(&[images]),
    );
    let arena = Arena::new(gpu, layout.bytes())?;
    let (params, copy) = (
        gpu.upload(&problem.params)?,
        gpu.upload_elements(&problem.params)?,
    );
    let (pixels, labels) = (gpu.upload(&problem.pixels)?, gpu.upload(&problem.labels)?);
    let state = gpu.upload(&[StepState::new(LOSS_SCALE, 0)])?;
    let values = images * vit.config.num_labels();
    let (d_logits, losses) = (gpu.alloc(values)?, gpu.alloc(images)?);
    let gradients = gpu.alloc(vit.table.len)?;
    let pass = Pass {
        gpu,
        vit,
        params: Params {
            values: params.all(),
            copy: copy.all(),
        },
        arena: &arena,
        activations: &activations,
        images,
    };
    pass.forward(gpu::Images::Values(pixels.all()))?;
    let logits = arena.first(activations.logits, values);
    cross_entropy::gpu::forward_backward(
        gpu,
        d_logits.all(),
        losses.all(),
        state.all(),
        logits,
        Target {
            labels: labels.all(),
            weights: None,
            smoothing: 0.0,
        },
        MicroBatch {
            share: 1.0,
            loss: Accumulate::Overwrite,
        },
    )?;
    let into = Gradients {
        params: gradients.all(),
        scratch: &scratch,
        accumulate: Accumulate::Overwrite,
    };
    let squares = pass.backward(into, d_logits.all())?;
    let scaled = gpu.read(gradients.all())?;
    let sum = |values: &[f32]| values.iter().map(|&v| f64::from(v)).sum::<f64>();
    let direct: f64 = scaled.iter().map(|&g| f64::from(g) * f64::from(g)).sum();
    let found = sum(&gpu.read(squares)?);
    // f32 partial sums of up to some thousand squares, all of one sign.
    at_most("the sum of squares", (found / direct - 1.0).abs(), 1e-5)?;
    Ok(Outcome {
        loss: gpu.read(state.all())?[0].loss.into(),
        logits: gpu.read(logits)?,
        gradients: scaled.iter().map(|g| g / LOSS_SCALE).collect(),
    })
}

/// Root mean square of the differences; NaN if one is.
fn distance(found: &[f32], exact: &[f64]) -> f64 {
    assert_eq!(found.len(), exact.len(), "length");
    let squares = found
        .iter()
        .zip(exact)
        .map(|(&a, &b)| (f64::from(a) - b).powi(2));
    (squares.sum::<f64>() / found.len() as f64).sqrt()
}

/// One problem, solved three ways.
struct Draw {
    found: Outcome<f32>,
    plain: Outcome<f32>,
    exact: Outcome<f64>,
}

/// The device may be twice as wrong as plain mixed precision: in the loss and the logits, and in
/// each gradient, by the root mean square over all draws.
///
/// Where a few values carry most of a tensor's error, one draw of the roundings says little: in the
/// ViT-S a single channel of one layer norm decides, off by 0.07e-3 to 1.7e-3 in plain mixed
/// precision for the same photo a trifle brighter or darker, and by 0.02e-3 to 1.2e-3 here.
fn compare(vit: &Vit, draws: &[Draw]) -> Result<(), Failed> {
    let mut wrong = Vec::new();
    let mut judge = |what: &str, found: f64, plain: f64| {
        if let Err(error) = at_most(what, found, 2.0 * plain) {
            wrong.push(error.message().unwrap_or_default().to_owned());
        }
    };
    let pooled = |distance: &dyn Fn(&Draw) -> f64| {
        let squares: f64 = draws.iter().map(|draw| distance(draw).powi(2)).sum();
        (squares / draws.len() as f64).sqrt()
    };
    judge(
        "logits",
        pooled(&|d| distance(&d.found.logits, &d.exact.logits)),
        pooled(&|d| distance(&d.plain.logits, &d.exact.logits)),
    );
    // One number may be right by luck, so the loss is judged by what it is made of: as dL/dlogits is
    // p − q, of absolute sum 2 at most, it is off by at most twice the logits' largest error.
    let furthest = |d: &Draw| {
        let pairs = d.plain.logits.iter().zip(&d.exact.logits);
        pairs.fold(0.0, |m, (&a, b)| (f64::from(a) - b).abs().max(m))
    };
    let loss = |d: &Draw| (d.found.loss - d.exact.loss).abs();
    judge("loss", pooled(&loss), pooled(&|d| 2.0 * furthest(d)));
    for param in &vit.table.params {
        let at = |values: &[f32], exact: &[f64]| {
            distance(&values[param.range.clone()], &exact[param.range.clone()])
        };
        judge(
            &param.name,
            pooled(&|d| at(&d.found.gradients, &d.exact.gradients)),
            pooled(&|d| at(&d.plain.gradients, &d.exact.gradients)),
        );
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n").into())
    }
}

fn tiny(dir: &Path) -> Result<(Vit, Problem), Failed> {
    let loaded = checkpoint::load(dir, &LoadOptions::default())?;
    let golden = TensorFile::open(dir.join("forward.safetensors"))?;
    let problem = Problem {
        params: loaded.params,
        pixels: golden.read_vec("pixel_values", &[4, 3, 32, 32])?,
        labels: vec![0, 2, 1, 2],
    };
    Ok((Vit::new(loaded.config), problem))
}

pub fn tiny_vit(gpu: &Gpu, dir: &Path) -> Result<(), Failed> {
    let (vit, problem) = tiny(dir)?;
    for (last_block, capacity) in [
        (LastBlock::ClassToken, 4),
        (LastBlock::AllTokens, 4),
        // A short batch in room for more.
        (LastBlock::ClassToken, 7),
    ] {
        let draw = Draw {
            found: on_device(gpu, &vit, &problem, last_block, capacity)?,
            plain: mixed::step(&vit, &problem, gpu, LOSS_SCALE),
            exact: exact(&vit, &problem),
        };
        compare(&vit, &[draw])
            .map_err(|e| format!("{last_block:?}: {}", e.message().unwrap_or_default()))?;
    }
    Ok(())
}

/// A DINOv2, its layer scale folded and its positions resampled from 3 × 3 to 2 × 2; four batches.
pub fn tiny_dinov2(gpu: &Gpu) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    Dinov2::new().write(folder.path());
    let options = LoadOptions {
        labels: Some(["a", "b", "c", "d", "e"].map(str::to_owned).to_vec()),
        image_size: Some(28),
        ..LoadOptions::default()
    };
    let loaded = checkpoint::load(folder.path(), &options)?;
    let vit = Vit::new(loaded.config);
    let mut draws = Vec::new();
    for k in 0..4 {
        let values = (0..3 * 3 * 28 * 28).map(|i| ((i + k) * i % 211) as f32 / 105.0 - 1.0);
        let problem = Problem {
            params: loaded.params.clone(),
            pixels: values.collect(),
            labels: vec![1, 4, 2],
        };
        draws.push(Draw {
            found: on_device(gpu, &vit, &problem, LastBlock::ClassToken, 3)?,
            plain: mixed::step(&vit, &problem, gpu, LOSS_SCALE),
            exact: exact(&vit, &problem),
        });
    }
    compare(&vit, &draws)
}

/// Seconds that cores have spent on this process.
fn cpu_seconds() -> Result<f64, Failed> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // Behind the name, which may hold anything: the state, and ten numbers before the two that count.
    let (_, behind) = stat.rsplit_once(')').ok_or("a name in brackets")?;
    let ticks = behind.split_whitespace().skip(11).take(2);
    let ticks: f64 = ticks.filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / 100.0) // USER_HZ
}

/// One real photo through the pretrained ViT-S, and the same a trifle brighter: other roundings.
pub fn vit_small(gpu: &Gpu, shared: &Path) -> Result<(), Failed> {
    let folder = shared.join("models/vit-small-patch14-224");
    let options = LoadOptions {
        labels: Some(vec!["cat".into(), "dog".into()]),
        head: HeadInit::File(shared.join("golden/real_steps/initial_head.safetensors")),
        ..LoadOptions::default()
    };
    let loaded = checkpoint::load(&folder, &options)?;
    let lookup = Preprocessor::read(&folder.join("preprocessor_config.json"))?.lookup();
    let bytes = std::fs::read(shared.join("golden/real_steps/four_photos.safetensors"))?;
    let tensors = safetensors::SafeTensors::deserialize(&bytes)?;
    let image = 3 * 224 * 224;
    let pixels = tensors.tensor("images_u8")?.data()[..image]
        .iter()
        .enumerate();
    let pixels: Vec<f32> = pixels
        .map(|(i, &byte)| lookup[i / (224 * 224)][usize::from(byte)])
        .collect();
    let labels = vec![u32::from(tensors.tensor("labels")?.data()[0])];
    let vit = Vit::new(loaded.config);
    let mut draws = Vec::new();
    for k in 0..4 {
        let brighter = 1.0 + k as f32 / 16384.0;
        let problem = Problem {
            params: loaded.params.clone(),
            pixels: pixels.iter().map(|v| v * brighter).collect(),
            labels: labels.clone(),
        };
        let start = cpu_seconds()?;
        let found = on_device(gpu, &vit, &problem, LastBlock::ClassToken, 1)?;
        let seconds = cpu_seconds()? - start;
        // Of one core, whatever else is at work beside; the first time, the kernels are compiled.
        if k > 0 && seconds > 60.0 {
            return Err(format!("a step took {seconds:.0} s").into());
        }
        draws.push(Draw {
            found,
            plain: mixed::step(&vit, &problem, gpu, LOSS_SCALE),
            exact: exact(&vit, &problem),
        });
    }
    compare(&vit, &draws)
}

/// The types that are tried.
pub const DEVICES: [(&str, ElementType); 3] = [
    ("sm_75", ElementType::F16),
    ("sm_80", ElementType::F16),
    ("sm_80", ElementType::Bf16),
];
