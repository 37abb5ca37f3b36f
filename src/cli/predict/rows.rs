//! What `predict` says of an image, and where that is written.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use serde_json::{Value, json};

use crate::cli::output::{self, Outcome};
use vitcuda::data::csv;
use vitcuda::{Error, Result, files};

/// What was found out about an image.
pub struct Row {
    pub image: String,
    /// Its class, where it is known.
    pub truth: Option<String>,
    /// Classes and their probabilities, the most probable first; or why there are none.
    pub found: Result<Vec<(String, f64)>, String>,
}

impl Row {
    fn json(&self) -> Value {
        let mut row = json!({ "image": self.image });
        if let Some(truth) = &self.truth {
            row["truth"] = json!(truth);
        }
        match &self.found {
            Ok(found) => {
                let one = |(label, score): &(String, f64)| json!({"label": label, "score": score});
                row["predictions"] = found.iter().map(one).collect();
            }
            Err(reason) => row["error"] = json!(reason),
        }
        row
    }

    fn text(&self, name_width: usize) -> String {
        let mut line = format!("{:<name_width$}", output::one_line(&self.image));
        match &self.found {
            Ok(found) if found.is_empty() => line += "  -",
            Ok(found) => {
                for (label, score) in found {
                    line += &format!("  {} {:5.1}%", output::one_line(label), 100.0 * score);
                }
            }
            Err(reason) => line += &format!("  error: {}", output::one_line(reason)),
        }
        line
    }

    /// The cells of a table with `ranks` classes: the names of [`columns`].
    fn cells(&self, ranks: usize) -> Vec<Cell<'_>> {
        let found = self.found.as_deref().unwrap_or_default();
        let mut cells = vec![
            Cell::Text(Some(&self.image)),
            Cell::Text(self.truth.as_deref()),
        ];
        for rank in 0..ranks {
            let one = found.get(rank);
            cells.push(Cell::Text(one.map(|(label, _)| label.as_str())));
            cells.push(Cell::Number(one.map(|(_, score)| *score)));
        }
        cells.push(Cell::Text(self.found.as_ref().err().map(String::as_str)));
        cells
    }
}

enum Cell<'a> {
    Text(Option<&'a str>),
    Number(Option<f64>),
}

/// `image`, `truth`, `label`, `score`, `label_2`, `score_2`, …, `error`.
fn columns(ranks: usize) -> Vec<String> {
    let ranked = (1..=ranks).flat_map(|rank| match rank {
        1 => ["label".to_owned(), "score".to_owned()],
        _ => [format!("label_{rank}"), format!("score_{rank}")],
    });
    let start = ["image", "truth"].map(str::to_owned);
    start
        .into_iter()
        .chain(ranked)
        .chain(["error".into()])
        .collect()
}

/// Where rows go.
pub trait Sink {
    fn row(&mut self, row: &Row) -> Outcome;

    /// After the last row.
    fn finish(self: Box<Self>) -> Outcome;
}

/// A line of stdout each.
pub enum Lines {
    Text { name_width: usize },
    Json,
}

impl Sink for Lines {
    fn row(&mut self, row: &Row) -> Outcome {
        match self {
            Self::Text { name_width } => output::result(row.text(*name_width)),
            Self::Json => output::json(&row.json()),
        }
    }

    fn finish(self: Box<Self>) -> Outcome {
        Ok(())
    }
}

/// The sink of `--output`, by the ending of its name; rows have `ranks` classes at most.
pub fn file(path: &Path, ranks: usize) -> Result<Box<dyn Sink>> {
    let ending = path.extension().and_then(|ending| ending.to_str());
    match ending.map(str::to_lowercase).as_deref() {
        Some("csv") => {
            let mut file = Unfinished::create(path)?;
            let header = columns(ranks);
            let header: Vec<&str> = header.iter().map(String::as_str).collect();
            file.write(csv::line(&header).as_bytes())?;
            Ok(Box::new(Csv { file, ranks }))
        }
        Some("jsonl") => Ok(Box::new(JsonLines(Unfinished::create(path)?))),
        Some("parquet") => Ok(Box::new(Parquet::create(path, ranks)?)),
        _ => Err(Error::usage(
            format!("--output {}: a table of which format?", path.display()),
            "end its name in .csv, .jsonl or .parquet",
        )),
    }
}

/// A file that gets its name when it is whole; without that it is gone.
struct Unfinished {
    path: PathBuf,
    hidden: PathBuf,
    writer: BufWriter<File>,
}

impl Unfinished {
    fn create(path: &Path) -> Result<Self> {
        let hidden = files::temporary_beside(path);
        let file = File::create(&hidden).map_err(|e| Error::io(path, "write it", e))?;
        Ok(Self {
            path: path.to_owned(),
            hidden,
            writer: BufWriter::new(file),
        })
    }

    fn failed(&self, e: io::Error) -> Error {
        Error::io(&self.path, "write it", e)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).map_err(|e| self.failed(e))
    }

    fn finish(mut self) -> Result<()> {
        let whole = self.writer.flush();
        whole
            .and_then(|()| fs::rename(&self.hidden, &self.path))
            .map_err(|e| self.failed(e))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.hidden); // not there where it has got its name
    }
}

struct Csv {
    file: Unfinished,
    ranks: usize,
}

impl Sink for Csv {
    fn row(&mut self, row: &Row) -> Outcome {
        let cells = row.cells(self.ranks);
        let texts: Vec<String> = cells
            .iter()
            .map(|cell| match cell {
                Cell::Text(text) => text.unwrap_or_default().to_owned(),
                Cell::Number(number) => number.map_or(String::new(), |n| n.to_string()),
            })
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        Ok(self.file.write(csv::line(&texts).as_bytes())?)
    }

    fn finish(self: Box<Self>) -> Outcome {
        Ok(self.file.finish()?)
    }
}

struct JsonLines(Unfinished);

impl Sink for JsonLines {
    fn row(&mut self, row: &Row) -> Outcome {
        Ok(self.0.write(format!("{}\n", row.json()).as_bytes())?)
    }

    fn finish(self: Box<Self>) -> Outcome {
        Ok(self.0.finish()?)
    }
}

/// Rows that a group of a Parquet file has.
const GROUP: usize = 10_000;

struct Parquet {
    file: Unfinished,
    writer: SerializedFileWriter<File>,
    ranks: usize,
    waiting: Vec<Row>,
}

impl Parquet {
    fn create(path: &Path, ranks: usize) -> Result<Self> {
        let file = Unfinished::create(path)?;
        let field = |name: &String| {
            if name.starts_with("score") {
                format!("optional double {name};")
            } else {
                format!("optional binary {name} (UTF8);")
            }
        };
        let fields: String = columns(ranks).iter().map(field).collect();
        let schema = parse_message_type(&format!("message predictions {{ {fields} }}"));
        let schema = Arc::new(schema.expect("names that any schema takes"));
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
        let handle = file.writer.get_ref().try_clone();
        let handle = handle.map_err(|e| file.failed(e))?;
        let writer = SerializedFileWriter::new(handle, schema, Arc::new(properties.build()));
        Ok(Self {
            writer: writer.map_err(|e| file.failed(io::Error::other(e)))?,
            file,
            ranks,
            waiting: Vec::new(),
        })
    }

    fn flush(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.waiting);
        let ranks = self.ranks;
        let written = self.writer.next_row_group();
        let written = written.and_then(|group| write_group(group, &rows, ranks));
        written.map_err(|e| self.file.failed(io::Error::other(e)))
    }
}

fn write_group(
    mut group: SerializedRowGroupWriter<'_, File>,
    rows: &[Row],
    ranks: usize,
) -> parquet::errors::Result<()> {
    let rows: Vec<Vec<Cell>> = rows.iter().map(|row| row.cells(ranks)).collect();
    let mut at = 0;
    while let Some(mut column) = group.next_column()? {
        let (mut texts, mut numbers, mut levels) = (Vec::new(), Vec::new(), Vec::new());
        for cells in &rows {
            let is_there = match cells[at] {
                Cell::Text(text) => {
                    texts.extend(text.map(ByteArray::from));
                    text.is_some()
                }
                Cell::Number(number) => {
                    numbers.extend(number);
                    number.is_some()
                }
            };
            levels.push(i16::from(is_there));
        }
        let is_number = matches!(rows.first().map(|cells| &cells[at]), Some(Cell::Number(_)));
        if is_number {
            column
                .typed::<DoubleType>()
                .write_batch(&numbers, Some(&levels), None)?
        } else {
            column
                .typed::<ByteArrayType>()
                .write_batch(&texts, Some(&levels), None)?
        };
        column.close()?;
        at += 1;
    }
    group.close().map(drop)
}

impl Sink for Parquet {
    fn row(&mut self, row: &Row) -> Outcome {
        self.waiting.push(Row {
            image: row.image.clone(),
            truth: row.truth.clone(),
            found: row.found.clone(),
        });
        if self.waiting.len() == GROUP {
            Ok(self.flush()?)
        } else {
            Ok(())
        }
    }

    fn finish(mut self: Box<Self>) -> Outcome {
        if !self.waiting.is_empty() {
            self.flush()?;
        }
        let Self { writer, file, .. } = *self;
        writer
            .close()
            .map_err(|e| file.failed(io::Error::other(e)))?;
        Ok(file.finish()?)
    }
}
