//! The flags of `vitcuda train`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::recipe::{Recipe, name, with_default};
use crate::cli::images::BadImagesArg;
use crate::cli::numbers::{count, count_or_none, magnitude, positive, share};
use crate::cli::source::SplitArgs;
use vitcuda::data::Augmentation;
use vitcuda::model::freeze::Freeze;
use vitcuda::model::init::HeadInit;
use vitcuda::train::batch_size::BatchSize;
use vitcuda::train::config::{BestMetric, Changes, Interval, OnSaveError, Resume, Schedule};

/// Fine-tune a pretrained model, or train one from scratch
#[derive(Debug, Args)]
#[command(after_help = "\
Without DATA, a small model learns the handwritten digits that come with the program.
Names and defaults are those of Hugging Face's TrainingArguments; its other spellings
(--num_train_epochs, --per_device_train_batch_size, …) are accepted too.")]
pub struct TrainArgs {
    /// Folder with one folder of images for each class, or with train/ and validation/ inside;
    /// Parquet file or folder of them; manifest (.csv, .tsv, .jsonl); OWNER/NAME[@REVISION] of the
    /// Hugging Face hub [default: the embedded digits]
    pub data: Option<PathBuf>,

    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub split: SplitArgs,
    /// Files that cannot be read as images: leave them out and list them, or list them and stop
    #[arg(
        long,
        value_name = "WHAT",
        default_value = "skip",
        help_heading = "Data"
    )]
    pub bad_images: BadImagesArg,
    /// Change training photos at random, anew in each epoch; crop-flip: a random part of each
    /// (torchvision's RandomResizedCrop), half of them mirrored
    #[arg(
        long,
        value_name = "HOW",
        default_value = "none",
        help_heading = "Data"
    )]
    pub augment: AugmentArg,
    #[command(flatten)]
    pub optimisation: OptimisationArgs,
    #[command(flatten)]
    pub outputs: OutputArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// Folder with config.json and model.safetensors to start from, OWNER/NAME[@REVISION] of the
    /// Hugging Face hub, or the name of a preset to start from scratch
    #[arg(
        long,
        short,
        value_name = "DIR|ID|PRESET",
        alias = "model-name-or-path"
    )]
    pub model: Option<String>,
    /// How a new head starts: random, zero, or a safetensors file with classifier.weight and
    /// classifier.bias
    #[arg(long, value_name = "random|zero|FILE", default_value = "random", value_parser = head_init)]
    pub head_init: HeadInit,
    /// Side of the model's input in pixels; positions are interpolated [default: the model's]
    #[arg(long, value_name = "PIXELS", value_parser = count::<usize>)]
    pub image_size: Option<usize>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Optimisation")]
pub struct OptimisationArgs {
    #[arg(long, alias = "lr", value_name = "RATE", value_parser = magnitude)]
    #[arg(help = with_default("Peak learning rate of AdamW", |r| format!("{:e}", r.learning_rate)))]
    pub learning_rate: Option<f64>,
    #[arg(long, alias = "num-train-epochs", value_name = "N", value_parser = positive)]
    #[arg(help = with_default("Passes over the training photos", |r| r.epochs))]
    pub epochs: Option<f64>,
    /// Optimiser steps, instead of epochs
    #[arg(long, value_name = "N", value_parser = count_or_none, allow_negative_numbers = true)]
    pub max_steps: Option<u64>,
    #[arg(long, short, value_name = "N|auto")]
    #[arg(aliases = ["per-device-train-batch-size", "train-batch-size"])]
    #[arg(help = with_default("Photos in a micro-batch; auto: by memory and length of the run", |r| r.batch_size))]
    pub batch_size: Option<BatchSize>,
    /// Micro-batches averaged into one optimiser step
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count::<usize>)]
    pub gradient_accumulation_steps: usize,
    /// Learning rate over the run, after warm-up
    #[arg(long, value_name = "SHAPE", default_value = "linear")]
    pub lr_scheduler_type: ScheduleArg,
    /// Steps over which the learning rate rises from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub warmup_steps: u64,
    /// The same as a share of all steps, when --warmup-steps is 0
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub warmup_ratio: f64,
    /// Decoupled weight decay (not on biases and layer norms)
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = magnitude)]
    pub weight_decay: f64,
    /// AdamW's decay of the mean gradient
    #[arg(long, value_name = "BETA", default_value_t = 0.9, value_parser = share)]
    pub adam_beta1: f64,
    /// AdamW's decay of the mean squared gradient
    #[arg(long, value_name = "BETA", default_value_t = 0.999, value_parser = share)]
    pub adam_beta2: f64,
    /// AdamW's guard against division by zero
    #[arg(long, value_name = "EPS", default_value = "1e-8", value_parser = positive)]
    pub adam_epsilon: f64,
    /// Gradients are scaled down to this norm; 0 leaves them alone
    #[arg(long, value_name = "NORM", default_value_t = 1.0, value_parser = magnitude)]
    pub max_grad_norm: f64,
    /// Share of the target spread evenly over all classes
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    #[arg(alias = "label-smoothing")]
    pub label_smoothing_factor: f64,
    /// Weight of each class in the loss; balanced: inversely to its number of photos
    #[arg(long, value_name = "WHICH", default_value = "none")]
    pub class_weights: ClassWeights,
    /// Leave parameters as they are: backbone (train the head alone), or the embeddings and the
    /// first N layers
    #[arg(long, value_name = "none|backbone|N", default_value_t = Freeze::Nothing, value_parser = freeze)]
    pub freeze: Freeze,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Evaluation, logging and saving")]
pub struct OutputArgs {
    /// Folder for the model and the metrics [default: runs/NAME-OF-DATA, numbered]
    #[arg(long, short, alias = "out", value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
    /// Go on although the folder holds another run; with --resume, one of other settings
    #[arg(long)]
    pub overwrite_output_dir: bool,
    /// Go on with the run in --output-dir, from its newest checkpoint, or start it anew where it has
    /// none
    #[arg(long, requires = "output_dir")]
    pub resume: bool,
    /// Go on from this checkpoint of a run; those after it are deleted
    #[arg(long, value_name = "DIR", conflicts_with = "overwrite_output_dir")]
    pub resume_from_checkpoint: Option<PathBuf>,
    /// Go on although settings or images are not those of the run so far
    #[arg(long)]
    pub resume_with_changes: bool,
    #[arg(long, value_name = "WHEN", alias = "evaluation-strategy")]
    #[arg(help = with_default("When to evaluate: --eval-steps implies steps", |r| name(&r.eval)))]
    pub eval_strategy: Option<Strategy>,
    /// Steps between evaluations [default: --logging-steps]
    #[arg(long, value_name = "N", value_parser = count::<u64>)]
    pub eval_steps: Option<u64>,
    /// Photos in an evaluation batch; auto: as in a micro-batch
    #[arg(long, value_name = "N|auto", default_value_t = BatchSize::Images(8))]
    #[arg(alias = "per-device-eval-batch-size")]
    pub eval_batch_size: BatchSize,
    #[arg(long, value_name = "N", value_parser = count::<u64>)]
    #[arg(help = with_default("Steps between lines of the table", |r| r.logging_steps))]
    pub logging_steps: Option<u64>,
    #[arg(long, value_name = "WHEN")]
    #[arg(help = with_default("When to save a checkpoint: --save-steps implies steps", |r| name(&r.save)))]
    pub save_strategy: Option<Strategy>,
    /// Steps between checkpoints [default: 500]
    #[arg(long, value_name = "N", value_parser = count::<u64>)]
    pub save_steps: Option<u64>,
    /// Checkpoints to keep, the best one among them [default: all]
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    pub save_total_limit: Option<usize>,
    /// When a checkpoint cannot be written: stop, or say so and train on (the final model must be
    /// written all the same)
    #[arg(long, value_name = "WHAT", default_value = "stop")]
    pub on_save_error: OnSaveErrorArg,
    /// Finish with the weights of the best checkpoint, not the last
    #[arg(long)]
    pub load_best_model_at_end: bool,
    /// What makes a checkpoint the best: a low loss or a high accuracy
    #[arg(long, value_name = "METRIC", default_value = "eval_loss")]
    pub metric_for_best_model: Metric,
    /// Stop after so many evaluations without improvement [default: never]
    #[arg(long, value_name = "N", value_parser = count::<u32>)]
    pub early_stopping_patience: Option<u32>,
}

/// When to evaluate or save, in TrainingArguments' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Strategy {
    No,
    Epoch,
    Steps,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum ScheduleArg {
    Linear,
    Cosine,
    #[value(alias = "constant_with_warmup")]
    Constant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AugmentArg {
    None,
    CropFlip,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClassWeights {
    None,
    Balanced,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnSaveErrorArg {
    Stop,
    Continue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Metric {
    #[value(alias = "loss")]
    EvalLoss,
    #[value(alias = "accuracy")]
    EvalAccuracy,
}

impl AugmentArg {
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::CropFlip => "crop-flip",
        }
    }

    pub fn under(self, seed: u64) -> Augmentation {
        match self {
            Self::None => Augmentation::None,
            Self::CropFlip => Augmentation::CropFlip { seed },
        }
    }
}

impl From<ScheduleArg> for Schedule {
    fn from(schedule: ScheduleArg) -> Self {
        match schedule {
            ScheduleArg::Linear => Self::Linear,
            ScheduleArg::Cosine => Self::Cosine,
            ScheduleArg::Constant => Self::Constant,
        }
    }
}

impl From<OnSaveErrorArg> for OnSaveError {
    fn from(arg: OnSaveErrorArg) -> Self {
        match arg {
            OnSaveErrorArg::Stop => Self::Stop,
            OnSaveErrorArg::Continue => Self::Continue,
        }
    }
}

impl From<Metric> for BestMetric {
    fn from(metric: Metric) -> Self {
        match metric {
            Metric::EvalLoss => Self::EvalLoss,
            Metric::EvalAccuracy => Self::EvalAccuracy,
        }
    }
}

fn head_init(text: &str) -> Result<HeadInit, std::convert::Infallible> {
    Ok(match text {
        "random" => HeadInit::Random,
        "zero" => HeadInit::Zero,
        file => HeadInit::File(file.into()),
    })
}

fn freeze(text: &str) -> Result<Freeze, &'static str> {
    match (text, text.parse()) {
        ("none", _) => Ok(Freeze::Nothing),
        ("backbone", _) => Ok(Freeze::Backbone),
        (_, Ok(layers)) if layers > 0 => Ok(Freeze::Layers(layers)),
        _ => Err("expected none, backbone, or a number of layers of at least 1"),
    }
}

impl OptimisationArgs {
    /// The number of steps, if it is given.
    pub fn max_steps(&self) -> Option<u64> {
        self.max_steps.filter(|&steps| steps > 0)
    }
}

impl OutputArgs {
    /// Whether evaluations are the person's wish and not only the recipe's.
    pub fn asks_for_evaluation(&self) -> bool {
        self.eval_strategy.is_some() || self.eval_steps.is_some() || self.load_best_model_at_end
    }

    /// How to go on with an earlier run, if that is what is asked for.
    pub fn resume(&self) -> Option<Resume> {
        let changes = match self.resume_with_changes {
            true => Changes::Accept,
            false => Changes::Refuse,
        };
        let checkpoint = self.resume_from_checkpoint.clone();
        (self.resume || checkpoint.is_some()).then_some(Resume {
            checkpoint,
            changes,
        })
    }

    /// The folder that is named, by itself or by a checkpoint in it.
    pub fn folder(&self) -> Option<PathBuf> {
        let of_checkpoint = self.resume_from_checkpoint.as_deref().map(|checkpoint| {
            let parent = checkpoint.parent().unwrap_or(checkpoint);
            match parent.as_os_str().is_empty() {
                true => PathBuf::from("."),
                false => parent.to_owned(),
            }
        });
        self.output_dir.clone().or(of_checkpoint)
    }

    /// When to evaluate and when to save, by `recipe` where the person did not say.
    pub fn intervals(&self, recipe: &Recipe) -> (Interval, Interval) {
        let logging = self.logging_steps.unwrap_or(recipe.logging_steps);
        let eval = interval(self.eval_strategy, self.eval_steps, logging).unwrap_or(recipe.eval);
        let save = interval(self.save_strategy, self.save_steps, 500);
        // The best checkpoint can only be one that was both evaluated and saved.
        let save = save.unwrap_or(match self.load_best_model_at_end {
            true => eval,
            false => recipe.save,
        });
        (eval, save)
    }
}

fn interval(strategy: Option<Strategy>, steps: Option<u64>, usual: u64) -> Option<Interval> {
    match (strategy, steps) {
        (Some(Strategy::No), _) => Some(Interval::Never),
        (Some(Strategy::Epoch), _) => Some(Interval::Epoch),
        (Some(Strategy::Steps), steps) => Some(Interval::Steps(steps.unwrap_or(usual))),
        (None, Some(steps)) => Some(Interval::Steps(steps)),
        (None, None) => None,
    }
}
