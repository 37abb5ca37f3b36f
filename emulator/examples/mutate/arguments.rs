//! The command line.

use std::collections::BTreeMap;
use std::path::PathBuf;

pub const USAGE: &str = "--all | --sample N --seed S | NAME…";

/// What to try, and where everything is.
#[derive(Debug)]
pub struct Arguments {
    pub choice: Choice,
    /// Test binaries by name.
    pub binaries: BTreeMap<String, PathBuf>,
    /// cargo's target folder.
    pub target: PathBuf,
}

#[derive(Debug)]
pub enum Choice {
    All,
    Sample { count: usize, seed: u64 },
    Named(Vec<String>),
}

impl Arguments {
    /// `--target FOLDER`, `--binary NAME=PATH`…, and one [`Choice`].
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut target, mut binaries) = (None, BTreeMap::new());
        let (mut all, mut count, mut seed, mut names) = (false, None, None, Vec::new());
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
            match argument.as_str() {
                "--target" => target = Some(PathBuf::from(value()?)),
                "--binary" => {
                    let value = value()?;
                    let (name, path) = value.split_once('=').ok_or("--binary wants NAME=PATH")?;
                    binaries.insert(name.to_owned(), PathBuf::from(path));
                }
                "--all" => all = true,
                "--sample" => count = Some(number(&value()?)? as usize),
                "--seed" => seed = Some(number(&value()?)?),
                option if option.starts_with('-') => {
                    return Err(format!("unknown option {option}; wanted: {USAGE}"));
                }
                name => names.push(name.to_owned()),
            }
        }
        let choice = match (all, count, seed, names.is_empty()) {
            (true, None, None, true) => Choice::All,
            (false, Some(count), Some(seed), true) => Choice::Sample { count, seed },
            (false, None, None, false) => Choice::Named(names),
            _ => return Err(format!("wanted: {USAGE}")),
        };
        Ok(Self {
            choice,
            binaries,
            target: target.ok_or("--target FOLDER is missing")?,
        })
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Choice, String> {
        let words = line.split_whitespace().map(str::to_owned);
        Ok(Arguments::parse(words)?.choice)
    }

    #[test]
    fn one_choice_is_wanted() {
        let all = parse("--target t --binary kernels=k --all");
        assert!(matches!(all, Ok(Choice::All)), "{all:?}");
        let some = parse("--target t --sample 10 --seed 7");
        let drawn = matches!(some, Ok(Choice::Sample { count: 10, seed: 7 }));
        assert!(drawn, "{some:?}");
        let named = parse("--target t one two");
        assert!(matches!(&named, Ok(Choice::Named(names)) if names == &["one", "two"]));
        for wrong in [
            "--target t",
            "--target t --all one",
            "--target t --sample 10",
            "--target t --seed 10",
            "--target t --sample ten --seed 1",
            "--target t --any",
            "--all",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
