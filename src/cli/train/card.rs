//! The model card of a run.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::args::TrainArgs;
use super::header::shell_word;
use super::records::arguments;
use crate::cli::report;
use vitcuda::report::RunLog;
use vitcuda::report::model_card::{MARK, ModelCard};
use vitcuda::train::Outcome;
use vitcuda::train::config::TrainConfig;
use vitcuda::{Error, Result, files};

/// Name of the file in a run's folder.
const CARD: &str = "README.md";

/// What a card says besides the settings and the scores of a run.
pub struct About<'a> {
    pub args: &'a TrainArgs,
    pub config: &'a TrainConfig,
    /// The model in words, and the data.
    pub model: String,
    pub data: String,
    pub classes: &'a [String],
}

/// Writes the card of a finished run beside its model. A card that a person has made theirs stays;
/// then the text says so.
pub fn write(about: &About, outcome: &Outcome) -> Result<Option<String>> {
    let folder = &about.config.output_dir;
    let file = folder.join(CARD);
    match fs::read(&file) {
        Ok(text) if !String::from_utf8_lossy(&text).contains(MARK) => {
            return Ok(Some(format!(
                "{} is not ours and stays as it is",
                file.display()
            )));
        }
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io(&file, "read it", e)),
        _ => {}
    }
    let data = about.args.data.as_deref();
    let log = RunLog::read(folder).unwrap_or_default();
    let card = ModelCard {
        name: report::name(folder),
        model: about.model.clone(),
        base_model: about.args.model.model.as_deref().and_then(hub_id),
        data: about.data.clone(),
        dataset: data.and_then(Path::to_str).and_then(hub_id),
        classes: about.classes,
        arguments: arguments(about.config),
        log: &log,
        summary: outcome.evaluation.as_ref().map(|e| e.summary()),
        command: command(std::env::args_os()),
    };
    files::write_atomically(file, card.text().as_bytes())?;
    Ok(None)
}

/// `name`, if it is OWNER/NAME of the Hugging Face hub and not a path.
fn hub_id(name: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_part =
        |part: &str| part.starts_with(|c: char| c.is_alphanumeric()) && part.chars().all(fits);
    let (owner, model) = name.split_once('/')?;
    (is_part(owner) && is_part(model) && !Path::new(name).exists()).then(|| name.to_owned())
}

/// The command line, so that a shell takes it as it was.
fn command(words: impl Iterator<Item = OsString>) -> String {
    let words = words.skip(1).map(|word| shell_word(Path::new(&word)));
    let words: Vec<String> = std::iter::once("vitcuda".to_owned()).chain(words).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_hub_are_told_from_paths() {
        for id in ["google/vit-base-patch16-224-in21k", "a/b.c"] {
            assert_eq!(hub_id(id).as_deref(), Some(id));
        }
        for path in [
            "photos", "./a", "/a/b", "a/b/c", "../a", "src/cli", "a/", "a b/c",
        ] {
            assert_eq!(hub_id(path), None, "{path}");
        }
    }

    #[test]
    fn the_command_can_be_typed_again() {
        let words = ["/usr/bin/vitcuda", "train", "my photos", "--lr", "2e-5"];
        assert_eq!(
            command(words.map(OsString::from).into_iter()),
            "vitcuda train 'my photos' --lr 2e-5"
        );
    }
}
