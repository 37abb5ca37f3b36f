//! Changes of JPEG segments, their lengths kept right, and of the data between them.

use super::bytes;
use crate::rng::Rng;

pub const TOKENS: &[&[u8]] = &[
    b"\xff\xd8",
    b"\xff\xd9",
    b"\xff\xc0",
    b"\xff\xc2",
    b"\xff\xc4",
    b"\xff\xda",
    b"\xff\xdb",
    b"\xff\xdd",
    b"\xff\xd0",
    b"\xff\xd7",
    b"\xff\x00",
    b"\xff\xff",
    b"Exif\0\0II*\0",
    b"Adobe\0",
    b"JFIF\0",
    b"\x00\x3f\x00",
    b"\x01\x3f\x13",
];

const SOF0: u8 = 0xc0;
const SOF2: u8 = 0xc2;
const SOS: u8 = 0xda;
const DRI: u8 = 0xdd;

/// A marker, its segment, and the data up to the next marker.
#[derive(Debug, Clone)]
struct Part {
    marker: u8,
    segment: Option<Vec<u8>>,
    data: Vec<u8>,
}

fn parts(mut file: &[u8]) -> Vec<Part> {
    let mut parts = Vec::new();
    while let Some((&[0xff, marker], rest)) = file.split_first_chunk::<2>() {
        let is_alone = matches!(marker, 0x01 | 0xd0..=0xd9);
        let length = rest.first_chunk::<2>().map(|&l| u16::from_be_bytes(l));
        let (segment, rest) = match length.map(usize::from) {
            Some(length) if !is_alone && (2..=rest.len()).contains(&length) => {
                (Some(rest[2..length].to_vec()), &rest[length..])
            }
            _ => (None, rest),
        };
        let is_marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff);
        let end = rest.windows(2).position(is_marker).unwrap_or(rest.len());
        parts.push(Part {
            marker,
            segment,
            data: rest[..end].to_vec(),
        });
        file = &rest[end..];
    }
    parts
}

fn file(parts: &[Part]) -> Vec<u8> {
    let mut file = Vec::new();
    for part in parts {
        file.extend([0xff, part.marker]);
        if let Some(segment) = &part.segment {
            let segment = &segment[..segment.len().min(0xfffd)];
            file.extend((segment.len() as u16 + 2).to_be_bytes());
            file.extend(segment);
        }
        file.extend(&part.data);
    }
    file
}

pub fn change(bytes: &[u8], other: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let mut all = parts(bytes);
    if all.is_empty() {
        return None;
    }
    let others = parts(other);
    let at = rng.below(all.len());
    match rng.below(6) {
        0 => bytes::change_list(&mut all, &others, rng),
        1 => change_header(&mut all, rng),
        2 | 3 => {
            let with_data = |part: &&mut Part| !part.data.is_empty();
            let mut found: Vec<&mut Part> = all.iter_mut().filter(with_data).collect();
            let count = found.len();
            let part = found.get_mut(rng.below(count))?;
            change_data(&mut part.data, others.last().map_or(&[], |o| &o.data), rng);
        }
        _ => {
            let part = &mut all[at];
            match &mut part.segment {
                Some(segment) => {
                    let others = others.iter().find(|o| o.marker == part.marker);
                    let other = others.and_then(|o| o.segment.as_deref());
                    bytes::change(segment, other.unwrap_or_default(), &[], rng);
                }
                None => part.marker = rng.word() as u8,
            }
        }
    }
    Some(file(&all))
}

/// Changes a number of the frame's, a scan's or the restarts' header.
fn change_header(parts: &mut [Part], rng: &mut Rng) {
    let is_header = |p: &&mut Part| matches!(p.marker, SOF0..=SOF2 | SOS | DRI);
    let mut headers: Vec<&mut Part> = parts.iter_mut().filter(is_header).collect();
    if headers.is_empty() {
        return;
    }
    let at = rng.below(headers.len());
    let Part {
        marker, segment, ..
    } = &mut *headers[at];
    let Some(segment) = segment.as_mut().filter(|segment| segment.len() > 1) else {
        return;
    };
    let end = segment.len();
    match (*marker, rng.below(3)) {
        (SOF0..=SOF2, 0) => *marker = *rng.pick(&[SOF0, 0xc1, SOF2]),
        (SOF0..=SOF2, 1) if end > 5 => {
            let side = *rng.pick(&[
                0, 1, 7, 8, 9, 16, 17, 33, 257, 1000, 4096, 65_500, 65_535_u16,
            ]);
            let at = *rng.pick(&[1, 3]);
            segment[at..at + 2].copy_from_slice(&side.to_be_bytes());
        }
        (SOF0..=SOF2, _) => {
            let sampling = *rng.pick(&[0x11, 0x12, 0x21, 0x22, 0x14, 0x41, 0x44, 0x13, 0x31]);
            segment[end.saturating_sub(2 + 3 * rng.below(3)).min(end - 1)] = sampling;
        }
        (SOS, 0) => segment[end - 1] = *rng.pick(&[0, 1, 0x10, 0x21, 0x0d, 0xd0, 0xed]),
        (SOS, 1) if end > 3 => {
            segment[end - 2] = *rng.pick(&[0, 1, 5, 63, 64]);
            segment[end - 3] = *rng.pick(&[0, 1, 5, 63]);
        }
        _ => {
            let at = rng.below(end);
            segment[at] = bytes::number(rng) as u8;
        }
    }
}

/// Changes compressed data; a zero is stuffed behind each FF but for a few.
fn change_data(data: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    let mut plain = Vec::with_capacity(data.len());
    for (i, &byte) in data.iter().enumerate() {
        if !(byte == 0 && i > 0 && data[i - 1] == 0xff) {
            plain.push(byte);
        }
    }
    bytes::change(&mut plain, other, &[], rng);
    data.clear();
    for byte in plain {
        data.push(byte);
        if byte == 0xff && !rng.once_in(50) {
            data.push(0);
        }
    }
}
