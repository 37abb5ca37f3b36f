//! Bytes of an image file to RGB.
//!
//! What Pillow reads in its strict mode is read, what it refuses is refused; `tests/data.rs` lists
//! the cases. The content decides the format, the file's name does not. Of an animation the first
//! frame counts.

mod claims;
mod formats;
mod orientation;
mod pixels;
mod tiff;
mod webp;

use std::io::Cursor;
use std::panic::catch_unwind;

use image::{ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use super::jpeg;
use crate::error::{Error, Result as Done};
use crate::memory::{self, OutOfMemory};
use vitcuda_picture::Rgb;

pub use formats::READ;
pub(super) use orientation::Tags;

/// Most pixels an image may claim to have: Pillow's limit against decompression bombs, half a
/// gibibyte of RGB.
pub const MAX_PIXELS: u64 = 178_956_970;

/// Longest side of an image, that of JPEG. Pillow has no such limit, but the buffers of the resize
/// grow with the width.
pub const MAX_SIDE: u64 = 65_535;

/// Bytes a decoder may hold at once: an image of [`MAX_PIXELS`] with 16-bit alpha.
pub(super) const MAX_ALLOC: u64 = 8 * MAX_PIXELS;

/// Longest file that is read: nothing in it would be larger than as decoded.
pub(super) const MAX_FILE: u64 = MAX_ALLOC + (64 << 20);

/// Why an image cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// It is no image that is read.
    #[error("{0}")]
    Bad(String),
    /// It may be a good one; there is not enough memory to see.
    #[error(transparent)]
    NoMemory(#[from] OutOfMemory),
}

impl Undecodable {
    /// What is wrong with the image called `name`; [`Error::Memory`] where nobody could see.
    pub fn reason(self, name: impl FnOnce() -> String) -> Done<String> {
        match self {
            Self::Bad(reason) => Ok(reason),
            Self::NoMemory(refused) => Err(Error::Memory {
                problem: format!("{}: {refused}", name()),
                help: "close other programs, ask for fewer --threads, or leave that image out"
                    .into(),
            }),
        }
    }
}

/// Decodes an image file of any colour mode, turned upright by its EXIF orientation.
///
/// Transparency is laid on white, as transformers 5 does; of 16-bit channels the high byte counts,
/// as in Pillow (which clips 16-bit grey at 255 instead; nearly all of such an image would be white).
pub fn decode(bytes: &[u8]) -> Result<Rgb, Undecodable> {
    if bytes.is_empty() {
        return Err(Undecodable::Bad("the file is empty".into()));
    }
    // Decoders from elsewhere assert much about bytes that anyone may have written; one image must
    // not end a run.
    catch_unwind(|| decode_upright(bytes)).unwrap_or_else(|_| {
        Err(Undecodable::Bad(
            "it is so broken that its decoder gave up".into(),
        ))
    })
}

fn decode_upright(bytes: &[u8]) -> Result<Rgb, Undecodable> {
    let format = formats::of(bytes)?;
    let (picture, orientation) = match format {
        ImageFormat::Jpeg => jpeg::decode(bytes)?,
        ImageFormat::Tiff => tiff::decode(bytes)?,
        _ => decode_other(bytes, format)?,
    };
    orientation::turned(picture, orientation)
}

/// Refuses sizes that a few lying bytes could claim.
pub(super) fn check_size(width: u64, height: u64) -> Result<(), Undecodable> {
    match (width, height) {
        (0, _) | (_, 0) => Err(Undecodable::Bad(format!("its size is {width} × {height}"))),
        _ if width.saturating_mul(height) > MAX_PIXELS => Err(Undecodable::Bad(format!(
            "its header claims {width} × {height} pixels, more than the limit of {MAX_PIXELS}"
        ))),
        _ if width.max(height) > MAX_SIDE => Err(Undecodable::Bad(format!(
            "its header claims {width} × {height} pixels, a side beyond the limit of {MAX_SIDE}"
        ))),
        _ => Ok(()),
    }
}

/// The file is shorter than a picture of that size can be.
pub(super) fn too_few(bytes: usize, width: u64, height: u64) -> Undecodable {
    Undecodable::Bad(format!(
        "its {bytes} bytes are too few for the {width} × {height} pixels of its header"
    ))
}

fn decode_other(bytes: &[u8], format: ImageFormat) -> Result<(Rgb, u8), Undecodable> {
    let bytes = match format {
        ImageFormat::WebP => webp::within(bytes),
        _ => bytes,
    };
    claims::check(bytes, format)?;
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_ALLOC);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(describe)?;
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into())?;
    let (color, total) = (decoder.color_type(), decoder.total_bytes());
    // What decoders hold besides the result they take without asking, and it is no more than that.
    drop(memory::with_capacity(2 * total)?);
    let mut samples = memory::zeroed(total as usize)?;
    decoder.read_image(&mut samples).map_err(describe)?;
    let picture = pixels::to_rgb(samples, color, width as usize, height as usize)?;
    Ok((picture, orientation::of(bytes, format)))
}

fn describe(error: ImageError) -> Undecodable {
    match error {
        ImageError::Limits(_) => Undecodable::Bad(format!(
            "its header claims more than the limit of {MAX_PIXELS} pixels"
        )),
        ImageError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => truncated(),
        other => Undecodable::Bad(other.to_string()),
    }
}

pub(super) fn truncated() -> Undecodable {
    Undecodable::Bad("the file is truncated".into())
}
