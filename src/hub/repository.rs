//! Repositories and what they hold.

use std::fmt;

pub use vitcuda_hub::Kind;

use super::client::Client;
use super::failure::Failure;
use super::http::escaped;
use super::id::is_safe;
use super::transfer::Listener;

/// A repository of the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    pub kind: Kind,
    /// `OWNER/NAME`.
    pub name: String,
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Model => write!(f, "model {}", self.name),
            Kind::Dataset => write!(f, "data set {}", self.name),
        }
    }
}

impl Repository {
    /// Owner and name.
    pub(super) fn parts(&self) -> (&str, &str) {
        self.name.split_once('/').unwrap_or(("", &self.name))
    }

    /// The plural that API paths and the cache's folders have.
    pub(super) fn plural(&self) -> &'static str {
        match self.kind {
            Kind::Model => "models",
            Kind::Dataset => "datasets",
        }
    }

    /// Where people look at it.
    pub(super) fn url(&self, endpoint: &str) -> String {
        match self.kind {
            Kind::Model => format!("{endpoint}/{}", self.name),
            Kind::Dataset => format!("{endpoint}/datasets/{}", self.name),
        }
    }

    /// Where programs ask about it.
    pub(super) fn api(&self, endpoint: &str, what: &str, revision: &str) -> String {
        let (plural, name) = (self.plural(), &self.name);
        format!(
            "{endpoint}/api/{plural}/{name}/{what}/{}",
            escaped(revision)
        )
    }

    /// Where a file of a commit is.
    pub(super) fn file_url(&self, endpoint: &str, commit: &str, path: &str) -> String {
        let path: Vec<String> = path.split('/').map(escaped).collect();
        format!("{}/resolve/{commit}/{}", self.url(endpoint), path.join("/"))
    }
}

/// The files of a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The commit that the revision stood for when it was listed.
    pub commit: String,
    /// Paths with `/` between their parts.
    pub files: Vec<String>,
    /// Who listed them.
    pub source: ListingSource,
}

/// Who listed the files of a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListingSource {
    Hub,
    /// Only what was downloaded is listed.
    Cache,
}

/// Asks the hub for the files of `revision`.
pub(super) fn list(
    client: &Client,
    repository: &Repository,
    revision: &str,
    listener: &mut dyn Listener,
) -> Result<Listing, Failure> {
    let info = client.info(repository, revision, listener)?;
    let nonsense = |found: String| Failure::Nonsense {
        url: repository.api(&client.http.settings.endpoint, "revision", revision),
        found,
    };
    let commit = info.commit.unwrap_or_default();
    if !is_commit(&commit) {
        return Err(nonsense(format!("the commit `{commit}`")));
    }
    if let Some(path) = info.files.iter().find(|path| !is_safe(path)) {
        return Err(nonsense(format!("a file called `{path}`")));
    }
    Ok(Listing {
        files: info.files,
        commit,
        source: ListingSource::Hub,
    })
}

/// Whether `text` is a commit's full name.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
