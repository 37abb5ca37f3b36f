//! Files to start from, and files that once were too much for a parser.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Input;
use crate::targets::{TARGETS, Target};

/// The repository.
pub fn root() -> &'static Path {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR"));
    fuzz.parent().unwrap_or(fuzz)
}

/// The files of a folder, by name; none where there is no folder.
pub fn files(folder: &Path) -> Vec<Input> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.is_file()).collect();
    paths.sort();
    let input = |path: &PathBuf| Input {
        name: path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into(),
        bytes: fs::read(path).expect("a file of the corpus"),
    };
    paths.iter().map(input).collect()
}

/// Files to start from: the corpus, and the faults found so far.
pub fn seeds(target: &Target) -> Vec<Input> {
    let folders = target.corpora.iter().map(|folder| root().join(folder));
    let mut seeds: Vec<Input> = folders.flat_map(|folder| files(&folder)).collect();
    seeds.retain(|seed| !seed.name.ends_with(".py"));
    seeds.extend(regressions(target));
    seeds
}

/// Every input so far that showed a fault.
pub fn regressions(target: &Target) -> Vec<Input> {
    files(&root().join("fuzz/regressions").join(target.name))
}

/// Faults that are known and not mended yet, with the reason: `fuzz/known.txt`, lines of
/// `TARGET/FILE: REASON`.
pub fn known() -> BTreeMap<String, String> {
    let text = fs::read_to_string(root().join("fuzz/known.txt")).unwrap_or_default();
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let entry = |line: &str| {
        let (file, reason) = line.split_once(": ").expect("TARGET/FILE: REASON");
        (file.to_owned(), reason.to_owned())
    };
    lines.map(entry).collect()
}

/// Writes the made files over those of the corpus.
pub fn write(made: &[(&str, Input)]) {
    let folder = root().join("fuzz/corpus");
    for target in &TARGETS {
        let folder = folder.join(target.name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
    }
    for (target, input) in made {
        let path = folder.join(target).join(&input.name);
        fs::write(path, &input.bytes).expect("the folder takes files");
    }
}
