//! What becomes of the flags of `TrainingArguments`, `run_image_classification.py`, timm and
//! ultralytics that are no aliases of ours.

use std::ffi::OsStr;

/// What happens to a flag.
pub enum Rule {
    /// Accepted whatever its value; the text says why it changes nothing.
    NoEffect(&'static str),
    /// Accepted with one of these values (lower case), refused with any other; the text is the help.
    Only(&'static [&'static str], &'static str),
    /// A switch that stands for these words of ours; off, it stands for none.
    Words(&'static [&'static str]),
    /// The value is what we take as the argument DATA.
    Data,
    /// Another name for a flag of ours that does something slightly different, as the text says.
    Like(&'static str, &'static str),
}
use Rule::{Data, Like, NoEffect, Only, Words};

/// Which word after a flag is its value.
#[derive(Clone, Copy)]
pub enum Value {
    /// Only `True` or `False`: `--bf16 photos` leaves the folder alone.
    Truth,
    /// Any that is not a flag itself.
    Word,
    /// The same, and after it all that are integrations of transformers: `--report_to tensorboard wandb
    /// photos` leaves the folder alone.
    Integrations,
}
use Value::{Integrations, Truth, Word};

impl Value {
    pub fn takes(self, word: &OsStr) -> bool {
        match self {
            Truth => word.eq_ignore_ascii_case("true") || word.eq_ignore_ascii_case("false"),
            Word | Integrations => !word.as_encoded_bytes().starts_with(b"--"),
        }
    }

    /// Whether `word` is one more value, after a first one.
    pub fn takes_more(self, word: &OsStr) -> bool {
        matches!(self, Integrations)
            && INTEGRATIONS
                .iter()
                .any(|name| word.eq_ignore_ascii_case(name))
    }
}

/// What `report_to` of `TrainingArguments` takes.
const INTEGRATIONS: [&str; 16] = [
    "all",
    "azure_ml",
    "clearml",
    "codecarbon",
    "comet_ml",
    "dagshub",
    "dvclive",
    "flyte",
    "mlflow",
    "neptune",
    "none",
    "swanlab",
    "tensorboard",
    "trackio",
    "wandb",
    "zenml",
];

/// Switches of ours that may come with a value, as Python writes truth.
pub const SWITCHES: [&str; 7] = [
    "eval-on-start",
    "load-best-model-at-end",
    "logging-first-step",
    "overwrite-output-dir",
    "resume",
    "resume-with-changes",
    "save-only-model",
];

const OFF: &[&str] = &["false"];
const ON: &[&str] = &["true"];
const LOADER: &str = "decoding uses all cores on its own (--threads)";
const REPORTS: &str = "TensorBoard's files are always written, into runs/ of the output folder, and \
                       nothing is sent anywhere; the numbers are in metrics.jsonl and \
                       trainer_state.json, too";
const ADAMW: &str = "leave it out; AdamW is the only optimiser";
const SINGLE: &str = "training runs in one process";
const TF32: &str = "leave it out; a GPU computes in f16 or bf16 (--precision), the CPU in f32";
const FULL_EVAL: &str = "evaluations compute in the precision of the training (--precision)";
const PUSH: &str = "leave it out; afterwards, with HF_TOKEN set: vitcuda push RUN OWNER/NAME";
const TOKEN: &str = "HF_TOKEN is used where it is set";
const DRAW: &str = "drawn as Python's random.sample does, not as datasets shuffles";
const CODE: &str = "code that comes with a model or a data set is never run";
const CPU: Rule = Words(&["--device", "cpu"]);

/// Sorted by name.
pub const FOREIGN: &[(&str, Value, Rule)] = &[
    ("adafactor", Truth, Only(OFF, ADAMW)),
    (
        "auto-find-batch-size",
        Truth,
        Only(OFF, "give --batch-size auto, which takes what fits"),
    ),
    ("bf16", Truth, Words(&["--precision", "bf16"])),
    ("bf16-full-eval", Truth, NoEffect(FULL_EVAL)),
    (
        "cache-dir",
        Word,
        Only(
            &[],
            "leave it out and set HF_HOME; downloads are kept there",
        ),
    ),
    ("data", Word, Data),
    ("data-dir", Word, Data),
    (
        "dataloader-drop-last",
        Truth,
        Only(OFF, "leave it out; the last, short batch is used"),
    ),
    ("dataloader-num-workers", Word, NoEffect(LOADER)),
    ("dataloader-persistent-workers", Truth, NoEffect(LOADER)),
    ("dataloader-pin-memory", Truth, NoEffect(LOADER)),
    ("dataloader-prefetch-factor", Word, NoEffect(LOADER)),
    ("dataset-name", Word, Data),
    ("ddp-find-unused-parameters", Truth, NoEffect(SINGLE)),
    (
        "disable-tqdm",
        Truth,
        NoEffect("--quiet leaves out the progress bar"),
    ),
    (
        "do-eval",
        Truth,
        Only(ON, "leave it out and give --eval-strategy no"),
    ),
    ("do-predict", Truth, Only(OFF, "use vitcuda predict")),
    ("do-train", Truth, Only(ON, "use vitcuda eval")),
    ("fp16", Truth, Words(&["--precision", "fp16"])),
    ("fp16-full-eval", Truth, NoEffect(FULL_EVAL)),
    (
        "full-determinism",
        Truth,
        NoEffect("the same seed always gives the same bits"),
    ),
    (
        "gradient-checkpointing",
        Truth,
        Only(
            OFF,
            "leave it out; a smaller --batch-size needs less memory",
        ),
    ),
    (
        "group-by-length",
        Truth,
        NoEffect("all images have the same number of tokens"),
    ),
    ("hub-model-id", Word, Only(&[], PUSH)),
    ("hub-token", Word, Only(&[], PUSH)),
    (
        "ignore-mismatched-sizes",
        Truth,
        Only(
            ON,
            "leave it out; a head of another size is replaced, and said so",
        ),
    ),
    ("local-rank", Word, NoEffect(SINGLE)),
    ("log-level", Word, NoEffect("--quiet prints less")),
    ("logging-dir", Word, NoEffect(REPORTS)),
    (
        "logging-nan-inf-filter",
        Truth,
        NoEffect("a loss that is not finite is always shown"),
    ),
    ("max-eval-samples", Word, Like("--eval-samples", DRAW)),
    ("max-train-samples", Word, Like("--train-samples", DRAW)),
    (
        "model-revision",
        Word,
        Only(
            &["main"],
            "write it after the name: --model OWNER/NAME@REVISION",
        ),
    ),
    ("no-cuda", Truth, CPU),
    (
        "optim",
        Word,
        Only(&["adamw_torch", "adamw_torch_fused"], ADAMW),
    ),
    ("push-to-hub", Truth, Only(OFF, PUSH)),
    (
        "remove-unused-columns",
        Truth,
        NoEffect("images are the only input; columns that are not read stay where they are"),
    ),
    ("report-to", Integrations, NoEffect(REPORTS)),
    ("run-name", Word, NoEffect(REPORTS)),
    (
        "save-safetensors",
        Truth,
        Only(ON, "leave it out; weights are saved as safetensors"),
    ),
    (
        "skip-memory-metrics",
        Truth,
        NoEffect("memory is not among the metrics"),
    ),
    ("tf32", Truth, Only(OFF, TF32)),
    ("token", Word, Only(&[], "leave it out and set HF_TOKEN")),
    (
        "torch-compile",
        Truth,
        NoEffect("there is no PyTorch here to compile"),
    ),
    ("train-dir", Word, Data),
    ("trust-remote-code", Truth, NoEffect(CODE)),
    ("use-auth-token", Truth, NoEffect(TOKEN)),
    ("use-cpu", Truth, CPU),
    ("workers", Word, NoEffect(LOADER)),
];

#[cfg(test)]
mod tests {
    use super::FOREIGN;

    #[test]
    fn the_table_is_sorted_and_in_dashes() {
        assert!(FOREIGN.is_sorted_by(|a, b| a.0 < b.0));
        assert!(FOREIGN.iter().all(|(name, ..)| !name.contains('_')));
    }
}
