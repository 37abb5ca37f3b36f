//! Which way up a picture is, as Pillow's `ImageOps.exif_transpose` finds it: EXIF says, or where it
//! is silent XMP.

use std::io::Read;

use image::ImageFormat;

use super::{Rgb, Undecodable, webp};
use crate::memory;

/// The picture is as it is seen.
pub const UPRIGHT: u8 = 1;

/// What a file says of its picture.
#[derive(Debug, Clone, Default)]
pub struct Tags {
    /// The TIFF structure that holds EXIF's.
    pub exif: Vec<u8>,
    pub xmp: Vec<u8>,
}

impl Tags {
    /// EXIF's orientation, 1 to 8.
    pub fn orientation(&self) -> u8 {
        let said = in_exif(&self.exif).or_else(|| in_xmp(&self.xmp));
        said.map_or(UPRIGHT, |n| match n {
            1..=8 => n as u8,
            _ => UPRIGHT,
        })
    }
}

/// The orientation of a file that is no JPEG.
pub fn of(bytes: &[u8], format: ImageFormat) -> u8 {
    let tags = match format {
        ImageFormat::Png => png(bytes),
        ImageFormat::WebP => webp(bytes),
        _ => Tags::default(),
    };
    tags.orientation()
}

/// The tag of the first directory, whatever type of whole numbers it has. A broken EXIF block leaves
/// a readable image.
fn in_exif(exif: &[u8]) -> Option<u32> {
    const ORIENTATION: u32 = 0x112;
    let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let is_little = match exif.first_chunk::<4>()? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let number = |at: usize, count: usize| -> Option<u32> {
        let bytes = exif.get(at..at.checked_add(count)?)?;
        let append = |n: u32, &byte: &u8| n << 8 | u32::from(byte);
        Some(if is_little {
            bytes.iter().rev().fold(0, append)
        } else {
            bytes.iter().fold(0, append)
        })
    };
    let start = number(4, 4)? as usize;
    let entries = number(start, 2)? as usize;
    let mut found = None;
    for entry in 0..entries {
        let at = start.checked_add(2 + 12 * entry)?;
        let Some(tag) = number(at, 2) else { break };
        if tag != ORIENTATION || number(at + 4, 4) != Some(1) {
            continue;
        }
        let (short, long) = (number(at + 8, 2), number(at + 8, 4));
        found = match number(at + 2, 2) {
            Some(3 | 8) => short, // SHORT and its signed sister
            Some(4 | 9 | 13) => long,
            _ => found,
        };
    }
    found
}

/// `tiff:Orientation="6"` or `<tiff:Orientation>6`.
fn in_xmp(xmp: &[u8]) -> Option<u32> {
    const NAME: &[u8] = b"tiff:Orientation";
    let after = |at: usize| {
        let rest = &xmp[at + NAME.len()..];
        let value = rest
            .strip_prefix(b"=\"")
            .or_else(|| rest.strip_prefix(b">"))?;
        let digit = value.first().filter(|byte| byte.is_ascii_digit())?;
        Some(u32::from(digit - b'0'))
    };
    let mut windows = xmp.windows(NAME.len()).enumerate();
    windows.find_map(|(at, window)| (window == NAME).then(|| after(at)).flatten())
}

/// The chunks `eXIf` and `iTXt`, and what ImageMagick writes in place of the first.
fn png(bytes: &[u8]) -> Tags {
    let mut tags = Tags::default();
    let mut raw_profile = None;
    let mut rest = bytes.get(8..).unwrap_or_default();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some((name, content)) = after.split_first_chunk::<4>() else {
            break;
        };
        let Some(content) = content.get(..length) else {
            break;
        };
        match name {
            b"eXIf" => tags.exif = content.to_vec(),
            b"iTXt" => {
                if let Some(text) = international_text(content, b"XML:com.adobe.xmp") {
                    tags.xmp = text;
                }
            }
            b"tEXt" => raw_profile = text(content, false).or(raw_profile),
            b"zTXt" => raw_profile = text(content, true).or(raw_profile),
            _ => {}
        }
        // The checksum follows.
        rest = after.get(4 + length + 4..).unwrap_or_default();
    }
    if tags.exif.is_empty() {
        tags.exif = raw_profile
            .and_then(|text| of_hex(&text))
            .unwrap_or_default();
    }
    tags
}

fn international_text(content: &[u8], keyword: &[u8]) -> Option<Vec<u8>> {
    let rest = content.strip_prefix(keyword)?.strip_prefix(b"\0")?;
    let (&[is_compressed, _], rest) = rest.split_first_chunk::<2>()?;
    let mut parts = rest.splitn(3, |&byte| byte == 0);
    let text = parts.nth(2)?;
    match is_compressed {
        0 => Some(text.to_vec()),
        _ => inflated(text),
    }
}

fn text(content: &[u8], is_compressed: bool) -> Option<Vec<u8>> {
    let rest = content.strip_prefix(b"Raw profile type exif\0")?;
    if is_compressed {
        inflated(rest.strip_prefix(b"\0")?)
    } else {
        Some(rest.to_vec())
    }
}

/// As much as Pillow takes of a compressed text.
fn inflated(bytes: &[u8]) -> Option<Vec<u8>> {
    const MOST: u64 = 1 << 20;
    let mut text = Vec::new();
    let decoder = flate2::read::ZlibDecoder::new(bytes).take(MOST);
    { decoder }.read_to_end(&mut text).ok()?;
    Some(text)
}

/// The bytes of a profile: three lines of heading, and hexadecimal numbers.
fn of_hex(text: &[u8]) -> Option<Vec<u8>> {
    let lines = text.split(|&byte| byte == b'\n').skip(3);
    let digits: Vec<u8> = lines
        .flatten()
        .filter_map(|&byte| char::from(byte).to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    let pairs = digits.as_chunks::<2>().0.iter();
    Some(pairs.map(|[high, low]| 16 * high + low).collect())
}

fn webp(bytes: &[u8]) -> Tags {
    let chunks = webp::chunks(bytes).unwrap_or_default();
    let content = |wanted: &[u8; 4]| {
        let found = chunks.iter().find(|(name, _)| *name == wanted);
        found
            .map(|(_, content)| content.to_vec())
            .unwrap_or_default()
    };
    Tags {
        exif: content(b"EXIF"),
        xmp: content(b"XMP "),
    }
}

/// The picture as it is seen.
pub fn turned(picture: Rgb, orientation: u8) -> Result<Rgb, Undecodable> {
    let (width, height) = (picture.width, picture.height);
    // Where pixel (x, y) of the result comes from.
    let source: fn(usize, usize, usize, usize) -> (usize, usize) = match orientation {
        2 => |x, y, w, _| (w - 1 - x, y),
        3 => |x, y, w, h| (w - 1 - x, h - 1 - y),
        4 => |x, y, _, h| (x, h - 1 - y),
        5 => |x, y, _, _| (y, x),
        6 => |x, y, _, h| (y, h - 1 - x),
        7 => |x, y, w, h| (w - 1 - y, h - 1 - x),
        8 => |x, y, w, _| (w - 1 - y, x),
        _ => return Ok(picture),
    };
    let (across, down) = match orientation {
        5.. => (height, width),
        _ => (width, height),
    };
    let mut pixels = memory::zeroed::<u8>(picture.pixels.len())?;
    let from = picture.pixels.as_chunks::<3>().0;
    for (y, row) in pixels
        .as_chunks_mut::<3>()
        .0
        .chunks_exact_mut(across)
        .enumerate()
    {
        for (x, pixel) in row.iter_mut().enumerate() {
            let (source_x, source_y) = source(x, y, width, height);
            *pixel = from[source_y * width + source_x];
        }
    }
    Ok(Rgb::new(across, down, pixels))
}
