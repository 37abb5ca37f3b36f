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

use super::decode::{Undecodable, rgb8};
use coefficients::{Block, Grid, ZIGZAG};
use color::{ColorSpace, Hints};
use frame::{Frame, Process, ScanHeader};
use huffman::Definitions;
use markers::{Markers, number, wrong_length};
use picture::Picture;
use progressive::Progressive;
use scan::{Coder, Scan};
use sequential::Sequential;
use upsample::Upsampling;

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
    let Some((frame, pixels)) = decoder.image.map(Image::into_pixels).transpose()? else {
        return Err(broken("it holds no image"));
    };
    Ok((
        rgb8(frame.width, frame.height, pixels),
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

/// The image as far as scans have brought it.
struct Image {
    frame: Frame,
    /// Of each component, as it was when its first scan came.
    quantization: Vec<Option<Block>>,
    upsampling: Vec<Upsampling>,
    content: Content,
}

enum Content {
    /// No scan has come.
    Nothing,
    /// The only scan has come.
    Whole(Picture),
    /// Scans bring it bit by bit; the blocks of each component.
    Parts(Vec<Grid>, ColorSpace),
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
        let upsampling = frame.components.iter().map(|c| Upsampling::of(c, &frame));
        let upsampling: Option<Vec<_>> = upsampling.collect();
        self.image = Some(Image {
            quantization: vec![None; frame.components.len()],
            upsampling: upsampling.ok_or_else(|| {
                Undecodable("a JPEG whose components' sizes are no multiples is not read".into())
            })?,
            frame,
            content: Content::Nothing,
        });
        Ok(())
    }

    /// Reads a scan; gives the marker that ended it.
    fn take_scan(&mut self, segment: &[u8]) -> Result<u8, Undecodable> {
        let image = self
            .image
            .as_mut()
            .ok_or_else(|| broken("a scan comes before the frame"))?;
        let Image { frame, .. } = image;
        let header = ScanHeader::read(segment, frame)?;
        for component in header.members.iter().map(|m| m.component) {
            let table = self
                .quantization
                .get(frame.components[component].quantization);
            let table = table.copied().flatten();
            let table =
                table.ok_or_else(|| broken("a quantisation table is used and not defined"))?;
            image.quantization[component].get_or_insert(table);
        }
        if let Content::Nothing = image.content {
            let ids: Vec<u8> = frame.components.iter().map(|c| c.id).collect();
            let color_space = self.hints.color_space(&ids);
            let is_whole =
                header.members.len() == ids.len() && frame.process == Process::Sequential;
            image.content = match is_whole {
                true => Content::Whole(Picture::new(frame, color_space, &image.upsampling)),
                false => Content::Parts(grids(frame, frame.mcus.1), color_space),
            };
        } else if let Content::Whole(_) = image.content {
            return Err(broken("a second scan comes where one is all"));
        }
        let mut scan = Scan::new(&mut self.markers, frame, &header, self.restart_interval)?;
        match &mut image.content {
            Content::Nothing => unreachable!("the content was just prepared"),
            Content::Whole(picture) => {
                let mut coder = Sequential::new(&header, &mut self.huffman)?;
                let mut grids = grids(frame, 1);
                let quantization: Vec<_> = image.quantization.iter().flatten().collect();
                for _ in 0..scan.height() {
                    grids.iter_mut().for_each(Grid::clear);
                    scan.read_row(0, &mut grids, &mut coder)?;
                    let band = std::iter::zip(&grids, &quantization);
                    let band: Vec<_> = band.map(|(g, &q)| (g.all(), q)).collect();
                    picture.add_band(&band);
                }
            }
            Content::Parts(grids, _) => match frame.process {
                Process::Sequential => {
                    read_all(
                        &mut scan,
                        grids,
                        Sequential::new(&header, &mut self.huffman)?,
                    )?;
                }
                Process::Progressive => {
                    read_all(&mut scan, grids, Progressive::new(&header, &self.huffman)?)?;
                }
            },
        }
        Ok(scan.marker())
    }
}

/// Grids of zeros for so many rows of units.
fn grids(frame: &Frame, rows: usize) -> Vec<Grid> {
    let components = frame.components.iter();
    let sizes = components.map(|c| (c.factors.0 * frame.mcus.0, c.factors.1 * rows));
    sizes
        .map(|(width, height)| Grid::new(width, height))
        .collect()
}

fn read_all(scan: &mut Scan, grids: &mut [Grid], mut coder: impl Coder) -> Result<(), Undecodable> {
    (0..scan.height()).try_for_each(|row| scan.read_row(row, grids, &mut coder))
}

impl Image {
    fn into_pixels(self) -> Result<(Frame, Vec<u8>), Undecodable> {
        let Self { frame, content, .. } = self;
        let picture = match content {
            Content::Nothing => return Err(broken("it holds no scan")),
            Content::Whole(picture) => picture,
            Content::Parts(grids, color_space) => {
                let mut picture = Picture::new(&frame, color_space, &self.upsampling);
                // Of a component without a scan all coefficients are zero.
                let quantization = self.quantization.iter().map(|q| q.unwrap_or([0; 64]));
                let quantization: Vec<_> = quantization.collect();
                for row in 0..frame.mcus.1 {
                    let parts = frame.components.iter().zip(&grids).zip(&quantization);
                    let band = parts.map(|((component, grid), quantization)| {
                        let rows = component.factors.1;
                        (grid.rows(rows * row, rows), quantization)
                    });
                    picture.add_band(&band.collect::<Vec<_>>());
                }
                picture
            }
        };
        Ok((frame, picture.into_pixels()))
    }
}
