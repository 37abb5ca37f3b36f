//! What the header of a file claims, against what a file of its length can hold: before anything is
//! taken for it. (JPEG looks after itself, and the header of a TIFF is not in one
//! place: its decoder asks.)

use image::ImageFormat;

use super::webp::{self, Chunk};
use super::{Undecodable, check_size, too_few, truncated};

/// Pixels that a file of any length may claim: flat pictures take next to no bytes in some formats,
/// and nobody has larger ones than this.
const ALWAYS: u64 = 1 << 24;

/// An error where the file claims more pixels than it can hold.
pub fn check(bytes: &[u8], format: ImageFormat) -> Result<(), Undecodable> {
    match format {
        ImageFormat::Png => png(bytes),
        ImageFormat::Gif => gif(bytes),
        ImageFormat::Bmp => bmp(bytes),
        ImageFormat::WebP => return webp(bytes),
        _ => None,
    }
    .unwrap_or(Ok(())) // the decoder says what is missing
}

/// `None` where the header ends early.
type Checked = Option<Result<(), Undecodable>>;

/// An error unless so many pixels are within the limits, and fit at `most` in a byte.
fn fits(bytes: &[u8], (width, height): (u64, u64), most: u64) -> Result<(), Undecodable> {
    check_size(width, height)?;
    if width * height > ALWAYS.max(most.saturating_mul(bytes.len() as u64)) {
        Err(too_few(bytes.len(), width, height))
    } else {
        Ok(())
    }
}

fn big(bytes: &[u8], at: usize) -> Option<u64> {
    let number = bytes.get(at..at + 4)?.first_chunk()?;
    Some(u32::from_be_bytes(*number).into())
}

/// The little-endian number of `count` bytes.
fn little(bytes: &[u8], at: usize, count: usize) -> Option<u64> {
    let number = bytes.get(at..at.checked_add(count)?)?;
    Some(
        number
            .iter()
            .rev()
            .fold(0, |n, &byte| n << 8 | u64::from(byte)),
    )
}

/// Deflate makes at most 1,032 bytes of one: 258 of two bits.
fn png(bytes: &[u8]) -> Checked {
    let size @ (width, height) = (big(bytes, 16)?, big(bytes, 20)?);
    let channels = match bytes.get(25)? {
        2 => 3,
        4 => 2,
        6 => 4,
        _ => 1,
    };
    let bits = u64::from(*bytes.get(24)?) * channels;
    if let Err(refused) = check_size(width, height) {
        return Some(Err(refused));
    }
    let raw = height * (1 + (width * bits).div_ceil(8));
    Some(if raw > 1032 * bytes.len() as u64 {
        Err(too_few(bytes.len(), size.0, size.1))
    } else {
        Ok(())
    })
}

/// A code of 12 bits stands for 4,096 pixels at most. The first frame need not be as large as the
/// screen, nor within it.
fn gif(bytes: &[u8]) -> Checked {
    const MOST: u64 = 4096 * 8 / 12 + 1;
    let table = |flags: u8| match flags & 0x80 {
        0 => 0,
        _ => 3 << ((flags & 7) + 1),
    };
    let screen = (little(bytes, 6, 2)?, little(bytes, 8, 2)?);
    if let Err(refused) = fits(bytes, screen, MOST) {
        return Some(Err(refused));
    }
    let mut at = 13 + table(*bytes.get(10)?);
    while *bytes.get(at)? == 0x21 {
        at += 2;
        while let length @ 1.. = usize::from(*bytes.get(at)?) {
            at += 1 + length;
        }
        at += 1;
    }
    if bytes[at] != 0x2c {
        return None;
    }
    let frame = (little(bytes, at + 5, 2)?, little(bytes, at + 7, 2)?);
    Some(fits(bytes, frame, MOST))
}

/// Rows as they are, or runs, of which the one that skips covers 255 × 255 pixels in four bytes.
fn bmp(bytes: &[u8]) -> Checked {
    const CORE_HEADER: u64 = 12;
    let (size, bits, is_run_length) = match little(bytes, 14, 4)? {
        CORE_HEADER => (
            (little(bytes, 18, 2)?, little(bytes, 20, 2)?),
            little(bytes, 24, 2)?,
            false,
        ),
        _ => {
            let side = |at| little(bytes, at, 4).map(|n| u64::from((n as i32).unsigned_abs()));
            let compression = little(bytes, 30, 4)?;
            (
                (side(18)?, side(22)?),
                little(bytes, 28, 2)?,
                matches!(compression, 1 | 2),
            )
        }
    };
    if let Err(refused) = check_size(size.0, size.1) {
        return Some(Err(refused));
    }
    let row = (size.0 * bits).div_ceil(8);
    Some(if is_run_length {
        fits(bytes, size, 255 * 255 / 4 + 1)
    } else if row * size.1 > bytes.len() as u64 {
        Err(truncated())
    } else {
        Ok(())
    })
}

/// A code of LZW, 12 bits, stands for 4,096 bytes at most, which are as many pixels at most; those of
/// one bit are no more than [`ALWAYS`].
pub fn tiff(bytes: &[u8], width: u64, height: u64) -> Result<(), Undecodable> {
    fits(bytes, (width, height), 4096 * 8 / 12 + 1)
}

/// Lossy pictures spend two bits at least on a block of 16 × 16; flat ones without loss, none.
fn webp(bytes: &[u8]) -> Result<(), Undecodable> {
    const MOST: u64 = 16 * 16 * 8 / 2;
    let chunks = webp::chunks(bytes)?;
    let mut sized = chunks.iter().filter(|(name, _)| SIZED.contains(name));
    sized.try_for_each(|chunk| {
        let size = size_of_chunk(chunk).ok_or_else(truncated)?;
        fits(bytes, size, MOST)
    })
}

/// Chunks of WebP that claim a size.
const SIZED: [&[u8; 4]; 4] = [b"VP8X", b"ANMF", b"VP8 ", b"VP8L"];

/// Width and height that a chunk claims, where all of its header is there.
fn size_of_chunk(&(name, content): &Chunk) -> Option<(u64, u64)> {
    let sides = |at: usize| Some((little(content, at, 3)? + 1, little(content, at + 3, 3)? + 1));
    match name {
        b"VP8X" => sides(4),
        b"ANMF" => sides(6),
        b"VP8 " => {
            let side = |at| little(content, at, 2).map(|n| n & 0x3fff);
            Some((side(6)?, side(8)?))
        }
        b"VP8L" => {
            let packed = little(content, 1, 4)?;
            Some(((packed & 0x3fff) + 1, (packed >> 14 & 0x3fff) + 1))
        }
        _ => None,
    }
}
