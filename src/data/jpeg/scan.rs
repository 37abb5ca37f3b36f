//! One scan: its compressed data, cut by restart markers, unit by unit (ITU-T T.81, E.2, F.2.1).

use super::Undecodable;
use super::bits::{Bits, Place};
use super::coefficients::Grid;
use super::frame::{Frame, ScanHeader};
use super::markers::{Markers, RST0, RST7, truncated};

/// Decodes the blocks of a unit.
pub trait Coder {
    /// Reads one block of the scan's member number `member` into `grid` at (row, column).
    fn block(&mut self, bits: &mut Bits, member: usize, grid: &mut Grid, at: (usize, usize));

    /// The same where the data goes to the end of the file: false when libjpeg would have asked for
    /// more bytes than there are.
    fn last_block(
        &mut self,
        bits: &mut Bits,
        member: usize,
        grid: &mut Grid,
        at: (usize, usize),
    ) -> bool {
        self.block(bits, member, grid, at);
        false
    }

    /// Forgets what the units before said.
    fn restart(&mut self);
}

/// A scan being read.
pub struct Scan<'m, 'a> {
    markers: &'m mut Markers<'a>,
    /// The compressed data up to the next marker, and that; none where the file ends first.
    data: Vec<u8>,
    marker: Option<u8>,
    /// Whether libjpeg would have gone beyond the end of the file.
    is_starved: bool,
    place: Place,
    /// Whether the data ended too early: what remains of it is left as it is, as in libjpeg.
    is_exhausted: bool,
    /// Units between restart markers; 0 where there are none.
    interval: usize,
    units_left: usize,
    next_restart: u8,
    layout: Layout,
}

/// Where a scan's units lie.
struct Layout {
    /// Units across and down.
    units: (usize, usize),
    /// Blocks of a unit by member of the scan: its component, blocks across, blocks down.
    blocks: Vec<(usize, usize, usize)>,
}

impl Layout {
    fn new(frame: &Frame, header: &ScanHeader) -> Self {
        match &header.members[..] {
            // The units of a lone component are its blocks, without any beyond the edge.
            [member] => Self {
                units: frame.components[member.component].blocks,
                blocks: vec![(member.component, 1, 1)],
            },
            members => {
                let blocks = members.iter().map(|member| {
                    let (across, down) = frame.components[member.component].factors;
                    (member.component, across, down)
                });
                Self {
                    units: frame.mcus,
                    blocks: blocks.collect(),
                }
            }
        }
    }
}

impl<'m, 'a> Scan<'m, 'a> {
    /// Starts behind the scan's header.
    pub fn new(
        markers: &'m mut Markers<'a>,
        frame: &Frame,
        header: &ScanHeader,
        interval: usize,
    ) -> Self {
        let mut data = Vec::new();
        let marker = markers.compressed(&mut data);
        Self {
            markers,
            data,
            marker,
            is_starved: false,
            place: Place::default(),
            is_exhausted: false,
            interval,
            units_left: interval,
            next_restart: RST0,
            layout: Layout::new(frame, header),
        }
    }

    /// Rows of units.
    pub fn height(&self) -> usize {
        self.layout.units.1
    }

    /// Reads a row of units into the components' grids, from row `row` of units on.
    pub fn read_row(
        &mut self,
        row: usize,
        grids: &mut [Grid],
        coder: &mut impl Coder,
    ) -> Result<(), Undecodable> {
        for column in 0..self.layout.units.0 {
            if self.interval > 0 {
                if self.units_left == 0 {
                    self.restart()?;
                    coder.restart();
                    self.units_left = self.interval;
                }
                self.units_left -= 1;
            }
            match (self.is_exhausted, self.interval) {
                (false, _) => {}
                (true, 0) => break,
                (true, _) => continue,
            }
            let mut bits = Bits::resume(&self.data, self.place);
            for (member, &(component, across, down)) in self.layout.blocks.iter().enumerate() {
                for y in 0..down {
                    for x in 0..across {
                        let at = (row * down + y, column * across + x);
                        let grid = &mut grids[component];
                        match self.marker {
                            Some(_) => coder.block(&mut bits, member, grid, at),
                            None => {
                                self.is_starved |= !coder.last_block(&mut bits, member, grid, at);
                            }
                        }
                    }
                }
            }
            self.place = bits.place();
            self.is_exhausted = bits.is_overrun();
        }
        Ok(())
    }

    /// Goes on behind the restart marker that is due.
    ///
    /// If another marker stands there, libjpeg's `jpeg_resync_to_restart` decides: a restart
    /// marker that comes one or two too late, or is none, is skipped; one that comes too early, or
    /// any other marker, leaves this interval without data.
    fn restart(&mut self) -> Result<(), Undecodable> {
        let due = self.next_restart;
        self.next_restart = RST0 + (due - RST0 + 1) % 8;
        self.place = Place::default();
        loop {
            let marker = self.marker.ok_or_else(truncated)?;
            let ahead = (marker.wrapping_sub(due)) & 7;
            match marker {
                RST0..=RST7 if matches!(ahead, 1 | 2) => break,
                RST0..=RST7 if matches!(ahead, 6 | 7) => {}
                RST0..=RST7 => {
                    self.marker = self.markers.compressed(&mut self.data);
                    self.is_exhausted = false;
                    return Ok(());
                }
                // What cannot be a marker at all; frame headers begin here.
                ..0xc0 => {}
                _ => break,
            }
            self.marker = self.markers.compressed(&mut self.data);
        }
        self.data.clear();
        Ok(())
    }

    /// The marker that ended the data; an error where the file ended before libjpeg would have had
    /// all of it.
    pub fn marker(&self) -> Result<Option<u8>, Undecodable> {
        if self.is_starved {
            Err(truncated())
        } else {
            Ok(self.marker)
        }
    }
}
