//! What a frame header and a scan header say (ITU-T T.81, B.2.2 and B.2.3, A.1, A.2).

use super::markers::{number, wrong_length};
use super::{Undecodable, broken};
use crate::data::decode::check_size;

/// How the coefficients are spread over scans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// Each scan holds whole blocks.
    Sequential,
    /// Each scan holds a part of the coefficients, or of their bits.
    Progressive,
}

/// The frame: everything about the image but its content.
#[derive(Debug)]
pub struct Frame {
    pub process: Process,
    pub width: usize,
    pub height: usize,
    /// One, three or four.
    pub components: Vec<Component>,
    /// The largest sampling factors, horizontal and vertical.
    pub finest: (usize, usize),
    /// Minimum coded units of all components across and down the image.
    pub mcus: (usize, usize),
}

/// A component: grey, red, or one of the others.
#[derive(Debug)]
pub struct Component {
    pub id: u8,
    /// Sampling factors, horizontal and vertical: blocks in a minimum coded unit.
    pub factors: (usize, usize),
    pub quantization: usize,
    /// Samples that count, across and down.
    pub size: (usize, usize),
    /// Blocks that hold samples that count, across and down.
    pub blocks: (usize, usize),
}

impl Component {
    /// Number of its blocks.
    pub fn count(&self) -> u64 {
        self.blocks.0 as u64 * self.blocks.1 as u64
    }
}

impl Frame {
    /// Reads a frame header, the marker of which said `process`.
    pub fn read(segment: &[u8], process: Process) -> Result<Self, Undecodable> {
        let Some((header, specifications)) = segment.split_first_chunk::<6>() else {
            return Err(wrong_length("frame"));
        };
        let (height, width) = (number(header, 1), number(header, 3));
        check_size(width.into(), height.into())?;
        if header[0] != 8 {
            return Err(Undecodable::Bad(format!(
                "a JPEG of {} bits is not read, of 8 bits it would be",
                header[0]
            )));
        }
        let count = usize::from(header[5]);
        if !matches!(count, 1 | 3 | 4) {
            return Err(Undecodable::Bad(format!(
                "a JPEG of {count} colour components is not read, of 1, 3 or 4 it would be"
            )));
        }
        let (specifications, rest) = specifications.as_chunks::<3>();
        if specifications.len() != count || !rest.is_empty() {
            return Err(wrong_length("frame"));
        }
        let factors = |&[_, factors, _]: &[u8; 3]| match count {
            // Alone, a component has nothing to be coarser than.
            1 => (1, 1),
            _ => (usize::from(factors >> 4), usize::from(factors & 15)),
        };
        let is_valid = |&[_, factors, _]: &[u8; 3]| {
            (1..=4).contains(&(factors >> 4)) && (1..=4).contains(&(factors & 15))
        };
        if !specifications.iter().all(is_valid) {
            return Err(broken("it has sampling factors other than 1 to 4"));
        }
        let all = specifications.iter().map(factors);
        let finest = all.fold((1, 1), |most, f| (f.0.max(most.0), f.1.max(most.1)));
        let (width, height) = (usize::from(width), usize::from(height));
        let component = |specification: &[u8; 3]| {
            let factors = factors(specification);
            let size = (
                (width * factors.0).div_ceil(finest.0),
                (height * factors.1).div_ceil(finest.1),
            );
            Component {
                id: specification[0],
                factors,
                quantization: specification[2].into(),
                size,
                blocks: (size.0.div_ceil(8), size.1.div_ceil(8)),
            }
        };
        Ok(Self {
            process,
            width,
            height,
            components: specifications.iter().map(component).collect(),
            finest,
            mcus: (width.div_ceil(8 * finest.0), height.div_ceil(8 * finest.1)),
        })
    }
}

/// A component's part in a scan.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// Place in the frame.
    pub component: usize,
    pub dc_table: u8,
    pub ac_table: u8,
}

/// The header of a scan.
#[derive(Debug)]
pub struct ScanHeader {
    pub members: Vec<Member>,
    /// First and last coefficient, in zigzag order.
    pub band: (u8, u8),
    /// Bits left out below, before this scan (0: none was sent) and after it.
    pub approximation: (u8, u8),
}

impl ScanHeader {
    pub fn read(segment: &[u8], frame: &Frame) -> Result<Self, Undecodable> {
        let count = usize::from(*segment.first().ok_or_else(|| wrong_length("scan"))?);
        let (selectors, _) = segment[1..].as_chunks::<2>();
        let (Some(selectors), 1..=4) = (selectors.get(..count), count) else {
            return Err(wrong_length("scan"));
        };
        if segment.len() != 4 + 2 * count {
            return Err(wrong_length("scan"));
        }
        let mut members: Vec<Member> = Vec::with_capacity(count);
        for &[id, tables] in selectors {
            let is_meant = |&i: &usize| {
                frame.components[i].id == id && members.iter().all(|m| m.component != i)
            };
            let component = (0..frame.components.len()).find(is_meant);
            members.push(Member {
                component: component
                    .ok_or_else(|| broken(format!("a scan holds an unknown component, {id}")))?,
                dc_table: tables >> 4,
                ac_table: tables & 15,
            });
        }
        let blocks = |m: &Member| {
            let (horizontal, vertical) = frame.components[m.component].factors;
            horizontal * vertical
        };
        if count > 1 && members.iter().map(blocks).sum::<usize>() > 10 {
            return Err(broken("its units have more than 10 blocks"));
        }
        let [.., first, last, approximation] = *segment else {
            return Err(wrong_length("scan"));
        };
        Ok(Self {
            members,
            band: (first, last),
            approximation: (approximation >> 4, approximation & 15),
        })
    }
}
