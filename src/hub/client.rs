//! The one place that knows `hf-hub`: what is asked of it, and what its errors are to us.

use std::error::Error as _;
use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::mpsc::Sender;

use hf_hub::progress::{DownloadEvent, ProgressEvent, ProgressHandler, UploadEvent};
use hf_hub::repository::{CommitOperation, RepoTypeAny};
use hf_hub::{HFClient, HFClientSync, HFError, HFRepositorySync, HFResult, RepoTypeModel};

use super::asked::{LocalFile, Push, Pushed, Visibility};
use super::failure::{Failure, Outlook, Refusal, said};
use super::http::{Http, STALLED};
use super::listening::listening;
use super::repository::{Kind, Repository};
use super::settings::Settings;
use super::transfer::{Listener, Transfer};
use crate::error::Result;

/// `hf-hub` looks for a token by itself where it is given none. This one cannot be written into a
/// header, so that none is sent.
const NO_TOKEN: &str = "\n";

/// `hf-hub`'s client, with our own requests beside it.
pub(super) struct Client {
    pub http: Http,
    /// Made with the first request.
    hub: OnceLock<HFClientSync>,
}

/// The commit that a revision stands for, and its files.
#[derive(Debug)]
pub(super) struct Revision {
    pub commit: Option<String>,
    pub files: Vec<String>,
}

/// Whether a repository or a branch was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Created {
    Now,
    Before,
}

impl Client {
    /// [`Error::Usage`] for a file of certificates that cannot be read.
    pub fn new(settings: Settings) -> Result<Self> {
        Ok(Self {
            http: Http::new(settings)?,
            hub: OnceLock::new(),
        })
    }

    /// What the hub says of `revision`.
    pub fn info(
        &self,
        repository: &Repository,
        revision: &str,
        listener: &mut dyn Listener,
    ) -> Result<Revision, Failure> {
        let (owner, name) = repository.parts();
        let (commit, siblings) = self.ask(listener, |hub, _| match repository.kind {
            Kind::Model => {
                let info = hub.model(owner, name).info().revision(revision).send()?;
                Ok((info.sha, info.siblings))
            }
            Kind::Dataset => {
                let info = hub.dataset(owner, name).info().revision(revision).send()?;
                Ok((info.sha, info.siblings))
            }
        })?;
        let siblings = siblings.unwrap_or_default().into_iter();
        Ok(Revision {
            commit,
            files: siblings.map(|sibling| sibling.rfilename).collect(),
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
        let handle = match self.hub() {
            Ok(hub) => handle(hub, repository),
            Err(failure) => return Ok(Err(failure)),
        };
        let load = |sender| {
            let loading = handle.download_file().filename(path).revision(commit);
            loading.local_dir(folder).progress(Told(sender)).send()
        };
        match listening(load, hear) {
            Ok(_) => Ok(Ok(())),
            Err(HFError::Io(error)) => Err(error),
            Err(error) => Ok(Err(self.failure(error))),
        }
    }

    /// Creates a repository; one that is there is left as it is.
    pub fn create(&self, push: &Push, listener: &mut dyn Listener) -> Result<Created, Failure> {
        self.ask(listener, |hub, _| {
            let asked = hub.create_repository().repo_id(push.repository);
            let asked = asked.private(push.visibility == Visibility::Private);
            created(asked.repo_type(RepoTypeModel).send().map(drop))
        })
    }

    /// Creates a branch at the head of `main`; one that is there is left as it is.
    pub fn create_branch(
        &self,
        repository: &Repository,
        branch: &str,
        listener: &mut dyn Listener,
    ) -> Result<Created, Failure> {
        self.ask(listener, |hub, _| {
            created(
                handle(hub, repository)
                    .create_branch()
                    .branch(branch)
                    .send(),
            )
        })
    }

    /// Uploads files, large ones over Xet, and commits them.
    pub fn commit(
        &self,
        repository: &Repository,
        push: &Push,
        listener: &mut dyn Listener,
    ) -> Result<Pushed, Failure> {
        let add = |file: &LocalFile| CommitOperation::add_file(&file.name, &file.path);
        let info = self.ask(listener, |hub, listener| {
            let handle = handle(hub, repository);
            let commit = |sender| {
                let operations = push.files.iter().map(add).collect();
                let commit = handle.create_commit().operations(operations);
                let commit = commit.commit_message(push.message).revision(push.branch);
                commit.progress(Told(sender)).send()
            };
            listening(commit, |bytes| listener.transfer(Transfer::At(bytes)))
        })?;
        match (info.commit_url, info.commit_oid) {
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
        listener: &mut dyn Listener,
        mut call: impl FnMut(&HFClientSync, &mut dyn Listener) -> HFResult<T>,
    ) -> Result<T, Failure> {
        let hub = self.hub()?;
        self.http.persist(listener, |listener| {
            call(hub, listener).map_err(|error| self.failure(error))
        })
    }

    fn hub(&self) -> Result<&HFClientSync, Failure> {
        if self.hub.get().is_none() {
            let settings = &self.http.settings;
            let connections = self.http.connections().read_timeout(STALLED).build();
            let built = connections.map_err(HFError::from).and_then(|connections| {
                let builder = HFClient::builder()
                    .client(connections)
                    .endpoint(&settings.endpoint)
                    .token(settings.token.as_deref().unwrap_or(NO_TOKEN))
                    .cache_dir(&settings.cache)
                    .retry_max_attempts(0); // it does not wait as it is told to
                builder.build_sync()
            });
            // Whoever was faster made the same.
            let _ = self.hub.set(built.map_err(|error| self.failure(error))?);
        }
        Ok(self.hub.get().expect("it is set"))
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

fn handle(hub: &HFClientSync, repository: &Repository) -> HFRepositorySync<RepoTypeAny> {
    let kind = match repository.kind {
        Kind::Model => RepoTypeAny::Model,
        Kind::Dataset => RepoTypeAny::Dataset,
    };
    let (owner, name) = repository.parts();
    hub.repository(kind, owner, name)
}

fn created(answer: HFResult<()>) -> HFResult<Created> {
    match answer {
        Ok(()) => Ok(Created::Now),
        Err(HFError::Conflict { .. }) => Ok(Created::Before),
        Err(error) => Err(error),
    }
}

/// Passes on how many bytes were dealt with.
struct Told(Sender<u64>);

impl ProgressHandler for Told {
    fn on_progress(&self, event: &ProgressEvent) {
        let bytes = match event {
            ProgressEvent::Download(DownloadEvent::Progress { files }) => {
                files.iter().map(|file| file.bytes_completed).sum() // there is one
            }
            ProgressEvent::Upload(UploadEvent::Progress {
                bytes_completed, ..
            }) => *bytes_completed,
            _ => return,
        };
        let _ = self.0.send(bytes); // whoever has stopped to listen misses nothing
    }
}
