//! The images that `predict` is given: files, folders, tables, patterns, URLs, and what comes in on
//! stdin.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::source::ColumnArgs;
use crate::cli::{Global, hub};
use vitcuda::data::dataset::Origin;
use vitcuda::data::decode::{Undecodable, decode};
use vitcuda::data::{Dataset, Rgb, Source, source};
use vitcuda::hub::Hub;
use vitcuda::{Error, Result};

/// Bytes of an image from the web or from stdin at most.
const MOST: u64 = 256 << 20;

/// Something that was named, or found where something was.
pub struct Input {
    /// As it was given or found.
    pub name: String,
    /// Its class, where a folder or a column tells it.
    pub truth: Option<String>,
    image: Image,
}

enum Image {
    Of(Arc<Dataset>, usize),
    Bytes(Vec<u8>),
    Url(String),
    /// Nothing that could be an image.
    None(String),
}

/// Finds inputs, and images in them.
pub struct Finder<'a> {
    columns: &'a ColumnArgs,
    global: &'a Global,
    /// The model's classes: a folder of that name tells the class of its images.
    labels: &'a [String],
    inputs: Vec<Input>,
}

impl<'a> Finder<'a> {
    pub fn new(columns: &'a ColumnArgs, global: &'a Global, labels: &'a [String]) -> Self {
        Self {
            columns,
            global,
            labels,
            inputs: Vec::new(),
        }
    }

    /// What `words` name, in their order. What leads nowhere is an input, too, without an image.
    ///
    /// [`Error::Usage`] for flags that do not go with what is named.
    pub fn find(mut self, words: &[PathBuf]) -> Result<Vec<Input>> {
        for word in words {
            match word.to_str() {
                Some("-") => self.stdin()?,
                _ => self.named(word)?,
            }
        }
        Ok(self.inputs)
    }

    /// Text is a list of names, a line each; anything else is an image.
    fn stdin(&mut self) -> Result<()> {
        let mut bytes = Vec::new();
        let read = io::stdin().lock().take(MOST).read_to_end(&mut bytes);
        match (read, String::from_utf8(bytes)) {
            (Err(e), _) => self.push("-", Image::None(format!("stdin cannot be read: {e}"))),
            (_, Ok(text)) if text.trim().is_empty() => {
                self.push("-", Image::None("stdin is empty".into()));
            }
            (_, Ok(text)) => {
                let names = text.lines().filter(|line| !line.is_empty());
                names.map(Path::new).try_for_each(|name| self.named(name))?;
            }
            (_, Err(not_text)) => self.push("-", Image::Bytes(not_text.into_bytes())),
        }
        Ok(())
    }

    fn named(&mut self, word: &Path) -> Result<()> {
        let text = word.to_string_lossy();
        if text.starts_with("http://") || text.starts_with("https://") {
            self.push(&text, Image::Url(text.clone().into_owned()));
            return Ok(());
        }
        if word.exists() || !text.contains(['*', '?', '[']) {
            return self.local(word);
        }
        let matches: Vec<glob::GlobResult> = match glob::glob(&text) {
            Ok(paths) => paths.collect(),
            Err(e) => {
                self.push(&text, Image::None(format!("no pattern: {}", e.msg)));
                return Ok(());
            }
        };
        if matches.is_empty() {
            self.push(&text, Image::None("no file is called like that".into()));
        }
        for found in matches {
            match found {
                Ok(path) => self.local(&path)?,
                Err(e) => {
                    let name = e.path().display().to_string();
                    self.push(
                        &name,
                        Image::None(format!("it cannot be read: {}", e.error())),
                    );
                }
            }
        }
        Ok(())
    }

    /// A file, a folder, a table, or a data set of the hub.
    fn local(&mut self, path: &Path) -> Result<()> {
        let found = self.columns.find(Some(path), self.global);
        match found.and_then(|source| self.images(&source)) {
            Err(error @ Error::Usage { .. }) => Err(error),
            Err(error) => {
                let reason = match error {
                    Error::Data { problem, .. } | Error::Model { problem, .. } => problem,
                    other => other.to_string(),
                };
                self.push(&path.display().to_string(), Image::None(reason));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn images(&mut self, source: &Source) -> Result<()> {
        let (images, notices) = source::open_unlabelled(std::slice::from_ref(source))?;
        for notice in &notices {
            self.global.notice(notice);
        }
        let told = told_by_table(source);
        let images = Arc::new(images);
        for i in 0..images.len() {
            let truth = match images.path(i) {
                Some(path) => self.told_by_folder(source.root(), path),
                None => None,
            };
            self.inputs.push(Input {
                name: match images.path(i) {
                    Some(path) => path.display().to_string(),
                    None => images.name(i),
                },
                truth: key(images.origin(i))
                    .and_then(|key| told.get(&key).cloned())
                    .or(truth),
                image: Image::Of(images.clone(), i),
            });
        }
        Ok(())
    }

    /// The name of the nearest folder of the file `path`, up to the folder `root` that was named, that
    /// is a class of the model.
    fn told_by_folder(&self, root: &Path, path: &Path) -> Option<String> {
        let root = if root.is_dir() { root } else { path.parent()? };
        let folders = path.ancestors().skip(1);
        let mut within = folders.take_while(|folder| folder.starts_with(root));
        within.find_map(|folder| {
            let name = folder.file_name()?.to_str()?;
            self.labels.iter().find(|label| *label == name).cloned()
        })
    }

    fn push(&mut self, name: &str, image: Image) {
        self.inputs.push(Input {
            name: name.to_owned(),
            truth: None,
            image,
        });
    }
}

/// A file, or a row of one.
type Key = (PathBuf, Option<usize>);

fn key(origin: &Origin) -> Option<Key> {
    match origin {
        Origin::File(path) => Some((path.clone(), None)),
        Origin::Row(rows, row) => Some((rows.path().to_owned(), Some(*row))),
        Origin::Digit(_) => None,
    }
}

/// The classes that the column of labels of a table tells, if it has one.
fn told_by_table(source: &Source) -> HashMap<Key, String> {
    let contents = match source {
        Source::Parquet(_) | Source::Manifest(_) => source.contents().unwrap_or_default(),
        Source::Folder(_) | Source::Digits => return HashMap::new(),
    };
    let splits = contents.splits.iter();
    splits
        .flat_map(|split| {
            (0..split.dataset.len()).filter_map(|i| {
                let class = split.classes.get(split.dataset.label(i) as usize)?;
                Some((key(split.dataset.origin(i))?, class.clone()))
            })
        })
        .collect()
}

impl Input {
    /// Reads and decodes the image.
    pub fn image(&self) -> Result<Rgb, Undecodable> {
        match &self.image {
            Image::Of(images, i) => images.image(*i),
            Image::Bytes(bytes) => decode(bytes),
            Image::Url(url) => {
                let bytes = hub::hub().map_err(|e| e.to_string());
                let bytes = bytes.and_then(|hub: Hub| hub.bytes(url, MOST));
                decode(&bytes.map_err(Undecodable::Bad)?)
            }
            Image::None(reason) => Err(Undecodable::Bad(reason.clone())),
        }
    }
}
