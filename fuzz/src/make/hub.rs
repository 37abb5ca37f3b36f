//! What a hub answers, request by request.

use serde_json::{Value, json};

use super::{Made, made};
use crate::targets::SEPARATOR;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn answer(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status}\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "Connection: close\r\n";
    if !headers.iter().any(|(name, _)| *name == "Content-Length") {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

fn listing(files: &[&str]) -> Vec<u8> {
    let siblings: Vec<Value> = files.iter().map(|f| json!({ "rfilename": f })).collect();
    let body = json!({ "id": "owner/name", "sha": COMMIT, "siblings": siblings });
    answer(
        "200 OK",
        &[("Content-Type", "application/json")],
        body.to_string().as_bytes(),
    )
}

/// What is said of a file before it is loaded.
fn described(etag: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len().to_string();
    let headers = [
        ("ETag", etag),
        ("Content-Length", &length),
        ("X-Repo-Commit", COMMIT),
    ];
    answer("200 OK", &headers, b"")
}

fn conversation(name: &str, answers: &[Vec<u8>]) -> Made {
    made("hub", name, answers.join(SEPARATOR))
}

const FILE: &[u8] = b"{\"model_type\": \"vit\"}";
const SMALL: [&str; 2] = ["config.json", "model.safetensors"];
const PARQUET: [&str; 2] = ["data/train-00000-of-00001.parquet", "README.md"];

pub fn all() -> Vec<Made> {
    [models(), datasets(), refusals()].concat()
}

fn plain(body: &[u8]) -> Vec<u8> {
    answer("200 OK", &[], body)
}

fn redirect() -> Vec<u8> {
    answer("302 Found", &[("Location", "http://cdn/blob?x=1")], b"")
}

fn models() -> Vec<Made> {
    let shards = [
        "config.json",
        "model.safetensors.index.json",
        "model-1.safetensors",
    ];
    let moved = [("Location", "/api/models/o/n")];
    vec![
        conversation(
            "model_small",
            &[
                listing(&SMALL),
                described("\"a1\"", FILE),
                described("W/\"b2\"", FILE),
                plain(FILE),
                plain(FILE),
            ],
        ),
        conversation(
            "model_sharded",
            &[
                listing(&shards),
                described("\"a1\"", FILE),
                described("\"b2\"", FILE),
                described("\"c3\"", FILE),
                plain(FILE),
                redirect(),
                plain(FILE),
                plain(FILE),
            ],
        ),
        conversation(
            "model_moved",
            &[
                answer("307 Temporary Redirect", &moved, b""),
                listing(&SMALL),
            ],
        ),
    ]
}

/// A file that git-lfs keeps.
fn large() -> Vec<u8> {
    const SHA256: &str = "\"5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03\"";
    let headers = [
        ("Location", "http://cdn/blob"),
        ("X-Linked-Size", "6"),
        ("X-Linked-ETag", SHA256),
    ];
    answer("302 Found", &headers, b"")
}

fn datasets() -> Vec<Made> {
    let busy = answer("429 Too Many Requests", &[("Retry-After", "0")], b"later");
    let limit = [("RateLimit", "\"api\";r=0;t=0")];
    let half = [("Content-Length", "23")];
    let rest = [("Content-Range", "bytes 9-22/23")];
    vec![
        conversation(
            "dataset_large",
            &[listing(&PARQUET), large(), redirect(), plain(b"hello\n")],
        ),
        conversation(
            "dataset_converted",
            &[
                listing(&["a.csv"]),
                listing(&PARQUET),
                large(),
                plain(b"hello\n"),
            ],
        ),
        conversation(
            "dataset_broken_off",
            &[
                busy,
                answer("429 Too Many Requests", &limit, b""),
                listing(&PARQUET),
                described("\"a1\"", FILE),
                answer("200 OK", &half, &FILE[..9]),
                answer("206 Partial Content", &rest, &FILE[9..]),
            ],
        ),
    ]
}

fn refusals() -> Vec<Made> {
    let refusal = |status, code| {
        let headers = [("X-Error-Code", code), ("X-Error-Message", "as planned")];
        answer(status, &headers, b"{\"error\": \"as planned\"}")
    };
    vec![
        conversation(
            "dataset_absent",
            &[refusal("404 Not Found", "RepoNotFound")],
        ),
        conversation(
            "model_gated",
            &[listing(&SMALL), refusal("403 Forbidden", "GatedRepo")],
        ),
        conversation("model_page", &[plain(b"<html>log in</html>")]),
    ]
}
