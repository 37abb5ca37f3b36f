//! As much of Thrift's compact protocol as it takes to look at what the Parquet reader is about to
//! believe. Nothing is held: what matters is told, all else is passed over.

use std::io::Read;

use parquet::errors::{ParquetError, Result};

/// What the Parquet reader takes a field for. It goes by the field's number and not by the kind that
/// stands before it in the file; where the two differ it would read other bytes than are looked at here.
pub enum Shape {
    Bool,
    Byte,
    /// A whole number, told as one of 32 bits.
    Number,
    Double,
    Text,
    List(&'static Shape),
    Struct(Fields),
}

/// Fields by number; others are passed over.
pub type Fields = &'static [(i16, Shape)];

/// The kinds of values in a file. Of truths there are two: they are their kind.
mod kind {
    pub const TRUE: u8 = 1;
    pub const FALSE: u8 = 2;
    pub const BYTE: u8 = 3;
    pub const I16: u8 = 4;
    pub const I64: u8 = 6;
    pub const DOUBLE: u8 = 7;
    pub const BINARY: u8 = 8;
    pub const LIST: u8 = 9;
    pub const SET: u8 = 10;
    pub const MAP: u8 = 11;
    pub const STRUCT: u8 = 12;
    pub const UUID: u8 = 13;
}

/// Structs within structs that are passed over.
const DEPTH: usize = 64;

pub struct Thrift<'r, R> {
    input: &'r mut R,
    length: u64,
}

impl<'r, R: Read> Thrift<'r, R> {
    pub fn new(input: &'r mut R) -> Self {
        Self { input, length: 0 }
    }

    /// Bytes read so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Reads a struct. `found` is told each number and its place: which field it is, and before that
    /// which field is the struct that holds it, 0 for the outermost one.
    pub fn read(&mut self, shape: &Shape, found: &mut dyn FnMut([i16; 2], i32)) -> Result<()> {
        self.value(kind::STRUCT, shape, [0, 0], found)
    }

    fn value(
        &mut self,
        found_kind: u8,
        shape: &Shape,
        [outer, place]: [i16; 2],
        found: &mut dyn FnMut([i16; 2], i32),
    ) -> Result<()> {
        match (shape, found_kind) {
            (Shape::Number, kind::I16..=kind::I64) => {
                found([outer, place], self.number()? as i32); // as the Parquet reader cuts it
                Ok(())
            }
            (Shape::List(shape), kind::LIST) => {
                let (item, count) = self.list()?;
                (0..count).try_for_each(|_| self.value(item, shape, [outer, place], found))
            }
            (Shape::Struct(fields), kind::STRUCT) => {
                let mut last = 0;
                while let Some(field) = self.field(&mut last)? {
                    self.known(field, fields, place, found)?;
                }
                Ok(())
            }
            (Shape::Bool, kind::TRUE | kind::FALSE)
            | (Shape::Byte, kind::BYTE)
            | (Shape::Double, kind::DOUBLE)
            | (Shape::Text, kind::BINARY) => self.skip(found_kind, 0),
            _ => Err(broken()),
        }
    }

    /// Reads a field, of which number and kind have been read, as one of `fields`, which are those of the
    /// struct `outer`.
    pub fn known(
        &mut self,
        (field, kind): (i16, u8),
        fields: Fields,
        outer: i16,
        found: &mut dyn FnMut([i16; 2], i32),
    ) -> Result<()> {
        match fields.iter().find(|(number, _)| *number == field) {
            Some((_, shape)) => self.value(kind, shape, [outer, field], found),
            None => self.skip(kind, 0),
        }
    }

    /// Number and kind of the next field, `None` at the end of the struct; `last` is the number of the
    /// field before it.
    pub fn field(&mut self, last: &mut i16) -> Result<Option<(i16, u8)>> {
        let head = self.byte()?;
        let kind = head & 15;
        if kind == 0 {
            return Ok(None);
        }
        *last = match head >> 4 {
            0 => self.number()? as i16,
            step => last.checked_add(step.into()).ok_or_else(broken)?,
        };
        Ok(Some((*last, kind)))
    }

    /// The number of structs in a list, of which the kind has been read.
    pub fn structs(&mut self, list: u8) -> Result<u64> {
        match (list, self.list()?) {
            (kind::LIST, (kind::STRUCT, count)) => Ok(count),
            _ => Err(broken()),
        }
    }

    /// Kind and number of the items of a list.
    fn list(&mut self) -> Result<(u8, u64)> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            count => count.into(),
        };
        Ok((head & 15, count))
    }

    /// Passes over a value.
    pub fn skip(&mut self, found: u8, depth: usize) -> Result<()> {
        if depth > DEPTH {
            return Err(broken());
        }
        match found {
            kind::TRUE | kind::FALSE => Ok(()),
            kind::BYTE => self.byte().map(drop),
            kind::I16..=kind::I64 => self.varint().map(drop),
            kind::DOUBLE => self.bytes(8),
            kind::UUID => self.bytes(16),
            kind::BINARY => {
                let length = self.varint()?;
                self.bytes(length)
            }
            kind::LIST | kind::SET => {
                let (item, count) = self.list()?;
                (0..count).try_for_each(|_| self.skip_item(item, depth))
            }
            kind::MAP => {
                let count = self.varint()?;
                let kinds = if count == 0 { 0 } else { self.byte()? };
                (0..count).try_for_each(|_| {
                    self.skip_item(kinds >> 4, depth)?;
                    self.skip_item(kinds & 15, depth)
                })
            }
            kind::STRUCT => {
                while let Some((_, kind)) = self.field(&mut 0)? {
                    self.skip(kind, depth + 1)?;
                }
                Ok(())
            }
            _ => Err(broken()),
        }
    }

    /// Passes over an item of a list. Truths, which take a byte there, are refused: the Parquet reader
    /// takes none for them, and so would count without end as many as a list claims. Nobody writes them.
    fn skip_item(&mut self, item: u8, depth: usize) -> Result<()> {
        match item {
            kind::TRUE | kind::FALSE => Err(broken()),
            item => self.skip(item, depth + 1),
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

pub fn broken() -> ParquetError {
    ParquetError::EOF("the header of a page, or the footer, is broken".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_all_kinds_are_passed_over() {
        // A map of 1 to 1, a list of two bytes, a set of no numbers, a double, a UUID, a byte.
        let values = [
            &[0x1b, 1, 0x53, 2, 1, 0x19, 0x23, 1, 2, 0x1a, 0x05, 0x17][..],
            &[7; 8],
            &[0x1d],
            &[7; 16],
            &[0x13, 7, 0x05, 0xc8, 1, 9, 0],
        ]
        .concat();
        let mut input = &values[..];
        let mut found = Vec::new();
        let shape = Shape::Struct(&[(100, Shape::Number)]);
        let mut thrift = Thrift::new(&mut input);
        let read = thrift.read(&shape, &mut |place, number| found.push((place, number)));
        read.unwrap();
        assert_eq!(thrift.length(), values.len() as u64);
        assert_eq!(found, [([0, 100], -5)]);
    }

    #[test]
    fn what_has_no_end_is_refused() {
        let refused = |bytes: &[u8]| {
            let read = Thrift::new(&mut &bytes[..]).read(&Shape::Struct(&[]), &mut |_, _| {});
            read.is_err()
        };
        assert!(refused(&[0x1c; 1000]), "structs within structs");
        // As many items as a list claims are looked for.
        assert!(!refused(&[0x19, 0x33, 1, 2, 3, 0]));
        assert!(refused(&[
            0x19, 0xf3, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 2, 3, 0
        ]));
        assert!(refused(&[0x19, 0x31, 1, 2, 1, 0]), "truths");
    }
}
