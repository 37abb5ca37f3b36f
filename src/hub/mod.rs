//! The Hugging Face hub: models and data sets by name, kept in the cache of Python's tools, and
//! models pushed.
//!
//! It is spoken through the crate `hf-hub` 1.0 and its blocking client (`client`; the calls themselves
//! are compiled apart, in the package `vitcuda-hub`), and by requests of our own over the same
//! `reqwest` (`http`) where that one lacks something. Who does what:
//!
//! | job | `hf-hub` | ours, and why |
//! | --- | --- | --- |
//! | metadata | the commit and the files of a revision (`info`) | the headers of a file: `get_file_metadata` follows the redirect to the storage, whose answer has neither the digest nor the commit |
//! | download | the first attempt at each file (`download_file`) | the rest of an interrupted file: it starts again from the first byte. Whether a file is whole, by length and digest (SHA-256, of small files git's SHA-1): it looks at neither |
//! | cache, snapshot | | all of it. Into the cache, `hf-hub` writes whatever a GET answers, an error's page, too; it shows files of a snapshot one by one, so that a part passes for all; it takes the lock and does not look again whether the file has come; and of its two HTTP clients it takes for this the one that cannot be given authorities or time limits. Reading is ours because it must work where no client can be made |
//! | upload | the repository, the branch, and the commit with its files, large ones over Xet, if the hub has Xet or no file is large | large files by git-lfs, and their commit, at a hub without Xet: there it writes the weights into the commit, in base64 |
//!
//! Around both: pauses between tries as `Retry-After` and `RateLimit` ask (it has its own, which are
//! switched off), `HF_HUB_OFFLINE` (it knows none), and who may see the token: `hf-hub` is given the
//! one of the settings or one that cannot be sent, because it looks for another by itself; `reqwest`
//! takes it off whatever is redirected to another server, and so do we.

mod asked;
mod cache;
mod client;
mod datasets;
mod digest;
mod download;
mod failure;
mod http;
mod id;
mod lfs;
mod listening;
mod models;
mod push;
mod repository;
mod settings;
mod transfer;
mod web;

use std::path::PathBuf;

pub use asked::{DatasetFiles, LocalFile, ModelPart, Push, Pushed, Visibility};
pub use datasets::CONVERTED;
pub use id::{Id, MAIN};
pub use settings::{Network, Settings};
pub use transfer::{Direction, Listener, Transfer};

use crate::error::{Error, Result};
use cache::Cache;
use client::Client;
use failure::{Failure, Purpose};
use repository::{Kind, Listing, Repository};

/// A hub and the cache of its files.
pub struct Hub {
    client: Client,
}

/// Why there is no listing of a revision.
enum Unlisted {
    Failed(Failure),
    /// The network may not be used, and nothing of the revision was loaded before.
    NotCached,
}

impl Hub {
    /// A hub used as `settings` say. Nothing is asked or written yet.
    ///
    /// [`Error::Usage`] for a file of certificates that cannot be read.
    pub fn new(settings: Settings) -> Result<Self> {
        let client = Client::new(settings)?;
        Ok(Self { client })
    }

    fn settings(&self) -> &Settings {
        &self.client.http.settings
    }

    fn cache(&self, repository: &Repository) -> Cache {
        Cache::new(&self.settings().cache, repository)
    }

    /// The files of `revision`: as the hub lists them, or offline those that are in the cache. A hub
    /// that cannot be reached or is out of order is told of, and the cache has to do.
    fn list(
        &self,
        repository: &Repository,
        revision: &str,
        listener: &mut dyn Listener,
    ) -> Result<Listing, Unlisted> {
        let cached = || self.cache(repository).listing(revision);
        if self.settings().network == Network::Offline {
            return cached().ok_or(Unlisted::NotCached);
        }
        let failure = match repository::list(&self.client, repository, revision, listener) {
            Ok(listing) => return Ok(listing),
            Err(failure) => failure,
        };
        match cached().filter(|_| failure.is_no_answer()) {
            None => Err(Unlisted::Failed(failure)),
            Some(listing) => {
                let commit = &listing.commit[..7];
                let text =
                    format!("{failure}; {repository} is read from the cache, commit {commit}");
                listener.transfer(Transfer::Notice(text));
                Ok(listing)
            }
        }
    }

    /// The error a person sees where there is no listing.
    fn explain(&self, repository: &Repository, revision: &str, unlisted: Unlisted) -> Error {
        match unlisted {
            Unlisted::Failed(failure) => {
                failure.explain(repository, Purpose::Read { revision }, self.settings())
            }
            Unlisted::NotCached => self.not_cached(repository, &format!("revision {revision}")),
        }
    }

    fn not_cached(&self, repository: &Repository, what: &str) -> Error {
        let cache = self.settings().cache.display();
        Error::hub(
            format!(
                "{repository}: there is no folder of this name, and {what} is not in the cache, {cache}"
            ),
            match self.settings().network {
                Network::Offline => {
                    "run the command once without HF_HUB_OFFLINE, or name a folder that is there"
                }
                Network::Online => "run the command again when the hub can be reached",
            },
        )
    }

    /// Brings `files` of `listing`, a listing of `revision`, into the cache: the folder they are in.
    fn fetch(
        &self,
        repository: &Repository,
        revision: &str,
        listing: &Listing,
        files: &[String],
        listener: &mut dyn Listener,
    ) -> Result<PathBuf> {
        let cache = self.cache(repository);
        if listing.source == repository::ListingSource::Hub {
            let download = download::Download {
                client: &self.client,
                cache: &cache,
                repository,
                listing,
            };
            download.run(files, listener)?;
            cache.set_reference(revision, &listing.commit)?;
        }
        Ok(cache.snapshot(&listing.commit))
    }
}

impl Repository {
    fn of(kind: Kind, id: &Id) -> Self {
        Self {
            kind,
            name: id.name.clone(),
        }
    }
}
