//! A file's footer, looked at before the Parquet reader does.
//!
//! The schema in it is a list of all groups and columns, each group before what it holds. The reader
//! takes room for as many children as a group claims, and calls itself once for each group within a group.

use std::io::Read;

use parquet::errors::{ParquetError, Result};
use parquet::file::reader::ChunkReader;

use super::on_disk::OnDisk;
use super::thrift::{Fields, Shape, Thrift};

/// Groups within groups; nobody has more than a few.
const DEPTH: usize = 64;

const TIME: Shape = Shape::Struct(&[
    (1, Shape::Bool),
    (2, Shape::Struct(&[(1, EMPTY), (2, EMPTY), (3, EMPTY)])),
]);
const EMPTY: Shape = Shape::Struct(&[]);

/// A group or a column, as far as the Parquet reader looks at it.
const ELEMENT: Shape = Shape::Struct(&[
    (1, Shape::Number),
    (2, Shape::Number),
    (3, Shape::Number),
    (4, Shape::Text),
    (CHILDREN, Shape::Number),
    (6, Shape::Number),
    (7, Shape::Number),
    (8, Shape::Number),
    (9, Shape::Number),
    (10, LOGICAL_TYPE),
]);
const CHILDREN: i16 = 5;

/// A union; most of its members say all by being there.
const LOGICAL_TYPE: Shape = Shape::Struct(&[
    (1, EMPTY),
    (2, EMPTY),
    (3, EMPTY),
    (4, EMPTY),
    (5, Shape::Struct(&[(1, Shape::Number), (2, Shape::Number)])),
    (6, EMPTY),
    (7, TIME),
    (8, TIME),
    (10, Shape::Struct(&[(1, Shape::Byte), (2, Shape::Bool)])),
    (11, EMPTY),
    (12, EMPTY),
    (13, EMPTY),
    (14, EMPTY),
    (15, EMPTY),
    (16, Shape::Struct(&[(1, Shape::Byte)])),
    (17, Shape::Struct(&[(1, Shape::Text)])),
    (18, Shape::Struct(&[(1, Shape::Text), (2, Shape::Number)])),
    (19, EMPTY),
]);

const SCHEMA: i16 = 2;

/// The other fields of the footer, as far as the Parquet reader looks at them.
const FOOTER: Fields = &[
    (1, Shape::Number),
    (3, Shape::Number),
    (4, Shape::List(&ROW_GROUP)),
    (5, Shape::List(&PAIR)),
    (6, Shape::Text),
    (7, Shape::List(&ORDER)),
];

const PAIR: Shape = Shape::Struct(&[(1, Shape::Text), (2, Shape::Text)]);
const ORDER: Shape = Shape::Struct(&[(1, EMPTY), (2, EMPTY), (3, EMPTY)]);

const ROW_GROUP: Shape = Shape::Struct(&[
    (1, Shape::List(&COLUMN)),
    (2, Shape::Number),
    (3, Shape::Number),
    (4, Shape::List(&SORTING)),
    (5, Shape::Number),
    (7, Shape::Number),
]);
const SORTING: Shape = Shape::Struct(&[(1, Shape::Number), (2, Shape::Bool), (3, Shape::Bool)]);

const COLUMN: Shape = Shape::Struct(&[
    (1, Shape::Text),
    (2, Shape::Number),
    (3, DESCRIPTION),
    (4, Shape::Number),
    (5, Shape::Number),
    (6, Shape::Number),
    (7, Shape::Number),
]);
const DESCRIPTION: Shape = Shape::Struct(&[
    (1, Shape::Number),
    (2, Shape::List(&Shape::Number)),
    (4, Shape::Number),
    (5, Shape::Number),
    (6, Shape::Number),
    (7, Shape::Number),
    (9, Shape::Number),
    (10, Shape::Number),
    (11, Shape::Number),
    (12, STATISTICS),
    (13, Shape::List(&ENCODING)),
    (14, Shape::Number),
    (15, Shape::Number),
    (16, SIZES),
    (17, PLACES),
]);
const STATISTICS: Shape = Shape::Struct(&[
    (1, Shape::Text),
    (2, Shape::Text),
    (3, Shape::Number),
    (4, Shape::Number),
    (5, Shape::Text),
    (6, Shape::Text),
    (7, Shape::Bool),
    (8, Shape::Bool),
    (9, Shape::Number),
]);
const ENCODING: Shape =
    Shape::Struct(&[(1, Shape::Number), (2, Shape::Number), (3, Shape::Number)]);
const SIZES: Shape = Shape::Struct(&[
    (1, Shape::Number),
    (2, Shape::List(&Shape::Number)),
    (3, Shape::List(&Shape::Number)),
]);
const PLACES: Shape = Shape::Struct(&[(1, BOX), (2, Shape::List(&Shape::Number))]);
const BOX: Shape = Shape::Struct(&[
    (1, Shape::Double),
    (2, Shape::Double),
    (3, Shape::Double),
    (4, Shape::Double),
    (5, Shape::Double),
    (6, Shape::Double),
    (7, Shape::Double),
    (8, Shape::Double),
]);

/// An error where the footer claims what it does not hold. What else is wrong with a footer the Parquet
/// reader says.
pub fn check(file: &OnDisk) -> Result<()> {
    const TAIL: u64 = 8;
    let Some(tail) = file.bytes.checked_sub(TAIL) else {
        return Ok(());
    };
    let tail_bytes = file.get_bytes(tail, TAIL as usize)?;
    let (length, mark) = tail_bytes.split_at(4);
    let length = length
        .iter()
        .rev()
        .fold(0, |n, &byte| n << 8 | u64::from(byte));
    match tail.checked_sub(length) {
        Some(start) if mark == b"PAR1" => check_all(&mut file.get_read(start)?.take(length)),
        _ => Ok(()),
    }
}

fn check_all(footer: &mut impl Read) -> Result<()> {
    let mut thrift = Thrift::new(footer);
    let (mut last, mut has_schema) = (0, false);
    while let Some(field @ (number, kind)) = thrift.field(&mut last)? {
        match (number, has_schema) {
            (SCHEMA, false) => check_schema(&mut thrift, kind)?,
            (SCHEMA, true) => thrift.skip(kind, 0)?,
            _ => thrift.known(field, FOOTER, 0, &mut |_, _| {})?,
        }
        has_schema |= number == SCHEMA;
    }
    Ok(())
}

fn check_schema(thrift: &mut Thrift<impl Read>, list: u8) -> Result<()> {
    let count = thrift.structs(list)?;
    let mut claimed = 0;
    // Of each group that is not over, how many children are still to come.
    let mut open: Vec<u64> = Vec::new();
    for _ in 0..count {
        let mut children = 0;
        thrift.read(&ELEMENT, &mut |place, number| {
            if place == [0, CHILDREN] {
                children = u64::try_from(number).unwrap_or(0);
            }
        })?;
        if let Some(left) = open.last_mut() {
            *left -= 1;
        }
        open.push(children);
        while open.last() == Some(&0) {
            open.pop();
        }
        claimed += children;
        let problem = if claimed >= count {
            format!("its schema has {count} parts, of which groups claim {claimed}")
        } else if open.len() > DEPTH {
            format!("its schema has more than {DEPTH} groups in one another")
        } else {
            continue;
        };
        return Err(ParquetError::General(problem));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A footer with a schema of such numbers of children.
    fn footer(children: &[u32]) -> Vec<u8> {
        let mut bytes = vec![
            0x15,
            4,
            0x19,
            0xfc,
            children.len() as u8 | 128,
            (children.len() >> 7) as u8,
        ];
        for &children in children {
            // Of a group: its name, its children; of a column: a type and a name.
            match children {
                0 => bytes.extend([0x15, 2, 0x38, 1, b'c', 0]),
                _ => {
                    bytes.extend([0x48, 1, b'g', 0x15]);
                    let mut number = 2 * u64::from(children);
                    while number >= 128 {
                        bytes.push(number as u8 | 128);
                        number >>= 7;
                    }
                    bytes.extend([number as u8, 0]);
                }
            }
        }
        bytes.push(0);
        bytes
    }

    fn checked(children: &[u32]) -> Result<()> {
        check_all(&mut &footer(children)[..])
    }

    #[test]
    fn a_schema_claims_what_it_holds() {
        checked(&[2, 2, 0, 0, 0]).unwrap();
        checked(&[1, 0]).unwrap();
        for wrong in [&[2, 0][..], &[1, u32::MAX >> 1, 0], &[1, 1]] {
            assert!(checked(wrong).is_err(), "{wrong:?}");
        }
        let chain = |depth: usize| [&vec![1; depth][..], &[0]].concat();
        checked(&chain(DEPTH)).unwrap();
        assert!(checked(&chain(DEPTH + 1)).is_err());
    }

    #[test]
    fn nothing_hides_behind_another_kind() {
        let footer = footer(&[1, 0]);
        for at in [0, 2, 6] {
            let mut hidden = footer.clone();
            hidden[at] = hidden[at] & 0xf0 | 11;
            assert!(check_all(&mut &hidden[..]).is_err(), "byte {at}");
        }
        // A list of truths, which the Parquet reader would count to the end, in a field that nobody knows.
        let end = footer.len() - 1;
        let counted = |item: u8| [&footer[..end], &[0xb9, 0x10 | item, 9, 0]].concat();
        check_all(&mut &counted(3)[..]).unwrap();
        assert!(check_all(&mut &counted(1)[..]).is_err());
    }
}
