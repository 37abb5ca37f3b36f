//! Models to the hub: a repository, the large files, and one commit.

use std::fs::{self, File};
use std::io::Read;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use vitcuda_hub::reqwest::Method;

use super::asked::{LocalFile, Push, Pushed, Visibility};
use super::client::Created;
use super::digest::sha256;
use super::failure::{Failure, Purpose};
use super::http::Request;
use super::lfs::{self, LargeFile};
use super::repository::{Kind, Repository};
use super::transfer::{Direction, Listener, Transfer};
use super::{Hub, MAIN, Network};
use crate::error::{Error, Result};

/// A file, and how the hub wants it.
struct Prepared<'a> {
    file: &'a LocalFile,
    bytes: u64,
    /// SHA-256 of a file that goes through git-lfs.
    oid: Option<String>,
}

#[derive(Deserialize)]
struct Preupload {
    files: Vec<Mode>,
}

#[derive(Deserialize)]
struct Mode {
    path: String,
    #[serde(rename = "uploadMode")]
    upload_mode: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Committed {
    commit_url: String,
    commit_oid: String,
}

impl Hub {
    /// Pushes files as one commit, on top of what the branch holds; creates repository and branch
    /// where they are not there.
    ///
    /// [`Error::Usage`] offline and without a token, [`Error::Io`] for files that cannot be read,
    /// [`Error::Hub`] for what the hub refuses.
    pub fn push(&self, push: &Push<'_>, listener: &mut dyn Listener) -> Result<Pushed> {
        self.may_push()?;
        let repository = Repository {
            kind: Kind::Model,
            name: push.repository.to_owned(),
        };
        let purpose = Purpose::Push {
            revision: push.branch,
        };
        let explain = |failure: Failure| failure.explain(&repository, purpose, self.settings());
        let created = self.client.create(push, listener).map_err(explain)?;
        if created == Created::Before && push.visibility == Visibility::Private {
            let text = format!("{} exists; who may see it stays as it is", push.repository);
            listener.transfer(Transfer::Notice(text));
        }
        if push.branch != MAIN {
            self.client
                .create_branch(&repository, push.branch, listener)
                .map_err(explain)?;
        }
        let prepared = self.prepare(&repository, push, listener, explain)?;
        let large: Vec<LargeFile> = prepared.iter().filter_map(Prepared::large).collect();
        listener.transfer(Transfer::Started {
            direction: Direction::Up,
            repository: push.repository.to_owned(),
            files: prepared.len(),
            bytes: large.iter().map(|file| file.bytes).sum(),
            present: 0,
        });
        let http = &self.client.http;
        let batch = if large.is_empty() {
            None
        } else {
            Some(lfs::ask(http, push.repository, &large, listener).map_err(explain)?)
        };
        let pushed = match batch.filter(|batch| !batch.is_xet()) {
            None => self.client.commit(&repository, push, listener),
            Some(batch) => {
                let lines = commit_lines(push.message, &prepared)?;
                lfs::upload(http, push.repository, &large, &batch, listener)
                    .and_then(|()| self.commit_uploaded(&repository, push.branch, lines, listener))
            }
        };
        let pushed = pushed.map_err(explain)?;
        listener.transfer(Transfer::Finished);
        Ok(pushed)
    }

    /// Commits files of which the large ones were uploaded.
    fn commit_uploaded(
        &self,
        repository: &Repository,
        branch: &str,
        lines: Vec<u8>,
        listener: &mut dyn Listener,
    ) -> Result<Pushed, Failure> {
        let url = repository.api(&self.settings().endpoint, "commit", branch);
        let request = Request::new(Method::POST, url).bytes(lines, "application/x-ndjson");
        let committed: Committed = self.client.http.json(&request, listener)?;
        Ok(Pushed {
            url: committed.commit_url,
            commit: committed.commit_oid,
        })
    }

    fn may_push(&self) -> Result<()> {
        let settings = self.settings();
        if settings.network == Network::Offline {
            return Err(Error::usage(
                "HF_HUB_OFFLINE is set: nothing can be pushed",
                "unset it",
            ));
        }
        match settings.token {
            Some(_) => Ok(()),
            None => Err(Error::usage(
                "pushing needs a token that may write, and there is none",
                format!(
                    "make one at {}/settings/tokens and set HF_TOKEN to it, or run `hf auth login`",
                    settings.endpoint
                ),
            )),
        }
    }

    /// Asks the hub which files are to go through git-lfs, and takes their digests.
    fn prepare<'p>(
        &self,
        repository: &Repository,
        push: &Push<'p>,
        listener: &mut dyn Listener,
        explain: impl Fn(Failure) -> Error,
    ) -> Result<Vec<Prepared<'p>>> {
        let mut prepared = Vec::new();
        let mut described = Vec::new();
        for file in push.files {
            let failed = |e| Error::io(&file.path, "read it", e);
            let bytes = fs::metadata(&file.path).map_err(failed)?.len();
            let mut sample = Vec::new();
            let start = File::open(&file.path).map_err(failed)?.take(512);
            { start }.read_to_end(&mut sample).map_err(failed)?;
            let sample = BASE64_STANDARD.encode(sample);
            described.push(json!({ "path": file.name, "size": bytes, "sample": sample }));
            prepared.push(Prepared {
                file,
                bytes,
                oid: None,
            });
        }
        let url = repository.api(&self.settings().endpoint, "preupload", push.branch);
        let request = Request::new(Method::POST, url).json(&json!({ "files": described }));
        let modes: Preupload = self.client.http.json(&request, listener).map_err(explain)?;
        let is_large = |name: &str| {
            let mode = modes.files.iter().find(|mode| mode.path == name);
            mode.is_some_and(|mode| mode.upload_mode == "lfs")
        };
        for file in &mut prepared {
            // The hub keeps an empty file in git whatever it is called.
            if file.bytes > 0 && is_large(&file.file.name) {
                let path = &file.file.path;
                file.oid = Some(sha256(path).map_err(|e| Error::io(path, "read it", e))?);
            }
        }
        Ok(prepared)
    }
}

impl<'a> Prepared<'a> {
    fn large(&self) -> Option<LargeFile<'a>> {
        self.oid.clone().map(|oid| LargeFile {
            path: &self.file.path,
            oid,
            bytes: self.bytes,
        })
    }
}

/// The body of a commit: a header and a line for each file.
fn commit_lines(message: &str, files: &[Prepared]) -> Result<Vec<u8>> {
    let mut lines = Vec::new();
    let mut line = |key: &str, value: Value| {
        lines.extend(
            json!({ "key": key, "value": value })
                .to_string()
                .into_bytes(),
        );
        lines.push(b'\n');
    };
    line("header", json!({ "summary": message, "description": "" }));
    for Prepared { file, bytes, oid } in files {
        let path = &file.name;
        match oid {
            Some(oid) => line(
                "lfsFile",
                json!({ "path": path, "algo": "sha256", "oid": oid, "size": bytes }),
            ),
            None => {
                let content = fs::read(&file.path);
                let content = content.map_err(|e| Error::io(&file.path, "read it", e))?;
                let content = BASE64_STANDARD.encode(content);
                line(
                    "file",
                    json!({ "path": path, "content": content, "encoding": "base64" }),
                );
            }
        }
    }
    Ok(lines)
}
