//! The pages of a column, none larger than a page can honestly be.
//!
//! The Parquet reader takes what the header of a page claims before it looks at the page: for
//! dictionaries the number of their entries, too. So each header is looked at first.

use std::io::Read;
use std::sync::Arc;

use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::ChunkReader;
use parquet::file::serialized_reader::SerializedPageReader;

use super::on_disk::OnDisk;

/// Bytes that any page may claim.
const ALWAYS: u64 = 256 << 20;

/// Times its length that a longer page may claim: images are compressed already.
const MOST: u64 = 64;

/// A page reader that knows where the next header is.
pub struct Pages {
    reader: SerializedPageReader<OnDisk>,
    file: Arc<OnDisk>,
    at: u64,
    end: u64,
}

impl Pages {
    /// The pages of a column chunk with so many rows.
    pub fn new(file: Arc<OnDisk>, chunk: &ColumnChunkMetaData, rows: usize) -> Result<Self> {
        let (at, length) = chunk.byte_range();
        let reader = SerializedPageReader::new(file.clone(), chunk, rows, None)?;
        Ok(Self {
            reader,
            file,
            at,
            end: at.saturating_add(length),
        })
    }

    /// Looks at the headers up to that of the next page of data or dictionary.
    fn look(&mut self) -> Result<()> {
        while self.at < self.end {
            let header = Header::read(&mut self.file.get_read(self.at)?)?;
            self.at += header.length + header.compressed;
            let is_index = header.kind == Header::INDEX;
            let is_sound = header.claimed <= ALWAYS.max(MOST * header.compressed)
                && header.entries <= header.claimed;
            if !is_index && !is_sound {
                return Err(ParquetError::General(format!(
                    "a page of {} bytes claims {} bytes and {} dictionary entries, more than it can hold",
                    header.compressed, header.claimed, header.entries
                )));
            }
            if !is_index {
                break;
            }
        }
        Ok(())
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        self.look()?;
        self.reader.get_next_page()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.reader.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.look()?;
        self.reader.skip_next_page()
    }

    fn supports_deferred_dictionary(&self) -> bool {
        self.reader.supports_deferred_dictionary()
    }

    fn take_deferred_dictionary(&mut self) -> Result<Option<Page>> {
        self.reader.take_deferred_dictionary()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.reader.at_record_boundary()
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

/// What matters of a page's header.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    /// Bytes of the header itself.
    length: u64,
    kind: u64,
    /// Bytes of the page when unpacked.
    claimed: u64,
    /// Bytes of the page in the file.
    compressed: u64,
    /// Of a dictionary.
    entries: u64,
}

impl Header {
    const INDEX: u64 = 1;

    fn read(input: &mut impl Read) -> Result<Self> {
        let mut thrift = Thrift { input, length: 0 };
        let (mut kind, mut claimed, mut compressed, mut entries) = (0, 0, 0, 0);
        thrift.fields(0, &mut |path, value| match path {
            [1] => kind = value,
            [2] => claimed = value,
            [3] => compressed = value,
            [7, 1] => entries = value,
            _ => {}
        })?;
        let size = |number: i64| u64::try_from(number).map_err(|_| broken());
        Ok(Self {
            length: thrift.length,
            kind: size(kind)?,
            claimed: size(claimed)?,
            compressed: size(compressed)?,
            entries: size(entries)?,
        })
    }
}

/// A reader of Thrift's compact protocol that passes over all but whole numbers.
struct Thrift<'r, R> {
    input: &'r mut R,
    length: u64,
}

impl<R: Read> Thrift<'_, R> {
    /// Reads the fields of a struct, those of structs in them too; `found` is told the numbers of
    /// fields on the way to a whole number, and the number.
    fn fields(&mut self, outer: i64, found: &mut dyn FnMut(&[i64], i64)) -> Result<()> {
        let mut last = 0;
        loop {
            let byte = self.byte()?;
            let kind = byte & 15;
            if byte == 0 {
                return Ok(());
            }
            last = match byte >> 4 {
                0 => self.number()?,
                step => last + i64::from(step),
            };
            match (kind, outer) {
                (4..=6, 0) => found(&[last], self.number()?),
                (4..=6, _) => found(&[outer, last], self.number()?),
                (12, 0) => self.fields(last, found)?,
                _ => self.skip(kind, 0)?,
            }
        }
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Result<()> {
        if depth > 8 {
            return Err(broken());
        }
        match kind {
            1 | 2 => Ok(()), // booleans are in their kind
            3 => self.byte().map(drop),
            4..=6 => self.number().map(drop),
            7 => self.bytes(8),
            8 => {
                let length = self.varint()?;
                self.bytes(length)
            }
            9 | 10 => {
                let head = self.byte()?;
                let count = match head >> 4 {
                    15 => self.varint()?,
                    count => count.into(),
                };
                let item = match head & 15 {
                    1 | 2 => 3, // in lists a boolean takes a byte
                    item => item,
                };
                (0..count).try_for_each(|_| self.skip(item, depth + 1))
            }
            12 => self.nested(depth),
            _ => Err(broken()),
        }
    }

    fn nested(&mut self, depth: usize) -> Result<()> {
        loop {
            let byte = self.byte()?;
            if byte == 0 {
                return Ok(());
            }
            if byte >> 4 == 0 {
                self.number()?;
            }
            self.skip(byte & 15, depth + 1)?;
        }
    }

    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        self.input.read_exact(&mut byte)?;
        self.length += 1;
        Ok(byte[0])
    }

    fn bytes(&mut self, count: u64) -> Result<()> {
        let passed = std::io::copy(&mut self.input.by_ref().take(count), &mut std::io::sink())?;
        self.length += passed;
        (passed == count).then_some(()).ok_or_else(broken)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(broken())
    }

    /// A number of either sign.
    fn number(&mut self) -> Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }
}

fn broken() -> ParquetError {
    ParquetError::EOF("the header of a page is broken".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_what_they_hold_besides_is_passed_over() {
        // kind 2, sizes 300 and 20, checksum −1, a dictionary of 7 entries, plain, sorted.
        let bytes = [
            0x15, 4, 0x15, 0xd8, 4, 0x15, 40, 0x15, 1, 0x3c, 0x15, 14, 0x15, 0, 0x11, 0, 0, 99,
        ];
        let expected = Header {
            length: 17,
            kind: 2,
            claimed: 300,
            compressed: 20,
            entries: 7,
        };
        assert_eq!(Header::read(&mut &bytes[..]).unwrap(), expected);
        for length in 0..17 {
            assert!(Header::read(&mut &bytes[..length]).is_err());
        }
    }
}
