//! Huffman tables (ITU-T T.81, Annexes C, F.2.2 and K.3).

use super::bits::{Bits, extend};
use super::markers::wrong_length;
use super::{Undecodable, broken};

/// Codes of up to this many bits are looked up at once; so are whole coefficients.
const LOOKUP_BITS: u32 = 10;

/// What libjpeg consumes of bits that are no code, before it goes on as if the symbol were 0.
const NO_CODE_BITS: u32 = 17;

/// A table as it stands in the file: the number of codes of each length from 1 to 16, and the
/// symbols by code.
#[derive(Debug, Clone)]
pub struct Definition {
    counts: [u8; 16],
    symbols: Vec<u8>,
}

/// The classes of tables, by their number in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Dc,
    Ac,
}

/// Up to four tables of each class.
#[derive(Debug, Default)]
pub struct Definitions {
    dc: [Option<Definition>; 4],
    ac: [Option<Definition>; 4],
}

impl Definitions {
    /// Takes over the tables of a DHT segment.
    pub fn read(&mut self, mut segment: &[u8]) -> Result<(), Undecodable> {
        while let Some((&[place, ref counts @ ..], rest)) = segment.split_first_chunk::<17>() {
            let total = counts.iter().map(|&n| usize::from(n)).sum();
            let symbols = rest.get(..total).filter(|s| s.len() <= 256);
            let symbols = symbols.ok_or_else(|| broken("a Huffman table has too many codes"))?;
            let tables = match place >> 4 {
                0 => &mut self.dc,
                1 => &mut self.ac,
                _ => return Err(broken("a Huffman table is of an unknown class")),
            };
            let table = tables.get_mut(usize::from(place & 15));
            *table.ok_or_else(|| broken("a Huffman table has a number above 3"))? =
                Some(Definition {
                    counts: *counts,
                    symbols: symbols.to_vec(),
                });
            segment = &rest[total..];
        }
        if segment.is_empty() {
            Ok(())
        } else {
            Err(wrong_length("Huffman table"))
        }
    }

    /// Takes the tables of T.81, K.3 for the first two of each class where the file defines none:
    /// frames cut from Motion-JPEG films go without.
    pub fn fill_in_standard(&mut self) {
        let fill = |tables: &mut [Option<Definition>; 4], standard: [([u8; 16], &[u8]); 2]| {
            for (table, (counts, symbols)) in tables.iter_mut().zip(standard) {
                table.get_or_insert_with(|| Definition {
                    counts,
                    symbols: symbols.to_vec(),
                });
            }
        };
        fill(&mut self.dc, super::standard::DC);
        fill(&mut self.ac, super::standard::AC);
    }

    pub fn build(&self, class: Class, number: u8) -> Result<Table, Undecodable> {
        let (tables, name) = match class {
            Class::Dc => (&self.dc, "DC"),
            Class::Ac => (&self.ac, "AC"),
        };
        match tables.get(usize::from(number)) {
            Some(Some(definition)) => Table::new(definition, class),
            _ => Err(broken(format!(
                "{name} Huffman table {number} is used and not defined"
            ))),
        }
    }
}

/// A table made ready for decoding.
pub struct Table {
    /// By the next bits: length of the code, symbol; zero where the code is longer.
    short: [(u8, u8); 1 << LOOKUP_BITS],
    /// By the next bits: a code and the coefficient behind it, where both fit.
    coefficients: [Coefficient; 1 << LOOKUP_BITS],
    /// For each length, what the next 16 bits are below if the code is no longer than that.
    limits: [u32; 17],
    /// For each length, the place of a code's symbol less the code.
    offsets: [i32; 17],
    symbols: [u8; 256],
}

/// A run of zeros, the coefficient after it, and the bits that say so; none where they are more
/// than is looked up, and where no coefficient follows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Coefficient {
    pub value: i16,
    pub run: u8,
    pub bits: u8,
}

impl Table {
    fn new(definition: &Definition, class: Class) -> Result<Self, Undecodable> {
        let Definition { counts, symbols } = definition;
        // Longer differences have no place in 8-bit images; libjpeg looks at DC tables alone.
        if class == Class::Dc && symbols.iter().any(|&symbol| symbol > 15) {
            return Err(broken("a Huffman table holds impossible DC lengths"));
        }
        let mut table = Self {
            short: [(0, 0); 1 << LOOKUP_BITS],
            coefficients: [Coefficient::default(); 1 << LOOKUP_BITS],
            limits: [0; 17],
            offsets: [0; 17],
            symbols: [0; 256],
        };
        table.symbols[..symbols.len()].copy_from_slice(symbols);
        // Codes of one length are consecutive; the first is twice what follows the last shorter one.
        let (mut code, mut place) = (0_u32, 0_usize);
        for (length, &count) in (1..=16_u32).zip(counts) {
            table.offsets[length as usize] = place as i32 - code as i32;
            // The code of ones alone must stay free.
            if code + u32::from(count) >= 1 << length {
                return Err(broken("a Huffman table has more codes than there can be"));
            }
            for _ in 0..count {
                if length <= LOOKUP_BITS {
                    let first = (code << (LOOKUP_BITS - length)) as usize;
                    let entries = &mut table.short[first..first + (1 << (LOOKUP_BITS - length))];
                    entries.fill((length as u8, symbols[place]));
                }
                code += 1;
                place += 1;
            }
            table.limits[length as usize] = code << (16 - length);
            code <<= 1;
        }
        if class == Class::Ac {
            table.combine();
        }
        Ok(table)
    }

    /// Fills the table of whole coefficients.
    fn combine(&mut self) {
        let entries = self.coefficients.iter_mut().zip(&self.short);
        for (next, (entry, &(length, symbol))) in (0..).zip(entries) {
            let (run, size) = (symbol >> 4, u32::from(symbol & 15));
            let bits = u32::from(length) + size;
            if length > 0 && size > 0 && bits <= LOOKUP_BITS {
                let value = (next >> (LOOKUP_BITS - bits)) & ((1 << size) - 1);
                *entry = Coefficient {
                    value: extend(value, size) as i16,
                    run,
                    bits: bits as u8,
                };
            }
        }
    }

    /// The whole coefficient ahead if it is short enough; it stays. Wants 10 bits.
    #[inline(always)]
    pub fn coefficient(&self, bits: &Bits) -> Coefficient {
        self.coefficients[bits.peek(LOOKUP_BITS) as usize]
    }

    /// Takes a symbol, and up to 17 bits.
    #[inline(always)]
    pub fn symbol(&self, bits: &mut Bits) -> u8 {
        let (length, symbol) = self.short[bits.peek(LOOKUP_BITS) as usize];
        if length > 0 {
            bits.skip(length.into());
            return symbol;
        }
        self.long_symbol(bits)
    }

    #[cold]
    fn long_symbol(&self, bits: &mut Bits) -> u8 {
        let next = bits.peek(16);
        for length in LOOKUP_BITS + 1..=16 {
            if next < self.limits[length as usize] {
                bits.skip(length);
                let code = (next >> (16 - length)) as i32;
                return self.symbols[(code + self.offsets[length as usize]) as usize];
            }
        }
        bits.skip(NO_CODE_BITS);
        0
    }
}
