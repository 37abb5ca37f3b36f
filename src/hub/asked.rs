//! What may be asked of a hub, and what it gives.

use std::path::PathBuf;

/// How much of a model is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelPart {
    /// `config.json` and `preprocessor_config.json`.
    Settings,
    /// These and the weights.
    Whole,
}

/// The files of a data set in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetFiles {
    /// The commit's folder.
    pub folder: PathBuf,
    /// Parquet files, relative to the folder, sorted.
    pub files: Vec<String>,
}

/// Who may see a repository that is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    Public,
    Private,
}

/// A file to push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFile {
    /// Its name in the repository.
    pub name: String,
    pub path: PathBuf,
}

/// What to push, and where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Push<'a> {
    /// `OWNER/NAME`.
    pub repository: &'a str,
    /// Created where it is not there.
    pub branch: &'a str,
    /// Of a new repository; one that exists stays as it is.
    pub visibility: Visibility,
    /// First line of the commit's message.
    pub message: &'a str,
    pub files: &'a [LocalFile],
}

/// The commit that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Its page.
    pub url: String,
    /// Its name.
    pub commit: String,
}
