//! Stand-ins for the engine and the images, so that the loop alone is under test.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use vitcuda::error::Result;
use vitcuda::model::config::VitConfig;
use vitcuda::model::params::ParamTable;
use vitcuda::train::BatchSource;
use vitcuda::train::engine::{Batch, Engine, OptimizerState, StepOutput};
use vitcuda::train::source::Batches;

/// 2 × 2 pixels of 3 channels, one patch; the head sees the 12 pixel values as they are.
pub fn tiny_config(classes: usize) -> VitConfig {
    let mut config = VitConfig {
        image_size: 2,
        patch_size: 2,
        hidden_size: 12,
        num_hidden_layers: 0,
        num_attention_heads: 1,
        ..VitConfig::default()
    };
    let names: Vec<String> = (0..classes).map(|k| format!("class {k}")).collect();
    config.set_labels(&names);
    config
}

/// What an engine was asked to do, shared with the test.
#[derive(Debug, Default)]
pub struct Record {
    /// By step: the images of each micro-batch, and the learning rate.
    pub steps: Vec<(Vec<Vec<usize>>, f64)>,
}

/// Loss and gradient norm of a step; steps count from 1.
pub type StepScript = fn(u64) -> StepOutput;
/// Evaluation loss after a step.
pub type EvalScript = fn(u64) -> f64;

/// An engine that plays a script. Its first parameter is the number of steps made.
pub struct Scripted {
    pub config: VitConfig,
    pub table: ParamTable,
    pub params: Vec<f32>,
    pub steps: u64,
    pub on_step: StepScript,
    pub on_eval: EvalScript,
    /// Set after this step, as by Ctrl-C.
    pub stop_after: Option<(u64, Arc<AtomicBool>)>,
    pub record: Arc<Mutex<Record>>,
}

pub fn good_step(_: u64) -> StepOutput {
    StepOutput {
        loss: 0.25,
        grad_norm: 2.0,
    }
}

impl Scripted {
    pub fn new(config: VitConfig) -> Self {
        let table = ParamTable::new(&config);
        Self {
            params: vec![0.0; table.len],
            table,
            config,
            steps: 0,
            on_step: good_step,
            on_eval: |step| 1.0 / step as f64,
            stop_after: None,
            record: Arc::default(),
        }
    }
}

/// Number of the image whose pixels start with it, as [`Numbered`] makes them.
fn numbers(batch: &Batch) -> Vec<usize> {
    let pixels = batch.images.len() / batch.len();
    let images = batch.images.chunks_exact(pixels);
    images
        .map(|p| usize::from(p[0]) * 256 + usize::from(p[1]))
        .collect()
}

impl Engine for Scripted {
    fn config(&self) -> &VitConfig {
        &self.config
    }

    fn table(&self) -> &ParamTable {
        &self.table
    }

    fn train_step(&mut self, micro_batches: &[&Batch], lr: f64) -> Result<StepOutput> {
        self.steps += 1;
        self.params[0] = self.steps as f32;
        let images = micro_batches.iter().map(|b| numbers(b)).collect();
        self.record.lock().unwrap().steps.push((images, lr));
        if let Some((step, stop)) = &self.stop_after {
            stop.store(self.steps == *step, Ordering::Relaxed);
        }
        Ok((self.on_step)(self.steps))
    }

    /// Two classes; label 0 gets the scripted loss.
    fn logits(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        let p = (-(self.on_eval)(self.params[0] as u64)).exp();
        Ok([p.ln() as f32, (1.0 - p).ln() as f32].repeat(batch.len()))
    }

    fn params(&self) -> Result<Vec<f32>> {
        Ok(self.params.clone())
    }

    fn set_params(&mut self, params: &[f32]) -> Result<()> {
        self.params.copy_from_slice(params);
        Ok(())
    }

    fn optimizer(&self) -> Result<OptimizerState> {
        Ok(OptimizerState {
            step: self.steps,
            first: vec![0.5; self.table.len],
            second: vec![0.25; self.table.len],
            loss_scale: None,
        })
    }

    fn set_optimizer(&mut self, state: &OptimizerState) -> Result<()> {
        self.steps = state.step;
        Ok(())
    }
}

/// Softmax regression on the pixels, trained by plain gradient descent: an engine that learns.
pub struct Softmax {
    config: VitConfig,
    table: ParamTable,
    params: Vec<f32>,
}

impl Softmax {
    pub fn new(config: VitConfig) -> Self {
        let table = ParamTable::new(&config);
        Self {
            params: vec![0.0; table.len],
            table,
            config,
        }
    }

    fn pixels(&self) -> usize {
        self.config.hidden_size
    }
}

impl Engine for Softmax {
    fn config(&self) -> &VitConfig {
        &self.config
    }

    fn table(&self) -> &ParamTable {
        &self.table
    }

    fn train_step(&mut self, micro_batches: &[&Batch], lr: f64) -> Result<StepOutput> {
        let classes = self.config.num_labels();
        let mut gradient = vec![0.0_f64; self.table.len];
        let mut loss = 0.0;
        for batch in micro_batches {
            let share = 1.0 / (batch.len() * micro_batches.len()) as f64;
            let logits = self.logits(batch)?;
            let images = batch.images.chunks_exact(self.pixels());
            let rows = logits.chunks_exact(classes).zip(images).zip(&batch.labels);
            for ((row, image), &label) in rows {
                let exp: Vec<f64> = row.iter().map(|&z| f64::from(z).exp()).collect();
                let sum: f64 = exp.iter().sum();
                loss -= share * (exp[label as usize] / sum).ln();
                for class in 0..classes {
                    let target = f64::from(class == label as usize);
                    let dlogit = share * (exp[class] / sum - target);
                    let row = self.table.head_weight.start + class * self.pixels();
                    for (i, &pixel) in image.iter().enumerate() {
                        gradient[row + i] += dlogit * f64::from(pixel) / 255.0;
                    }
                    gradient[self.table.head_bias.start + class] += dlogit;
                }
            }
        }
        for (param, g) in self.params.iter_mut().zip(&gradient) {
            *param -= (lr * g) as f32;
        }
        let grad_norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        Ok(StepOutput { loss, grad_norm })
    }

    fn logits(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        let mut logits = Vec::new();
        for image in batch.images.chunks_exact(self.pixels()) {
            for class in 0..self.config.num_labels() {
                let row = self.table.head_weight.start + class * self.pixels();
                let weights = &self.params[row..row + self.pixels()];
                let dot: f32 = weights
                    .iter()
                    .zip(image)
                    .map(|(w, &x)| w * f32::from(x) / 255.0)
                    .sum();
                logits.push(dot + self.params[self.table.head_bias.start + class]);
            }
        }
        Ok(logits)
    }

    fn params(&self) -> Result<Vec<f32>> {
        Ok(self.params.clone())
    }

    fn set_params(&mut self, params: &[f32]) -> Result<()> {
        self.params.copy_from_slice(params);
        Ok(())
    }

    fn optimizer(&self) -> Result<OptimizerState> {
        Ok(OptimizerState {
            step: 0,
            first: vec![0.0; self.table.len],
            second: vec![0.0; self.table.len],
            loss_scale: None,
        })
    }

    fn set_optimizer(&mut self, _: &OptimizerState) -> Result<()> {
        Ok(())
    }
}

/// Images that carry their number in the first two pixels.
#[derive(Clone)]
pub struct Numbered {
    pub images: usize,
    /// Label of image `i`.
    pub label: fn(usize) -> u32,
    /// The other ten pixels of image `i`.
    pub shade: fn(usize) -> u8,
    /// Images that were asked for.
    pub drawn: Arc<AtomicUsize>,
}

impl Numbered {
    /// All of class 0, all black.
    pub fn new(images: usize) -> Self {
        Self {
            images,
            label: |_| 0,
            shade: |_| 0,
            drawn: Arc::default(),
        }
    }
}

impl BatchSource for Numbered {
    fn len(&self) -> usize {
        self.images
    }

    fn class_counts(&self, classes: usize) -> Vec<usize> {
        let of_class = |class| (0..self.images).filter(move |&i| (self.label)(i) as usize == class);
        (0..classes).map(|class| of_class(class).count()).collect()
    }

    fn batches(&self, _: u64, order: Vec<usize>, batch_size: usize) -> Batches<'_> {
        let mut left = order.into_iter();
        let pixels = |i: usize| {
            let mut image = [(self.shade)(i); 12];
            (image[0], image[1]) = ((i / 256) as u8, (i % 256) as u8);
            image
        };
        Box::new(std::iter::from_fn(move || {
            let numbers: Vec<usize> = left.by_ref().take(batch_size).collect();
            self.drawn.fetch_add(numbers.len(), Ordering::Relaxed);
            let batch = Batch {
                images: numbers.iter().flat_map(|&i| pixels(i)).collect(),
                labels: numbers.iter().map(|&i| (self.label)(i)).collect(),
            };
            (!batch.is_empty()).then_some(Ok(batch))
        }))
    }
}
