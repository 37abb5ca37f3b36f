//! Folders of class folders: what is in them, and what is left out and said.

mod layout;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::contents::{Contents, Split};
use super::dataset::{Dataset, Origin, Sample, relative_name};
use crate::error::{Error, Result};
use layout::Layout;

/// Endings of image files that are looked at, in lower case.
pub const EXTENSIONS: [&str; 11] = [
    "bmp", "dib", "gif", "jfif", "jpe", "jpeg", "jpg", "png", "tif", "tiff", "webp",
];

/// Endings of images in formats that are not read, in lower case.
const UNREAD: [&str; 11] = [
    "avif", "heic", "heif", "ico", "j2k", "jp2", "jxl", "pgm", "ppm", "psd", "svg",
];

/// The image files of each class of one folder.
#[derive(Debug)]
pub struct ClassFolders {
    pub folder: PathBuf,
    /// Class name to its files, sorted by path within the class. Names sort by bytes, as Python's
    /// `sorted` does, and so give the class indices. A class may be empty.
    pub classes: BTreeMap<String, Vec<PathBuf>>,
    /// What was left out and what looks odd, a sentence each.
    pub notices: Vec<String>,
}

/// The splits of a data folder: `train` alone where it holds class folders and no more, or those
/// that its folders are called by. A class folder without images is dropped and said.
pub fn contents(root: &Path) -> Result<Contents> {
    let mut contents = Contents::default();
    let Layout { parts, mut notices } = layout::of(root)?;
    let has_validation = parts.iter().any(|(name, _)| *name == "validation");
    for (name, folder) in parts {
        match read_classes(root, &folder) {
            Ok(folders) => contents.add(root, name, folders),
            // Nobody needs it unless it is asked for.
            Err(problem) if name == "test" && has_validation => {
                notices.push(format!("the test part is left alone: {problem}"));
            }
            Err(problem) => return Err(problem),
        }
    }
    contents.notices.append(&mut notices);
    Ok(contents)
}

impl Contents {
    fn add(&mut self, root: &Path, name: &str, mut folders: ClassFolders) {
        self.notices.append(&mut folders.notices);
        self.notices.extend(drop_empty(&mut folders));
        let mut samples = Vec::new();
        for (label, files) in (0..).zip(folders.classes.values_mut()) {
            samples.extend(files.drain(..).map(|file| Sample {
                origin: Origin::File(file),
                label,
            }));
        }
        self.splits.push(Split {
            name: name.into(),
            place: folders.folder,
            classes: folders.classes.into_keys().collect(),
            dataset: Dataset::new(root, samples),
        });
    }
}

fn drop_empty(folders: &mut ClassFolders) -> Option<String> {
    let is_empty = |(_, files): &(&String, &Vec<PathBuf>)| files.is_empty();
    let empty: Vec<String> = folders
        .classes
        .iter()
        .filter(is_empty)
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    folders.classes.retain(|_, files| !files.is_empty());
    (!empty.is_empty()).then(|| {
        let folder = folders.folder.display();
        format!(
            "class folders without images in {folder}: {}",
            some_of(&empty)
        )
    })
}

/// Reads the class folders of `folder`; `root` is what names in notices are relative to.
pub fn read_classes(root: &Path, folder: &Path) -> Result<ClassFolders> {
    let mut left_out = LeftOut::default();
    let mut classes = BTreeMap::new();
    let (mut loose, mut deep) = (0, Vec::new());
    for entry in visible(folder, &mut left_out)? {
        if entry.is_folder {
            let files = images_below(&entry.path, &mut left_out)?;
            let is_deep = |file: &PathBuf| file.parent() != Some(&entry.path);
            if files.iter().any(is_deep) {
                deep.push(format!("{}/", entry.name()));
            }
            classes.insert(entry.class()?, files);
        } else if has_image_extension(&entry.path) {
            loose += 1;
        } else {
            left_out.other.push(entry.path);
        }
    }
    if classes.is_empty() {
        let problem = match loose {
            0 => "it holds no class folders".to_owned(),
            n => format!("it holds {n} images but no class folders"),
        };
        return Err(Error::data(
            folder,
            problem,
            "put the images of each class in a folder named after the class",
        ));
    }
    if classes.values().all(Vec::is_empty) {
        let problem = format!(
            "no images in its {} folders ({})",
            classes.len(),
            some_of(&classes.keys().cloned().collect::<Vec<_>>())
        );
        let help = format!("files ending in {} are looked for", EXTENSIONS.join(", "));
        return Err(Error::data(folder, problem, help));
    }
    let mut notices = left_out.notices(root);
    if loose > 0 {
        notices.push(format!(
            "left out {loose} images beside the class folders of {}: they belong to no class",
            folder.display()
        ));
    }
    if !deep.is_empty() {
        notices.push(format!(
            "all images below a class folder are of its class, also those in folders within {} (`datasets` \
             would take the name of the innermost folder)",
            some_of(&deep)
        ));
    }
    notices.extend(odd_numbering(classes.keys()));
    Ok(ClassFolders {
        folder: folder.to_owned(),
        classes,
        notices,
    })
}

/// The image files of a folder and of the folders in it, sorted by path, and what was left out.
pub fn read_images(folder: &Path) -> Result<(Vec<PathBuf>, Vec<String>)> {
    let mut left_out = LeftOut::default();
    let files = images_below(folder, &mut left_out)?;
    if files.is_empty() {
        return Err(Error::data(
            folder,
            "it holds no images",
            format!("files ending in {} are looked for", EXTENSIONS.join(", ")),
        ));
    }
    Ok((files, left_out.notices(folder)))
}

/// Up to five of the names, and how many more there are.
pub fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| short(name)).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// At most the first hundred characters.
fn short(name: &str) -> String {
    const SHOWN: usize = 100;
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

struct Entry {
    path: PathBuf,
    is_folder: bool,
    is_link: bool,
}

impl Entry {
    /// The name as that of a class. Two names that are no text would look the same, and no model
    /// file could hold them.
    fn class(&self) -> Result<String> {
        let name = self.path.file_name().unwrap_or_default();
        name.to_str().map(str::to_owned).ok_or_else(|| {
            Error::data(
                &self.path,
                format!(
                    "the name of this class folder is not UTF-8: {}",
                    name.as_encoded_bytes().escape_ascii()
                ),
                "rename it (convmv does so for whole trees)",
            )
        })
    }

    fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

/// What is in a folder, sorted by name, without hidden entries.
fn visible(folder: &Path, left_out: &mut LeftOut) -> Result<Vec<Entry>> {
    const WANTED: &str = "wanted a folder of class folders, with or without train/ and validation/, Parquet files, \
                          or a manifest (.csv, .tsv, .jsonl)";
    if !folder.exists() {
        return Err(Error::data(folder, "there is no such folder", WANTED));
    }
    if !folder.is_dir() {
        return Err(Error::data(folder, "it is a file, not a folder", WANTED));
    }
    let unreadable = |e: std::io::Error| {
        let help = "check the permissions of the folder and of those above it";
        Error::data(folder, format!("the folder cannot be read: {e}"), help)
    };
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        // Archives packed on a Mac bring a folder `__MACOSX` of hidden files along.
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") || name == "__MACOSX" {
            left_out.hidden += 1;
            continue;
        }
        let path = entry.path();
        entries.push(Entry {
            is_folder: path.is_dir(),
            is_link: entry.file_type().is_ok_and(|kind| kind.is_symlink()),
            path,
        });
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

/// Files with an image's ending, at any depth, sorted by path. So is a folder with one: it is no
/// image, and will be listed among the bad ones. Links to folders are not followed: they may lead
/// in a circle.
fn images_below(folder: &Path, left_out: &mut LeftOut) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in visible(&folder, left_out)? {
            match (has_image_extension(&entry.path), entry.is_folder) {
                (true, _) => files.push(entry.path),
                (false, true) if entry.is_link => left_out.links.push(entry.path),
                (false, true) => open.push(entry.path),
                (false, false) => left_out.other.push(entry.path),
            }
        }
    }
    files.sort_by_cached_key(|file| relative_name(folder, file));
    Ok(files)
}

pub(super) fn has_image_extension(path: &Path) -> bool {
    ends_in(path, &EXTENSIONS)
}

fn ends_in(path: &Path, endings: &[&str]) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    extension.is_some_and(|found| endings.iter().any(|e| found.eq_ignore_ascii_case(e)))
}

/// What was passed over while reading.
#[derive(Default)]
struct LeftOut {
    hidden: usize,
    other: Vec<PathBuf>,
    links: Vec<PathBuf>,
}

impl LeftOut {
    fn notices(&self, root: &Path) -> Vec<String> {
        let mut notices = Vec::new();
        if self.hidden > 0 {
            notices.push(format!("left out {} hidden files or folders", self.hidden));
        }
        let is_unread = |path: &&PathBuf| ends_in(path, &UNREAD);
        let (unread, other): (Vec<&PathBuf>, Vec<_>) = self.other.iter().partition(is_unread);
        for (paths, what) in [
            (unread, "images in formats that are not read"),
            (other, "files without an image's ending"),
            (self.links.iter().collect(), "links to folders"),
        ] {
            if !paths.is_empty() {
                let names: Vec<String> = paths.iter().map(|p| relative_name(root, p)).collect();
                notices.push(format!(
                    "left out {} {what}: {}",
                    names.len(),
                    some_of(&names)
                ));
            }
        }
        notices
    }
}

/// Numbers as class names sort as text: class 2 of `0, 1, …, 10` is `10`.
fn odd_numbering<'a>(names: impl Iterator<Item = &'a String>) -> Option<String> {
    let names: Vec<&String> = names.collect();
    let numbers: Option<Vec<u64>> = names.iter().map(|name| name.parse().ok()).collect();
    let at = numbers?.windows(2).position(|pair| pair[0] > pair[1])? + 1;
    let first_odd = names
        .iter()
        .enumerate()
        .find(|(index, name)| name.parse() != Ok(*index))
        .map_or(at, |(index, _)| index);
    Some(format!(
        "class names are numbers but sort as text (as everywhere in this field): class index {first_odd} is `{}`",
        names[first_odd]
    ))
}
