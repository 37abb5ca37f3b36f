//! From where an image comes to its bytes, and from these to a picture: two steps, since the first
//! has an order in which it is cheap and the second wants many threads.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::dataset::Origin;
use super::decode::{MAX_FILE, Undecodable, decode};
use super::digits;
use super::parquet::{Cursor, ImageRows};
use super::table::TableRows;
use crate::files;
use crate::memory::OutOfMemory;
use vitcuda_picture::Rgb;

/// An image that is not decoded yet.
pub enum Encoded {
    Digit(usize),
    /// Not read yet either: files are best read by many threads.
    File(PathBuf),
    Bytes(Vec<u8>),
    /// A row that gave nothing.
    Unreadable(Undecodable),
}

impl Encoded {
    /// Decodes the image, after reading its file if it has one.
    pub fn decode(self) -> Result<Rgb, Undecodable> {
        match self {
            Self::Digit(index) => Ok(digits::image(index)),
            Self::File(path) if path.is_dir() => {
                Err(Undecodable::Bad("it is a folder, not an image".into()))
            }
            Self::File(path) => decode(&read(&path)?),
            Self::Bytes(bytes) => decode(&bytes),
            Self::Unreadable(reason) => Err(reason),
        }
    }
}

/// The bytes of an image file.
fn read(path: &Path) -> Result<Vec<u8>, Undecodable> {
    let unreadable = |e: io::Error| Undecodable::Bad(format!("it cannot be read: {e}"));
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > MAX_FILE {
        return Err(Undecodable::Bad(format!(
            "its {length} bytes are more than any image has that is read"
        )));
    }
    files::read_regular(path).map_err(|e| match e.kind() {
        io::ErrorKind::OutOfMemory => OutOfMemory { bytes: length }.into(),
        _ => unreadable(e),
    })
}

/// Reads images; cheapest in storage order, where each page of a Parquet file is read once.
#[derive(Default)]
pub struct Reader {
    cursor: Option<Cursor>,
}

impl Reader {
    /// The image from `origin`.
    pub fn read(&mut self, origin: &Origin) -> Encoded {
        match origin {
            Origin::Digit(index) => Encoded::Digit(*index),
            Origin::File(path) => Encoded::File(path.clone()),
            Origin::Row(rows, row) => self.row(rows, *row).unwrap_or_else(|problem| {
                // Whatever broke, the next row starts afresh.
                self.cursor = None;
                Encoded::Unreadable(Undecodable::Bad(problem))
            }),
        }
    }

    fn row(&mut self, rows: &TableRows, row: usize) -> Result<Encoded, String> {
        match rows {
            TableRows::Parquet(rows) => self.parquet_row(rows, row),
            TableRows::Arrow(file, place, _) => match file.image(*place, row)? {
                (Some(bytes), _) => Ok(Encoded::Bytes(bytes)),
                (None, name) => without_bytes(file.path(), name),
            },
        }
    }

    fn parquet_row(&mut self, rows: &Arc<ImageRows>, row: usize) -> Result<Encoded, String> {
        let cursor = match self.cursor.take() {
            Some(cursor) if cursor.is_of(rows) => cursor,
            _ => Cursor::open(rows.clone(), row)?,
        };
        match self.cursor.insert(cursor).read(row)? {
            Some(bytes) => Ok(Encoded::Bytes(bytes)),
            None => without_bytes(rows.file().path(), rows.path(row)?),
        }
    }
}

/// A row without bytes may name a file, as `datasets` leaves it when files were not embedded.
fn without_bytes(table: &Path, name: Option<String>) -> Result<Encoded, String> {
    match name {
        None => Err("the row holds no image".into()),
        Some(name) => {
            let folder = table.parent();
            let path = folder.map_or_else(PathBuf::new, PathBuf::from).join(&name);
            if path.is_file() {
                Ok(Encoded::File(path))
            } else {
                Err(format!(
                    "the row holds no bytes, and no file is at its path `{name}`"
                ))
            }
        }
    }
}
