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

pub fn all() -> Vec<Made> {
    let body = b"{\"model_type\": \"vit\"}";
    let plain = |body: &[u8]| answer("200 OK", &[], body);
    let redirect = answer("302 Found", &[("Location", "http://cdn/blob?x=1")], b"");
    let large = answer(
        "302 Found",
        &[
            ("Location", "http://cdn/blob"),
            ("X-Linked-Size", "6"),
            (
                "X-Linked-ETag",
                "\"5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03\"",
            ),
        ],
        b"",
    );
    let refusal = |status, code| {
        let headers = [("X-Error-Code", code), ("X-Error-Message", "as planned")];
        answer(status, &headers, b"{\"error\": \"as planned\"}")
    };
    let busy = answer("429 Too Many Requests", &[("Retry-After", "0")], b"later");
    let limited = answer(
        "429 Too Many Requests",
        &[("RateLimit", "\"api\";r=0;t=0")],
        b"",
    );
    let small = ["config.json", "model.safetensors"];
    let parquet = ["data/train-00000-of-00001.parquet", "README.md"];
    let described = |etag: &str| described(etag, body);
    vec![
        conversation(
            "model_small",
            &[
                listing(&small),
                described("\"a1\""),
                described("W/\"b2\""),
                plain(body),
                plain(body),
            ],
        ),
        conversation(
            "model_sharded",
            &[
                listing(&[
                    "config.json",
                    "model.safetensors.index.json",
                    "model-1.safetensors",
                ]),
                described("\"a1\""),
                described("\"b2\""),
                described("\"c3\""),
                plain(body),
                redirect.clone(),
                plain(body),
                plain(body),
            ],
        ),
        conversation(
            "dataset_large",
            &[
                listing(&parquet),
                large.clone(),
                redirect.clone(),
                plain(b"hello\n"),
            ],
        ),
        conversation(
            "dataset_converted",
            &[
                listing(&["a.csv"]),
                listing(&parquet),
                large,
                plain(b"hello\n"),
            ],
        ),
        conversation(
            "dataset_broken_off",
            &[
                busy,
                limited,
                listing(&parquet),
                described("\"a1\""),
                answer("200 OK", &[("Content-Length", "23")], &body[..9]),
                answer(
                    "206 Partial Content",
                    &[("Content-Range", "bytes 9-22/23")],
                    &body[9..],
                ),
            ],
        ),
        conversation(
            "dataset_absent",
            &[refusal("404 Not Found", "RepoNotFound")],
        ),
        conversation(
            "model_gated",
            &[listing(&small), refusal("403 Forbidden", "GatedRepo")],
        ),
        conversation(
            "model_page",
            &[answer("200 OK", &[], b"<html>log in</html>")],
        ),
        conversation(
            "model_moved",
            &[
                answer(
                    "307 Temporary Redirect",
                    &[("Location", "/api/models/o/n")],
                    b"",
                ),
                listing(&small),
            ],
        ),
    ]
}
