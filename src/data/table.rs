//! The images of a table, in whichever format it is stored.

use std::path::Path;
use std::sync::Arc;

use super::arrow::{ArrowFile, is_arrow};
use super::columns::Columns;
use super::parquet::{self, LabelColumn, Labels, ParquetFile};
use crate::error::Result;

/// One file of a table.
#[derive(Clone)]
pub enum TableFile {
    Parquet(Arc<ParquetFile>),
    Arrow(Arc<ArrowFile>),
}

impl TableFile {
    /// Opens the file at `path`, whose name says what it is.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(if is_arrow(path) {
            Self::Arrow(Arc::new(ArrowFile::open(path)?))
        } else {
            Self::Parquet(Arc::new(ParquetFile::open(path)?))
        })
    }

    /// Names and types of the columns.
    pub fn columns(&self) -> Vec<(String, String)> {
        match self {
            Self::Parquet(file) => file.columns(),
            Self::Arrow(file) => file.columns(),
        }
    }

    /// The images in the column that is wanted or found.
    pub fn images(&self, wanted: &Columns) -> Result<TableRows> {
        Ok(match self {
            Self::Parquet(file) => {
                let column = file.image_column(wanted)?;
                let rows = parquet::ImageRows::new(file.clone(), column);
                TableRows::Parquet(Arc::new(rows))
            }
            Self::Arrow(file) => {
                let (place, name) = file.image_column(wanted)?;
                TableRows::Arrow(file.clone(), place, name.into())
            }
        })
    }

    /// The column of labels that is wanted or found.
    pub fn label_column(&self, wanted: &Columns) -> Result<LabelColumn> {
        match self {
            Self::Parquet(file) => file.label_column(wanted),
            Self::Arrow(file) => file.label_column(wanted),
        }
    }

    /// All labels of a column.
    pub fn labels(&self, column: &LabelColumn) -> Result<Labels> {
        match self {
            Self::Parquet(file) => file.labels(column),
            Self::Arrow(file) => file.labels(column),
        }
    }
}

/// A column of images of one file.
#[derive(Debug, Clone)]
pub enum TableRows {
    Parquet(Arc<parquet::ImageRows>),
    /// The file, the column's place and its name, which all rows share.
    Arrow(Arc<ArrowFile>, usize, Arc<str>),
}

/// Two are equal when file and column have the same names.
impl PartialEq for TableRows {
    fn eq(&self, other: &Self) -> bool {
        self.path() == other.path() && self.column() == other.column()
    }
}

impl Eq for TableRows {}

impl TableRows {
    /// Where the file is.
    pub fn path(&self) -> &Path {
        match self {
            Self::Parquet(rows) => rows.file().path(),
            Self::Arrow(file, ..) => file.path(),
        }
    }

    /// The name of the column.
    pub fn column(&self) -> &str {
        match self {
            Self::Parquet(rows) => rows.column(),
            Self::Arrow(.., name) => name,
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Parquet(rows) => rows.file().len(),
            Self::Arrow(file, ..) => file.len(),
        }
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
