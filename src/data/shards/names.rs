//! What the names of Parquet files and their folders say: data set and split.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

/// Words in the path of a file that tell its split, as `datasets` has them.
const KEYWORDS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "val", "dev"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// The folder of the data set that `file`, below `root`, belongs to: its own, or the one that holds
/// the folders of the splits.
pub(super) fn configuration<'f>(root: &'f Path, file: &'f Path) -> &'f Path {
    let folder = file.parent().unwrap_or(root);
    let name = folder.file_name().and_then(OsStr::to_str);
    match name.and_then(keyword) {
        Some(_) if folder != root => folder.parent().unwrap_or(root),
        _ => folder,
    }
}

/// Those of `files`, paths in a repository, that make the data set in the folder `wanted`; where
/// none is named, all of them if they make a single one. The names of all data sets otherwise.
pub fn of_configuration(
    files: Vec<String>,
    wanted: Option<&str>,
) -> Result<Vec<String>, Vec<String>> {
    let name = |file: &String| {
        let folder = configuration(Path::new(""), Path::new(file));
        if folder.as_os_str().is_empty() {
            "default".to_owned()
        } else {
            folder.to_string_lossy().into_owned()
        }
    };
    let names: BTreeSet<String> = files.iter().map(name).collect();
    match wanted {
        None if names.len() > 1 => Err(names.into_iter().collect()),
        None => Ok(files),
        Some(wanted) if !names.contains(wanted) => Err(names.into_iter().collect()),
        Some(wanted) => Ok(files
            .into_iter()
            .filter(|file| name(file) == wanted)
            .collect()),
    }
}

/// The split of the file at this path below the data set's folder.
pub(super) fn split_of(below: &Path) -> String {
    let stem = below.file_stem().unwrap_or_default().to_string_lossy();
    if let Some(name) = sharded(&stem) {
        return name.to_owned();
    }
    let path = below.with_extension("");
    let word = path.to_str().and_then(keyword);
    word.unwrap_or("train").to_owned()
}

/// `train` of `train-00000-of-00002`.
fn sharded(stem: &str) -> Option<&str> {
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (name, number) = rest.rsplit_once('-')?;
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    (is_number(count) && is_number(number) && !name.is_empty()).then_some(name)
}

/// The split that a word of `path` names.
pub fn keyword(path: &str) -> Option<&'static str> {
    let words: Vec<String> = path
        .split(|c: char| !c.is_alphanumeric())
        .map(str::to_lowercase)
        .collect();
    let names =
        |(_, keywords): &&(_, &[&str])| words.iter().any(|w| keywords.contains(&w.as_str()));
    KEYWORDS.iter().find(names).map(|(split, _)| *split)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_tell_the_configuration() {
        let files = |names: &[&str]| {
            names
                .iter()
                .map(|name| name.to_string())
                .collect::<Vec<_>>()
        };
        let one = files(&[
            "data/test-00000-of-00001.parquet",
            "data/train-00000-of-00001.parquet",
        ]);
        assert_eq!(of_configuration(one.clone(), None), Ok(one.clone()));
        let two = files(&[
            "fine/train/0000.parquet",
            "coarse/partial-train/0000.parquet",
        ]);
        let names = files(&["coarse", "fine"]);
        assert_eq!(of_configuration(two.clone(), None), Err(names.clone()));
        assert_eq!(of_configuration(two.clone(), Some("medium")), Err(names));
        assert_eq!(
            of_configuration(two.clone(), Some("fine")),
            Ok(two[..1].to_vec())
        );
        let bare = files(&["train.parquet"]);
        assert_eq!(of_configuration(bare.clone(), Some("default")), Ok(bare));
    }

    #[test]
    fn file_names_tell_the_split() {
        for (path, split) in [
            ("data/train-00000-of-00002.parquet", "train"),
            ("data/test_small-00000-of-00001.parquet", "test_small"),
            ("default/validation/0000.parquet", "validation"),
            ("dev.parquet", "validation"),
            ("my-eval-part.parquet", "test"),
            ("latest.parquet", "train"),
            ("0000.parquet", "train"),
            ("train-1-of-2.parquet", "train"),
        ] {
            assert_eq!(split_of(Path::new(path)), split, "{path}");
        }
    }
}
