//! Arrow streams, as `save_to_disk` of Hugging Face's `datasets` writes them: columns of images and of
//! labels, and their names in the schema.
//!
//! Opening a file reads the heads of its messages, and labels where asked for. What they hold lies
//! unpacked in the file, so that an image is read from its place, in any order.

mod batch;
mod flatbuffer;
mod schema;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::choice::{Choice, Column};
use super::columns::Columns;
use super::parquet::{Features, LabelColumn, LabelKind, Labels, Texts};
use crate::error::{Error, Result};
use crate::{files, memory};
use batch::Batch;
use flatbuffer::Table;
use schema::{Field, Kind};

/// The columns of a file, and where the rows are.
#[derive(Debug)]
pub struct ArrowFile {
    path: PathBuf,
    features: Features,
    fields: Vec<Field>,
    batches: Vec<Batch>,
    /// Number of the first row of each batch, and of all rows at the end.
    starts: Vec<usize>,
}

/// Whether the name is that of an Arrow file.
pub fn is_arrow(path: &Path) -> bool {
    path.extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("arrow"))
}

/// What goes wrong while reading, as the end of a sentence.
type Reading<T> = std::result::Result<T, String>;

/// Longest head of a message; that of a schema holds the names of all classes.
const MAX_HEAD: usize = 64 << 20;

/// The kinds of messages.
const SCHEMA: u8 = 1;
const RECORD_BATCH: u8 = 3;

impl ArrowFile {
    /// Reads the heads of the messages of `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = files::open_regular(path).map_err(|e| Error::io(path, "read it", e))?;
        Self::read(path, &mut file).map_err(|problem| {
            let problem = format!("it is no Arrow stream that can be read: {problem}");
            Error::data(
                path,
                problem,
                "write it again with save_to_disk of `datasets`",
            )
        })
    }

    fn read(path: &Path, file: &mut File) -> Reading<Self> {
        let bytes = file.metadata().map_err(|e| e.to_string())?.len();
        let mut found = None;
        let (mut batches, mut starts) = (Vec::new(), vec![0]);
        let mut at = 0;
        while let Some((head, body)) = head(file, &mut at, bytes)? {
            let message = Table::root(&head).ok_or("a message is broken")?;
            let content = message.table(2).ok_or("a message is broken")?;
            let length = u64::try_from(message.long(3)).ok();
            let end = length.and_then(|length| body.checked_add(length));
            let end = end.filter(|&end| end <= bytes);
            let end = end.ok_or("it ends within its data")?;
            match message.byte(1) {
                SCHEMA => found = Some(schema::read(content)?),
                RECORD_BATCH => {
                    let batch = Batch::read(content, body, end)?;
                    starts.push(starts[starts.len() - 1] + batch.rows);
                    batches.push(batch);
                }
                _ => {} // dictionaries
            }
            at = end;
        }
        let (fields, said) = found.ok_or("it holds no schema")?;
        Ok(Self {
            path: path.to_owned(),
            features: said.as_deref().map(Features::parse).unwrap_or_default(),
            fields,
            batches,
            starts,
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

    /// Names and types of the columns.
    pub fn columns(&self) -> Vec<(String, String)> {
        let choice = self.choice();
        choice
            .columns
            .into_iter()
            .map(|c| (c.name, c.kind))
            .collect()
    }

    fn choice(&self) -> Choice<'_> {
        let columns = self.fields.iter().map(|field| Column {
            kind: self
                .features
                .describe(&field.name)
                .unwrap_or_else(|| field.kind.name()),
            name: field.name.clone(),
            is_image: image_parts(field).is_some(),
            label: match field.kind {
                Kind::Int { .. } => Some(LabelKind::Number),
                Kind::Text { .. } => Some(LabelKind::Text),
                _ => None,
            },
        });
        Choice {
            path: &self.path,
            features: &self.features,
            columns: columns.collect(),
        }
    }

    /// The column of images: its place and its name.
    pub fn image_column(&self, wanted: &Columns) -> Result<(usize, String)> {
        let place = self.choice().image(wanted)?;
        Ok((place, self.fields[place].name.clone()))
    }

    /// The column of labels.
    pub fn label_column(&self, wanted: &Columns) -> Result<LabelColumn> {
        self.choice().label(wanted)
    }

    /// Reads all labels of a column that [`Self::label_column`] gave.
    pub fn labels(&self, column: &LabelColumn) -> Result<Labels> {
        let read = || -> Reading<Labels> {
            let mut file = self.file()?;
            let field = &self.fields[column.place()];
            match field.kind {
                Kind::Text { is_large } => {
                    let (mut texts, mut held) = (Vec::new(), Texts::default());
                    for batch in &self.batches {
                        for bytes in batch.all_bytes(&mut file, field, is_large)? {
                            let text = bytes.map(|bytes| held.held(&bytes)).transpose();
                            texts.push(text.map_err(|_| "found bytes that are not UTF-8")?);
                        }
                    }
                    Ok(Labels::Texts(texts))
                }
                Kind::Int { bytes, is_signed } => {
                    let mut numbers = Vec::new();
                    for batch in &self.batches {
                        numbers.extend(batch.numbers(&mut file, field, bytes, is_signed)?);
                    }
                    Ok(Labels::Numbers(numbers))
                }
                _ => unreachable!("the column's type was looked at"),
            }
        };
        read().map_err(|problem| {
            let problem = format!("column `{}`: {problem}", column.name);
            Error::data(&self.path, problem, "download or write the file again")
        })
    }

    fn file(&self) -> Reading<File> {
        files::open_regular(&self.path).map_err(|e| format!("it cannot be read: {e}"))
    }

    /// The bytes of the image in column `place` of `row`, and the name that its file had.
    pub fn image(&self, place: usize, row: usize) -> Reading<(Option<Vec<u8>>, Option<String>)> {
        let number = self.starts.partition_point(|&start| start <= row) - 1;
        let (batch, row) = (&self.batches[number], row - self.starts[number]);
        let field = &self.fields[place];
        let (bytes, path) = image_parts(field).expect("the column's type was looked at");
        let mut file = self.file()?;
        if !batch.is_there(&mut file, field, row)? {
            return Ok((None, None));
        }
        let bytes = batch.bytes(&mut file, bytes, row)?;
        let path = match path {
            Some(path) => batch.bytes(&mut file, path, row)?,
            None => None,
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok((bytes, path.map(text)))
    }
}

/// The parts of a column that hold the bytes and the names of image files.
fn image_parts(field: &Field) -> Option<(&Field, Option<&Field>)> {
    let is_bytes = |field: &&Field| matches!(field.kind, Kind::Bytes { .. });
    let is_text = |field: &&Field| matches!(field.kind, Kind::Text { .. });
    match field.kind {
        Kind::Bytes { .. } => Some((field, None)),
        Kind::Struct => {
            let part = |name: &str| field.children.iter().find(|child| child.name == name);
            let bytes = part("bytes").filter(is_bytes)?;
            Some((bytes, part("path").filter(is_text)))
        }
        _ => None,
    }
}

/// The head of the message at `at`, and where its body starts; none at the end of the stream.
fn head(file: &mut File, at: &mut u64, bytes: u64) -> Reading<Option<(Vec<u8>, u64)>> {
    const CONTINUES: u32 = u32::MAX;
    let cut = |_| "it ends within a message".to_owned();
    if *at == bytes {
        return Ok(None); // streams of a writer that was not closed
    }
    file.seek(SeekFrom::Start(*at)).map_err(|e| e.to_string())?;
    let mut start = [0; 8];
    file.read_exact(&mut start).map_err(cut)?;
    let [first, second] =
        [0, 4].map(|i| u32::from_le_bytes([start[i], start[i + 1], start[i + 2], start[i + 3]]));
    if first != CONTINUES {
        return Err(match &start {
            b"ARROW1\0\0" => "it is an Arrow file with a footer, wanted a stream".into(),
            _ => "it does not start as a message".into(),
        });
    }
    if second == 0 {
        return Ok(None);
    }
    let length = second as usize;
    if length > MAX_HEAD || *at + 8 + length as u64 > bytes {
        return Err(format!("a message's head claims {length} bytes"));
    }
    let mut head = memory::zeroed(length).map_err(|e| e.to_string())?;
    file.read_exact(&mut head).map_err(cut)?;
    *at += 8 + length as u64;
    Ok(Some((head, *at)))
}
