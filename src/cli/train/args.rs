//! The flags of `vitcuda train`, and the configuration that they make.

use std::path::{Path, PathBuf};

use clap::Args;

use super::batch::BatchSizes;
use super::choices::{
    AugmentArg, ClassWeights, Metric, OnSaveErrorArg, SaveWhen, ScheduleArg, Strategy,
};
use super::recipe::{Recipe, name, with_default};
use crate::cli::images::BadImagesArg;
use crate::cli::license::LicenseArgs;
use crate::cli::numbers::{
    Steps, count, count_or_none, magnitude, positive, share, steps, steps_or_none, truth,
};
use crate::cli::source::SplitArgs;
use vitcuda::model::freeze::Freeze;
use vitcuda::model::init::HeadInit;
use vitcuda::train::batch_size::BatchSize;
use vitcuda::train::config::{Changes, Hyper, Interval, Resume, SaveStrategy, TrainConfig};
use vitcuda::train::plan;
use vitcuda::{Error, Result};

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
    #[arg(aliases = ["imgsz", "img-size"])]
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
    #[arg(aliases = ["per-device-train-batch-size", "train-batch-size", "batch", "bs"])]
    #[arg(help = with_default("Photos in a micro-batch; auto: by memory and length of the run", |r| r.batch_size))]
    pub batch_size: Option<BatchSize>,
    /// Micro-batches averaged into one optimiser step
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count::<usize>)]
    pub gradient_accumulation_steps: usize,
    /// Learning rate over the run, after warm-up
    #[arg(long, value_name = "SHAPE", default_value = "linear")]
    pub lr_scheduler_type: ScheduleArg,
    /// Steps over which the learning rate rises from 0; below 1, a share of all steps
    #[arg(long, value_name = "N|SHARE", default_value = "0", value_parser = steps_or_none)]
    pub warmup_steps: Steps,
    /// The same as a share of all steps, when --warmup-steps is 0
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub warmup_ratio: f64,
    /// Decoupled weight decay (not on biases and layer norms)
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = magnitude)]
    #[arg(alias = "wd")]
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
    /// Seed of the order in which images are shown [default: --seed]
    #[arg(long, value_name = "N")]
    pub data_seed: Option<u64>,
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
    #[arg(long, value_name = "N|SHARE", value_parser = steps)]
    #[arg(help = with_default("Steps between evaluations; below 1, a share of all steps",
                               |r| format!("--logging-steps, or {}", r.logging_steps)))]
    pub eval_steps: Option<Steps>,
    /// Evaluate before the first step, too
    #[arg(long)]
    pub eval_on_start: bool,
    /// Steps before the first evaluation, or epochs where --eval-strategy is epoch
    #[arg(long, value_name = "N", default_value_t = 0.0, value_parser = magnitude)]
    pub eval_delay: f64,
    /// Photos in an evaluation batch; auto: as in a micro-batch
    #[arg(long, value_name = "N|auto", default_value_t = BatchSize::Images(8))]
    #[arg(alias = "per-device-eval-batch-size")]
    pub eval_batch_size: BatchSize,
    /// When to log the training loss, a line of the table; steps without --logging-steps also at the
    /// end of each epoch and at each evaluation
    #[arg(long, value_name = "WHEN", default_value = "steps")]
    pub logging_strategy: Strategy,
    #[arg(long, value_name = "N|SHARE", value_parser = steps)]
    #[arg(help = with_default("Steps between lines of the table; below 1, a share of all steps",
                               |r| format!("a tenth of all, at most {}", r.logging_steps)))]
    pub logging_steps: Option<Steps>,
    /// Log the first step, too
    #[arg(long)]
    pub logging_first_step: bool,
    #[arg(long, value_name = "WHEN")]
    #[arg(help = with_default("When to save a checkpoint (best: where an evaluation is the best so \
                               far): --save-steps implies steps", |r| name(&r.save)))]
    pub save_strategy: Option<SaveWhen>,
    /// Steps between checkpoints; below 1, a share of all steps [default: 500]
    #[arg(long, value_name = "N|SHARE", value_parser = steps)]
    pub save_steps: Option<Steps>,
    /// Checkpoints to keep, the best one among them [default: all]
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    pub save_total_limit: Option<usize>,
    /// Save checkpoints without the optimiser's state, two thirds of them: no run goes on from them
    #[arg(long)]
    pub save_only_model: bool,
    /// When a checkpoint cannot be written: stop, or say so and train on (the final model must be
    /// written all the same)
    #[arg(long, value_name = "WHAT", default_value = "stop")]
    pub on_save_error: OnSaveErrorArg,
    /// Finish with the weights of the best checkpoint, not the last
    #[arg(long)]
    pub load_best_model_at_end: bool,
    #[command(flatten)]
    pub license: LicenseArgs,
    /// What makes a checkpoint the best: a low loss or a high accuracy
    #[arg(long, value_name = "METRIC", default_value = "eval_loss")]
    pub metric_for_best_model: Metric,
    /// Whether the best is the largest, which follows from the metric and has to agree with it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[arg(value_parser = truth)]
    pub greater_is_better: Option<bool>,
    /// Stop after so many evaluations without improvement, and finish with the best weights
    /// [default: never]
    #[arg(long, value_name = "N", value_parser = count::<u32>, alias = "patience")]
    pub early_stopping_patience: Option<u32>,
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
        self.eval_strategy.is_some()
            || self.eval_steps.is_some()
            || self.eval_on_start
            || self.load_best_model_at_end
            || self.early_stopping_patience.is_some()
            || self.save_strategy == Some(SaveWhen::Best)
    }

    /// Whether --greater-is-better agrees with the metric: a high loss is never the best.
    pub fn check_direction(&self) -> Result<()> {
        let (metric, greater) = match self.metric_for_best_model {
            Metric::EvalLoss => ("eval_loss", false),
            Metric::EvalAccuracy => ("eval_accuracy", true),
        };
        match self.greater_is_better {
            Some(asked) if asked != greater => Err(Error::usage(
                format!("--greater-is-better {asked}: of {metric} the best is {greater}"),
                format!(
                    "leave it out (--metric-for-best-model implies it), or give \
                     --metric-for-best-model {}",
                    if asked { "eval_accuracy" } else { "eval_loss" }
                ),
            )),
            _ => Ok(()),
        }
    }

    /// How to go on with an earlier run, if that is what is asked for.
    pub fn resume(&self) -> Option<Resume> {
        let changes = if self.resume_with_changes {
            Changes::Accept
        } else {
            Changes::Refuse
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
            if parent.as_os_str().is_empty() {
                PathBuf::from(".")
            } else {
                parent.to_owned()
            }
        });
        self.output_dir.clone().or(of_checkpoint)
    }

    /// When to log, to evaluate and to save in a run of `max_steps`, by `recipe` where the person did
    /// not say.
    pub fn intervals(&self, recipe: &Recipe, max_steps: u64) -> Intervals {
        let steps = |given: Option<Steps>| given.map(|steps| steps.of(max_steps));
        let given = steps(self.logging_steps);
        let logging = given.unwrap_or((max_steps / 10).clamp(1, recipe.logging_steps));
        let usual = given.unwrap_or(recipe.logging_steps);
        let eval = interval(self.eval_strategy, steps(self.eval_steps), usual);
        let eval = eval.unwrap_or(recipe.eval);
        let by_steps = self.logging_strategy == Strategy::Steps;
        Intervals {
            logging: match self.logging_strategy {
                Strategy::No => Interval::Never,
                Strategy::Epoch => Interval::Epoch,
                Strategy::Steps => Interval::Steps(logging),
            },
            log_at_milestones: by_steps && given.is_none(),
            eval,
            save: self
                .saves(steps(self.save_steps))
                .unwrap_or_else(|| self.usual_saves(eval, recipe)),
        }
    }

    /// When to save where the person did not say. The best checkpoint can only be one that was both
    /// evaluated and saved; early stopping does without any.
    fn usual_saves(&self, eval: Interval, recipe: &Recipe) -> SaveStrategy {
        let stops = self.early_stopping_patience.is_some() && recipe.save != Interval::Never;
        if self.load_best_model_at_end || stops {
            eval.into()
        } else {
            recipe.save.into()
        }
    }

    fn saves(&self, steps: Option<u64>) -> Option<SaveStrategy> {
        let strategy = match self.save_strategy {
            Some(SaveWhen::Best) => return Some(SaveStrategy::Best),
            Some(SaveWhen::No) => Some(Strategy::No),
            Some(SaveWhen::Epoch) => Some(Strategy::Epoch),
            Some(SaveWhen::Steps) => Some(Strategy::Steps),
            None => None,
        };
        interval(strategy, steps, 500).map(SaveStrategy::from)
    }
}

/// When a run logs, evaluates and saves.
pub struct Intervals {
    pub logging: Interval,
    pub log_at_milestones: bool,
    pub eval: Interval,
    pub save: SaveStrategy,
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

impl TrainArgs {
    /// The run's configuration; `counts` are the training images of each class.
    pub fn config(
        &self,
        output_dir: &Path,
        sizes: &BatchSizes,
        counts: &[usize],
        validates: bool,
    ) -> TrainConfig {
        let recipe = Recipe::of(self.data.as_deref());
        let mut config = self.without_intervals(output_dir, sizes, counts, &recipe);
        let max_steps = plan::max_steps(&config, counts.iter().sum());
        let intervals = self.outputs.intervals(&recipe, max_steps);
        config.logging = intervals.logging;
        config.log_at_milestones = intervals.log_at_milestones;
        config.save = intervals.save;
        // Evaluations nobody asked for are no reason to refuse data without a validation part.
        config.eval = if validates || self.outputs.asks_for_evaluation() {
            intervals.eval
        } else {
            Interval::Never
        };
        config
    }

    /// The same, before it is known what falls due at which step.
    fn without_intervals(
        &self,
        output_dir: &Path,
        sizes: &BatchSizes,
        counts: &[usize],
        recipe: &Recipe,
    ) -> TrainConfig {
        let (optimisation, outputs) = (&self.optimisation, &self.outputs);
        let (warmup_steps, warmup_ratio) = match optimisation.warmup_steps {
            Steps::Count(0) => (0, optimisation.warmup_ratio),
            Steps::Count(steps) => (steps, 0.0),
            Steps::Share(share) => (0, share),
        };
        TrainConfig {
            output_dir: output_dir.to_owned(),
            overwrite_output_dir: outputs.overwrite_output_dir,
            resume: outputs.resume(),
            learning_rate: optimisation.learning_rate.unwrap_or(recipe.learning_rate),
            num_train_epochs: optimisation.epochs.unwrap_or(recipe.epochs),
            max_steps: optimisation.max_steps(),
            train_batch_size: sizes.train,
            eval_batch_size: sizes.eval,
            gradient_accumulation_steps: optimisation.gradient_accumulation_steps,
            schedule: optimisation.lr_scheduler_type.into(),
            warmup_steps,
            warmup_ratio,
            hyper: Hyper {
                beta1: optimisation.adam_beta1,
                beta2: optimisation.adam_beta2,
                epsilon: optimisation.adam_epsilon,
                weight_decay: optimisation.weight_decay,
                max_grad_norm: optimisation.max_grad_norm,
                label_smoothing: optimisation.label_smoothing_factor,
                class_weights: match optimisation.class_weights {
                    ClassWeights::None => None,
                    ClassWeights::Balanced => Some(balanced(counts)),
                },
                freeze: optimisation.freeze,
            },
            seed: self.split.seed,
            data_seed: optimisation.data_seed,
            logging: Interval::Never,
            logging_first_step: outputs.logging_first_step,
            log_at_milestones: false,
            eval: Interval::Never,
            eval_on_start: outputs.eval_on_start,
            eval_delay: outputs.eval_delay,
            save: SaveStrategy::Never,
            save_total_limit: outputs.save_total_limit,
            save_only_model: outputs.save_only_model,
            on_save_error: outputs.on_save_error.into(),
            load_best_model_at_end: outputs.load_best_model_at_end,
            metric_for_best_model: outputs.metric_for_best_model.into(),
            early_stopping_patience: outputs.early_stopping_patience,
        }
    }
}

/// n / (K · nₖ), scikit-learn's `balanced`: every class weighs the same in all, and the mean
/// weight of an image is 1. A class without images weighs nothing.
fn balanced(counts: &[usize]) -> Vec<f32> {
    let present = counts.iter().filter(|&&count| count > 0).count();
    let images: usize = counts.iter().sum();
    let weight = |&count: &usize| match count {
        0 => 0.0,
        _ => (images as f64 / (present * count) as f64) as f32,
    };
    counts.iter().map(weight).collect()
}

#[cfg(test)]
mod tests {
    use clap::Args;

    use super::{TrainArgs, TrainConfig, balanced};

    #[test]
    fn balanced_weights_make_classes_equal() {
        assert_eq!(balanced(&[10, 30]), [2.0, 2.0 / 3.0]);
        assert_eq!(balanced(&[5, 0, 5]), [1.0, 0.0, 1.0]);
    }

    #[test]
    fn settings_are_told_by_flags_that_there_are() {
        let command = TrainArgs::augment_args(clap::Command::new("train"));
        for setting in TrainConfig::default().settings() {
            let mut flags = command.get_arguments().filter_map(|arg| arg.get_long());
            assert!(
                flags.any(|flag| setting.flag == format!("--{flag}")),
                "{}",
                setting.flag
            );
        }
    }
}
