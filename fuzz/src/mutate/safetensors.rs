//! Changes of a safetensors file's header, its length kept right, and of its numbers.

use super::{bytes, json};
use crate::rng::Rng;

/// Header and data.
fn parts(file: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = file.split_first_chunk::<8>()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
}

pub fn change(file: &[u8], other: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let (header, data) = parts(file)?;
    let (other_header, other_data) = parts(other).unwrap_or_default();
    let (mut header, mut data) = (header.to_vec(), data.to_vec());
    match rng.below(5) {
        0 => bytes::change(&mut header, other_header, json::TOKENS, rng),
        1 => {
            let special = *rng.pick(&[f32::NAN, f32::INFINITY, f32::MAX, -0.0, 1e-45]);
            let at = rng.below(data.len().max(4) / 4) * 4;
            if let Some(value) = data.get_mut(at..at + 4) {
                value.copy_from_slice(&special.to_le_bytes());
            }
        }
        2 => bytes::change(&mut data, other_data, &[], rng),
        _ => header = json::change(&header, other_header, rng)?,
    }
    let mut changed = (header.len() as u64).to_le_bytes().to_vec();
    changed.extend(header);
    changed.extend(data);
    Some(changed)
}
