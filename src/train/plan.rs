//! How many steps a run has, and what falls due at which of them.

use crate::error::{Error, Result};

use crate::report::format::{rounded, thousands};

use super::config::{Interval, TrainConfig};

/// The steps of a run, counted as Hugging Face's Trainer counts them.
///
/// An epoch has ⌈examples / batch size⌉ micro-batches, the last one short, and
/// ⌈micro-batches / accumulation⌉ updates, the last one of fewer micro-batches (transformers ≥ 4.46;
/// older ones rolled the rest over into the next epoch).
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub examples: usize,
    pub micro_batches_per_epoch: u64,
    pub updates_per_epoch: u64,
    pub max_steps: u64,
    /// Epochs begun, the last one perhaps cut short.
    pub epochs: u64,
    accumulation: u64,
    eval: Interval,
    save: Interval,
}

/// What has to be done after a step, in the order of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    pub log: bool,
    pub evaluate: bool,
    pub save: bool,
}

impl Plan {
    /// Counts the steps of `config` over `examples` images.
    ///
    /// # Errors
    /// [`Error::Usage`] for settings that contradict each other or make no run at all.
    pub fn new(config: &TrainConfig, examples: usize) -> Result<Self> {
        check_settings(config)?;
        if examples == 0 {
            return Err(Error::usage(
                "there is no image to train on",
                "check the data folder and the split (`--train-samples`, `--bad-images`)",
            ));
        }
        let accumulation = config.gradient_accumulation_steps as u64;
        let micro_batches_per_epoch = examples.div_ceil(config.train_batch_size) as u64;
        let updates_per_epoch = micro_batches_per_epoch.div_ceil(accumulation);
        let max_steps = config
            .max_steps
            .unwrap_or_else(|| (config.num_train_epochs * updates_per_epoch as f64).ceil() as u64);
        Ok(Self {
            examples,
            micro_batches_per_epoch,
            updates_per_epoch,
            max_steps,
            epochs: max_steps.div_ceil(updates_per_epoch),
            accumulation,
            eval: config.eval,
            save: config.save,
        })
    }

    /// Micro-batches of update `update` of an epoch, counted from 0.
    pub fn micro_batches(&self, update: u64) -> u64 {
        let done = update * self.accumulation;
        self.accumulation.min(self.micro_batches_per_epoch - done)
    }

    /// Images that the updates of an epoch before `update` have seen.
    pub fn images_before(&self, update: u64, batch_size: usize) -> usize {
        let micro_batches = (update * self.accumulation) as usize;
        (micro_batches * batch_size).min(self.examples)
    }

    /// Epochs done after `step`, the way the log shows them: whole epochs and the share of
    /// micro-batches of the one in progress.
    pub fn epoch_at(&self, step: u64) -> f64 {
        let (epoch, update) = (step / self.updates_per_epoch, step % self.updates_per_epoch);
        epoch as f64 + (update * self.accumulation) as f64 / self.micro_batches_per_epoch as f64
    }

    /// The run in a line, for its header; `validation` is the number of validation images.
    pub fn in_words(&self, config: &TrainConfig, validation: Option<usize>) -> String {
        let epochs = match rounded(self.epoch_at(self.max_steps), 2) {
            1.0 => "1 epoch".to_owned(),
            epochs => format!("{epochs} epochs"),
        };
        let mut text = format!(
            "{} steps: {epochs} of {} images, {} at a time",
            thousands(self.max_steps),
            thousands(self.examples as u64),
            config.train_batch_size
        );
        if self.accumulation > 1 {
            text += &format!(" × {} accumulated", self.accumulation);
        }
        match validation.filter(|_| self.eval != Interval::Never) {
            Some(images) => {
                let every = spelled(self.eval);
                text += &format!(", {} images evaluated {every}", thousands(images as u64));
            }
            None => text += ", no evaluation",
        }
        text + &format!(", checkpoints {}", spelled(self.save))
    }

    /// Checkpoints that fall due after `step`.
    pub fn checkpoints_after(&self, step: u64) -> u64 {
        let every = match self.save {
            Interval::Never => return 0,
            Interval::Epoch => self.updates_per_epoch,
            Interval::Steps(every) => every,
        };
        self.max_steps.div_ceil(every).saturating_sub(step / every)
    }

    /// What falls due after `step`. After the last step of the run everything that is done at all
    /// is done, so that the model a run ends with has been evaluated and saved (transformers 5;
    /// 4.46 saved it without evaluating).
    pub fn due(&self, step: u64, logging_steps: u64) -> Due {
        let due = |interval| match interval {
            Interval::Never => false,
            Interval::Epoch => {
                step.is_multiple_of(self.updates_per_epoch) || step >= self.max_steps
            }
            Interval::Steps(every) => step.is_multiple_of(every) || step >= self.max_steps,
        };
        Due {
            log: step.is_multiple_of(logging_steps),
            evaluate: due(self.eval),
            save: due(self.save),
        }
    }
}

/// Whether the settings of a run fit together; [`Plan::new`] asks too, but this needs no images.
///
/// # Errors
/// [`Error::Usage`] naming the flag and what to give instead.
pub fn check_settings(config: &TrainConfig) -> Result<()> {
    let positive = |value: u64, flag: &str| match value {
        0 => Err(Error::usage(
            format!("`--{flag} 0` makes no run"),
            format!("give `--{flag}` at least 1"),
        )),
        _ => Ok(()),
    };
    positive(config.train_batch_size as u64, "batch-size")?;
    positive(config.eval_batch_size as u64, "eval-batch-size")?;
    positive(
        config.gradient_accumulation_steps as u64,
        "gradient-accumulation-steps",
    )?;
    positive(config.logging_steps, "logging-steps")?;
    positive(config.max_steps.unwrap_or(1), "max-steps")?;
    positive(
        config.save_total_limit.unwrap_or(1) as u64,
        "save-total-limit",
    )?;
    let patience = config.early_stopping_patience.unwrap_or(1);
    positive(patience.into(), "early-stopping-patience")?;
    let fractions = [
        (config.warmup_ratio, "warmup-ratio"),
        (config.hyper.label_smoothing, "label-smoothing-factor"),
    ];
    for (value, flag) in fractions {
        if !(0.0..=1.0).contains(&value) {
            return Err(Error::usage(
                format!("`--{flag} {value}` is no share"),
                format!("give `--{flag}` a number from 0 to 1"),
            ));
        }
    }
    for (interval, flag) in [(config.eval, "eval-steps"), (config.save, "save-steps")] {
        if let Interval::Steps(every) = interval {
            positive(every, flag)?;
        }
    }
    let epochs = config.num_train_epochs;
    if config.max_steps.is_none() && !(epochs > 0.0 && epochs.is_finite()) {
        return Err(Error::usage(
            format!("`--epochs {epochs}` makes no run"),
            "give a positive number of epochs, or `--max-steps`",
        ));
    }
    let rate = config.learning_rate;
    if !(rate >= 0.0 && rate.is_finite()) {
        return Err(Error::usage(
            format!("`--learning-rate {rate}` is no learning rate"),
            "give a positive number, such as 2e-5",
        ));
    }
    if config.early_stopping_patience.is_some() && config.eval == Interval::Never {
        return Err(Error::usage(
            "early stopping needs evaluations, and none are asked for",
            "add `--eval-steps N` or `--eval-strategy epoch`, or drop `--early-stopping-patience`",
        ));
    }
    match config.load_best_model_at_end {
        true => check_best(config.eval, config.save),
        false => Ok(()),
    }
}

/// The rules of `TrainingArguments.__post_init__`: each saved step has to be an evaluated one.
fn check_best(eval: Interval, save: Interval) -> Result<()> {
    match (eval, save) {
        (Interval::Epoch, Interval::Epoch) => Ok(()),
        (Interval::Steps(eval), Interval::Steps(save)) if save % eval == 0 => Ok(()),
        (Interval::Steps(eval), Interval::Steps(save)) => Err(Error::usage(
            format!(
                "`--load-best-model-at-end` needs each saved step to be evaluated, but `--save-steps \
                 {save}` is no multiple of `--eval-steps {eval}`"
            ),
            format!("use `--save-steps {}`", save.div_ceil(eval) * eval),
        )),
        _ => Err(Error::usage(
            format!(
                "`--load-best-model-at-end` needs saving and evaluating by the same strategy, but \
                 evaluation is {} and saving is {}",
                spelled(eval),
                spelled(save)
            ),
            "give both `--eval-steps N --save-steps N`, or both strategies as `epoch`",
        )),
    }
}

fn spelled(interval: Interval) -> String {
    match interval {
        Interval::Never => "off".into(),
        Interval::Epoch => "every epoch".into(),
        Interval::Steps(every) => format!("every {every} steps"),
    }
}
