//! Blocks of sequential scans (ITU-T T.81, F.2.2).

use super::Undecodable;
use super::bits::Bits;
use super::coefficients::{Block, Grid, ZIGZAG};
use super::frame::ScanHeader;
use super::huffman::{Class, Definitions, Table};
use super::scan::Coder;

/// The state of a sequential scan.
pub struct Sequential {
    /// By table number in the file; those that the scan uses.
    tables: [[Option<Box<Table>>; 4]; 2],
    members: Vec<MemberState>,
    /// Bits that libjpeg would have fetched, where that matters.
    fetched: usize,
}

struct MemberState {
    dc_table: usize,
    ac_table: usize,
    last_dc: i32,
}

impl Sequential {
    pub fn new(header: &ScanHeader, definitions: &mut Definitions) -> Result<Self, Undecodable> {
        definitions.fill_in_standard();
        let mut coder = Self {
            tables: Default::default(),
            members: Vec::new(),
            fetched: 0,
        };
        for member in &header.members {
            for (class, number) in [(Class::Dc, member.dc_table), (Class::Ac, member.ac_table)] {
                let tables = &mut coder.tables[class as usize];
                if !matches!(tables.get(usize::from(number)), Some(Some(_))) {
                    let table = definitions.build(class, number)?;
                    tables[usize::from(number)] = Some(Box::new(table));
                }
            }
            coder.members.push(MemberState {
                dc_table: member.dc_table.into(),
                ac_table: member.ac_table.into(),
                last_dc: 0,
            });
        }
        Ok(coder)
    }
}

impl Sequential {
    /// The tables of a member, and what its block before ended with.
    #[inline(always)]
    fn member(&mut self, member: usize) -> (&Table, &Table, &mut i32) {
        let member = &mut self.members[member];
        let table = |class: Class, number: usize| self.tables[class as usize][number].as_deref();
        let (Some(dc), Some(ac)) = (
            table(Class::Dc, member.dc_table),
            table(Class::Ac, member.ac_table),
        ) else {
            unreachable!("the tables of all members were built");
        };
        (dc, ac, &mut member.last_dc)
    }
}

impl Coder for Sequential {
    #[inline(always)]
    fn block(&mut self, bits: &mut Bits, member: usize, grid: &mut Grid, at: (usize, usize)) {
        let (dc, ac, last_dc) = self.member(member);
        read_block(bits, dc, ac, last_dc, grid.block(at.0, at.1));
    }

    fn last_block(
        &mut self,
        bits: &mut Bits,
        member: usize,
        grid: &mut Grid,
        at: (usize, usize),
    ) -> bool {
        let mut fetched = self.fetched;
        let (dc, ac, last_dc) = self.member(member);
        let mut buffer = LibjpegBuffer::new(bits, &mut fetched);
        let is_there = buffer.read_block(dc, ac);
        read_block(bits, dc, ac, last_dc, grid.block(at.0, at.1));
        self.fetched = fetched;
        is_there
    }

    fn restart(&mut self) {
        self.fetched = 0;
        self.members
            .iter_mut()
            .for_each(|member| member.last_dc = 0);
    }
}

/// Reads a block of zeros full.
fn read_block(bits: &mut Bits, dc: &Table, ac: &Table, last_dc: &mut i32, block: &mut Block) {
    let mut reader = *bits;
    reader.refill();
    let size = dc.symbol(&mut reader);
    let difference = reader.take_signed(size.into());
    *last_dc = last_dc.wrapping_add(difference);
    block[0] = *last_dc as i16;
    let mut k = 1;
    while k < 64 {
        // A code has 17 bits at most, and what follows 15.
        if reader.available() < 32 {
            reader.refill();
        }
        let whole = ac.coefficient(&reader);
        if whole.bits > 0 {
            reader.skip(whole.bits.into());
            k += usize::from(whole.run);
            block[usize::from(ZIGZAG[k])] = whole.value;
            k += 1;
            continue;
        }
        let symbol = ac.symbol(&mut reader);
        let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        k += run;
        match (run, size) {
            (15, 0) => {}
            (_, 0) => break,
            _ => block[usize::from(ZIGZAG[k])] = reader.take_signed(size) as i16,
        }
        k += 1;
    }
    *bits = reader;
}

/// libjpeg's buffer of bits, as it stands in `jpeg_fill_bit_buffer` and `decode_mcu_slow`: once it holds
/// fewer bits than are wanted it fetches bytes until it holds 57. Where the file ends first it waits for
/// more, which Pillow takes for a truncated file, although the bits that are missing may not be needed.
struct LibjpegBuffer<'b, 'f> {
    bits: Bits<'b>,
    /// Bits fetched since the last marker.
    fetched: &'f mut usize,
}

impl<'b, 'f> LibjpegBuffer<'b, 'f> {
    /// A buffer that reads ahead of `bits`, which stay where they are.
    fn new(bits: &Bits<'b>, fetched: &'f mut usize) -> Self {
        Self {
            bits: *bits,
            fetched,
        }
    }

    /// Whether `count` bits from bit `at` on can be had.
    fn holds(&mut self, at: usize, count: usize) -> bool {
        let (_, there) = self.bits.taken();
        if *self.fetched < at + count {
            *self.fetched = (at + 57).next_multiple_of(8);
        }
        *self.fetched <= there
    }

    /// The next symbol; none where the file ends first.
    fn symbol(&mut self, table: &Table) -> Option<u8> {
        const LOOKED_AT: usize = 8;
        self.bits.refill();
        let (start, _) = self.bits.taken();
        let symbol = table.symbol(&mut self.bits);
        let (end, _) = self.bits.taken();
        let mut is_there = self.holds(start, LOOKED_AT);
        if end - start > LOOKED_AT {
            is_there &= self.holds(start, LOOKED_AT + 1);
            is_there &= (LOOKED_AT + 1..end - start).all(|bit| self.holds(start + bit, 1));
        }
        is_there.then_some(symbol)
    }

    fn number(&mut self, size: u8) -> Option<()> {
        if size > 0 {
            self.bits.refill();
            let (start, _) = self.bits.taken();
            if !self.holds(start, size.into()) {
                return None;
            }
            self.bits.skip(size.into());
        }
        Some(())
    }

    /// Whether a block can be had.
    fn read_block(&mut self, dc: &Table, ac: &Table) -> bool {
        let mut read = || {
            let size = self.symbol(dc)?;
            self.number(size)?;
            let mut k = 1;
            while k < 64 {
                let symbol = self.symbol(ac)?;
                let (run, size) = (symbol >> 4, symbol & 15);
                if size == 0 && run < 15 {
                    break;
                }
                self.number(size)?;
                k += usize::from(run) + 1;
            }
            Some(())
        };
        read().is_some()
    }
}
