//! Uploading large files, by git-lfs's batch API with the hub's transfers `basic` and `multipart`: to
//! hubs without Xet, where `hf-hub` would write the weights into the commit.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use vitcuda_hub::reqwest::Method;

use super::failure::Failure;
use super::http::{Content, Http, Request, Token, header};
use super::transfer::Listener;

/// A file to upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LargeFile<'a> {
    pub path: &'a Path,
    /// Its SHA-256.
    pub oid: String,
    pub bytes: u64,
}

const MEDIA_TYPE: &str = "application/vnd.git-lfs+json";

/// How the hub wants large files.
#[derive(Deserialize)]
pub(super) struct Batch {
    transfer: Option<String>,
    objects: Vec<Object>,
}

impl Batch {
    /// Whether the hub wants them over Xet.
    pub fn is_xet(&self) -> bool {
        self.transfer.as_deref() == Some("xet")
    }
}

#[derive(Deserialize)]
struct Object {
    oid: String,
    /// Absent when the hub has the file already.
    actions: Option<Actions>,
    error: Option<ObjectError>,
}

#[derive(Deserialize)]
struct ObjectError {
    message: String,
}

#[derive(Deserialize)]
struct Actions {
    upload: Option<Action>,
    verify: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    href: String,
    #[serde(default)]
    header: BTreeMap<String, Value>,
}

fn batch_url(http: &Http, name: &str) -> String {
    let endpoint = &http.settings.endpoint;
    format!("{endpoint}/{name}.git/info/lfs/objects/batch")
}

/// Asks how the repository `name` wants `files`.
pub(super) fn ask(
    http: &Http,
    name: &str,
    files: &[LargeFile],
    listener: &mut dyn Listener,
) -> Result<Batch, Failure> {
    let objects = files
        .iter()
        .map(|file| json!({ "oid": file.oid, "size": file.bytes }));
    let body = json!({
        "operation": "upload",
        "transfers": ["basic", "multipart", "xet"],
        "objects": objects.collect::<Vec<_>>(),
        "hash_algo": "sha256",
    });
    let request = Request::new(Method::POST, batch_url(http, name))
        .header("accept", MEDIA_TYPE)
        .bytes(body.to_string().into_bytes(), MEDIA_TYPE);
    http.json(&request, listener)
}

/// Uploads those of `files` that the repository `name` does not have, as `batch` says; the listener
/// hears of each file's bytes in turn.
pub(super) fn upload(
    http: &Http,
    name: &str,
    files: &[LargeFile],
    batch: &Batch,
    listener: &mut dyn Listener,
) -> Result<(), Failure> {
    let nonsense = |found: String| Failure::Nonsense {
        url: batch_url(http, name),
        found,
    };
    let mut before = 0;
    for file in files {
        let object = batch.objects.iter().find(|object| object.oid == file.oid);
        let object = object.ok_or_else(|| nonsense(format!("no word on {}", file.oid)))?;
        if let Some(error) = &object.error {
            return Err(nonsense(format!("the refusal `{}`", error.message)));
        }
        let actions = object.actions.as_ref();
        if let Some(action) = actions.and_then(|actions| actions.upload.as_ref()) {
            send(http, file, action, before, listener)?;
        }
        if let Some(verify) = actions.and_then(|actions| actions.verify.as_ref()) {
            let body = json!({ "oid": file.oid, "size": file.bytes });
            let request = Request::new(Method::POST, verify.href.clone()).json(&body);
            http.send(&request, listener)?;
        }
        before += file.bytes;
    }
    Ok(())
}

fn send(
    http: &Http,
    file: &LargeFile,
    action: &Action,
    before: u64,
    listener: &mut dyn Listener,
) -> Result<(), Failure> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let put = |url: &str, start, length| {
        let mut request = Request::new(Method::PUT, url.to_owned());
        request.token = Token::Withheld;
        request.content = Content::Piece {
            file: file.path,
            start,
            length,
            before: before + start,
        };
        request
    };
    let pieces = action.header.get("chunk_size").map(text);
    let Some(piece) = pieces
        .and_then(|size| size.parse::<u64>().ok())
        .filter(|&size| size > 0)
    else {
        let mut request = put(&action.href, 0, file.bytes);
        for (name, value) in &action.header {
            request = request.header(name, text(value));
        }
        return http.send(&request, listener).map(drop);
    };
    // `multipart`: where each piece goes stands under its number, as a header.
    let numbered = action
        .header
        .iter()
        .filter_map(|(name, value)| Some((name.parse::<u64>().ok()?, text(value))));
    let addresses: BTreeMap<u64, String> = numbered.collect();
    let nonsense = |found: String| Failure::Nonsense {
        url: action.href.clone(),
        found,
    };
    let mut parts = Vec::new();
    for number in 1..=file.bytes.div_ceil(piece) {
        let start = (number - 1) * piece;
        let length = piece.min(file.bytes - start);
        let address = addresses.get(&number);
        let address = address.ok_or_else(|| nonsense(format!("no address for piece {number}")))?;
        let answer = http.send(&put(address, start, length), listener)?;
        let etag = header(answer.headers(), "etag");
        let etag = etag.ok_or_else(|| nonsense(format!("no ETag for piece {number}")))?;
        parts.push(json!({ "partNumber": number, "etag": etag }));
    }
    let body = json!({ "oid": file.oid, "parts": parts });
    let mut request = Request::new(Method::POST, action.href.clone())
        .header("accept", MEDIA_TYPE)
        .bytes(body.to_string().into_bytes(), MEDIA_TYPE);
    request.token = Token::Withheld;
    http.send(&request, listener).map(drop)
}
