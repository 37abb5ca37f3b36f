//! How many steps a run has, and what falls due at which of them.

use crate::error::{Error, Result};

use crate::report::format::{rounded, thousands};

use super::config::{Interval, SaveStrategy, TrainConfig};

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
    logging: Interval,
    logging_first_step: bool,
    log_at_milestones: bool,
    eval: Interval,
    eval_delay: f64,
    save: SaveStrategy,
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
        let max_steps = max_steps(config, examples);
        let micro_batches_per_epoch = micro_batches_per_epoch(config, examples);
        let updates_per_epoch = updates_per_epoch(config, examples);
        Ok(Self {
            examples,
            micro_batches_per_epoch,
            updates_per_epoch,
            max_steps,
            epochs: max_steps.div_ceil(updates_per_epoch),
            accumulation: config.gradient_accumulation_steps as u64,
            logging: config.logging,
            logging_first_step: config.logging_first_step,
            log_at_milestones: config.log_at_milestones,
            eval: config.eval,
            eval_delay: config.eval_delay,
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
                let every = spelled(self.eval.into());
                text += &format!(", {} images evaluated {every}", thousands(images as u64));
            }
            None => text += ", no evaluation",
        }
        text + &format!(", checkpoints {}", spelled(self.save))
    }

    /// Checkpoints that fall due after `step`; where only the best are saved, the most that can be.
    pub fn checkpoints_after(&self, step: u64) -> u64 {
        let interval = match self.save {
            SaveStrategy::Never => Interval::Never,
            SaveStrategy::Epoch => Interval::Epoch,
            SaveStrategy::Steps(every) => Interval::Steps(every),
            SaveStrategy::Best => self.eval,
        };
        let every = match interval {
            Interval::Never => return 0,
            Interval::Epoch => self.updates_per_epoch,
            Interval::Steps(every) => every,
        };
        self.max_steps.div_ceil(every).saturating_sub(step / every)
    }

    /// What falls due after `step`. After the last step of the run everything that is done at all
    /// is done, so that the model a run ends with has been evaluated and saved (transformers 5;
    /// 4.46 saved it without evaluating).
    ///
    /// A log is of steps, not of a model: the last step has one where its turn has come, or where an
    /// epoch ends there.
    pub fn due(&self, step: u64) -> Due {
        let last = step >= self.max_steps;
        let ends_epoch = step.is_multiple_of(self.updates_per_epoch) || last;
        let evaluate = match self.eval {
            Interval::Never => false,
            Interval::Epoch => ends_epoch && self.epoch_at(step) >= self.eval_delay,
            Interval::Steps(every) => {
                (step.is_multiple_of(every) || last) && step as f64 >= self.eval_delay
            }
        };
        let is_logged = match self.logging {
            Interval::Never => false,
            Interval::Epoch => ends_epoch,
            Interval::Steps(every) => step.is_multiple_of(every),
        };
        Due {
            log: is_logged
                || (step == 1 && self.logging_first_step)
                || (self.log_at_milestones && (ends_epoch || evaluate)),
            evaluate,
            save: match self.save {
                SaveStrategy::Never | SaveStrategy::Best => false,
                SaveStrategy::Epoch => ends_epoch,
                SaveStrategy::Steps(every) => step.is_multiple_of(every) || last,
            },
        }
    }
}

fn micro_batches_per_epoch(config: &TrainConfig, examples: usize) -> u64 {
    examples.div_ceil(config.train_batch_size) as u64
}

fn updates_per_epoch(config: &TrainConfig, examples: usize) -> u64 {
    micro_batches_per_epoch(config, examples).div_ceil(config.gradient_accumulation_steps as u64)
}

/// Updates of a run of `config` over `examples` images, whatever falls due at which of them.
pub fn max_steps(config: &TrainConfig, examples: usize) -> u64 {
    let updates = updates_per_epoch(config, examples) as f64;
    let by_epochs = || (config.num_train_epochs * updates).ceil() as u64;
    config.max_steps.unwrap_or_else(by_epochs)
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
    for (strategy, flag) in [
        (config.logging.into(), "logging-steps"),
        (config.eval.into(), "eval-steps"),
        (config.save, "save-steps"),
    ] {
        if let SaveStrategy::Steps(every) = strategy {
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
    match (config.save, config.eval) {
        (SaveStrategy::Best, Interval::Never) => Err(Error::usage(
            "`--save-strategy best` needs evaluations, and none are asked for",
            "add `--eval-steps N` or `--eval-strategy epoch`",
        )),
        // `best/` alone will do for early stopping.
        (SaveStrategy::Never, _) if !config.load_best_model_at_end => Ok(()),
        (save, eval) if config.ends_with_best() => check_best(config, eval, save),
        _ => Ok(()),
    }
}

/// The rules of `TrainingArguments.__post_init__`: each saved step has to be an evaluated one.
fn check_best(config: &TrainConfig, eval: Interval, save: SaveStrategy) -> Result<()> {
    let what = if config.load_best_model_at_end {
        "`--load-best-model-at-end`"
    } else {
        "`--early-stopping-patience` ends with the best checkpoint, which"
    };
    match (eval, save) {
        (Interval::Epoch, SaveStrategy::Epoch) | (_, SaveStrategy::Best) => Ok(()),
        (Interval::Steps(eval), SaveStrategy::Steps(save)) if save % eval == 0 => Ok(()),
        (Interval::Steps(eval), SaveStrategy::Steps(save)) => Err(Error::usage(
            format!(
                "{what} needs each saved step to be evaluated, but `--save-steps {save}` is no \
                 multiple of `--eval-steps {eval}`"
            ),
            format!("use `--save-steps {}`", save.div_ceil(eval) * eval),
        )),
        _ => Err(Error::usage(
            format!(
                "{what} needs saving and evaluating by the same strategy, but evaluation is {} and \
                 saving is {}",
                spelled(eval.into()),
                spelled(save)
            ),
            "give both `--eval-steps N --save-steps N`, or both strategies as `epoch`",
        )),
    }
}

fn spelled(strategy: SaveStrategy) -> String {
    match strategy {
        SaveStrategy::Never => "off".into(),
        SaveStrategy::Epoch => "every epoch".into(),
        SaveStrategy::Steps(every) => format!("every {every} steps"),
        SaveStrategy::Best => "when an evaluation is the best so far".into(),
    }
}
