//! The schema in a file's footer, looked at before the Parquet reader does.
//!
//! It is a list of all groups and columns, each group before what it holds. The reader takes room for
//! as many children as a group claims, and calls itself once for each group within a group.

use std::io::Read;

use parquet::errors::{ParquetError, Result};
use parquet::file::reader::ChunkReader;

use super::on_disk::OnDisk;
use super::thrift::{Shape, Thrift, broken};

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

/// An error where the schema claims what it does not hold. What else is wrong with a footer the Parquet
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
        Some(start) if mark == b"PAR1" => check_schema(&mut file.get_read(start)?.take(length)),
        _ => Ok(()),
    }
}

fn check_schema(footer: &mut impl Read) -> Result<()> {
    let mut thrift = Thrift::new(footer);
    let mut last = 0;
    let count = loop {
        match thrift.field(&mut last)? {
            Some((1 | 3, kind @ 4..=6)) => thrift.skip(kind, 0)?, // the version, the rows
            Some((2, kind)) => break thrift.structs(kind)?,
            _ => return Err(broken()),
        }
    };
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

    /// A footer that starts with a schema of such numbers of children.
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
        bytes
    }

    fn checked(children: &[u32]) -> Result<()> {
        check_schema(&mut &footer(children)[..])
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
            assert!(check_schema(&mut &hidden[..]).is_err(), "byte {at}");
        }
    }
}
