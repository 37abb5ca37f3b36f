//! The Hugging Face hub: models and data sets by name, kept in the cache of Python's tools, and
//! models pushed.
//!
//! The protocol is written here, over `ureq` with `rustls` (15 more crates, no system library). The
//! crate `hf-hub` 1.0 was weighed first: 237 crates, and it starts an interrupted file again from its
//! first byte, does not wait as `Retry-After` asks, knows no `HF_HUB_OFFLINE`, and uploads large files
//! over Xet alone.

mod cache;
mod datasets;
mod digest;
mod download;
mod failure;
mod http;
mod id;
mod lfs;
mod models;
mod push;
mod repository;
mod settings;
mod transfer;
mod web;

use std::path::PathBuf;

pub use datasets::{CONVERTED, DatasetFiles};
pub use id::{Id, MAIN};
pub use models::ModelPart;
pub use push::{LocalFile, Push, Pushed, Visibility};
pub use settings::{Network, Settings};
pub use transfer::{Direction, Listener, Transfer};

use crate::error::{Error, Result};
use cache::Cache;
use failure::{Failure, Purpose};
use http::Http;
use repository::{Kind, Listing, Repository};

/// A hub and the cache of its files.
pub struct Hub {
    http: Http,
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
        let http = Http::new(settings)?;
        Ok(Self { http })
    }

    fn settings(&self) -> &Settings {
        &self.http.settings
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
        let failure = match repository::list(&self.http, repository, revision, listener) {
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
                http: &self.http,
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
