//! Reading images, one row at a time.

use std::fmt;
use std::sync::Arc;

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType};

use super::{ImageColumn, ParquetFile, Read, sound};

/// The images of one file. Two are equal when file and column have the same names.
#[derive(Clone)]
pub struct ImageRows {
    file: Arc<ParquetFile>,
    column: ImageColumn,
}

impl PartialEq for ImageRows {
    fn eq(&self, other: &Self) -> bool {
        self.file.path() == other.file.path() && self.column == other.column
    }
}

impl Eq for ImageRows {}

impl fmt::Debug for ImageRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}[{}]", self.file, self.column.name)
    }
}

impl ImageRows {
    /// The images of `column`.
    pub fn new(file: Arc<ParquetFile>, column: ImageColumn) -> Self {
        Self { file, column }
    }

    /// The file they are in.
    pub fn file(&self) -> &ParquetFile {
        &self.file
    }

    /// The column they are in.
    pub fn column(&self) -> &str {
        &self.column.name
    }

    /// The name that the image file of `row` had, if it is kept.
    pub fn path(&self, row: usize) -> Read<Option<String>> {
        let Some(leaf) = self.column.path else {
            return Ok(None);
        };
        let value = Leaf::open(&self.file, leaf, row)?.read()?;
        Ok(value.map(|value| String::from_utf8_lossy(value.data()).into_owned()))
    }
}

/// Reads rows of one file. Going forwards it reads each page once; going back it starts at the
/// row group's beginning and skips pages unread.
pub struct Cursor {
    rows: Arc<ImageRows>,
    group: usize,
    leaf: Leaf,
}

impl Cursor {
    /// Stands before `row`; panics when there is no such row.
    pub fn open(rows: Arc<ImageRows>, row: usize) -> Read<Self> {
        let (group, _) = rows.file.place(row);
        let leaf = Leaf::open(&rows.file, rows.column.bytes, row)?;
        Ok(Self { rows, group, leaf })
    }

    /// Whether it reads these rows.
    pub fn is_of(&self, rows: &Arc<ImageRows>) -> bool {
        Arc::ptr_eq(&self.rows, rows)
    }

    /// The bytes of the image file in `row`, `None` where there are none; panics when there is no
    /// such row.
    pub fn read(&mut self, row: usize) -> Read<Option<Vec<u8>>> {
        let (group, place) = self.rows.file.place(row);
        if group != self.group || place < self.leaf.next {
            *self = Self::open(self.rows.clone(), row)?;
        }
        self.leaf.skip_to(place)?;
        Ok(self.leaf.read()?.map(|value| value.data().to_vec()))
    }
}

/// One leaf column of a row group.
struct Leaf {
    reader: ColumnReaderImpl<ByteArrayType>,
    /// Place in the row group of the row that comes next.
    next: usize,
    /// Definition level of a value that is there.
    most: i16,
}

impl Leaf {
    fn open(file: &ParquetFile, leaf: usize, row: usize) -> Read<Self> {
        let (group, place) = file.place(row);
        let ColumnReader::ByteArrayColumnReader(reader) = file.column(group, leaf)? else {
            unreachable!("the column's type was looked at")
        };
        let most = file.schema().column(leaf).max_def_level();
        let mut leaf = Self {
            reader,
            next: 0,
            most,
        };
        leaf.skip_to(place)?;
        Ok(leaf)
    }

    fn skip_to(&mut self, place: usize) -> Read<()> {
        let wanted = place - self.next;
        if wanted > 0 && sound(|| self.reader.skip_records(wanted))? < wanted {
            return Err("the column ends before this row".into());
        }
        self.next = place;
        Ok(())
    }

    fn read(&mut self) -> Read<Option<ByteArray>> {
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        let (records, ..) = sound(|| {
            self.reader
                .read_records(1, Some(&mut levels), None, &mut values)
        })?;
        if records == 0 {
            return Err("the column ends before this row".into());
        }
        self.next += 1;
        if self.most > 0 && levels != [self.most] {
            Ok(None)
        } else {
            Ok(values.pop())
        }
    }
}
