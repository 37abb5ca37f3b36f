//! Parquet files as Hugging Face's `datasets` writes them: a column of images (a struct of `bytes`
//! and `path`, or plain bytes), a column of labels, and the names of both kinds in the footer.
//!
//! Opening a file reads its footer and, where asked for, its labels. Images are read one at a time:
//! in the order of the file by a [`Cursor`], which holds one page, or anywhere by skipping whole
//! pages, so that a data set of any size takes the memory of a page for each thread.

mod columns;
mod features;
mod footer;
mod labels;
mod on_disk;
mod pages;
mod rows;
mod thrift;

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::column::reader::{ColumnReader, get_column_reader};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::schema::types::SchemaDescriptor;

pub use columns::{ImageColumn, LabelColumn, LabelKind};
pub use features::Features;
pub use labels::{Labels, Texts};
pub use rows::{Cursor, ImageRows};

use crate::error::{Error, Result};
use crate::files;
use on_disk::OnDisk;
use pages::Pages;

/// The footer of a file, and the way to its columns.
pub struct ParquetFile {
    path: PathBuf,
    file: Arc<OnDisk>,
    metadata: ParquetMetaData,
    features: Features,
    /// Number of the first row of each row group, and of all rows at the end.
    starts: Vec<usize>,
}

impl fmt::Debug for ParquetFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ParquetFile({})", self.path.display())
    }
}

/// What the Parquet reader says, as the end of a sentence.
type Read<T> = Result<T, String>;

impl ParquetFile {
    /// Reads the footer of `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let cannot = |e| Error::io(path, "read it", e);
        let opened = files::open_regular(path).map_err(cannot)?;
        let bytes = opened.metadata().map_err(cannot)?.len();
        let file = Arc::new(OnDisk {
            path: path.to_owned(),
            bytes,
        });
        let metadata = sound(|| {
            footer::check(&file)?;
            ParquetMetaDataReader::new().parse_and_finish(&*file)
        })
        .map_err(|problem| unreadable(path, &problem))?;
        let pairs = metadata.file_metadata().key_value_metadata();
        let said = pairs
            .into_iter()
            .flatten()
            .find(|pair| pair.key == "huggingface");
        let features = said.and_then(|pair| pair.value.as_deref());
        let features = features.map(Features::parse).unwrap_or_default();
        let mut starts = vec![0_usize];
        for group in metadata.row_groups() {
            let rows = usize::try_from(group.num_rows()).ok();
            let end = rows.and_then(|rows| starts[starts.len() - 1].checked_add(rows));
            starts.push(end.ok_or_else(|| {
                let problem = format!("a row group claims {} rows", group.num_rows());
                unreadable(path, &problem)
            })?);
        }
        // The smallest image takes more than the byte that is asked for here.
        let rows = starts[starts.len() - 1];
        if rows as u64 > bytes {
            let problem = format!("its {bytes} bytes are too few for the {rows} rows it claims");
            return Err(unreadable(path, &problem));
        }
        Ok(Self {
            path: path.to_owned(),
            features,
            starts,
            metadata,
            file,
        })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What `datasets` says about the columns.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// Names and types of the columns, in their order: the type as `datasets` calls it, or else as
    /// the file stores it.
    pub fn columns(&self) -> Vec<(String, String)> {
        let fields = self.schema().root_schema().get_fields();
        let described = fields.iter().map(|field| {
            let name = field.name().to_owned();
            let said = self.features.describe(&name);
            let kind = said.unwrap_or_else(|| columns::stored_type(field));
            (name, kind)
        });
        described.collect()
    }

    fn schema(&self) -> &SchemaDescriptor {
        self.metadata.file_metadata().schema_descr()
    }

    /// The row group that holds `row`, and the row's place in it.
    fn place(&self, row: usize) -> (usize, usize) {
        let group = self.starts.partition_point(|&start| start <= row) - 1;
        (group, row - self.starts[group])
    }

    fn column(&self, group: usize, leaf: usize) -> Read<ColumnReader> {
        if self.metadata.row_group(group).column(leaf).compression() == Compression::LZO {
            return Err(
                "its pages are compressed with LZO, which is not read (write the file again with \
                 Zstandard, Snappy, LZ4, gzip, Brotli or uncompressed)"
                    .into(),
            );
        }
        sound(|| {
            let rows = self.starts[group + 1] - self.starts[group];
            let chunk = self.metadata.row_group(group).column(leaf);
            let pages = Pages::new(self.file.clone(), chunk, rows)?;
            let column = self.schema().column(leaf);
            Ok(get_column_reader(column, Box::new(pages)))
        })
    }

    /// The error that the file is not what is wanted.
    fn refuse(&self, problem: String, help: impl Into<String>) -> Error {
        Error::data(&self.path, problem, help)
    }
}

/// Runs a piece of the Parquet reader, which asserts much about bytes that anyone may have written;
/// one file must not end a run.
fn sound<T>(read: impl FnOnce() -> parquet::errors::Result<T>) -> Read<T> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => Err(format!("its reader gave up: {}", text_of(panic.as_ref()))),
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    let text = owned.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no reason given")
}

fn unreadable(path: &Path, problem: &str) -> Error {
    let help = "download or write it again";
    let start = std::fs::File::open(path).and_then(|file| {
        let mut start = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(file, 64), &mut start)?;
        Ok(start)
    });
    match start.ok().as_deref().and_then(files::recognise) {
        Some(found) => Error::data(path, format!("it is {found}, wanted a Parquet file"), help),
        None => Error::data(
            path,
            format!("it is no Parquet file that can be read: {problem}"),
            help,
        ),
    }
}
