//! The calls of `hf-hub` that vitcuda makes, as functions without type parameters: what they need of
//! generic code, most of it tokio's and hyper's, is compiled in this crate, for size, and not in
//! vitcuda's own, for speed and again with each change there.

use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;

use hf_hub::progress::{DownloadEvent, ProgressEvent, ProgressHandler, UploadEvent};
use hf_hub::repository::{CommitOperation, RepoTypeAny};
use hf_hub::{HFClient, HFClientSync, HFRepositorySync, RepoTypeModel};

pub use hf_hub::{HFError, HFResult};
pub use reqwest;

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Model,
    Dataset,
}

/// A repository of the hub.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    pub kind: Kind,
    pub owner: &'a str,
    pub name: &'a str,
}

/// The commit that a revision stands for, and its files.
#[derive(Debug)]
pub struct Revision {
    pub commit: Option<String>,
    pub files: Vec<String>,
}

/// A commit on a branch.
pub struct Commit<'a> {
    pub branch: &'a str,
    /// First line of its message.
    pub message: &'a str,
    /// Each file's name in the repository and where it is here.
    pub files: Vec<(&'a str, PathBuf)>,
}

/// The commit that was made: its page and its name.
#[derive(Debug)]
pub struct Committed {
    pub url: Option<String>,
    pub commit: Option<String>,
}

/// `hf-hub`'s blocking client.
pub struct Client(HFClientSync);

impl Client {
    /// A client that connects as `connections` do and tries everything once: `hf-hub` does not wait
    /// as it is told to.
    pub fn new(
        connections: reqwest::ClientBuilder,
        endpoint: &str,
        token: &str,
        cache: &Path,
    ) -> HFResult<Self> {
        HFClient::builder()
            .client(connections.build()?)
            .endpoint(endpoint)
            .token(token)
            .cache_dir(cache)
            .retry_max_attempts(0)
            .build_sync()
            .map(Self)
    }

    /// What the hub says of `revision`.
    pub fn info(&self, of: Named, revision: &str) -> HFResult<Revision> {
        let (commit, siblings) = match of.kind {
            Kind::Model => {
                let model = self.0.model(of.owner, of.name);
                let info = model.info().revision(revision).send()?;
                (info.sha, info.siblings)
            }
            Kind::Dataset => {
                let dataset = self.0.dataset(of.owner, of.name);
                let info = dataset.info().revision(revision).send()?;
                (info.sha, info.siblings)
            }
        };
        let siblings = siblings.unwrap_or_default().into_iter();
        Ok(Revision {
            commit,
            files: siblings.map(|sibling| sibling.rfilename).collect(),
        })
    }

    /// Loads a file of `commit` to its path below `folder`; `told` hears how much of it is there.
    pub fn download(
        &self,
        of: Named,
        commit: &str,
        path: &str,
        folder: &Path,
        told: Sender<u64>,
    ) -> HFResult<()> {
        let repository = self.repository(of);
        let loading = repository
            .download_file()
            .filename(path)
            .revision(commit)
            .local_dir(folder);
        loading.progress(Told(told)).send().map(drop)
    }

    /// Creates the repository `name` of a model.
    pub fn create(&self, name: &str, private: bool) -> HFResult<()> {
        let asked = self.0.create_repository().repo_id(name).private(private);
        asked.repo_type(RepoTypeModel).send().map(drop)
    }

    /// Creates a branch at the head of `main`.
    pub fn create_branch(&self, of: Named, branch: &str) -> HFResult<()> {
        self.repository(of).create_branch().branch(branch).send()
    }

    /// Uploads files, large ones over Xet, and commits them; `told` hears how many bytes went.
    pub fn commit(&self, of: Named, commit: Commit, told: Sender<u64>) -> HFResult<Committed> {
        let repository = self.repository(of);
        let files = commit.files.into_iter();
        let operations = files.map(|(name, path)| CommitOperation::add_file(name, path));
        let info = repository
            .create_commit()
            .operations(operations.collect())
            .commit_message(commit.message)
            .revision(commit.branch)
            .progress(Told(told))
            .send()?;
        Ok(Committed {
            url: info.commit_url,
            commit: info.commit_oid,
        })
    }

    fn repository(&self, of: Named) -> HFRepositorySync<RepoTypeAny> {
        let kind = match of.kind {
            Kind::Model => RepoTypeAny::Model,
            Kind::Dataset => RepoTypeAny::Dataset,
        };
        self.0.repository(kind, of.owner, of.name)
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
