//! What a run says at its start about itself, and at its end about what to try next.

use std::path::Path;

use serde_json::Value;

use super::choices::AugmentArg;
use super::start::Start;
use vitcuda::data::Loader;
use vitcuda::data::source::Source;
use vitcuda::model::cost::Parameters;
use vitcuda::model::freeze::Freeze;
use vitcuda::model::params::ParamTable;
use vitcuda::report::Fact;
use vitcuda::report::format::thousands;
use vitcuda::train::config::{Schedule, Setting, TrainConfig};

/// What is trained.
pub fn model(start: &Start, freeze: Freeze) -> Fact {
    let mut text = format!(
        "{}: {} parameters, input {size} × {size} pixels",
        start.name,
        thousands(Parameters::of(&start.config).total()),
        size = start.config.image_size
    );
    if freeze != Freeze::Nothing {
        let trained = freeze.trained(&ParamTable::new(&start.config)).len();
        text += &format!(
            ", {} parameters trained (freeze {freeze})",
            thousands(trained as u64)
        );
    }
    Fact::new("model", text)
}

/// What there is to learn from.
pub fn data(
    source: &Source,
    classes: &[String],
    train: &Loader,
    validation: Option<&Loader>,
) -> Fact {
    let name = match source {
        Source::Digits => "1,797 handwritten digits, 8 × 8 (UCI, CC BY 4.0)".to_owned(),
        other => other.to_string(),
    };
    let validation = validation.map_or(0, |v| v.len());
    let mut shown: Vec<&str> = classes.iter().take(10).map(String::as_str).collect();
    if classes.len() > shown.len() {
        shown.push("…");
    }
    let text = format!(
        "{name}: train {}, validation {}, {} classes: {}",
        thousands(train.len() as u64),
        thousands(validation as u64),
        classes.len(),
        shown.join(", ")
    );
    Fact::new("data", text)
}

/// Settings that the header says in words: here, in the plan, or by where the output goes.
const SAID: [&str; 16] = [
    "--output-dir",
    "--learning-rate",
    "--lr-scheduler-type",
    "--batch-size",
    "--eval-batch-size",
    "--gradient-accumulation-steps",
    "--weight-decay",
    "--max-grad-norm",
    "--seed",
    "--epochs",
    "--max-steps",
    "--freeze",
    "--eval-steps",
    "--save-steps",
    "--logging-steps",
    "--logging-strategy",
];

/// How it is trained.
pub fn recipe(config: &TrainConfig, augment: AugmentArg) -> Fact {
    let mut text = format!(
        "AdamW, learning rate {:e} {}, batch {}",
        config.learning_rate,
        shape(config.schedule),
        config.train_batch_size
    );
    if config.gradient_accumulation_steps > 1 {
        text += &format!(" × {}", config.gradient_accumulation_steps);
    }
    text += &format!(
        ", weight decay {}, gradient norm at most {}, seed {}",
        config.hyper.weight_decay, config.hyper.max_grad_norm, config.seed
    );
    let others = config.changed_settings().into_iter();
    for Setting { flag, value, .. } in others.filter(|setting| !SAID.contains(&setting.flag)) {
        let words = match value {
            Value::String(word) => word,
            other => other.to_string(),
        };
        text += &format!(", {flag} {}", shortened(words));
    }
    match augment {
        AugmentArg::None => {}
        AugmentArg::CropFlip => text += ", random crops and flips",
    }
    Fact::new("recipe", text)
}

/// At most a line of it.
fn shortened(text: String) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The course of the learning rate, in words.
fn shape(schedule: Schedule) -> &'static str {
    match schedule {
        Schedule::Linear => "falling linearly",
        Schedule::Cosine => "falling as a cosine",
        Schedule::Constant => "throughout",
    }
}

/// Commands to try after the run.
pub fn next(output_dir: &Path, data: Option<&Path>) -> Vec<String> {
    let model = shell_word(output_dir);
    match data.map(shell_word) {
        Some(data) => vec![
            format!("vitcuda eval {model} {data}"),
            format!("vitcuda predict {model} PHOTO…"),
            format!("vitcuda info {model}"),
        ],
        None => vec![
            format!("vitcuda eval {model}"),
            format!("vitcuda info {model}"),
            "vitcuda train YOUR_PHOTOS --model VIT_FOLDER".into(),
        ],
    }
}

/// `path`, quoted where a shell would take it apart.
pub fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+:,@%~".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_the_shell() {
        assert_eq!(
            shell_word(Path::new("runs/cats_vs_dogs-2")),
            "runs/cats_vs_dogs-2"
        );
        assert_eq!(shell_word(Path::new("it's here")), r"'it'\''s here'");
    }
}
