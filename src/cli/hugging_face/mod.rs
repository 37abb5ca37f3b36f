//! Command lines written for Hugging Face's `TrainingArguments`, and for others.
//!
//! Underscores in flag names become dashes, `--switch True` becomes `--switch`, and what is no flag
//! of ours is said in our words, taken out with a notice (it changes nothing) or refused with the
//! way out, as the table says. Flags that mean what one of ours does are aliases in the argument
//! definitions.

mod table;

use std::ffi::{OsStr, OsString};

use table::{FOREIGN, Rule, SWITCHES, Value};
use vitcuda::Error;

/// A command line that clap can read, and what the person should be told about the change.
#[derive(Debug, Default, PartialEq)]
pub struct Translation {
    pub arguments: Vec<OsString>,
    pub notices: Vec<String>,
}

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
        let mut value = |kind: Value| inline.clone().or_else(|| rest.next_if(|w| kind.takes(w)));
        if let Some((_, kind, rule)) = FOREIGN.iter().find(|row| training && row.0 == name) {
            let value = value(*kind);
            while rest.next_if(|word| kind.takes_more(word)).is_some() {}
            if let Some(way_out) = done.follow(rule, &name, value) {
                refused.push((name, way_out));
            }
        } else if SWITCHES.contains(&name.as_str()) {
            match lower(value(Value::Truth)).as_str() {
                "true" => done.arguments.push(format!("--{name}").into()),
                "false" => {}
                // clap says that the switch takes no such value.
                other => done.arguments.push(format!("--{name}={other}").into()),
            }
        } else {
            let mut whole = OsString::from(format!("--{name}"));
            if let Some(value) = inline {
                whole.push("=");
                whole.push(value);
            }
            done.arguments.push(whole);
        }
    }
    if refused.is_empty() {
        Ok(done)
    } else {
        Err(refusal(&refused))
    }
}

impl Translation {
    /// Does with the flag `name` what `rule` says; the way out where it is refused.
    fn follow(&mut self, rule: &Rule, name: &str, value: Option<OsString>) -> Option<&'static str> {
        match rule {
            Rule::NoEffect(why) => self.notices.push(format!("--{name} has no effect: {why}")),
            Rule::Only(accepted, way_out) => {
                return (!accepted.contains(&lower(value).as_str())).then_some(way_out);
            }
            Rule::Words(words) if lower(value.clone()) == "true" => {
                self.arguments.extend(words.iter().map(OsString::from));
            }
            Rule::Words(_) => {}
            Rule::Data => match value {
                Some(data) => self.arguments.push(data),
                None => return Some("give it a value, or DATA alone: vitcuda train DATA"),
            },
            Rule::Like(ours, how) => {
                self.notices
                    .push(format!("--{name} is taken as {ours}: {how}"));
                self.arguments.push(ours.into());
                self.arguments.extend(value);
            }
        }
        None
    }
}

/// A value as it is compared; a flag alone is on.
fn lower(value: Option<OsString>) -> String {
    value.map_or("true".into(), |v| v.to_string_lossy().to_lowercase())
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
    fn what_we_have_other_words_for_is_said_in_them() {
        for (theirs, ours) in [
            ("--bf16 photos", "--precision bf16 photos"),
            ("photos --fp16=True", "photos --precision fp16"),
            ("photos --bf16 False", "photos"),
            ("--use_cpu photos", "--device cpu photos"),
            ("--dataset_name beans", "beans"),
            ("--train_dir=a/b -o c", "a/b -o c"),
            ("--data photos", "photos"),
            ("a --max_train_samples 9", "a --train-samples 9"),
            ("--report_to tensorboard wandb photos", "photos"),
            ("photos --report_to none --epochs 1", "photos --epochs 1"),
            ("photos --report_to=wandb mlflow", "photos"),
        ] {
            let translation = translated(&format!("vitcuda train {theirs}"));
            let expected = words(&format!("vitcuda train {ours}"));
            assert_eq!(translation.arguments, expected, "{theirs}");
        }
    }

    #[test]
    fn refusals_come_together_and_leave_the_folder_alone() {
        let line = "vitcuda train --tf32 photos --push_to_hub True";
        let error = translate(words(line)).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("--tf32, --push-to-hub"));
        assert!(error.help().unwrap().contains("leave it out"));
    }

    #[test]
    fn other_subcommands_keep_their_flags() {
        assert_eq!(
            translated("vitcuda eval m d --fp16").arguments,
            words("vitcuda eval m d --fp16")
        );
    }
}
