//! JPEG, to the bit as Pillow decodes it with libjpeg-turbo 3 at its defaults.
//!
//! Read are 8-bit images of one, three and four components in Huffman coding, sequential and
//! progressive. Damage is treated as Pillow's strict mode does: what libjpeg only warns of is
//! decoded as it decodes it, what it calls an error is one, and a file without an end is truncated.
//!
//! Not read: arithmetic coding and lossless frames (Pillow reads them), 12 bits and hierarchical
//! frames (Pillow does not). Of a progressive image that leaves out the last bits of a component
//! libjpeg smooths the blocks; here they stay as they are.

mod bits;
mod coefficients;
mod color;
mod content;
mod frame;
mod huffman;
mod idct;
mod lanes;
mod markers;
mod picture;
mod progressive;
mod scan;
mod sequential;
mod standard;
mod upsample;

use image::DynamicImage;
use image::metadata::Orientation;

use super::decode::Undecodable;
use coefficients::{Block, ZIGZAG};
use color::Hints;
use content::Image;
use frame::{Frame, Process, ScanHeader};
use huffman::Definitions;
use markers::{Markers, number, wrong_length};
use progressive::Progressive;
use scan::Scan;
use sequential::Sequential;

/// Decodes a JPEG file to RGB; CMYK is taken as inverted (Adobe's convention), as in Pillow.
pub fn decode(bytes: &[u8]) -> Result<(DynamicImage, Orientation), Undecodable> {
    let mut decoder = Decoder {
        markers: Markers::new(bytes),
        file_length: bytes.len(),
        hints: Hints::default(),
        exif: Vec::new(),
        quantization: [None; 4],
        huffman: Definitions::default(),
        restart_interval: 0,
        image: None,
    };
    let mut marker = decoder.markers.next()?;
    while marker != markers::EOI {
        marker = match decoder.take_segment(marker)? {
            Some(met) => met,
            None => decoder.markers.next()?,
        };
    }
    let orientation = Orientation::from_exif_chunk(&decoder.exif);
    let image = decoder.image.ok_or_else(|| broken("it holds no image"))?;
    Ok((
        image.into_rgb()?,
        // A broken EXIF block leaves a readable image; Pillow ignores it too.
        orientation.unwrap_or(Orientation::NoTransforms),
    ))
}

fn broken(problem: impl std::fmt::Display) -> Undecodable {
    Undecodable(format!("broken JPEG: {problem}"))
}

/// What the file has said so far.
struct Decoder<'a> {
    markers: Markers<'a>,
    file_length: usize,
    hints: Hints,
    /// TIFF structure of the EXIF segments.
    exif: Vec<u8>,
    /// In the order of blocks' coefficients.
    quantization: [Option<Block>; 4],
    huffman: Definitions,
    /// Units between restart markers; 0 where there are none.
    restart_interval: usize,
    image: Option<Image>,
}

impl Decoder<'_> {
    /// Takes the segment of a marker; of a scan also the data behind it, up to the marker given.
    fn take_segment(&mut self, marker: u8) -> Result<Option<u8>, Undecodable> {
        use markers::*;
        if matches!(marker, TEM | RST0..=RST7) {
            return Ok(None); // no segment follows
        }
        if marker == SOI {
            return Err(broken("a second image starts"));
        }
        if !matches!(marker, 0xc0..=DRI | APP0..=APP15 | COM) {
            return Err(broken(format!(
                "marker FF{marker:02X} within the data does not exist"
            )));
        }
        let segment = self.markers.segment()?;
        match marker {
            SOS => return self.take_scan(segment).map(Some),
            DQT => self.take_quantization(segment)?,
            DHT => self.huffman.read(segment)?,
            DRI => match *segment {
                [high, low] => self.restart_interval = u16::from_be_bytes([high, low]).into(),
                _ => return Err(wrong_length("restart interval")),
            },
            0xc0..=0xcf if marker != DAC => self.take_frame(marker, segment)?,
            APP0 => self.hints.read_app0(segment),
            APP1 => self
                .exif
                .extend(segment.strip_prefix(b"Exif\0\0").unwrap_or_default()),
            APP14 => self.hints.read_app14(segment),
            _ => {} // arithmetic conditioning, DNL, other applications' data, comments
        }
        Ok(None)
    }

    /// T.81, B.2.4.1.
    fn take_quantization(&mut self, mut segment: &[u8]) -> Result<(), Undecodable> {
        while let [place, rest @ ..] = segment {
            let size = if place >> 4 == 0 { 1 } else { 2 };
            let table = self.quantization.get_mut(usize::from(place & 15));
            let table = table.ok_or_else(|| broken("a quantisation table has a number above 3"))?;
            let steps = rest
                .get(..64 * size)
                .ok_or_else(|| wrong_length("quantisation"))?;
            let table = table.insert([0; 64]);
            for (step, &at) in steps.chunks_exact(size).zip(&ZIGZAG) {
                table[usize::from(at)] = match *step {
                    [byte] => byte.into(),
                    // Beyond 15 bits the product is cut to 16 anyway.
                    _ => number(step, 0) as i16,
                };
            }
            segment = &rest[64 * size..];
        }
        Ok(())
    }

    fn take_frame(&mut self, marker: u8, segment: &[u8]) -> Result<(), Undecodable> {
        let process = match marker {
            0xc0 | 0xc1 => Process::Sequential,
            0xc2 => Process::Progressive,
            _ => {
                let kind = match marker {
                    0xc3 => "lossless",
                    0xc9 | 0xca => "arithmetic-coded",
                    _ => "hierarchical",
                };
                return Err(Undecodable(format!("a JPEG that is {kind} is not read")));
            }
        };
        if self.image.is_some() {
            return Err(broken("a second frame header"));
        }
        let frame = Frame::read(segment, process)?;
        // Every block of 8 × 8 takes at least one bit in the scan of its DC coefficients.
        let (width, height) = (frame.width, frame.height);
        if width.div_ceil(8) * height.div_ceil(8) > 8 * self.file_length {
            return Err(Undecodable(format!(
                "its {} bytes are too few for the {width} × {height} pixels of its header",
                self.file_length
            )));
        }
        self.image = Some(Image::new(frame)?);
        Ok(())
    }

    /// Reads a scan; gives the marker that ended it.
    fn take_scan(&mut self, segment: &[u8]) -> Result<u8, Undecodable> {
        let image = self.image.as_mut();
        let image = image.ok_or_else(|| broken("a scan comes before the frame"))?;
        let header = ScanHeader::read(segment, image.frame())?;
        image.prepare(&header, &self.quantization, self.hints)?;
        let interval = self.restart_interval;
        let mut scan = Scan::new(&mut self.markers, image.frame(), &header, interval)?;
        match image.frame().process {
            Process::Sequential => {
                image.read(&mut scan, Sequential::new(&header, &mut self.huffman)?)?;
            }
            Process::Progressive => {
                image.read(&mut scan, Progressive::new(&header, &self.huffman)?)?;
            }
        }
        Ok(scan.marker())
    }
}
