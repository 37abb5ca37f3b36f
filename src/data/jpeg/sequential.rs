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

impl Coder for Sequential {
    #[inline(always)]
    fn block(&mut self, bits: &mut Bits, member: usize, grid: &mut Grid, at: (usize, usize)) {
        let member = &mut self.members[member];
        let table = |class: Class, number: usize| self.tables[class as usize][number].as_deref();
        let (Some(dc), Some(ac)) = (
            table(Class::Dc, member.dc_table),
            table(Class::Ac, member.ac_table),
        ) else {
            unreachable!("the tables of all members were built");
        };
        read_block(bits, dc, ac, &mut member.last_dc, grid.block(at.0, at.1));
    }

    fn restart(&mut self) {
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
