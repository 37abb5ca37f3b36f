//! Changes of an Arrow stream's messages, the lengths of their heads kept right.

use super::bytes;
use crate::rng::Rng;

pub const TOKENS: &[&[u8]] = &[
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\xff\0\0\0\0",
    b"huggingface",
    b"ARROW1\0\0",
];

const START: &[u8] = b"\xff\xff\xff\xff";

/// A message: its head, and what comes before the next one.
type Message = (Vec<u8>, Vec<u8>);

/// The messages up to the end of the stream; none where it is no stream.
fn messages(file: &[u8]) -> Option<Vec<Message>> {
    let mut messages = Vec::new();
    let mut rest = file;
    while let Some((length, after)) = rest.strip_prefix(START)?.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        if length == 0 {
            break;
        }
        let (head, after) = after.split_at_checked(length)?;
        let ends = after.chunks(8).position(|eight| eight.starts_with(START));
        let body = &after[..ends.map_or(after.len(), |at| 8 * at)];
        messages.push((head.to_vec(), body.to_vec()));
        rest = &after[body.len()..];
        if rest.is_empty() {
            break;
        }
    }
    (!messages.is_empty()).then_some(messages)
}

pub fn change(file: &[u8], other: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let mut all = messages(file)?;
    let others = messages(other).unwrap_or_default();
    let at = rng.below(all.len());
    let (head, body) = &mut all[at];
    let foreign = others.get(rng.below(others.len()));
    match rng.below(8) {
        0 => bytes::change_list(&mut all, &others, rng),
        1 => bytes::change(head, foreign.map_or(&[], |m| &m.0), TOKENS, rng),
        2 => bytes::change(body, foreign.map_or(&[], |m| &m.1), TOKENS, rng),
        3 => change_number(body, rng),
        _ => change_number(head, rng),
    }
    let mut changed = Vec::new();
    for (head, body) in all {
        changed.extend(START);
        changed.extend((head.len() as u32).to_le_bytes());
        changed.extend(head);
        changed.extend(body);
    }
    changed.extend(START);
    changed.extend([0; 4]);
    Some(changed)
}

/// Another number in the place of one of two, four or eight bytes: near to it, far from any, or that
/// of a place elsewhere.
fn change_number(bytes: &mut [u8], rng: &mut Rng) {
    let size = 2 << rng.below(3);
    let places = bytes.len() / size;
    if places == 0 {
        return;
    }
    let (at, from) = (size * rng.below(places), size * rng.below(places));
    let mut number = [0; 8];
    number[..size].copy_from_slice(&bytes[at..at + size]);
    let near = u64::from_le_bytes(number).wrapping_add(rng.below(17) as u64);
    let number = match rng.below(3) {
        0 => near.wrapping_sub(8),
        1 => bytes::number(rng),
        _ => return bytes.copy_within(from..from + size, at),
    };
    bytes[at..at + size].copy_from_slice(&number.to_le_bytes()[..size]);
}
