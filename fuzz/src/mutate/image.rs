//! Changes of PNG chunks, their check sums kept right, and of RIFF chunks (WebP), their lengths kept
//! right. GIF and BMP have neither.

use super::bytes;
use crate::rng::Rng;

pub const TOKENS: &[&[u8]] = &[
    b"\x89PNG\r\n\x1a\n",
    b"IHDR",
    b"PLTE",
    b"tRNS",
    b"IDAT",
    b"IEND",
    b"acTL",
    b"fcTL",
    b"fdAT",
    b"eXIf",
    b"iCCP",
    b"GIF89a",
    b"\x21\xf9\x04",
    b"\x2c\0\0\0\0",
    b"\x21\xff\x0bNETSCAPE2.0",
    b"BM",
    b"RIFF",
    b"WEBP",
    b"VP8 ",
    b"VP8L",
    b"VP8X",
    b"ALPH",
    b"ANIM",
    b"ANMF",
    b"\x9d\x01\x2a",
];

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Name and content of a chunk.
type Chunk = ([u8; 4], Vec<u8>);

pub fn change(file: &[u8], other: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let is_png = file.starts_with(PNG);
    let split = |file: &[u8]| {
        if is_png {
            png_chunks(file)
        } else {
            riff_chunks(file)
        }
    };
    let mut chunks = split(file);
    if chunks.is_empty() {
        return None;
    }
    let others = split(other);
    match rng.below(5) {
        0 => bytes::change_list(&mut chunks, &others, rng),
        1 => {
            // The first one says what the image is like.
            let (name, content) = &mut chunks[0];
            if name == b"IHDR" && content.len() == 13 {
                change_png_header(content, rng);
            } else {
                bytes::change(content, &[], &[], rng);
            }
        }
        _ => {
            let at = rng.below(chunks.len());
            let (name, content) = &mut chunks[at];
            let same = others.iter().find(|(other, _)| other == name);
            let same = same.map_or(&[][..], |(_, content)| content);
            bytes::change(content, same, &[], rng);
        }
    }
    Some(if is_png { png(&chunks) } else { riff(&chunks) })
}

fn change_png_header(header: &mut [u8], rng: &mut Rng) {
    match rng.below(4) {
        0 => header[8] = *rng.pick(&[1, 2, 4, 8, 16]),
        1 => header[9] = *rng.pick(&[0, 2, 3, 4, 6]),
        2 => header[12] ^= 1,
        _ => {
            let side = *rng.pick(&[0_u32, 1, 3, 9, 17, 100, 1000, 13_000, 65_535, 1 << 31]);
            let at = *rng.pick(&[0, 4]);
            header[at..at + 4].copy_from_slice(&side.to_be_bytes());
        }
    }
}

fn png_chunks(file: &[u8]) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut rest = file.strip_prefix(PNG).unwrap_or_default();
    while let Some((&head, after)) = rest.split_first_chunk::<8>() {
        let [a, b, c, d, name @ ..] = head;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let content = &after[..length.min(after.len())];
        chunks.push((name, content.to_vec()));
        rest = after.get(content.len() + 4..).unwrap_or_default();
    }
    chunks
}

fn png(chunks: &[Chunk]) -> Vec<u8> {
    let mut file = PNG.to_vec();
    for (name, content) in chunks {
        file.extend((content.len() as u32).to_be_bytes());
        let start = file.len();
        file.extend(name);
        file.extend(content);
        let sum = crc32fast::hash(&file[start..]);
        file.extend(sum.to_be_bytes());
    }
    file
}

fn riff_chunks(file: &[u8]) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    if !(file.starts_with(b"RIFF") && file.get(8..12) == Some(b"WEBP")) {
        return chunks;
    }
    let mut rest = &file[12..];
    while let Some((&head, after)) = rest.split_first_chunk::<8>() {
        let [name @ .., a, b, c, d] = head;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        let content = &after[..length.min(after.len())];
        chunks.push((name, content.to_vec()));
        rest = after
            .get(content.len().next_multiple_of(2)..)
            .unwrap_or_default();
    }
    chunks
}

fn riff(chunks: &[Chunk]) -> Vec<u8> {
    let mut body = b"WEBP".to_vec();
    for (name, content) in chunks {
        body.extend(name);
        body.extend((content.len() as u32).to_le_bytes());
        body.extend(content);
        body.resize(body.len().next_multiple_of(2), 0);
    }
    let mut file = b"RIFF".to_vec();
    file.extend((body.len() as u32).to_le_bytes());
    file.extend(body);
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_put_together_as_they_were() {
        let chunks = vec![(*b"IHDR", vec![1, 2, 3]), (*b"IEND", vec![])];
        assert_eq!(png_chunks(&png(&chunks)), chunks);
        assert_eq!(riff_chunks(&riff(&chunks)), chunks);
    }
}
