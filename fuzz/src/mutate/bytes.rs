//! Changes of bytes that know nothing of what they mean.

use crate::rng::Rng;

/// Numbers near which programs go wrong.
const NUMBERS: [u64; 24] = [
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    16,
    31,
    63,
    64,
    127,
    128,
    255,
    256,
    1 << 12,
    (1 << 15) - 1,
    1 << 15,
    (1 << 16) - 1,
    1 << 24,
    (1 << 31) - 1,
    1 << 31,
    1 << 32,
    1 << 62,
];

/// A number near which programs go wrong, or its negative.
pub fn number(rng: &mut Rng) -> u64 {
    let near = rng.pick(&NUMBERS).wrapping_add(rng.below(3) as u64);
    let near = near.wrapping_sub(1);
    if rng.once_in(4) {
        near.wrapping_neg()
    } else {
        near
    }
}

/// A place in `file` and a length from there on, both likely small.
pub fn range(file: &[u8], rng: &mut Rng) -> std::ops::Range<usize> {
    let start = rng.below(file.len().max(1));
    let length = 1 + rng.small(file.len().saturating_sub(start + 1));
    start..(start + length).min(file.len())
}

/// Changes `file` once; parts of `other` and `tokens` may get into it.
pub fn change(file: &mut Vec<u8>, other: &[u8], tokens: &[&[u8]], rng: &mut Rng) {
    if file.is_empty() {
        file.extend(&other[range(other, rng)]);
        return;
    }
    let at = rng.below(file.len());
    match rng.below(13) {
        0 | 1 => file[at] ^= 1 << rng.below(8),
        2 => file[at] = rng.word() as u8,
        3 => file[at] = number(rng) as u8,
        4 => file[at] = file[at].wrapping_add(rng.below(17) as u8).wrapping_sub(8),
        5 => overwrite(file, at, &number_bytes(rng)),
        6 => drop(file.drain(range(file, rng))),
        7 => {
            let part = file[range(file, rng)].to_vec();
            insert(file, at, &part);
        }
        8 => {
            let random: Vec<u8> = (0..1 + rng.below(8)).map(|_| rng.word() as u8).collect();
            insert(file, at, &random);
        }
        9 if !other.is_empty() => insert(file, at, &other[range(other, rng)]),
        10 if !other.is_empty() => overwrite(file, at, &other[range(other, rng)]),
        11 if rng.once_in(4) => file.truncate(at),
        _ if tokens.is_empty() => file[at] = rng.word() as u8,
        _ => {
            let token = rng.pick(tokens);
            if rng.once_in(2) {
                insert(file, at, token)
            } else {
                overwrite(file, at, token)
            }
        }
    }
}

/// Two, four or eight bytes of a number, in either order.
fn number_bytes(rng: &mut Rng) -> Vec<u8> {
    let size = 2 << rng.below(3);
    let number = number(rng);
    if rng.once_in(2) {
        number.to_le_bytes()[..size].to_vec()
    } else {
        number.to_be_bytes()[8 - size..].to_vec()
    }
}

pub fn insert(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    file.splice(at..at, bytes.iter().copied());
}

fn overwrite(file: &mut [u8], at: usize, bytes: &[u8]) {
    let room = (file.len() - at).min(bytes.len());
    file[at..at + room].copy_from_slice(&bytes[..room]);
}

/// A change of a list: an entry left out, doubled, moved, or taken from another list.
pub fn change_list<T: Clone>(list: &mut Vec<T>, others: &[T], rng: &mut Rng) {
    let at = rng.below(list.len() + 1);
    match rng.below(4) {
        0 if at < list.len() => drop(list.remove(at)),
        1 if at < list.len() => list.insert(rng.below(list.len() + 1), list[at].clone()),
        2 if at < list.len() => {
            let to = rng.below(list.len());
            list.swap(at, to);
        }
        _ if !others.is_empty() => list.insert(at, rng.pick(others).clone()),
        _ => {}
    }
}
