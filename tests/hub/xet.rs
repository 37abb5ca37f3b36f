//! The storage behind Xet, as far as uploads need it: chunks are kept and put together again.

use serde_json::json;

use crate::server::Asked;
use crate::site::{Reply, Site, State, is_known, sha256};

/// What opens this storage, and nothing else.
const FOR_XET: &str = "for-xet";

/// What ends the chunks of a parcel: the start of its footer.
const FOOTER: &[u8] = b"XETBLOB";

impl Site {
    /// Where the storage is, and what opens it.
    pub fn xet_token(&self, asked: &Asked) -> Reply {
        if is_known(asked) {
            Reply::json(json!({
                "casUrl": self.cdn,
                "accessToken": FOR_XET,
                "exp": 4_102_444_800_u64,
            }))
        } else {
            Reply::error(401, "", "Invalid credentials")
        }
    }
}

/// Takes a parcel of chunks, or the list that makes a file of them.
pub fn receive(state: &mut State, what: &[&str], asked: &Asked) -> Reply {
    let bearer = format!("Bearer {FOR_XET}");
    assert_eq!(asked.header("authorization"), Some(&bearer[..]));
    match (&asked.path[..3], what) {
        ("/v1", ["xorbs", "default", _]) => {
            let chunks = unpacked(&asked.body);
            state.chunks.extend(chunks);
            Reply::json(json!({ "was_inserted": true }))
        }
        ("/v1", ["shards"]) => {
            let bytes = std::mem::take(&mut state.chunks);
            state.uploaded.insert(sha256(&bytes), bytes);
            Reply::json(json!({ "result": 1 }))
        }
        _ => Reply::error(404, "", "no such thing"),
    }
}

/// The bytes of a parcel's chunks. Each has a head of eight bytes: the format's version, its packed
/// length, how it is packed, and its length.
fn unpacked(mut parcel: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !parcel.is_empty() && !parcel.starts_with(FOOTER) {
        let (head, rest) = parcel.split_at(8);
        assert_eq!(head[4], 0, "noise is sent as it is");
        let length = u32::from_le_bytes([head[1], head[2], head[3], 0]);
        let (chunk, rest) = rest.split_at(length as usize);
        bytes.extend(chunk);
        parcel = rest;
    }
    bytes
}
