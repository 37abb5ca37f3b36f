//! TIFF files: grey, RGB and CMYK of whole numbers, as they are or packed without loss.
//!
//! JPEG within TIFF, palettes, faxes and floating point are refused by name.

use std::io::Cursor;

use image::ColorType;
use tiff::decoder::{Decoder, Limits};
use tiff::tags::{CompressionMethod, ExtraSamples, SampleFormat, Tag};
use tiff::{ColorType as Stored, TiffError};

use super::orientation::Tags;
use super::{MAX_ALLOC, Rgb, Undecodable, claims, pixels, truncated};
use crate::memory;

type File<'a> = Decoder<Cursor<&'a [u8]>>;

/// The first picture of a file, and its orientation.
pub fn decode(bytes: &[u8]) -> Result<(Rgb, u8), Undecodable> {
    let mut limits = Limits::default();
    limits.intermediate_buffer_size = MAX_ALLOC as usize;
    let file = Decoder::new(Cursor::new(bytes)).map_err(describe)?;
    let mut file = file.with_limits(limits);
    let (width, height) = file.dimensions().map_err(describe)?;
    claims::tiff(bytes, width.into(), height.into())?;
    // A tile may reach beyond the picture; a strip is no higher than it, whatever it says.
    let (across, down) = file.chunk_dimensions();
    claims::tiff(bytes, across.into(), down.min(height).into())?;
    let (width, height) = (width as usize, height as usize);
    let layout = Layout::read(&mut file)?;
    let size = layout.row(width) * height;
    let claimed = file.image_buffer_layout().map_err(describe)?.complete_len;
    if claimed != size {
        return Err(unread("TIFF with samples of several kinds"));
    }
    // What the decoder holds besides the result it takes without asking: a strip, at most all of it.
    drop(memory::with_capacity(2 * size as u64)?);
    let mut samples = memory::zeroed(size)?;
    file.read_image_bytes(&mut samples).map_err(describe)?;
    let orientation = orientation(&mut file);
    Ok((layout.picture(samples, width, height)?, orientation))
}

/// As in other files' EXIF, whose structure is that of TIFF; or else as in XMP.
fn orientation(file: &mut File) -> u8 {
    const XMP: Tag = Tag::Unknown(700);
    let tags = Tags {
        exif: Vec::new(),
        xmp: file.get_tag_u8_vec(XMP).unwrap_or_default(),
    };
    let said = file.find_tag_unsigned(Tag::Orientation).ok().flatten();
    said.unwrap_or_else(|| tags.orientation())
}

/// How the samples of a picture lie.
struct Layout {
    kind: Kind,
    channels: usize,
    bits: usize,
    /// All samples of one channel come before those of the next.
    is_planar: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    Color(ColorType),
    /// Eight grey pixels in a byte.
    Bits,
    Cmyk,
    /// RGB that is multiplied by its alpha already.
    Premultiplied,
}

impl Layout {
    fn read(file: &mut File) -> Result<Self, Undecodable> {
        const PALETTE: u16 = 3;
        const PLANAR: u16 = 2;
        let mut numbers = |tag| -> Result<Vec<u16>, Undecodable> {
            let numbers = file.find_tag_unsigned_vec(tag);
            Ok(numbers.map_err(describe)?.unwrap_or_default())
        };
        if numbers(Tag::PhotometricInterpretation)? == [PALETTE] {
            return Err(unread("TIFF with a palette"));
        }
        let packed = numbers(Tag::Compression)?;
        use CompressionMethod::{Fax3, Fax4, JPEG, ModernJPEG};
        match packed.first().and_then(|&n| CompressionMethod::from_u16(n)) {
            Some(JPEG | ModernJPEG) => return Err(unread("JPEG within TIFF")),
            Some(Fax3 | Fax4) => return Err(unread("TIFF of a fax")),
            _ => {}
        }
        let whole = SampleFormat::Uint.to_u16();
        if numbers(Tag::SampleFormat)?.iter().any(|&n| n != whole) {
            return Err(unread("TIFF of numbers with a sign or a fraction"));
        }
        let is_planar = numbers(Tag::PlanarConfiguration)? == [PLANAR];
        let samples = numbers(Tag::SamplesPerPixel)?.first().copied().unwrap_or(1);
        let alpha = numbers(Tag::ExtraSamples)?;
        let alpha = alpha.first().and_then(|&n| ExtraSamples::from_u16(n));
        let stored = file.colortype().map_err(describe)?;
        let (kind, channels, bits) = Kind::of(stored, alpha)?;
        if usize::from(samples) != channels {
            return Err(unread(&format!("TIFF of {stored:?} in {samples} channels")));
        }
        Ok(Self {
            kind,
            channels,
            bits,
            is_planar,
        })
    }

    /// Bytes of a row of all channels.
    fn row(&self, width: usize) -> usize {
        (width * self.channels * self.bits).div_ceil(8)
    }

    fn picture(&self, samples: Vec<u8>, width: usize, height: usize) -> Result<Rgb, Undecodable> {
        let mut samples = samples;
        if self.is_planar && self.channels > 1 {
            samples = interleaved(&samples, self.channels, self.bits / 8)?;
        }
        let color = match self.kind {
            Kind::Color(color) => color,
            Kind::Bits => {
                samples = unpacked(&samples, self.row(width), width, height)?;
                ColorType::L8
            }
            Kind::Cmyk => {
                for pixel in samples.as_chunks_mut().0 {
                    *pixel = of_inks(*pixel);
                }
                ColorType::Rgba8
            }
            Kind::Premultiplied => {
                for pixel in samples.as_chunks_mut().0 {
                    *pixel = divided(*pixel);
                }
                ColorType::Rgba8
            }
        };
        pixels::to_rgb(samples, color, width, height)
    }
}

impl Kind {
    /// With the number of channels, and of bits in a sample.
    fn of(
        stored: Stored,
        alpha: Option<ExtraSamples>,
    ) -> Result<(Self, usize, usize), Undecodable> {
        use ColorType::{L8, L16, La8, Rgb8, Rgb16, Rgba8, Rgba16};
        use ExtraSamples::{AssociatedAlpha as Associated, UnassociatedAlpha as Alpha};
        const GREY_AND_ALPHA: Stored = Stored::Multiband {
            bit_depth: 8,
            num_samples: 2,
        };
        Ok(match (stored, alpha) {
            (Stored::Gray(1), None) => (Self::Bits, 1, 1),
            (Stored::Gray(8), None) => (Self::Color(L8), 1, 8),
            (Stored::Gray(16), None) => (Self::Color(L16), 1, 16),
            (GREY_AND_ALPHA, Some(Alpha)) => (Self::Color(La8), 2, 8),
            (Stored::RGB(8), None) => (Self::Color(Rgb8), 3, 8),
            (Stored::RGB(16), None) => (Self::Color(Rgb16), 3, 16),
            (Stored::RGBA(8), Some(Alpha)) => (Self::Color(Rgba8), 4, 8),
            (Stored::RGBA(8), Some(Associated)) => (Self::Premultiplied, 4, 8),
            (Stored::RGBA(16), Some(Alpha)) => (Self::Color(Rgba16), 4, 16),
            (Stored::CMYK(8), None) => (Self::Cmyk, 4, 8),
            (other, None) => return Err(unread(&format!("TIFF of {other:?}"))),
            (other, Some(_)) => {
                return Err(unread(&format!("TIFF of {other:?} with further channels")));
            }
        })
    }
}

/// Channels that lie apart, pixel by pixel; a sample has `bytes`.
fn interleaved(planes: &[u8], channels: usize, bytes: usize) -> Result<Vec<u8>, Undecodable> {
    let mut pixels = memory::zeroed(planes.len())?;
    let plane = planes.len() / channels;
    for (channel, plane) in planes.chunks_exact(plane).enumerate() {
        let places = pixels.chunks_exact_mut(channels * bytes);
        for (pixel, sample) in places.zip(plane.chunks_exact(bytes)) {
            pixel[channel * bytes..][..bytes].copy_from_slice(sample);
        }
    }
    Ok(pixels)
}

/// Pixels of one bit, 0 or 255 each; a row has `row` bytes.
fn unpacked(bits: &[u8], row: usize, width: usize, height: usize) -> Result<Vec<u8>, Undecodable> {
    let mut pixels = memory::zeroed(width * height)?;
    for (pixels, bits) in pixels.chunks_exact_mut(width).zip(bits.chunks_exact(row)) {
        for (x, pixel) in pixels.iter_mut().enumerate() {
            *pixel = 255 * (bits[x / 8] >> (7 - x % 8) & 1);
        }
    }
    Ok(pixels)
}

/// Pillow's `cmyk2rgb`, opaque.
fn of_inks([cyan, magenta, yellow, black]: [u8; 4]) -> [u8; 4] {
    let light = u32::from(255 - black);
    let under = |ink: u8| {
        let product = u32::from(ink) * light + 128;
        (light - ((product + (product >> 8)) >> 8)) as u8
    };
    [under(cyan), under(magenta), under(yellow), 255]
}

/// Pillow's `rgba2rgbA` backwards: colours as they were before they were multiplied by their alpha.
fn divided([red, green, blue, alpha]: [u8; 4]) -> [u8; 4] {
    let divide = |color: u8| match alpha {
        0 => color,
        _ => (u32::from(color) * 255 / u32::from(alpha)).min(255) as u8,
    };
    [divide(red), divide(green), divide(blue), alpha]
}

fn unread(what: &str) -> Undecodable {
    Undecodable::Bad(format!("{what} is not read (save it as PNG)"))
}

fn describe(error: TiffError) -> Undecodable {
    match error {
        TiffError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => truncated(),
        other => Undecodable::Bad(other.to_string()),
    }
}
