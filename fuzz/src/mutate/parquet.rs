//! Changes of a Parquet file's footer, its length kept right, and of its pages.

use super::bytes;
use crate::rng::Rng;

pub const TOKENS: &[&[u8]] = &[b"PAR1", b"\x15\x00", b"\x19\x0c", b"\x00", b"huggingface"];

/// Pages and footer.
fn parts(file: &[u8]) -> Option<(&[u8], &[u8])> {
    let (body, length) = file.strip_suffix(b"PAR1")?.split_last_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    body.split_at_checked(body.len().checked_sub(length)?)
}

pub fn change(file: &[u8], other: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let (pages, footer) = parts(file)?;
    let (other_pages, other_footer) = parts(other).unwrap_or_default();
    let (mut pages, mut footer) = (pages.to_vec(), footer.to_vec());
    match rng.below(5) {
        0 => bytes::change(&mut pages, other_pages, TOKENS, rng),
        1 => change_varint(&mut pages, rng),
        2 => bytes::change(&mut footer, other_footer, TOKENS, rng),
        _ => change_varint(&mut footer, rng),
    }
    let mut changed = pages;
    changed.extend(&footer);
    changed.extend((footer.len() as u32).to_le_bytes());
    changed.extend(b"PAR1");
    Some(changed)
}

/// Replaces what may be a number (Thrift's compact protocol: seven bits a byte, the lowest first) by
/// another one, as long as that is.
fn change_varint(bytes: &mut Vec<u8>, rng: &mut Rng) {
    if bytes.is_empty() {
        return;
    }
    let start = rng.below(bytes.len());
    let more = bytes[start..].iter().take_while(|&&byte| byte >= 128);
    let end = (start + more.count() + 1).min(bytes.len());
    let mut number = super::bytes::number(rng);
    let mut varint = Vec::new();
    while number >= 128 {
        varint.push(number as u8 | 128);
        number >>= 7;
    }
    varint.push(number as u8);
    bytes.splice(start..end, varint);
}
