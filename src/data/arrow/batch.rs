//! The rows of one message.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use super::Reading;
use super::flatbuffer::Table;
use super::schema::{Field, Kind};
use crate::memory;

/// Where the buffers of some rows lie in the file.
#[derive(Debug)]
pub struct Batch {
    pub rows: usize,
    /// Start and length of each.
    buffers: Vec<(u64, u64)>,
}

impl Batch {
    /// Reads the head of a record batch whose body lies between two places.
    pub fn read(table: Table, body: u64, end: u64) -> Reading<Self> {
        if table.table(3).is_some() {
            return Err("its rows are compressed".into());
        }
        let place = |(offset, length): (i64, i64)| {
            let start = body.checked_add(u64::try_from(offset).ok()?)?;
            let length = u64::try_from(length).ok()?;
            (start.checked_add(length)? <= end).then_some((start, length))
        };
        let buffers = table.pairs(2).ok_or("a record batch is broken")?;
        let buffers: Option<Vec<_>> = buffers.into_iter().map(place).collect();
        let rows = usize::try_from(table.long(0)).ok();
        // A row of images or labels takes a byte at least.
        let rows = rows.filter(|&rows| rows as u64 <= end - body);
        Ok(Self {
            rows: rows.ok_or("a record batch claims more rows than it can hold")?,
            buffers: buffers.ok_or("a record batch lies beyond its body")?,
        })
    }

    /// `length` bytes from byte `at` of buffer `number` on.
    fn piece(&self, file: &mut File, number: usize, at: u64, length: u64) -> Reading<Vec<u8>> {
        let buffer = self.buffers.get(number);
        let end = at.checked_add(length);
        let start = buffer.filter(|(_, most)| end.is_some_and(|end| end <= *most));
        let (start, _) = start.ok_or("a value lies beyond its buffer")?;
        let mut bytes = memory::zeroed(length as usize).map_err(|e| e.to_string())?;
        let read = file
            .seek(SeekFrom::Start(start + at))
            .and_then(|_| file.read_exact(&mut bytes));
        read.map_err(|e| format!("it cannot be read: {e}"))?;
        Ok(bytes)
    }

    /// Whether row `row` holds a value: an empty buffer says that all do.
    pub fn is_there(&self, file: &mut File, field: &Field, row: usize) -> Reading<bool> {
        match self.buffers.get(field.buffer) {
            None => Err("a record batch has too few buffers".into()),
            Some((_, 0)) => Ok(true),
            Some(_) => {
                let byte = self.piece(file, field.buffer, row as u64 / 8, 1)?;
                Ok(byte[0] >> (row % 8) & 1 == 1)
            }
        }
    }

    /// The value of a row of bytes or text.
    pub fn bytes(&self, file: &mut File, field: &Field, row: usize) -> Reading<Option<Vec<u8>>> {
        if !self.is_there(file, field, row)? {
            return Ok(None);
        }
        let size = match field.kind {
            Kind::Bytes { is_large } | Kind::Text { is_large } => width(is_large),
            _ => unreachable!("the column's type was looked at"),
        };
        let places = self.piece(file, field.buffer + 1, row as u64 * size, 2 * size)?;
        let (start, end) = places.split_at(size as usize);
        let (start, end) = (number(start), number(end));
        let length = end
            .checked_sub(start)
            .ok_or("a value ends before it starts")?;
        self.piece(file, field.buffer + 2, start, length).map(Some)
    }

    /// The values of all rows of bytes or text.
    pub fn all_bytes(
        &self,
        file: &mut File,
        field: &Field,
        is_large: bool,
    ) -> Reading<Vec<Option<Vec<u8>>>> {
        if self.rows == 0 {
            return Ok(Vec::new());
        }
        let size = width(is_large);
        let there = self.all_there(file, field)?;
        let places = (self.rows as u64 + 1) * size;
        let places = self.piece(file, field.buffer + 1, 0, places)?;
        let places: Vec<u64> = places.chunks_exact(size as usize).map(number).collect();
        // Where no row is there, too: values one upon the other would be more than the file holds.
        if !places.is_sorted() {
            return Err("a value ends before it starts".into());
        }
        let (first, last) = (places[0], places[self.rows]);
        let text = self.piece(file, field.buffer + 2, first, last - first)?;
        let value = |row: usize| {
            let start = places[row].checked_sub(first)? as usize;
            let end = places[row + 1].checked_sub(first)? as usize;
            Some(text.get(start..end)?.to_vec())
        };
        (0..self.rows)
            .map(|row| {
                if there(row) {
                    value(row)
                        .map(Some)
                        .ok_or("a value lies beyond its buffer".into())
                } else {
                    Ok(None)
                }
            })
            .collect()
    }

    /// The values of all rows of whole numbers.
    pub fn numbers(
        &self,
        file: &mut File,
        field: &Field,
        bytes: usize,
        is_signed: bool,
    ) -> Reading<Vec<Option<i64>>> {
        let there = self.all_there(file, field)?;
        let values = self.piece(file, field.buffer + 1, 0, (self.rows * bytes) as u64)?;
        let value = |value: &[u8]| {
            if is_signed {
                let unused = 64 - 8 * bytes as u32;
                ((number(value) << unused) as i64) >> unused
            } else {
                number(value) as i64
            }
        };
        let values = values.chunks_exact(bytes.max(1)).enumerate();
        Ok(values
            .map(|(row, v)| there(row).then(|| value(v)))
            .collect())
    }

    fn all_there(&self, file: &mut File, field: &Field) -> Reading<impl Fn(usize) -> bool + use<>> {
        let length = match self.buffers.get(field.buffer) {
            None => return Err("a record batch has too few buffers".into()),
            Some((_, 0)) => 0,
            Some(_) => self.rows.div_ceil(8) as u64,
        };
        let bits = self.piece(file, field.buffer, 0, length)?;
        Ok(move |row: usize| {
            bits.get(row / 8)
                .is_none_or(|byte| byte >> (row % 8) & 1 == 1)
        })
    }
}

fn width(is_large: bool) -> u64 {
    if is_large { 8 } else { 4 }
}

/// The little-endian number of up to eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |n, &byte| n << 8 | u64::from(byte))
}
