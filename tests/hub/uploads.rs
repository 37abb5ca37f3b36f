//! What the hub does with what is sent to it.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::server::Asked;
use crate::site::{Access, LARGE, Reply, Repository, Site, State, commit_of, is_known};

impl Site {
    pub fn write(
        &self,
        state: &mut State,
        key: &str,
        action: &str,
        branch: &str,
        asked: &Asked,
    ) -> Reply {
        if !is_known(asked) {
            return Reply::error(403, "", "You need write access");
        }
        let State {
            repositories,
            uploaded,
            ..
        } = state;
        let Some(repository) = repositories.get_mut(key) else {
            return Reply::error(404, "RepoNotFound", "Repository not found");
        };
        if action == "branch" {
            let start = repository.revisions["main"].clone();
            return match repository.revisions.insert(branch.into(), start) {
                None => Reply::json(json!({})),
                Some(commit) => {
                    repository.revisions.insert(branch.into(), commit);
                    Reply::error(409, "", "Reference already exists")
                }
            };
        }
        let Some(parent) = repository.revisions.get(branch).cloned() else {
            return Reply::error(404, "RevisionNotFound", "Invalid rev id");
        };
        match action {
            "preupload" => {
                let files: Value = serde_json::from_slice(&asked.body).expect("JSON");
                let mode = |file: &Value| {
                    let is_large = file["size"].as_u64().expect("a size") >= LARGE as u64;
                    assert!(file["sample"].is_string());
                    json!({ "path": file["path"], "uploadMode": if is_large { "lfs" } else { "regular" } })
                };
                let files = files["files"].as_array().expect("files").iter().map(mode);
                Reply::json(json!({ "files": files.collect::<Vec<_>>() }))
            }
            "commit" => {
                let mut files = repository.commits[&parent].clone();
                let text = String::from_utf8(asked.body.clone()).expect("text");
                for line in text.lines() {
                    let line: Value = serde_json::from_str(line).expect("a JSON line");
                    let value = &line["value"];
                    let path = value["path"].as_str().unwrap_or_default().to_owned();
                    match line["key"].as_str() {
                        Some("header") => assert!(value["summary"].is_string()),
                        Some("file") => {
                            assert_eq!(value["encoding"], "base64");
                            let content = value["content"].as_str().expect("text");
                            let bytes = BASE64_STANDARD.decode(content);
                            files.insert(path, bytes.expect("base64"));
                        }
                        Some("lfsFile") => {
                            assert_eq!(value["algo"], "sha256");
                            match uploaded.get(value["oid"].as_str().expect("an oid")) {
                                Some(bytes) => files.insert(path, bytes.clone()),
                                None => return Reply::error(400, "", "the file was not uploaded"),
                            };
                        }
                        other => panic!("a line {other:?}"),
                    }
                }
                let commit = commit_of(key, &files);
                repository.commits.insert(commit.clone(), files);
                repository.revisions.insert(branch.into(), commit.clone());
                let page = key.strip_prefix("models/").expect("a model");
                Reply::json(json!({
                    "success": true,
                    "commitOid": commit,
                    "commitUrl": format!("{}/{page}/commit/{commit}", self.hub),
                }))
            }
            other => panic!("{other}?"),
        }
    }

    pub fn batch(&self, state: &State, asked: &Asked) -> Reply {
        if !is_known(asked) {
            return Reply::error(401, "", "Invalid credentials");
        }
        assert_eq!(asked.header("accept"), Some("application/vnd.git-lfs+json"));
        let body: Value = serde_json::from_slice(&asked.body).expect("JSON");
        assert_eq!(body["operation"], "upload");
        let object = |object: &Value| {
            let oid = object["oid"].as_str().expect("an oid");
            let size = object["size"].as_u64().expect("a size");
            if state.uploaded.contains_key(oid) {
                return json!({ "oid": oid, "size": size });
            }
            let at = format!("{}/cdn/{oid}", self.cdn);
            let upload = match state.piece {
                None => json!({ "href": at, "header": { "x-signed": "yes" } }),
                Some(piece) => {
                    let mut header = json!({ "chunk_size": piece.to_string() });
                    for number in 1..=size.div_ceil(piece as u64) {
                        header[format!("{number:05}")] = json!(format!("{at}/{number}"));
                    }
                    json!({ "href": format!("{at}/complete"), "header": header })
                }
            };
            let verify = json!({ "href": format!("{}/cdn/{oid}/verify", self.hub) });
            json!({ "oid": oid, "size": size, "actions": { "upload": upload, "verify": verify } })
        };
        let objects = body["objects"]
            .as_array()
            .expect("objects")
            .iter()
            .map(object);
        let transfers = body["transfers"].as_array().expect("transfers");
        let is_xet = state.has_xet && transfers.contains(&json!("xet"));
        let transfer = if is_xet { "xet" } else { "basic" };
        Reply::json(json!({ "transfer": transfer, "objects": objects.collect::<Vec<_>>() }))
    }
}

pub fn complete(state: &mut State, oid: &str, asked: &Asked) -> Reply {
    let body: Value = serde_json::from_slice(&asked.body).expect("JSON");
    let mut bytes = Vec::new();
    for (i, part) in body["parts"].as_array().expect("parts").iter().enumerate() {
        assert_eq!(part["partNumber"], i + 1);
        assert_eq!(part["etag"], format!("\"piece-{}\"", i + 1));
        bytes.extend(&state.pieces[&(oid.to_owned(), i + 1)]);
    }
    state.uploaded.insert(oid.into(), bytes);
    Reply::json(json!({}))
}

pub fn create(state: &mut State, asked: &Asked) -> Reply {
    if !is_known(asked) {
        return Reply::error(401, "", "Invalid username or password.");
    }
    let body: Value = serde_json::from_slice(&asked.body).expect("JSON");
    let text = |key: &str| body[key].as_str().expect("text").to_owned();
    let key = format!(
        "{}s/{}/{}",
        text("type"),
        text("organization"),
        text("name")
    );
    if state.repositories.contains_key(&key) {
        return Reply::error(409, "", "You already created this model repo");
    }
    let commit = commit_of(&key, &BTreeMap::new());
    let access = if body["private"].as_bool().expect("a truth value") {
        Access::Private
    } else {
        Access::Public
    };
    let repository = Repository {
        revisions: [("main".to_owned(), commit.clone())].into(),
        commits: [(commit, BTreeMap::new())].into(),
        access,
    };
    state.repositories.insert(key.clone(), repository);
    Reply::json(json!({ "url": format!("https://hub/{key}") }))
}
