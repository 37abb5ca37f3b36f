//! Command lines written for Hugging Face's `TrainingArguments`.
//!
//! Underscores in flag names become dashes, `--switch True` becomes `--switch`, and flags that have
//! no counterpart here are taken out with a notice (they change nothing) or refused with the way
//! out. Flags that do have a counterpart are aliases in the argument definitions.

use std::ffi::{OsStr, OsString};

use vitcuda::Error;

/// A command line that clap can read, and what the person should be told about the change.
#[derive(Debug, Default, PartialEq)]
pub struct Translation {
    pub arguments: Vec<OsString>,
    pub notices: Vec<String>,
}

/// What happens to a flag of `TrainingArguments` that has no counterpart.
enum Rule {
    /// Accepted whatever its value; the text says why it changes nothing.
    NoEffect(&'static str),
    /// Accepted with one of these values (lower case), refused with any other; the text is the help.
    Only(&'static [&'static str], &'static str),
}
use Rule::{NoEffect, Only};

/// Which word after a flag is its value.
#[derive(Clone, Copy)]
enum Value {
    /// Only `True` or `False`: `--bf16 photos` leaves the folder alone.
    Truth,
    /// Any that is not a flag itself.
    Word,
}
use Value::{Truth, Word};

impl Value {
    fn takes(self, word: &OsStr) -> bool {
        match self {
            Truth => word.eq_ignore_ascii_case("true") || word.eq_ignore_ascii_case("false"),
            Word => !word.as_encoded_bytes().starts_with(b"--"),
        }
    }
}

/// Switches of ours that may come with a value, as Python writes truth.
const SWITCHES: [&str; 4] = [
    "load-best-model-at-end",
    "overwrite-output-dir",
    "resume",
    "resume-with-changes",
];

const OFF: &[&str] = &["false"];
const ON: &[&str] = &["true"];
const LOADER: &str = "decoding uses all cores on its own (--threads)";
const REPORTS: &str = "nothing is sent anywhere; the numbers are in metrics.jsonl and \
                       trainer_state.json of the output folder";
const ADAMW: &str = "leave it out; AdamW is the only optimiser";
const SINGLE: &str = "training runs in one process";
const F16: &str = "a GPU computes in f16 unless --precision says otherwise, the CPU in f32";
const BF16: &str = "give --precision bf16, which a GPU computes with";
const TF32: &str = "leave it out; a GPU computes in f16 or bf16 (--precision), the CPU in f32";
const PUSH: &str = "leave it out; afterwards, with HF_TOKEN set: vitcuda push RUN OWNER/NAME";
const TOKEN: &str = "HF_TOKEN is used where it is set";
const DATASET: &str = "give it as the first argument: vitcuda train OWNER/NAME";
const FOLDER: &str = "give the folder as the first argument: vitcuda train FOLDER";

/// Sorted by name.
const FOREIGN: &[(&str, Value, Rule)] = &[
    ("adafactor", Truth, Only(OFF, ADAMW)),
    (
        "auto-find-batch-size",
        Truth,
        Only(OFF, "give --batch-size auto, which takes what fits"),
    ),
    ("bf16", Truth, Only(OFF, BF16)),
    ("bf16-full-eval", Truth, Only(OFF, BF16)),
    (
        "cache-dir",
        Word,
        Only(
            &[],
            "leave it out and set HF_HOME; downloads are kept there",
        ),
    ),
    (
        "data-seed",
        Word,
        Only(&["none"], "leave it out; --seed orders the data too"),
    ),
    (
        "dataloader-drop-last",
        Truth,
        Only(OFF, "leave it out; the last, short batch is used"),
    ),
    ("dataloader-num-workers", Word, NoEffect(LOADER)),
    ("dataloader-persistent-workers", Truth, NoEffect(LOADER)),
    ("dataloader-pin-memory", Truth, NoEffect(LOADER)),
    ("dataloader-prefetch-factor", Word, NoEffect(LOADER)),
    ("dataset-name", Word, Only(&[], DATASET)),
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
    ("fp16", Truth, NoEffect(F16)),
    ("fp16-full-eval", Truth, NoEffect(F16)),
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
        "greater-is-better",
        Truth,
        Only(&[], "leave it out; --metric-for-best-model implies it"),
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
    (
        "logging-strategy",
        Word,
        Only(&["steps"], "leave it out and give --logging-steps"),
    ),
    (
        "max-eval-samples",
        Word,
        Only(
            &[],
            "use --eval-samples (another draw: Python's random.sample)",
        ),
    ),
    (
        "max-train-samples",
        Word,
        Only(
            &[],
            "use --train-samples (another draw: Python's random.sample)",
        ),
    ),
    (
        "model-revision",
        Word,
        Only(
            &["main"],
            "write it after the name: --model OWNER/NAME@REVISION",
        ),
    ),
    ("no-cuda", Truth, Only(OFF, "use --device cpu")),
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
    ("report-to", Word, NoEffect(REPORTS)),
    ("run-name", Word, NoEffect(REPORTS)),
    (
        "save-only-model",
        Truth,
        NoEffect("it does not change the training"),
    ),
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
    ("train-dir", Word, Only(&[], FOLDER)),
    ("use-auth-token", Truth, NoEffect(TOKEN)),
    ("use-cpu", Truth, Only(OFF, "use --device cpu")),
    (
        "validation-dir",
        Word,
        Only(
            &[],
            "put it beside the training folder: FOLDER/train, FOLDER/validation",
        ),
    ),
];

/// Translates the whole command line, program name included.
///
/// [`Error::Usage`] lists every flag that is refused, so that one look is enough.
pub fn translate(arguments: impl IntoIterator<Item = OsString>) -> Result<Translation, Error> {
    let mut rest = arguments.into_iter().peekable();
    let mut done = Translation::default();
    let mut refused = Vec::new();
    let mut training = false;
    while let Some(argument) = rest.next() {
        if argument == "--" {
            done.arguments.push(argument);
            done.arguments.extend(rest);
            break;
        }
        training |= argument == "train";
        let Some((name, inline)) = flag(&argument) else {
            done.arguments.push(argument);
            continue;
        };
        let mut lower_value = |kind: Value| {
            let value = inline.clone().or_else(|| rest.next_if(|w| kind.takes(w)));
            value.map_or("true".into(), |v| v.to_string_lossy().to_lowercase())
        };
        let foreign = FOREIGN.iter().find(|row| training && row.0 == name);
        match foreign {
            Some((_, kind, rule)) => {
                let value = lower_value(*kind);
                match rule {
                    NoEffect(why) => done.notices.push(format!("--{name} has no effect: {why}")),
                    Only(accepted, _) if accepted.contains(&value.as_str()) => {}
                    Only(_, way_out) => refused.push((name, *way_out)),
                }
            }
            None if SWITCHES.contains(&name.as_str()) => match lower_value(Truth).as_str() {
                "true" => done.arguments.push(format!("--{name}").into()),
                "false" => {}
                // clap says that the switch takes no such value.
                other => done.arguments.push(format!("--{name}={other}").into()),
            },
            None => {
                let mut whole = OsString::from(format!("--{name}"));
                if let Some(value) = inline {
                    whole.push("=");
                    whole.push(value);
                }
                done.arguments.push(whole);
            }
        }
    }
    match refused.is_empty() {
        true => Ok(done),
        false => Err(refusal(&refused)),
    }
}

/// Splits `--some_name=value` into `some-name` and the value; `None` for anything else.
fn flag(argument: &OsStr) -> Option<(String, Option<OsString>)> {
    let text = argument.to_str()?;
    let body = text.strip_prefix("--")?;
    let (name, value) = match body.split_once('=') {
        Some((name, value)) => (name, Some(value.into())),
        None => (body, None),
    };
    Some((name.replace('_', "-"), value))
}

fn refusal(refused: &[(String, &str)]) -> Error {
    let names: Vec<String> = refused
        .iter()
        .map(|(name, _)| format!("--{name}"))
        .collect();
    let help: Vec<String> = refused
        .iter()
        .map(|(name, way_out)| format!("--{name}: {way_out}"))
        .collect();
    Error::usage(
        format!("not possible in this version: {}", names.join(", ")),
        help.join("\n"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &str) -> Translation {
        translate(line.split(' ').map(OsString::from)).unwrap()
    }

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_table_is_sorted_and_in_dashes() {
        assert!(FOREIGN.is_sorted_by(|a, b| a.0 < b.0));
        assert!(FOREIGN.iter().all(|(name, ..)| !name.contains('_')));
    }

    #[test]
    fn underscores_become_dashes_in_names_only() {
        assert_eq!(
            translated(
                "vitcuda train my_photos --learning_rate 1e-4 --output_dir=a_b -o c_d --model m_n"
            )
            .arguments,
            words(
                "vitcuda train my_photos --learning-rate 1e-4 --output-dir=a_b -o c_d --model m_n"
            )
        );
        assert_eq!(
            translated("vitcuda predict m -- --an_image").arguments,
            words("vitcuda predict m -- --an_image")
        );
    }

    #[test]
    fn switches_take_pythons_truth() {
        for on in [
            "--load_best_model_at_end",
            "--load_best_model_at_end True",
            "--load-best-model-at-end=true",
        ] {
            assert_eq!(
                translated(&format!("vitcuda train {on} photos")).arguments,
                words("vitcuda train --load-best-model-at-end photos"),
                "{on}"
            );
        }
        assert_eq!(
            translated("vitcuda train --load_best_model_at_end False photos").arguments,
            words("vitcuda train photos")
        );
    }

    #[test]
    fn flags_without_effect_are_taken_out_with_a_notice() {
        let line = "vitcuda train photos --remove_unused_columns False --dataloader_num_workers 4 \
                    --bf16 False --epochs 1 --report_to=tensorboard";
        let translation = translated(line);
        assert_eq!(
            translation.arguments,
            words("vitcuda train photos --epochs 1")
        );
        assert_eq!(translation.notices.len(), 3);
    }

    #[test]
    fn refusals_come_together_and_leave_the_folder_alone() {
        let line = "vitcuda train --bf16 photos --push_to_hub True";
        let error = translate(words(line)).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("--bf16, --push-to-hub"));
        assert!(error.help().unwrap().contains("--precision bf16"));
    }

    #[test]
    fn other_subcommands_keep_their_flags() {
        assert_eq!(
            translated("vitcuda eval m d --fp16").arguments,
            words("vitcuda eval m d --fp16")
        );
    }
}
