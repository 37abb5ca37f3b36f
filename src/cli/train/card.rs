//! The model card of a run.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::{Map, Value};

use super::args::TrainArgs;
use super::header::shell_word;
use super::records::arguments;
use crate::cli::{hub, report};
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
    let id = |name: &Path| hub::id(name).map(|id| id.name);
    let data = about.args.data.as_deref();
    let base = about.args.model.model.as_deref().map(Path::new);
    let log = RunLog::read(folder).unwrap_or_default();
    let card = ModelCard {
        name: report::name(folder),
        model: about
            .model
            .split(": ")
            .map(here)
            .collect::<Vec<_>>()
            .join(": "),
        base_model: base.and_then(id),
        data: here(&about.data),
        dataset: data.and_then(id),
        license: about.args.outputs.license.license.clone(),
        classes: about.classes,
        arguments: nowhere(arguments(about.config)),
        log: &log,
        summary: outcome.evaluation.as_ref().map(|e| e.summary()),
        command: command(std::env::args_os()),
    };
    files::write_atomically(file, card.text().as_bytes())?;
    Ok(None)
}

/// `text`, or where it is the path of something here its last part: a card is for everybody, and
/// where a person keeps things is not.
fn here(text: &str) -> String {
    let path = Path::new(text);
    match path.file_name().filter(|_| path.exists()) {
        Some(name) => name.to_string_lossy().into_owned(),
        None => text.to_owned(),
    }
}

/// The same of settings.
fn nowhere(mut settings: Map<String, Value>) -> Map<String, Value> {
    for value in settings.values_mut() {
        if let Value::String(text) = value {
            *text = here(text);
        }
    }
    settings
}

/// The command line, so that a shell takes it as it was, but for where things are.
fn command(words: impl Iterator<Item = OsString>) -> String {
    let shown = |word: OsString| {
        let word = word.to_string_lossy();
        let word = match word.split_once('=') {
            Some((flag, value)) if flag.starts_with('-') => format!("{flag}={}", here(value)),
            _ => here(&word),
        };
        shell_word(Path::new(&word))
    };
    let words = words.skip(1).map(shown);
    let words: Vec<String> = std::iter::once("vitcuda".to_owned()).chain(words).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_can_be_typed_again() {
        let words = ["/usr/bin/vitcuda", "train", "my photos", "--lr", "2e-5"];
        assert_eq!(
            command(words.map(OsString::from).into_iter()),
            "vitcuda train 'my photos' --lr 2e-5"
        );
    }

    #[test]
    fn a_card_does_not_say_where_things_are() {
        let folder = tempfile::tempdir().unwrap();
        let photos = folder.path().join("my photos");
        fs::create_dir(&photos).unwrap();
        let photos = photos.to_str().unwrap();
        let model = format!("--model={photos}");
        let words = ["vitcuda", "train", photos, &model, "--model=them/vit"];
        assert_eq!(
            command(words.map(OsString::from).into_iter()),
            "vitcuda train 'my photos' '--model=my photos' '--model=them/vit'"
        );
    }
}
