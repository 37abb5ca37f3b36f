//! What the flags of `vitcuda train` choose among.

use clap::ValueEnum;

use vitcuda::data::Augmentation;
use vitcuda::train::config::{BestMetric, OnSaveError, Schedule};

/// When to evaluate or log, in TrainingArguments' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Strategy {
    No,
    Epoch,
    Steps,
}

/// When to save, in TrainingArguments' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SaveWhen {
    No,
    Epoch,
    Steps,
    Best,
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
