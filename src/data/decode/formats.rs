//! What a file is, by its first bytes.

use image::{ImageFormat, guess_format};

use super::Undecodable;

/// The formats that are read, for messages.
pub const READ: &str = "JPEG, PNG, GIF, BMP, WebP and TIFF";

/// The format of a file that is read; the error names the format of one that is not.
pub fn of(bytes: &[u8]) -> Result<ImageFormat, Undecodable> {
    use ImageFormat::*;
    const BIG_TIFF: [&[u8]; 2] = [b"II+\0", b"MM\0+"];
    if let Ok(format @ (Jpeg | Png | Gif | Bmp | WebP | Tiff)) = guess_format(bytes) {
        return Ok(format);
    }
    if BIG_TIFF.iter().any(|start| bytes.starts_with(start)) {
        return Ok(Tiff);
    }
    Err(Undecodable::Bad(match unread(bytes) {
        Some(name) => format!("{name} is not among the formats that are read ({READ})"),
        None => format!(
            "not an image: the content is not {}",
            READ.replace("and", "or")
        ),
    }))
}

/// What a file is that is not read.
fn unread(bytes: &[u8]) -> Option<&'static str> {
    let brand = bytes.get(4..12).and_then(|b| b.strip_prefix(b"ftyp"));
    if let Some(brand) = brand {
        return Some(match brand {
            b"avif" | b"avis" => "AVIF",
            b"heic" | b"heix" | b"hevc" | b"heim" | b"heis" | b"mif1" | b"msf1" => "HEIC",
            _ => "a video",
        });
    }
    const STARTS: [(&[u8], &str); 13] = [
        (b"\0\0\0\x0cJXL ", "JPEG XL"),
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cjP  ", "JPEG 2000"),
        (b"\xff\x4f\xff\x51", "JPEG 2000"),
        (b"\0\0\x01\0", "ICO"),
        (b"8BPS", "PSD"),
        (b"%PDF", "PDF"),
        (b"qoif", "QOI"),
        (b"DDS ", "DDS"),
        (b"\x76\x2f\x31\x01", "OpenEXR"),
        (b"#?RADIANCE", "Radiance HDR"),
        (b"<svg", "SVG"),
        (b"farbfeld", "farbfeld"),
    ];
    let starts = STARTS.iter().find(|(start, _)| bytes.starts_with(start));
    let is_netpbm = matches!(bytes, [b'P', b'1'..=b'7', b' ' | b'\t' | b'\r' | b'\n', ..]);
    starts.map(|(_, name)| *name).or(is_netpbm.then_some("PNM"))
}
