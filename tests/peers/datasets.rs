//! What Hugging Face's `datasets` makes of folders and tables.

use std::collections::BTreeMap;
use std::path::Path;

use libtest_mimic::{Failed, Trial};
use vitcuda::data::{Columns, Source};

use super::{script, with_python};

pub fn trials() -> Vec<Trial> {
    vec![with_python(
        "folders and tables are read as `datasets` reads them",
        as_datasets,
    )]
}

/// The first pixel's red of each image and its class, by split; `None` is no image, no label.
type Rows = BTreeMap<String, Vec<(Option<u64>, Option<String>)>>;

/// Layouts that are read otherwise, and what is said of it.
const DIFFERENT: [(&str, &str); 2] = [
    (
        "deep",
        "`datasets` would take the name of the innermost folder",
    ),
    ("stations", "taken as classes, not as splits"),
];

fn as_datasets() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    script("make_datasets.py", [folder.path()])?;
    let mut compared = 0;
    for entry in std::fs::read_dir(folder.path())? {
        let path = entry?.path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let theirs: Option<Rows> = serde_json::from_slice(&std::fs::read(&path)?)?;
        let (ours, said) = ours(&folder.path().join(&name))?;
        match DIFFERENT.iter().find(|(different, _)| *different == name) {
            Some((_, reason)) => assert!(said.contains(reason), "{name}: {said}"),
            None => assert_eq!(labelled(theirs.expect("rows")), ours, "{name}"),
        }
        compared += 1;
    }
    assert_eq!(compared, 12 + 2 + 2 + 6, "layouts");
    Ok(())
}

/// Rows without a label are left out here, and said.
fn labelled(mut rows: Rows) -> Rows {
    for rows in rows.values_mut() {
        rows.retain(|(_, label)| label.is_some());
    }
    rows
}

fn ours(path: &Path) -> vitcuda::Result<(Rows, String)> {
    let contents = Source::find(path, &Columns::default())?.contents()?;
    let mut splits = Rows::new();
    for split in &contents.splits {
        let rows = (0..split.dataset.len()).map(|i| {
            let red = split
                .dataset
                .image(i)
                .ok()
                .map(|image| image.pixels[0].into());
            let label = &split.classes[split.dataset.label(i) as usize];
            (red, Some(label.clone()))
        });
        splits.insert(split.name.clone(), rows.collect());
    }
    Ok((splits, contents.notices.join("\n")))
}
