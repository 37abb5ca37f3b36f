//! Markers, segments, and the compressed data between them (ITU-T T.81, Annex B).

use super::{Undecodable, broken};

pub const SOI: u8 = 0xd8;
pub const EOI: u8 = 0xd9;
pub const SOS: u8 = 0xda;
pub const DQT: u8 = 0xdb;
pub const DRI: u8 = 0xdd;
pub const DHT: u8 = 0xc4;
pub const DAC: u8 = 0xcc;
pub const TEM: u8 = 0x01;
pub const RST0: u8 = 0xd0;
pub const RST7: u8 = 0xd7;
pub const APP0: u8 = 0xe0;
pub const APP1: u8 = 0xe1;
pub const APP14: u8 = 0xee;
pub const APP15: u8 = 0xef;
pub const COM: u8 = 0xfe;

/// A place in the file.
pub struct Markers<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Markers<'a> {
    /// Starts behind the start-of-image marker, which the caller has seen.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 2 }
    }

    /// The next marker, wherever it is: bytes that are none are skipped, as in libjpeg.
    pub fn next(&mut self) -> Result<u8, Undecodable> {
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let start = rest.iter().position(|&b| b == 0xff).ok_or_else(truncated)?;
            self.at += start;
            if let Some(marker) = self.take_marker()? {
                return Ok(marker);
            }
        }
    }

    /// With FF at hand: steps over it, and gives the marker unless a zero is stuffed behind it.
    fn take_marker(&mut self) -> Result<Option<u8>, Undecodable> {
        let rest = &self.bytes[self.at..];
        // Any number of FF may fill the space before a marker.
        let fill = rest.iter().position(|&b| b != 0xff).ok_or_else(truncated)?;
        self.at += fill + 1;
        Ok(Some(rest[fill]).filter(|&marker| marker != 0))
    }

    /// What the segment behind a marker holds, without its length.
    pub fn segment(&mut self) -> Result<&'a [u8], Undecodable> {
        let rest = &self.bytes[self.at..];
        let length = rest.first_chunk::<2>().ok_or_else(truncated)?;
        // A length counts itself; libjpeg forgives one that does not.
        let length = usize::from(u16::from_be_bytes(*length)).max(2);
        let segment = rest.get(2..length).ok_or_else(truncated)?;
        self.at += length;
        Ok(segment)
    }

    /// Replaces `data` by the compressed bytes up to the next marker, stuffed zeros removed, and
    /// gives that marker; none where the file ends first.
    pub fn compressed(&mut self, data: &mut Vec<u8>) -> Option<u8> {
        data.clear();
        loop {
            let rest = &self.bytes[self.at..];
            let run = until_ff(rest).unwrap_or(rest.len());
            data.extend_from_slice(&rest[..run]);
            self.at += run;
            match self.take_marker().ok()? {
                Some(marker) => return Some(marker),
                None => data.push(0xff),
            }
        }
    }
}

/// Bytes before the first FF, sixteen at a time.
fn until_ff(bytes: &[u8]) -> Option<usize> {
    let has_ff = |chunk: &[u8; 16]| chunk.iter().fold(false, |any, &b| any | (b == 0xff));
    let (chunks, _) = bytes.as_chunks();
    let clear = 16 * chunks.iter().take_while(|chunk| !has_ff(chunk)).count();
    let rest = bytes[clear..].iter().position(|&b| b == 0xff)?;
    Some(clear + rest)
}

/// The file ends where it must not.
pub fn truncated() -> Undecodable {
    Undecodable::Bad("the JPEG is truncated: it has no end-of-image marker".into())
}

/// The big-endian number at `at`, which the caller knows to be there.
pub fn number(segment: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([segment[at], segment[at + 1]])
}

/// A segment whose length is not what its content wants.
pub fn wrong_length(name: &str) -> Undecodable {
    broken(format!("its {name} segment has a wrong length"))
}
