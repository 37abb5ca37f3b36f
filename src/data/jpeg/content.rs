//! The image as scans bring it: all at once, or in parts that must be kept until the last one.

use super::coefficients::{Block, Grid};
use super::color::{ColorSpace, Hints};
use super::frame::{Component, Frame, Process, ScanHeader};
use super::picture::Picture;
use super::scan::{Coder, Scan};
use super::upsample::Upsampling;
use super::{Undecodable, broken};
use crate::memory::OutOfMemory;
use vitcuda_picture::Rgb;

/// The image as far as scans have brought it.
pub struct Image {
    frame: Frame,
    upsampling: Vec<Upsampling>,
    /// The table of each component as it was when its first scan came.
    quantization: Vec<Option<Block>>,
    content: Content,
}

enum Content {
    /// No scan has come.
    Nothing,
    /// The only scan comes: it is decoded on the way.
    Whole(Picture),
    /// Scans bring it bit by bit: the blocks of each component.
    Parts(Vec<Grid>, ColorSpace),
}

impl Image {
    pub fn new(frame: Frame) -> Result<Self, Undecodable> {
        let upsampling = frame.components.iter().map(|c| Upsampling::of(c, &frame));
        let upsampling: Option<Vec<_>> = upsampling.collect();
        Ok(Self {
            upsampling: upsampling.ok_or_else(|| {
                Undecodable::Bad(
                    "a JPEG whose components' sizes are no multiples is not read".into(),
                )
            })?,
            quantization: vec![None; frame.components.len()],
            frame,
            content: Content::Nothing,
        })
    }

    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Blocks of all components.
    pub fn blocks(&self) -> u64 {
        let blocks = self.frame.components.iter().map(Component::count);
        blocks.sum::<u64>().max(1)
    }

    /// Blocks that a scan goes over.
    pub fn blocks_of(&self, header: &ScanHeader) -> u64 {
        let members = header.members.iter();
        members
            .map(|member| self.frame.components[member.component].count())
            .sum()
    }

    /// Makes ready for a scan, with what tables and hints the file has given so far.
    pub fn prepare(
        &mut self,
        header: &ScanHeader,
        tables: &[Option<Block>],
        hints: Hints,
    ) -> Result<(), Undecodable> {
        let frame = &self.frame;
        for component in header.members.iter().map(|m| m.component) {
            let table = tables.get(frame.components[component].quantization);
            let table = table.copied().flatten();
            let table =
                table.ok_or_else(|| broken("a quantisation table is used and not defined"))?;
            self.quantization[component].get_or_insert(table);
        }
        match &self.content {
            Content::Nothing => {
                let ids: Vec<u8> = frame.components.iter().map(|c| c.id).collect();
                let color_space = hints.color_space(&ids);
                let is_only = header.members.len() == ids.len();
                self.content = match (frame.process, is_only) {
                    (Process::Sequential, true) => {
                        Content::Whole(Picture::new(frame, color_space, &self.upsampling)?)
                    }
                    _ => Content::Parts(grids(frame, frame.mcus.1)?, color_space),
                };
                Ok(())
            }
            Content::Whole(_) => Err(broken("a second scan comes where one is all")),
            Content::Parts(..) => Ok(()),
        }
    }

    /// Whether a single scan brings all of it.
    pub fn is_whole(&self) -> bool {
        matches!(self.content, Content::Whole(_))
    }

    /// Reads the scan that was prepared for.
    pub fn read(&mut self, scan: &mut Scan, mut coder: impl Coder) -> Result<(), Undecodable> {
        match &mut self.content {
            Content::Nothing => unreachable!("the content was prepared"),
            Content::Whole(picture) => {
                let mut grids = grids(&self.frame, 1)?;
                for _ in 0..scan.height() {
                    grids.iter_mut().for_each(Grid::clear);
                    scan.read_row(0, &mut grids, &mut coder)?;
                    picture.add_band(&band(&self.frame, &grids, &self.quantization, 0));
                }
                Ok(())
            }
            Content::Parts(grids, _) => {
                (0..scan.height()).try_for_each(|row| scan.read_row(row, grids, &mut coder))
            }
        }
    }

    pub fn into_rgb(self) -> Result<Rgb, Undecodable> {
        let frame = &self.frame;
        let picture = match self.content {
            Content::Nothing => return Err(broken("it holds no scan")),
            Content::Whole(picture) => picture,
            Content::Parts(grids, color_space) => {
                let mut picture = Picture::new(frame, color_space, &self.upsampling)?;
                for row in 0..frame.mcus.1 {
                    picture.add_band(&band(frame, &grids, &self.quantization, row));
                }
                picture
            }
        };
        Ok(Rgb::new(frame.width, frame.height, picture.into_pixels()))
    }
}

/// Grids of zeros for so many rows of units.
fn grids(frame: &Frame, rows: usize) -> Result<Vec<Grid>, OutOfMemory> {
    let grid = |c: &Component| Grid::new(c.factors.0 * frame.mcus.0, c.factors.1 * rows);
    frame.components.iter().map(grid).collect()
}

/// Row `row` of the units in `grids`: blocks and quantisation table of each component.
fn band<'a>(
    frame: &Frame,
    grids: &'a [Grid],
    quantization: &'a [Option<Block>],
    row: usize,
) -> Vec<(&'a [Block], &'a Block)> {
    // Of a component without a scan all coefficients are zero.
    const NONE: &Block = &[0; 64];
    let parts = frame.components.iter().zip(grids).zip(quantization);
    let band = parts.map(|((component, grid), quantization)| {
        let rows = component.factors.1;
        (
            grid.rows(rows * row, rows),
            quantization.as_ref().unwrap_or(NONE),
        )
    });
    band.collect()
}
