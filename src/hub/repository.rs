//! Repositories and what they hold.

use std::fmt;

use serde::Deserialize;

use super::failure::Failure;
use super::http::{Http, Request, escaped};
use super::id::is_safe;
use super::transfer::Listener;

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Model,
    Dataset,
}

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

/// `/api/{models,datasets}/NAME/revision/REVISION`.
#[derive(Deserialize)]
struct RevisionInfo {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// Asks the hub for the files of `revision`.
pub(super) fn list(
    http: &Http,
    repository: &Repository,
    revision: &str,
    listener: &mut dyn Listener,
) -> Result<Listing, Failure> {
    let url = repository.api(&http.settings.endpoint, "revision", revision);
    let info: RevisionInfo = http.json(&Request::new("GET", url.clone()), listener)?;
    let nonsense = |found: String| Failure::Nonsense {
        url: url.clone(),
        found,
    };
    if !is_commit(&info.sha) {
        return Err(nonsense(format!("the commit `{}`", info.sha)));
    }
    let sound = |sibling: Sibling| match is_safe(&sibling.rfilename) {
        true => Ok(sibling.rfilename),
        false => Err(nonsense(format!("a file called `{}`", sibling.rfilename))),
    };
    Ok(Listing {
        files: info
            .siblings
            .into_iter()
            .map(sound)
            .collect::<Result<_, _>>()?,
        commit: info.sha,
        source: ListingSource::Hub,
    })
}

/// Whether `text` is a commit's full name.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
