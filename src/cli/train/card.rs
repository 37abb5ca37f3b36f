//! The model card of a run.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

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
        model: about.model.clone(),
        base_model: base.and_then(id),
        data: about.data.clone(),
        dataset: data.and_then(id),
        classes: about.classes,
        arguments: arguments(about.config),
        log: &log,
        summary: outcome.evaluation.as_ref().map(|e| e.summary()),
        command: command(std::env::args_os()),
    };
    files::write_atomically(file, card.text().as_bytes())?;
    Ok(None)
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
    fn the_command_can_be_typed_again() {
        let words = ["/usr/bin/vitcuda", "train", "my photos", "--lr", "2e-5"];
        assert_eq!(
            command(words.map(OsString::from).into_iter()),
            "vitcuda train 'my photos' --lr 2e-5"
        );
    }
}
