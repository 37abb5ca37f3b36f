//! Blocks of progressive scans (ITU-T T.81, G.1.2).

use super::bits::Bits;
use super::coefficients::{Block, Grid, ZIGZAG};
use super::frame::{Member, ScanHeader};
use super::huffman::{Class, Definitions, Table};
use super::scan::Coder;
use super::{Undecodable, broken};

/// The state of a progressive scan.
pub struct Progressive {
    kind: Kind,
    /// First and last coefficient, in zigzag order.
    band: (usize, usize),
    /// Bits still left out below.
    shift: u32,
    /// By member.
    last_dc: Vec<i32>,
    /// Blocks without any more coefficients in this band, from the present one on.
    ended_blocks: u32,
}

/// What a scan brings.
enum Kind {
    /// The upper bits of the first coefficient; a table for each member.
    DcFirst(Vec<Table>),
    /// One more bit of it.
    DcRefinement,
    /// The upper bits of other coefficients.
    AcFirst(Box<Table>),
    /// One more bit of them.
    AcRefinement(Box<Table>),
}

impl Progressive {
    pub fn new(header: &ScanHeader, definitions: &Definitions) -> Result<Self, Undecodable> {
        let (first, last) = header.band;
        let (before, after) = header.approximation;
        let is_band = match first {
            0 => last == 0,
            _ => first <= last && last < 64 && header.members.len() == 1,
        };
        // libjpeg's limits: below 8-bit samples there are at most 13 bits to leave out.
        if !is_band || (before != 0 && before - 1 != after) || after > 13 {
            return Err(broken("a progressive scan is not one that can be"));
        }
        let ac_table = || {
            let table = definitions.build(Class::Ac, header.members[0].ac_table);
            table.map(Box::new)
        };
        let kind = match (first, before) {
            (0, 0) => {
                let build = |m: &Member| definitions.build(Class::Dc, m.dc_table);
                Kind::DcFirst(header.members.iter().map(build).collect::<Result<_, _>>()?)
            }
            (0, _) => Kind::DcRefinement,
            (_, 0) => Kind::AcFirst(ac_table()?),
            (_, _) => Kind::AcRefinement(ac_table()?),
        };
        Ok(Self {
            kind,
            band: (first.into(), last.into()),
            shift: after.into(),
            last_dc: vec![0; header.members.len()],
            ended_blocks: 0,
        })
    }
}

impl Coder for Progressive {
    fn block(&mut self, bits: &mut Bits, member: usize, grid: &mut Grid, at: (usize, usize)) {
        let block = grid.block(at.0, at.1);
        let (band, shift) = (self.band, self.shift);
        match &self.kind {
            Kind::DcFirst(tables) => {
                bits.refill();
                let size = tables[member].symbol(bits);
                let last = &mut self.last_dc[member];
                *last = last.wrapping_add(bits.take_signed(size.into()));
                block[0] = (*last << shift) as i16;
            }
            Kind::DcRefinement => {
                bits.refill();
                block[0] |= (bits.take(1) << shift) as i16;
            }
            Kind::AcFirst(table) => {
                self.ended_blocks = ac_first(bits, table, band, shift, self.ended_blocks, block);
            }
            Kind::AcRefinement(table) => {
                self.ended_blocks =
                    ac_refinement(bits, table, band, shift, self.ended_blocks, block);
            }
        }
    }

    fn restart(&mut self) {
        self.last_dc.fill(0);
        self.ended_blocks = 0;
    }
}

/// Takes the number of blocks, the present one included, that an end-of-band symbol ends.
#[inline(always)]
fn take_run(bits: &mut Bits, exponent: u8) -> u32 {
    (1 << exponent) + bits.take(exponent.into())
}

/// T.81, G.1.2.2. Takes and gives the number of blocks that have ended, this one included.
fn ac_first(
    bits: &mut Bits,
    table: &Table,
    (first, last): (usize, usize),
    shift: u32,
    ended: u32,
    block: &mut Block,
) -> u32 {
    if ended > 0 {
        return ended - 1;
    }
    let mut k = first;
    while k <= last {
        bits.refill();
        let symbol = table.symbol(bits);
        let (run, size) = (symbol >> 4, u32::from(symbol & 15));
        if size == 0 && run < 15 {
            return take_run(bits, run) - 1;
        }
        k += usize::from(run);
        if size > 0 {
            block[usize::from(ZIGZAG[k])] = (bits.take_signed(size) << shift) as i16;
        }
        k += 1;
    }
    0
}

/// T.81, G.1.2.3. Takes and gives the number of blocks that have ended, this one included.
fn ac_refinement(
    bits: &mut Bits,
    table: &Table,
    (first, last): (usize, usize),
    shift: u32,
    mut ended: u32,
    block: &mut Block,
) -> u32 {
    let step = 1_i16 << shift;
    let mut k = first;
    while k <= last && ended == 0 {
        bits.refill();
        let symbol = table.symbol(bits);
        let (run, size) = (symbol >> 4, symbol & 15);
        if size == 0 && run < 15 {
            ended = take_run(bits, run);
            break;
        }
        // A new coefficient is one step away from zero. (libjpeg takes any other size for one.)
        let new = match (size, bits_sign(bits, size)) {
            (0, _) => 0,
            (_, true) => step,
            (_, false) => -step,
        };
        // It comes after `run` more zeros; what is not zero on the way there gets its next bit.
        let mut zeros = run;
        while k <= last {
            let coefficient = &mut block[usize::from(ZIGZAG[k])];
            if *coefficient != 0 {
                refine(bits, coefficient, step);
            } else if zeros == 0 {
                break;
            } else {
                zeros -= 1;
            }
            k += 1;
        }
        if new != 0 {
            block[usize::from(ZIGZAG[k])] = new;
        }
        k += 1;
    }
    if ended == 0 {
        return 0;
    }
    for &place in ZIGZAG.get(k..=last).unwrap_or_default() {
        let coefficient = &mut block[usize::from(place)];
        if *coefficient != 0 {
            refine(bits, coefficient, step);
        }
    }
    ended - 1
}

#[inline(always)]
fn bits_sign(bits: &mut Bits, size: u8) -> bool {
    size > 0 && bits.take(1) == 1
}

/// Takes the next bit of a coefficient, and moves it away from zero unless it has that bit.
#[inline(always)]
fn refine(bits: &mut Bits, coefficient: &mut i16, step: i16) {
    bits.refill();
    if bits.take(1) == 1 && *coefficient & step == 0 {
        let away = if *coefficient >= 0 { step } else { -step };
        *coefficient = coefficient.wrapping_add(away);
    }
}
