//! What is asked of `hf-hub`, and what its errors are to us.

use std::error::Error as _;
use std::io;
use std::path::Path;
use std::sync::OnceLock;

use vitcuda_hub::{Commit, HFError, HFResult, Named, Revision};

use super::asked::{Push, Pushed, Visibility};
use super::failure::{Failure, Outlook, Refusal, said};
use super::http::{Http, STALLED};
use super::listening::listening;
use super::repository::Repository;
use super::settings::Settings;
use super::transfer::{Listener, Transfer};
use crate::error::Result;

/// `hf-hub` looks for a token by itself where it is given none. This one cannot be written into a
/// header, so that none is sent.
const NO_TOKEN: &str = "\n";

/// `hf-hub`'s client, with our own requests beside it.
pub(super) struct Client {
    pub http: Http,
    /// Made with the first request of each kind.
    asker: OnceLock<vitcuda_hub::Client>,
    mover: OnceLock<vitcuda_hub::Client>,
}

/// What is limited in time: an answer that is read whole, or the silence while files move.
#[derive(Clone, Copy)]
enum Limit {
    Whole,
    Silence,
}

/// Whether a repository or a branch was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Created {
    Now,
    Before,
}

impl Client {
    /// [`crate::Error::Usage`] for a file of certificates that cannot be read.
    pub fn new(settings: Settings) -> Result<Self> {
        Ok(Self {
            http: Http::new(settings)?,
            asker: OnceLock::new(),
            mover: OnceLock::new(),
        })
    }

    /// What the hub says of `revision`.
    pub fn info(
        &self,
        repository: &Repository,
        revision: &str,
        listener: &mut dyn Listener,
    ) -> Result<Revision, Failure> {
        self.ask(Limit::Whole, listener, |hub, _| {
            hub.info(named(repository), revision)
        })
    }

    /// Tries once to load a file of `commit` from its first byte on, to its path below `folder`.
    /// `hear` is told how much of it is there. The outer error is the disk's.
    pub fn download(
        &self,
        repository: &Repository,
        commit: &str,
        path: &str,
        folder: &Path,
        hear: impl FnMut(u64),
    ) -> io::Result<Result<(), Failure>> {
        let hub = match self.hub(Limit::Silence) {
            Ok(hub) => hub,
            Err(failure) => return Ok(Err(failure)),
        };
        let load = |sender| hub.download(named(repository), commit, path, folder, sender);
        match listening(load, hear) {
            Ok(()) => Ok(Ok(())),
            Err(HFError::Io(error)) => Err(error),
            Err(error) => Ok(Err(self.failure(error))),
        }
    }

    /// Creates a repository; one that is there is left as it is.
    pub fn create(&self, push: &Push, listener: &mut dyn Listener) -> Result<Created, Failure> {
        self.ask(Limit::Whole, listener, |hub, _| {
            let is_private = push.visibility == Visibility::Private;
            created(hub.create(push.repository, is_private))
        })
    }

    /// Creates a branch at the head of `main`; one that is there is left as it is.
    pub fn create_branch(
        &self,
        repository: &Repository,
        branch: &str,
        listener: &mut dyn Listener,
    ) -> Result<Created, Failure> {
        self.ask(Limit::Whole, listener, |hub, _| {
            created(hub.create_branch(named(repository), branch))
        })
    }

    /// Uploads files, large ones over Xet, and commits them.
    pub fn commit(
        &self,
        repository: &Repository,
        push: &Push,
        listener: &mut dyn Listener,
    ) -> Result<Pushed, Failure> {
        let made = self.ask(Limit::Silence, listener, |hub, listener| {
            let commit = Commit {
                branch: push.branch,
                message: push.message,
                files: (push.files.iter())
                    .map(|file| (&file.name[..], file.path.clone()))
                    .collect(),
            };
            listening(
                |sender| hub.commit(named(repository), commit, sender),
                |bytes| listener.transfer(Transfer::At(bytes)),
            )
        })?;
        match (made.url, made.commit) {
            (Some(url), Some(commit)) => Ok(Pushed { url, commit }),
            _ => Err(Failure::Nonsense {
                url: self.http.settings.endpoint.clone(),
                found: "a commit without its name".into(),
            }),
        }
    }

    /// What `hf-hub` gives, after as many tries as it takes and is reasonable.
    fn ask<T>(
        &self,
        limit: Limit,
        listener: &mut dyn Listener,
        mut call: impl FnMut(&vitcuda_hub::Client, &mut dyn Listener) -> HFResult<T>,
    ) -> Result<T, Failure> {
        let hub = self.hub(limit)?;
        self.http.persist(listener, |listener| {
            call(hub, listener).map_err(|error| self.failure(error))
        })
    }

    fn hub(&self, limit: Limit) -> Result<&vitcuda_hub::Client, Failure> {
        let client = match limit {
            Limit::Whole => &self.asker,
            Limit::Silence => &self.mover,
        };
        if client.get().is_none() {
            let settings = &self.http.settings;
            let connections = self.http.connections().read_timeout(STALLED);
            let connections = match limit {
                Limit::Whole => connections.timeout(settings.patience),
                Limit::Silence => connections,
            };
            let token = settings.token.as_deref().unwrap_or(NO_TOKEN);
            let built =
                vitcuda_hub::Client::new(connections, &settings.endpoint, token, &settings.cache);
            // Whoever was faster made the same.
            let _ = client.set(built.map_err(|error| self.failure(error))?);
        }
        Ok(client.get().expect("it is set"))
    }

    fn failure(&self, error: HFError) -> Failure {
        let endpoint = &self.http.settings.endpoint;
        let nonsense = |url: Option<String>, found: String| Failure::Nonsense {
            url: url.unwrap_or_else(|| endpoint.clone()),
            found,
        };
        let text = error.to_string();
        let (context, wait) = match error {
            HFError::Request { source, url } => {
                let json = source
                    .source()
                    .and_then(|e| e.downcast_ref::<serde_json::Error>());
                return match json {
                    Some(e) => {
                        nonsense(url, format!("JSON that is not what the hub's is like: {e}"))
                    }
                    None => Failure::of_connection(url.as_ref().unwrap_or(endpoint), &source),
                };
            }
            HFError::MalformedResponse { url, what } => return nonsense(url, what),
            // It reads `Retry-After` but not the hub's own `RateLimit`.
            HFError::RateLimited {
                retry_after,
                context,
            } => {
                let wait = retry_after.or_else(|| self.http.asked_wait(&context.url));
                (context, wait)
            }
            HFError::Http { context }
            | HFError::AuthRequired { context }
            | HFError::Forbidden { context }
            | HFError::Conflict { context } => (context, None),
            HFError::RepoNotFound {
                context: Some(context),
                ..
            }
            | HFError::RevisionNotFound {
                context: Some(context),
                ..
            }
            | HFError::EntryNotFound {
                context: Some(context),
                ..
            } => (context, None),
            HFError::Xet { .. } => {
                return Failure::Unreachable {
                    server: endpoint.clone(),
                    reason: text,
                    outlook: Outlook::MayPass,
                };
            }
            _ => return nonsense(None, text),
        };
        let message = context.server_message.filter(|text| !text.is_empty());
        Failure::Refused(Refusal {
            status: context.status.as_u16(),
            code: context.error_code.unwrap_or_default(),
            message: message.unwrap_or_else(|| said(context.body.as_bytes())),
            wait,
        })
    }
}

fn named(repository: &Repository) -> Named<'_> {
    let (owner, name) = repository.parts();
    Named {
        kind: repository.kind,
        owner,
        name,
    }
}

fn created(answer: HFResult<()>) -> HFResult<Created> {
    match answer {
        Ok(()) => Ok(Created::Now),
        Err(HFError::Conflict { .. }) => Ok(Created::Before),
        Err(error) => Err(error),
    }
}
