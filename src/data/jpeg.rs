//! JPEG: the decoder is zune-jpeg, the judgement of what is too broken to use is here.
//!
//! Neither of zune's modes decides as libjpeg, and so Pillow, does: the lenient one paints what a
//! truncated file lacks in grey, the strict one refuses harmless bytes between segments (which
//! photos of the real cats-vs-dogs set have). So it runs leniently, after [`check_complete`].
//!
//! Against libjpeg-turbo on the 4:2:0 photos of that set it is off by at most 7 levels, 0.16 on
//! average: luma is all but the same, but chroma upsampling rounds twice, and upwards (libjpeg once, and to
//! either side). Fine-tuning on the reference's photos, in the reference's own PyTorch, moves the
//! loss of each of the first ten steps by at most 1.2 %, the gradient norm by at most 1.9 %.
//! Rejected: jpeg-decoder 0.3 halves the difference and the speed; turbojpeg wants cmake.

use image::DynamicImage;
use image::metadata::Orientation;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::decode::{Undecodable, check_size, rgb8};

/// Decodes a JPEG file to RGB; CMYK is taken as inverted (Adobe's convention), as in Pillow.
pub fn decode(bytes: &[u8]) -> Result<(DynamicImage, Orientation), Undecodable> {
    let options = DecoderOptions::default()
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .set_strict_mode(false)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(describe)?;
    let (width, height) = decoder.dimensions().expect("headers were decoded");
    check_size(width as u64, height as u64)?;
    check_complete(bytes)?;
    // Every block of 8 × 8 takes at least one bit in the scan of its DC coefficients.
    if width.div_ceil(8) * height.div_ceil(8) > 8 * bytes.len() {
        return Err(Undecodable(format!(
            "its {} bytes are too few for the {width} × {height} pixels of its header",
            bytes.len()
        )));
    }
    let pixels = decoder.decode().map_err(describe)?;
    let orientation = decoder
        .exif()
        .and_then(|exif| Orientation::from_exif_chunk(exif))
        .unwrap_or(Orientation::NoTransforms);
    Ok((rgb8(width, height, pixels), orientation))
}

fn describe(error: impl std::fmt::Debug) -> Undecodable {
    let text = format!("{error:?}");
    Undecodable(format!("broken JPEG: {}", text.trim().trim_matches('"')))
}

/// Walks the markers as libjpeg does from the start to the end of the image: the file must have
/// an end-of-image marker, and on the way there no second frame and no marker that does not exist.
///
/// libjpeg stops decoding at an unexpected marker within the compressed data with a mere warning,
/// but it meets that marker again on its way to the end of the image, and those two are fatal.
fn check_complete(bytes: &[u8]) -> Result<(), Undecodable> {
    const TEM: u8 = 0x01;
    let truncated = || Undecodable("the JPEG is truncated: it has no end-of-image marker".into());
    let mut at = 2; // after the start-of-image marker
    let mut frames = 0;
    loop {
        // Compressed data and stray bytes run up to the next FF that neither 00 nor FF follows.
        let marker = loop {
            at += bytes
                .get(at..)
                .and_then(|rest| rest.iter().position(|&b| b == 0xff))
                .ok_or_else(truncated)?;
            at += 1;
            match *bytes.get(at).ok_or_else(truncated)? {
                0xff => {}
                0x00 => at += 1,
                marker => break marker,
            }
        };
        at += 1;
        match marker {
            0xd9 => return Ok(()),
            TEM | 0xd0..=0xd7 => continue, // no segment follows
            0xd8 => return Err(Undecodable("broken JPEG: a second image starts".into())),
            0xc4 | 0xc8 | 0xcc => {} // Huffman tables, an extension, arithmetic conditioning
            0xc0..=0xcf => {
                frames += 1;
                if frames > 1 {
                    return Err(Undecodable("broken JPEG: a second frame header".into()));
                }
                check_sampling(bytes.get(at..).unwrap_or_default())?;
            }
            0x02..=0xbf => {
                return Err(Undecodable(format!(
                    "broken JPEG: marker FF{marker:02X} within the data does not exist"
                )));
            }
            _ => {}
        }
        let length = bytes.get(at..at + 2).ok_or_else(truncated)?;
        at += usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
    }
}

/// The first component must be the finest, as luma is in every real file: zune-jpeg 0.5.15 sizes a
/// buffer by it, and panics.
fn check_sampling(frame: &[u8]) -> Result<(), Undecodable> {
    // Length (2 bytes), precision, height (2), width (2), components; then three bytes for each,
    // of which the second holds the horizontal and the vertical sampling factor.
    let components = frame.get(7).copied().unwrap_or_default();
    let factors = frame.iter().skip(9).step_by(3).take(components.into());
    let finest = |shift: u32| factors.clone().map(|&f| (f >> shift) & 15).max();
    let first = factors.clone().next().map(|&f| (f >> 4, f & 15));
    match (first, finest(4), finest(0)) {
        (Some((h, v)), Some(most_h), Some(most_v)) if h < most_h || v < most_v => Err(Undecodable(
            "a JPEG whose colours are sampled more finely than its brightness is not read".into(),
        )),
        _ => Ok(()),
    }
}
