//! Reading a whole column of labels.

use std::collections::HashSet;
use std::str::Utf8Error;
use std::sync::Arc;

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;

use super::columns::LabelColumn;
use super::{ParquetFile, Read, sound};
use crate::error::Result;

/// The labels of all rows; `None` is a row without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Labels {
    Numbers(Vec<Option<i64>>),
    Texts(Vec<Option<Arc<str>>>),
}

/// Texts of which equal ones are held once: a file may name one long text in each of its rows.
#[derive(Debug, Default)]
pub struct Texts(HashSet<Arc<str>>);

impl Texts {
    /// The text that `bytes` are.
    pub fn held(&mut self, bytes: &[u8]) -> Result<Arc<str>, Utf8Error> {
        let text = std::str::from_utf8(bytes)?;
        if let Some(held) = self.0.get(text) {
            return Ok(held.clone());
        }
        let held: Arc<str> = text.into();
        self.0.insert(held.clone());
        Ok(held)
    }
}

impl ParquetFile {
    /// Reads all labels.
    pub fn labels(&self, column: &LabelColumn) -> Result<Labels> {
        let (mut numbers, mut texts, mut held) = (Vec::new(), Vec::new(), Texts::default());
        for group in 0..self.starts.len() - 1 {
            let rows = self.starts[group + 1] - self.starts[group];
            self.label_group(
                group,
                rows,
                self.label_leaf(column),
                &mut numbers,
                &mut texts,
                &mut held,
            )
            .map_err(|problem| {
                let name = &column.name;
                let problem = format!("column `{name}`, row group {group}: {problem}");
                self.refuse(problem, "download or write the file again")
            })?;
        }
        Ok(if texts.is_empty() {
            Labels::Numbers(numbers)
        } else {
            Labels::Texts(texts)
        })
    }

    fn label_group(
        &self,
        group: usize,
        rows: usize,
        leaf: usize,
        numbers: &mut Vec<Option<i64>>,
        texts: &mut Vec<Option<Arc<str>>>,
        held: &mut Texts,
    ) -> Read<()> {
        let most = self.schema().column(leaf).max_def_level();
        match self.column(group, leaf)? {
            ColumnReader::Int32ColumnReader(reader) => {
                let values = all(reader, rows, most)?.into_iter();
                numbers.extend(values.map(|value| value.map(i64::from)));
            }
            ColumnReader::Int64ColumnReader(reader) => numbers.extend(all(reader, rows, most)?),
            ColumnReader::ByteArrayColumnReader(reader) => {
                for value in all(reader, rows, most)? {
                    let text = value.map(|v| held.held(v.data())).transpose();
                    texts.push(text.map_err(|_| "found bytes that are not UTF-8, wanted text")?);
                }
            }
            _ => unreachable!("the column's type was looked at"),
        }
        Ok(())
    }
}

/// Rows read at once.
const BATCH: usize = 1 << 16;

/// The values of all `rows` of one row group, whose definition levels go up to `most`.
fn all<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    rows: usize,
    most: i16,
) -> Read<Vec<Option<T::T>>> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    while let missing @ 1.. = rows - levels_or(&levels, &values, most) {
        let (records, ..) = sound(|| {
            // As many as there are, not as many as there are said to be, decide what is taken.
            reader.read_records(missing.min(BATCH), Some(&mut levels), None, &mut values)
        })?;
        if records == 0 {
            return Err(format!("it ends {missing} rows early"));
        }
    }
    if most == 0 {
        return Ok(values.into_iter().map(Some).collect());
    }
    let mut values = values.into_iter();
    Ok(levels
        .iter()
        .map(|&level| (level == most).then(|| values.next()).flatten())
        .collect())
}

/// Rows read so far: a required column has no levels.
fn levels_or<T>(levels: &[i16], values: &[T], most: i16) -> usize {
    match most {
        0 => values.len(),
        _ => levels.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_held_once() {
        let mut texts = Texts::default();
        let [first, other, again] = [b"cat", b"dog", b"cat"].map(|t| texts.held(t).unwrap());
        assert_eq!((&*first, &*other), ("cat", "dog"));
        assert!(Arc::ptr_eq(&first, &again));
        assert!(texts.held(b"\xff").is_err());
    }
}
