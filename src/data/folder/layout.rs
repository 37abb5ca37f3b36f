//! How a data folder is laid out: class folders, or splits of them, perhaps in a folder too many.

use std::path::{Path, PathBuf};

use super::{Entry, LeftOut, some_of, visible};
use crate::data::dataset::relative_name;
use crate::data::shards::keyword;
use crate::error::{Error, Result};

/// Folders of class folders.
pub struct Layout {
    /// The name of each split and its folder; `train` where there is but one.
    pub parts: Vec<(&'static str, PathBuf)>,
    /// What a person should know of it, a sentence each.
    pub notices: Vec<String>,
}

/// Names of splits, in the order in which they are listed.
const SPLITS: [&str; 3] = ["train", "validation", "test"];

/// A folder that may be a split.
struct Candidate<'e> {
    split: &'static str,
    entry: &'e Entry,
    /// Whether the name is that of a split and no more: `test` and not `test_set`.
    is_exact: bool,
}

/// Looks at the folders of `root`, and those in them.
pub fn of(root: &Path) -> Result<Layout> {
    let mut left_out = LeftOut::default();
    let mut entries = visible(root, &mut left_out)?;
    let mut notices = Vec::new();
    let mut folder = root.to_owned();
    if let Some(inner) = entered(&entries) {
        notices.push(format!(
            "{}/ is entered: it is the only folder in {}",
            relative_name(root, &inner),
            root.display()
        ));
        entries = visible(&inner, &mut left_out)?;
        folder = inner;
    }
    let candidates = candidates(&entries);
    let chosen: Vec<&Candidate> = SPLITS
        .iter()
        .filter_map(|split| {
            let named = || candidates.iter().filter(|c| c.split == *split);
            named().find(|c| c.is_exact).or_else(|| named().next())
        })
        .collect();
    match &chosen[..] {
        [] => {
            notices.extend(classes_called_as_splits(&entries));
            return Ok(Layout {
                parts: vec![("train", folder)],
                notices,
            });
        }
        [only, ..] if only.split != "train" => {
            return Err(Error::data(
                &folder,
                format!(
                    "there is a `{}` folder but no `train` folder",
                    only.entry.name()
                ),
                "add a train folder with the same classes, or name the folder of class folders itself",
            ));
        }
        _ => {}
    }
    notices.extend(left_out.notices(root));
    let is_used = |e: &&Entry| chosen.iter().any(|c| c.entry.path == e.path);
    let unused = entries.iter().filter(|e| e.is_folder && !is_used(e));
    let unused: Vec<String> = unused.map(|e| format!("{}/", e.name())).collect();
    if !unused.is_empty() {
        notices.push(format!(
            "left alone beside {}/: {}",
            chosen[0].entry.name(),
            some_of(&unused)
        ));
    }
    let part = |c: &&Candidate| (c.split, c.entry.path.clone());
    Ok(Layout {
        parts: chosen.iter().map(part).collect(),
        notices,
    })
}

/// Class folders whose names hold the word of a split, which `datasets` would take for one.
fn classes_called_as_splits(entries: &[Entry]) -> Option<String> {
    let named = |e: &&Entry| e.is_folder && keyword(&e.name()).is_some();
    let found = entries.iter().filter(named);
    let found: Vec<String> = found.map(|e| format!("{}/", e.name())).collect();
    (!found.is_empty()).then(|| {
        format!(
            "taken as classes, not as splits, since they are not folders of class folders: {}",
            some_of(&found)
        )
    })
}

/// The folders that are splits. Those with a longer name (`training_set`, `seg_test`) are splits only
/// where one of them holds the training part and there are no class folders beside them, which may be
/// called `train_station`.
fn candidates(entries: &[Entry]) -> Vec<Candidate<'_>> {
    let nested: Vec<&Entry> = entries
        .iter()
        .filter(|e| e.is_folder && !folders(&e.path).is_empty())
        .collect();
    let candidate = |&entry: &&'_ Entry| {
        let name = entry.name().to_lowercase();
        keyword(&name).map(|split| (split, name.chars().all(char::is_alphanumeric)))
    };
    let all = || {
        nested
            .iter()
            .filter_map(|e| candidate(e).map(|(split, is_exact)| (*e, split, is_exact)))
    };
    let of_exact = all().filter(|(.., is_exact)| *is_exact);
    let found: Vec<_> = if all().count() == nested.len() && all().any(|(_, s, _)| s == "train") {
        all().collect()
    } else {
        of_exact.collect()
    };
    found
        .into_iter()
        .map(|(entry, split, is_exact)| Candidate {
            split,
            entry,
            is_exact,
        })
        .collect()
}

/// The folder that holds the data, where each of those above it holds no image and a single folder.
fn entered(entries: &[Entry]) -> Option<PathBuf> {
    const DEPTH: usize = 4;
    let mut inner = only_folder(entries)?;
    for _ in 0..DEPTH {
        let entries = visible(&inner, &mut LeftOut::default()).ok()?;
        if has_images(&entries) {
            return None;
        }
        let folders = entries.iter().filter(|e| e.is_folder).count();
        if folders > 1 || !candidates(&entries).is_empty() {
            return Some(inner);
        }
        inner = only_folder(&entries)?;
    }
    None
}

/// The only folder among them, where there is no image and it is no split itself.
fn only_folder(entries: &[Entry]) -> Option<PathBuf> {
    let mut folders = entries.iter().filter(|e| e.is_folder && !e.is_link);
    let only = folders.next().filter(|_| folders.next().is_none())?;
    let is_split = keyword(&only.name().to_lowercase()).is_some();
    (!is_split && !has_images(entries)).then(|| only.path.clone())
}

fn has_images(entries: &[Entry]) -> bool {
    let is_image = |e: &Entry| !e.is_folder && super::has_image_extension(&e.path);
    entries.iter().any(is_image)
}

/// The folders in a folder. What cannot be read here is reported when the folder is read in full.
fn folders(folder: &Path) -> Vec<Entry> {
    let entries = visible(folder, &mut LeftOut::default()).unwrap_or_default();
    entries.into_iter().filter(|e| e.is_folder).collect()
}
