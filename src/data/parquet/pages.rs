//! The pages of a column, none larger than a page can honestly be.
//!
//! The Parquet reader takes what the header of a page claims before it looks at the page: for
//! dictionaries the number of their entries, too. So each header is looked at first.
//!
//! Pages in Brotli are unpacked here: the reader's own way would bring a compressor with it, most of a
//! megabyte of program.

use std::io::Read;
use std::sync::Arc;

use brotli_decompressor::Decompressor;
use parquet::basic::Compression;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::ChunkReader;
use parquet::file::serialized_reader::SerializedPageReader;

use super::on_disk::OnDisk;
use super::thrift::{Shape, Thrift, broken};

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
    /// The pages are in Brotli, and the reader takes them for bytes as they are.
    is_brotli: bool,
    /// Bytes that the page looked at last claims to unpack to.
    claimed: u64,
}

impl Pages {
    /// The pages of a column chunk with so many rows.
    pub fn new(file: Arc<OnDisk>, chunk: &ColumnChunkMetaData, rows: usize) -> Result<Self> {
        let (at, length) = chunk.byte_range();
        let is_brotli = matches!(chunk.compression(), Compression::BROTLI(_));
        let reader = if is_brotli {
            let raw = chunk.clone().into_builder();
            let raw = raw.set_compression(Compression::UNCOMPRESSED).build()?;
            SerializedPageReader::new(file.clone(), &raw, rows, None)?
        } else {
            SerializedPageReader::new(file.clone(), chunk, rows, None)?
        };
        Ok(Self {
            reader,
            file,
            at,
            end: at.saturating_add(length),
            is_brotli,
            claimed: 0,
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
            self.claimed = header.claimed;
            if !is_index {
                break;
            }
        }
        Ok(())
    }

    /// A page in Brotli, unpacked. Of a data page of the second version the levels, which come first,
    /// are not compressed, and the values need not be.
    fn unpack(&self, mut page: Page) -> Result<Page> {
        let (buf, levels) = match &mut page {
            Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. } => (buf, 0),
            Page::DataPageV2 {
                is_compressed: false,
                ..
            } => return Ok(page),
            Page::DataPageV2 {
                buf,
                def_levels_byte_len,
                rep_levels_byte_len,
                ..
            } => (
                buf,
                *def_levels_byte_len as usize + *rep_levels_byte_len as usize,
            ),
        };
        let compressed = buf.get(levels..).ok_or_else(broken)?;
        let mut unpacked = buf[..levels].to_vec();
        let values = self.claimed.checked_sub(levels as u64).ok_or_else(broken)?;
        // A page without a value has nothing to unpack.
        if values > 0 {
            let unpacker = Decompressor::new(compressed, 4096);
            // One more, to see whether that is all.
            unpacker.take(values + 1).read_to_end(&mut unpacked)?;
        }
        if unpacked.len() as u64 != self.claimed {
            return Err(ParquetError::General(format!(
                "a page does not unpack to the {} bytes of its header",
                self.claimed
            )));
        }
        *buf = unpacked.into();
        Ok(page)
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        self.look()?;
        let page = self.reader.get_next_page()?;
        if self.is_brotli {
            page.map(|page| self.unpack(page)).transpose()
        } else {
            Ok(page)
        }
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.reader.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.look()?;
        self.reader.skip_next_page()
    }

    fn supports_deferred_dictionary(&self) -> bool {
        // It would come past `unpack`.
        !self.is_brotli && self.reader.supports_deferred_dictionary()
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

/// A page's header, as far as the Parquet reader looks at it. Statistics it leaves alone.
const SHAPE: Shape = Shape::Struct(&[
    (1, Shape::Number),
    (2, Shape::Number),
    (3, Shape::Number),
    (4, Shape::Number),
    (
        5,
        Shape::Struct(&[
            (1, Shape::Number),
            (2, Shape::Number),
            (3, Shape::Number),
            (4, Shape::Number),
        ]),
    ),
    (6, Shape::Struct(&[])),
    (
        7,
        Shape::Struct(&[(1, Shape::Number), (2, Shape::Number), (3, Shape::Bool)]),
    ),
    (
        8,
        Shape::Struct(&[
            (1, Shape::Number),
            (2, Shape::Number),
            (3, Shape::Number),
            (4, Shape::Number),
            (5, Shape::Number),
            (6, Shape::Number),
            (7, Shape::Bool),
        ]),
    ),
]);

impl Header {
    const INDEX: u64 = 1;

    fn read(input: &mut impl Read) -> Result<Self> {
        let mut thrift = Thrift::new(input);
        let (mut kind, mut claimed, mut compressed, mut entries) = (0, 0, 0, 0);
        thrift.read(&SHAPE, &mut |place, value| match place {
            [0, 1] => kind = value,
            [0, 2] => claimed = value,
            [0, 3] => compressed = value,
            [7, 1] => entries = value,
            _ => {}
        })?;
        let size = |number: i32| u64::try_from(number).map_err(|_| broken());
        Ok(Self {
            length: thrift.length(),
            kind: size(kind)?,
            claimed: size(claimed)?,
            compressed: size(compressed)?,
            entries: size(entries)?,
        })
    }
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
        // Text where the Parquet reader takes a size, which would hide what follows.
        let hidden = [&bytes[..2], &[0x18], &bytes[3..]].concat();
        assert!(Header::read(&mut &hidden[..]).is_err());
    }
}
