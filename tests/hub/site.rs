//! What the hub holds, and how it answers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::server::{Asked, Planned};
use crate::uploads::{complete, create};
use crate::xet::receive;

/// Files from this size on are kept by git-lfs: behind a redirect.
pub const LARGE: usize = 1000;

/// The token that opens private repositories and may write.
pub const TOKEN: &str = "hf_good";

/// A repository.
#[derive(Default)]
pub struct Repository {
    /// Commits by branch or reference.
    pub revisions: BTreeMap<String, String>,
    /// Files of each commit.
    pub commits: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    pub access: Access,
}

#[derive(Default, Clone, Copy, PartialEq)]
pub enum Access {
    #[default]
    Public,
    Private,
    /// Even a good token is refused: the terms were not accepted.
    Gated,
}

#[derive(Default)]
pub struct State {
    /// By `datasets/OWNER/NAME` and `models/OWNER/NAME`.
    pub repositories: BTreeMap<String, Repository>,
    /// Large files that were uploaded, by SHA-256.
    pub uploaded: BTreeMap<String, Vec<u8>>,
    /// How large the pieces of a multipart upload are, where uploads are to come in pieces.
    pub piece: Option<usize>,
    pub pieces: BTreeMap<(String, usize), Vec<u8>>,
    /// Whether large files are wanted over Xet by those who know it.
    pub has_xet: bool,
    /// Bytes that came over Xet and belong to no file yet.
    pub chunks: Vec<u8>,
    /// Old names, and those that replaced them.
    pub moved: BTreeMap<String, String>,
    pub faults: Vec<Planned>,
    pub log: Vec<Asked>,
}

/// Forty digits that depend on everything.
pub fn commit_of(repository: &str, files: &BTreeMap<String, Vec<u8>>) -> String {
    let mut text = repository.as_bytes().to_vec();
    for (path, bytes) in files {
        text.extend(path.as_bytes());
        text.extend(bytes);
    }
    sha256(&text)[..40].to_owned()
}

pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// git's name of a blob of these bytes.
pub fn git_name(bytes: &[u8]) -> String {
    let header = format!("blob {}\0", bytes.len());
    hexadecimal(&Sha1::digest([header.as_bytes(), bytes].concat()))
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").expect("written to memory");
    }
    text
}

pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    pub fn json(value: Value) -> Self {
        Self::new(200, value.to_string())
    }

    pub fn error(status: u16, code: &str, message: &str) -> Self {
        Self::new(status, json!({ "error": message }).to_string())
            .with("X-Error-Code", code)
            .with("X-Error-Message", message)
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

pub struct Site {
    pub state: Arc<Mutex<State>>,
    pub hub: String,
    pub cdn: String,
}

impl Site {
    pub fn answer(&self, asked: &Asked) -> Reply {
        let mut state = self.state.lock().expect("the state");
        let path = asked.path.split('?').next().unwrap_or_default();
        let path = path.replace("%2F", "/");
        for (old, new) in &state.moved {
            if path.contains(&format!("/{old}/")) {
                let target = asked.path.replacen(old, new, 1);
                return Reply::new(307, "").with("Location", target);
            }
        }
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (asked.method.as_str(), &parts[..]) {
            ("GET" | "HEAD", ["cdn", oid]) => match state.uploaded.get(*oid) {
                Some(bytes) => body(asked, bytes),
                None => Reply::new(404, "no such object"),
            },
            ("PUT", ["cdn", oid]) => {
                state.uploaded.insert(oid.to_string(), asked.body.clone());
                Reply::new(200, "")
            }
            ("PUT", ["cdn", oid, number]) => {
                let number = number.parse().expect("a number");
                state
                    .pieces
                    .insert((oid.to_string(), number), asked.body.clone());
                Reply::new(200, "").with("ETag", format!("\"piece-{number}\""))
            }
            ("POST", ["cdn", oid, "complete"]) => complete(&mut state, oid, asked),
            ("POST", ["cdn", oid, "verify"]) => match state.uploaded.get(*oid) {
                Some(bytes) if sha256(bytes) == *oid => Reply::json(json!({})),
                _ => Reply::new(400, "not what was announced"),
            },
            ("GET", ["api", plural, owner, name, "revision", revision @ ..]) => {
                let key = format!("{plural}/{owner}/{name}");
                listing(&state, &key, &revision.join("/"), asked)
            }
            ("POST", ["api", "repos", "create"]) => create(&mut state, asked),
            ("POST", ["api", "models", owner, name, action, revision @ ..]) => {
                let key = format!("models/{owner}/{name}");
                self.write(&mut state, &key, action, &revision.join("/"), asked)
            }
            ("POST", [owner, repository, "info", "lfs", "objects", "batch"]) => {
                let _ = (owner, repository);
                self.batch(&state, asked)
            }
            ("GET", ["api", "models", _, _, "xet-write-token", ..]) => self.xet_token(asked),
            ("POST", ["v1" | "v2", what @ ..]) => receive(&mut state, what, asked),
            (_, ["datasets", owner, name, "resolve", commit, file @ ..]) => self.file(
                &mut state,
                &format!("datasets/{owner}/{name}"),
                commit,
                &file.join("/"),
                asked,
            ),
            (_, [owner, name, "resolve", commit, file @ ..]) => self.file(
                &mut state,
                &format!("models/{owner}/{name}"),
                commit,
                &file.join("/"),
                asked,
            ),
            _ => Reply::error(
                404,
                "",
                "Sorry, we can't find the page you are looking for.",
            ),
        }
    }

    fn file(&self, state: &mut State, key: &str, commit: &str, path: &str, asked: &Asked) -> Reply {
        let repository = match open(state, key, asked) {
            Ok(repository) => repository,
            Err(refusal) => return refusal,
        };
        let commit = repository
            .revisions
            .get(commit)
            .map_or(commit, String::as_str);
        let Some(bytes) = repository
            .commits
            .get(commit)
            .and_then(|files| files.get(path))
        else {
            return Reply::error(404, "EntryNotFound", "Entry not found");
        };
        let (bytes, oid, commit) = (bytes.clone(), sha256(bytes), commit.to_owned());
        if bytes.len() < LARGE {
            return body(asked, &bytes)
                .with("ETag", format!("\"{}\"", git_name(&bytes)))
                .with("X-Repo-Commit", commit);
        }
        let reply = Reply::new(302, "")
            .with("Location", format!("{}/cdn/{oid}", self.cdn))
            .with("ETag", "\"of the redirect\"")
            .with("X-Linked-Etag", format!("\"{oid}\""))
            .with("X-Linked-Size", bytes.len().to_string())
            .with("X-Repo-Commit", commit);
        state.uploaded.insert(oid, bytes);
        reply
    }
}

fn listing(state: &State, key: &str, revision: &str, asked: &Asked) -> Reply {
    let repository = match open(state, key, asked) {
        Ok(repository) => repository,
        Err(refusal) => return refusal,
    };
    let commit = repository.revisions.get(revision);
    let commit = commit.map_or(revision, String::as_str);
    let Some(files) = repository.commits.get(commit) else {
        return Reply::error(404, "RevisionNotFound", "Invalid rev id: no such revision");
    };
    let sibling =
        |(path, bytes): (&String, &Vec<u8>)| json!({ "rfilename": path, "size": bytes.len() });
    let siblings: Vec<Value> = files.iter().map(sibling).collect();
    let id = key.split_once('/').map(|(_, name)| name);
    Reply::json(json!({ "id": id, "sha": commit, "siblings": siblings, "private": false }))
}

pub fn is_known(asked: &Asked) -> bool {
    asked.header("authorization") == Some(&format!("Bearer {TOKEN}"))
}

fn open<'s>(state: &'s State, key: &str, asked: &Asked) -> Result<&'s Repository, Reply> {
    if asked.header("authorization").is_some() && !is_known(asked) {
        let message = "Invalid credentials in Authorization header";
        return Err(Reply::error(401, "", message));
    }
    // To strangers the hub does not say whether a repository is not there or private.
    let hidden = || {
        if is_known(asked) {
            Reply::error(404, "RepoNotFound", "Repository not found")
        } else {
            Reply::error(401, "RepoNotFound", "Invalid username or password.")
        }
    };
    let repository = state.repositories.get(key).ok_or_else(hidden)?;
    match repository.access {
        Access::Gated if asked.path.contains("/resolve/") => {
            let status = if is_known(asked) { 403 } else { 401 };
            let message = "Access to this repository is restricted.";
            Err(Reply::error(status, "GatedRepo", message))
        }
        Access::Private if !is_known(asked) => Err(hidden()),
        _ => Ok(repository),
    }
}

/// The bytes, or the range of them that is asked for.
fn body(asked: &Asked, bytes: &[u8]) -> Reply {
    let range = asked
        .header("range")
        .and_then(|range| range.strip_prefix("bytes="));
    let start = range.and_then(|range| range.strip_suffix('-')?.parse::<usize>().ok());
    let length = bytes.len();
    match start {
        None => Reply::new(200, bytes),
        Some(start) if start >= length => {
            Reply::new(416, "").with("Content-Range", format!("bytes */{length}"))
        }
        Some(start) => Reply::new(206, &bytes[start..]).with(
            "Content-Range",
            format!("bytes {start}-{}/{length}", length - 1),
        ),
    }
}
