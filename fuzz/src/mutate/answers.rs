//! Changes of a server's answers, the lengths of their bodies kept right.

use serde_json::Value;

use super::{bytes, json};
use crate::rng::Rng;
use crate::targets::SEPARATOR;

pub const TOKENS: &[&[u8]] = &[
    SEPARATOR,
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 206 Partial Content\r\n",
    b"HTTP/1.1 302 Found\r\n",
    b"HTTP/1.1 401 Unauthorized\r\n",
    b"HTTP/1.1 404 Not Found\r\n",
    b"HTTP/1.1 416 Range Not Satisfiable\r\n",
    b"HTTP/1.1 429 Too Many Requests\r\n",
    b"HTTP/1.1 503 Service Unavailable\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 18446744073709551615\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Location: /elsewhere\r\n",
    b"Location: http://elsewhere/x\r\n",
    b"Retry-After: 18446744073709551615\r\n",
    b"RateLimit: \"api\";r=0;t=0\r\n",
    b"ETag: \"../../x\"\r\n",
    b"ETag: W/\"0123456789012345678901234567890123456789\"\r\n",
    b"X-Linked-ETag: \"x\"\r\n",
    b"X-Linked-Size: 18446744073709551615\r\n",
    b"X-Error-Code: GatedRepo\r\n",
    b"X-Error-Message: no\r\n",
    b"Content-Range: bytes 3-9/10\r\n",
    b"\r\n\r\n",
    b"../",
    b"\0",
];

pub fn change(file: &[u8], other: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let split = |file: &[u8]| -> Vec<Vec<u8>> {
        let answers = crate::targets::answers(file);
        answers.into_iter().map(<[u8]>::to_vec).collect()
    };
    let (mut answers, others) = (split(file), split(other));
    match rng.below(4) {
        0 => bytes::change_list(&mut answers, &others, rng),
        _ => {
            let at = rng.below(answers.len());
            answers[at] = change_answer(&answers[at], rng.pick::<Vec<u8>>(&others), rng)?;
        }
    }
    Some(answers.join(SEPARATOR))
}

/// Headers and body.
fn parts(answer: &[u8]) -> Option<(Vec<Vec<u8>>, &[u8])> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = answer[..end].split(|&byte| byte == b'\n');
    let line = |line: &[u8]| line.strip_suffix(b"\r").unwrap_or(line).to_vec();
    Some((head.map(line).collect(), &answer[end + 4..]))
}

fn change_answer(answer: &[u8], other: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let (mut head, body) = parts(answer)?;
    let (other_head, other_body) = parts(other).unwrap_or_default();
    let mut body = body.to_vec();
    let is_json = serde_json::from_slice::<Value>(&body).is_ok();
    match rng.below(4) {
        0 => bytes::change_list(&mut head, &other_head, rng),
        1 => {
            let at = rng.below(head.len());
            bytes::change(&mut head[at], &[], TOKENS, rng);
        }
        _ if is_json => body = json::change(&body, other_body, rng)?,
        _ => bytes::change(&mut body, other_body, TOKENS, rng),
    }
    let length = format!("Content-Length: {}", body.len());
    let is_length = |line: &&mut Vec<u8>| line.to_ascii_lowercase().starts_with(b"content-length:");
    if let Some(line) = head.iter_mut().find(is_length).filter(|_| !rng.once_in(8)) {
        // That of an answer without a body says how long it would be.
        if !body.is_empty() {
            *line = length.into_bytes();
        }
    }
    let mut changed = head.join(&b"\r\n"[..]);
    changed.extend(b"\r\n\r\n");
    changed.extend(body);
    Some(changed)
}
