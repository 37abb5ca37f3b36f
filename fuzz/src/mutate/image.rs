//! Changes of PNG chunks, their check sums kept right, of RIFF chunks (WebP), their lengths kept right, and
//! of the entries of a TIFF directory. GIF and BMP have none of them.

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
    b"II*\0",
    b"MM\0*",
    b"II+\0",
];

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Name and content of a chunk.
type Chunk = ([u8; 4], Vec<u8>);

pub fn change(file: &[u8], other: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    if file.starts_with(b"II*\0") {
        return tiff(file, rng);
    }
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

/// Changes an entry of the first directory: its tag, type, count or value.
fn tiff(file: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    const TAGS: [u16; 20] = [
        256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325,
        338, 339,
    ];
    let number = |at: usize| Some(u32::from_le_bytes(*file.get(at..)?.first_chunk()?));
    let directory = number(4)? as usize;
    let entries = usize::from(number(directory)? as u16);
    if entries == 0 {
        return None;
    }
    let entry = directory + 2 + 12 * rng.below(entries);
    let mut file = file.to_vec();
    let mut put = |at: usize, bytes: &[u8]| {
        let place = file.get_mut(entry + at..entry + at + bytes.len());
        place.map(|place| place.copy_from_slice(bytes))
    };
    let numbers = [
        0_u32,
        1,
        2,
        3,
        4,
        5,
        8,
        16,
        17,
        32,
        255,
        1000,
        32_773,
        65_535,
        1 << 24,
        u32::MAX,
    ];
    match rng.below(5) {
        0 => put(0, &rng.pick(&TAGS).to_le_bytes()),
        1 => put(2, &(rng.below(19) as u16).to_le_bytes()),
        2 => put(4, &rng.pick(&numbers).to_le_bytes()),
        _ => put(8, &rng.pick(&numbers).to_le_bytes()),
    }?;
    Some(file)
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
