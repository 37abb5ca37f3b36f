//! JPEG, to the bit as Pillow decodes it with libjpeg-turbo 3 at its defaults.
//!
//! Read are 8-bit images of one, three and four components in Huffman coding, sequential and
//! progressive. Damage is treated as Pillow's strict mode does: what libjpeg only warns of is
//! decoded as it decodes it, what it calls an error is one, and a file without an end is truncated,
//! unless a single scan has brought all of it and libjpeg would have had bytes enough behind that.
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

use super::decode::{MAX_PIXELS, Tags, Undecodable, too_few};
use coefficients::{Block, ZIGZAG};
use color::Hints;
use content::Image;
use frame::{Frame, Process, ScanHeader};
use huffman::Definitions;
use markers::{Markers, number, wrong_length};
use progressive::Progressive;
use scan::Scan;
use sequential::Sequential;
use vitcuda_picture::Rgb;

/// Decodes a JPEG file to RGB, with its orientation; CMYK is taken as inverted (Adobe's convention),
/// as in Pillow.
pub fn decode(bytes: &[u8]) -> Result<(Rgb, u8), Undecodable> {
    let mut decoder = Decoder {
        markers: Markers::new(bytes),
        file_length: bytes.len(),
        hints: Hints::default(),
        tags: Tags::default(),
        quantization: [None; 4],
        huffman: Definitions::default(),
        restart_interval: 0,
        image: None,
        is_whole: false,
        scanned: 0,
    };
    let mut marker = decoder.markers.next()?;
    while marker != markers::EOI {
        marker = match decoder.next_after(marker) {
            // Of a whole picture libjpeg has put out all rows by then, and Pillow is content.
            Err(problem) if decoder.is_whole && problem == markers::truncated() => markers::EOI,
            next => next?,
        };
    }
    let image = decoder.image.ok_or_else(|| broken("it holds no image"))?;
    Ok((image.into_rgb()?, decoder.tags.orientation()))
}

fn broken(problem: impl std::fmt::Display) -> Undecodable {
    Undecodable::Bad(format!("broken JPEG: {problem}"))
}

/// Blocks that the scans of a file may go over: those of the largest image, in full colour, some
/// sixteen times. Progressive files have about ten scans, most of one component; a scan that brings
/// nothing takes a byte or two, and all the same the time of its blocks (seconds, at this limit).
const MAX_SCANNED: u64 = 16 * 3 * MAX_PIXELS / 64;

/// What the file has said so far.
struct Decoder<'a> {
    markers: Markers<'a>,
    file_length: usize,
    hints: Hints,
    tags: Tags,
    /// In the order of blocks' coefficients.
    quantization: [Option<Block>; 4],
    huffman: Definitions,
    /// Units between restart markers; 0 where there are none.
    restart_interval: usize,
    image: Option<Image>,
    /// Whether a single scan has brought all of it.
    is_whole: bool,
    /// Blocks of all scans so far.
    scanned: u64,
}

impl Decoder<'_> {
    /// Takes the segment of a marker, and gives the marker behind it.
    fn next_after(&mut self, marker: u8) -> Result<u8, Undecodable> {
        match self.take_segment(marker)? {
            Some(met) => Ok(met),
            None => self.markers.next(),
        }
    }

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
            APP1 => self.take_tags(segment),
            APP14 => self.hints.read_app14(segment),
            _ => {} // arithmetic conditioning, DNL, other applications' data, comments
        }
        Ok(None)
    }

    /// EXIF may come in several segments; of XMP the last one counts.
    fn take_tags(&mut self, segment: &[u8]) {
        if let Some(exif) = segment.strip_prefix(b"Exif\0\0") {
            self.tags.exif.extend(exif);
        } else if let Some(xmp) = segment.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0") {
            self.tags.xmp = xmp.to_vec();
        }
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
                return Err(Undecodable::Bad(format!(
                    "a JPEG that is {kind} is not read"
                )));
            }
        };
        if self.image.is_some() {
            return Err(broken("a second frame header"));
        }
        let frame = Frame::read(segment, process)?;
        // Every block of 8 × 8 takes at least one bit in the scan of its DC coefficients.
        let (width, height) = (frame.width, frame.height);
        if width.div_ceil(8) * height.div_ceil(8) > 8 * self.file_length {
            return Err(too_few(self.file_length, width as u64, height as u64));
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
        self.scanned += image.blocks_of(&header);
        if self.scanned > MAX_SCANNED {
            return Err(Undecodable::Bad(format!(
                "its scans go over the image too often: {} times and more",
                self.scanned / image.blocks()
            )));
        }
        let interval = self.restart_interval;
        let mut scan = Scan::new(&mut self.markers, image.frame(), &header, interval);
        match image.frame().process {
            Process::Sequential => {
                image.read(&mut scan, Sequential::new(&header, &mut self.huffman)?)?;
            }
            Process::Progressive => {
                image.read(&mut scan, Progressive::new(&header, &self.huffman)?)?;
            }
        }
        let marker = scan.marker()?;
        self.is_whole = image.is_whole();
        marker.ok_or_else(markers::truncated)
    }
}
