//! Bytes of an image file to RGB.
//!
//! What Pillow reads in its strict mode is read, what it refuses is refused; `tests/data.rs` lists
//! the cases. The content decides the format, the file's name does not. Of an animation the first
//! frame counts.

use std::io::Cursor;
use std::panic::catch_unwind;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage};

use super::jpeg;
use super::rgb::Rgb;

/// Most pixels an image may claim to have: Pillow's limit against decompression bombs, half a
/// gibibyte of RGB.
pub const MAX_PIXELS: u64 = 178_956_970;

/// Longest side of an image, that of JPEG. Pillow has no such limit, but the buffers of the resize
/// grow with the width.
pub const MAX_SIDE: u64 = 65_535;

/// Bytes a decoder may hold at once: an image of [`MAX_PIXELS`] with 16-bit alpha.
const MAX_ALLOC: u64 = 8 * MAX_PIXELS;

/// Why an image cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Undecodable(pub String);

/// Decodes an image file of any colour mode, turned upright by its EXIF orientation.
///
/// Transparency is laid on white, as transformers 5 does; of 16-bit channels the high byte counts,
/// as in Pillow (which clips 16-bit grey at 255 instead; nearly all of such an image would be white).
pub fn decode(bytes: &[u8]) -> Result<Rgb, Undecodable> {
    if bytes.is_empty() {
        return Err(Undecodable("the file is empty".into()));
    }
    // Decoders from elsewhere assert much about bytes that anyone may have written; one image must
    // not end a run.
    catch_unwind(|| decode_upright(bytes)).unwrap_or_else(|_| {
        Err(Undecodable(
            "it is so broken that its decoder gave up".into(),
        ))
    })
}

fn decode_upright(bytes: &[u8]) -> Result<Rgb, Undecodable> {
    let reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .expect("reading from memory cannot fail");
    let (mut image, orientation) = match reader.format() {
        Some(ImageFormat::Jpeg) => jpeg::decode(bytes)?,
        Some(format) if format.reading_enabled() => decode_other(reader)?,
        Some(format) => {
            return Err(Undecodable(format!(
                "{format:?} is not among the formats that are read (JPEG, PNG, GIF, BMP, WebP)"
            )));
        }
        None => {
            return Err(Undecodable(
                "not an image: the content is not JPEG, PNG, GIF, BMP or WebP".into(),
            ));
        }
    };
    image.apply_orientation(orientation);
    Ok(to_rgb(image))
}

/// Refuses sizes that a few lying bytes could claim.
pub(super) fn check_size(width: u64, height: u64) -> Result<(), Undecodable> {
    match (width, height) {
        (0, _) | (_, 0) => Err(Undecodable(format!("its size is {width} × {height}"))),
        _ if width.saturating_mul(height) > MAX_PIXELS => Err(Undecodable(format!(
            "its header claims {width} × {height} pixels, more than the limit of {MAX_PIXELS}"
        ))),
        _ if width.max(height) > MAX_SIDE => Err(Undecodable(format!(
            "its header claims {width} × {height} pixels, a side beyond the limit of {MAX_SIDE}"
        ))),
        _ => Ok(()),
    }
}

fn decode_other(
    mut reader: ImageReader<Cursor<&[u8]>>,
) -> Result<(DynamicImage, Orientation), Undecodable> {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_ALLOC);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(describe)?;
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into())?;
    // A broken EXIF block leaves a readable image; Pillow ignores it too.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(describe)?;
    Ok((image, orientation))
}

fn describe(error: ImageError) -> Undecodable {
    match error {
        ImageError::Limits(_) => Undecodable(format!(
            "its header claims more than the limit of {MAX_PIXELS} pixels"
        )),
        ImageError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            Undecodable("the file is truncated".into())
        }
        other => Undecodable(other.to_string()),
    }
}

fn to_rgb(image: DynamicImage) -> Rgb {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let high = |v: u16| (v >> 8) as u8;
    let pixels = match image {
        DynamicImage::ImageRgb8(image) => image.into_raw(),
        DynamicImage::ImageLuma8(image) => image.iter().flat_map(|&v| [v; 3]).collect(),
        DynamicImage::ImageLuma16(image) => image.iter().flat_map(|&v| [high(v); 3]).collect(),
        DynamicImage::ImageRgb16(image) => image.iter().map(|&v| high(v)).collect(),
        DynamicImage::ImageRgba16(image) => image
            .pixels()
            .flat_map(|p| on_white(p.0.map(high)))
            .collect(),
        DynamicImage::ImageLumaA16(image) => image
            .pixels()
            .flat_map(|p| {
                let [grey, alpha] = p.0.map(high);
                on_white([grey, grey, grey, alpha])
            })
            .collect(),
        other => other
            .to_rgba8()
            .pixels()
            .flat_map(|p| on_white(p.0))
            .collect(),
    };
    Rgb::new(width, height, pixels)
}

/// Pillow's `alpha_composite` over opaque white, whose integer arithmetic keeps 7 extra bits.
fn on_white([r, g, b, alpha]: [u8; 4]) -> [u8; 3] {
    let alpha = u32::from(alpha);
    [r, g, b].map(|v| {
        let blend = (u32::from(v) * alpha + 255 * (255 - alpha)) * 128 + (128 << 7);
        ((((blend >> 8) + blend) >> 8) >> 7) as u8
    })
}

/// Wraps raw RGB, for the JPEG decoder.
pub(super) fn rgb8(width: usize, height: usize, pixels: Vec<u8>) -> DynamicImage {
    let image = RgbImage::from_raw(width as u32, height as u32, pixels);
    DynamicImage::ImageRgb8(image.expect("the buffer was sized for these dimensions"))
}
