//! The lines of a manifest, whatever its format.

use std::path::Path;

use serde_json::{Map, Value};

use super::{Format, PATH_NAMES, format};
use crate::data::columns::called;
use crate::data::csv;
use crate::data::folder::has_image_extension;
use crate::error::{Error, Result};
use crate::files;

/// A manifest as text, column by column.
pub struct Table {
    pub columns: Vec<String>,
    pub rows: Vec<Row>,
    /// The classes in their order, where the manifest gives one.
    pub classes: Option<Vec<String>>,
}

/// One image's line.
pub struct Row {
    /// From 1.
    pub line: usize,
    /// One for each column; `None` where there is nothing.
    fields: Vec<Option<String>>,
}

impl Row {
    /// What stands in a column; an error where nothing does.
    pub fn required(&self, path: &Path, table: &Table, column: usize) -> Result<&str> {
        self.fields[column].as_deref().ok_or_else(|| {
            let problem = format!(
                "line {}: nothing in column `{}`",
                self.line, table.columns[column]
            );
            Error::data(path, problem, "fill it in, or leave that line out")
        })
    }
}

impl Table {
    /// Reads the manifest at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = files::read_regular(path).map_err(|e| Error::io(path, "read it", e))?;
        let text = String::from_utf8(bytes).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            Error::data(
                path,
                format!("it is not UTF-8 from byte {at} on"),
                "save it as UTF-8",
            )
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let table = match format(path) {
            Some(Format::JsonLines) => json_lines(path, text)?,
            Some(Format::Csv) | None => csv_table(path, text)?,
        };
        if table.rows.is_empty() {
            Err(Error::data(
                path,
                "it lists no images",
                "a line for each image is wanted: path, label",
            ))
        } else {
            Ok(table)
        }
    }

    /// Place of the column called `name`, which is there.
    pub fn place(&self, name: &str) -> usize {
        let place = self.columns.iter().position(|column| column == name);
        place.expect("the name is that of a column")
    }

    /// What a column holds, in a word.
    pub fn kind(&self, name: &str) -> &'static str {
        let place = self.place(name);
        let mut fields = self
            .rows
            .iter()
            .filter_map(|row| row.fields[place].as_ref());
        if fields.all(|field| field.parse::<f64>().is_ok()) {
            "number"
        } else {
            "text"
        }
    }
}

fn csv_table(path: &Path, text: &str) -> Result<Table> {
    let records = csv::records(text, csv::delimiter(text)).map_err(|line| {
        let problem = format!("line {line}: the quote never ends");
        Error::data(
            path,
            problem,
            "close it, or double a quote that is part of the text",
        )
    })?;
    let mut records = records.into_iter().peekable();
    let first = records.peek().map_or(&[][..], |record| &record.fields);
    let columns = match headless(first) {
        Some(columns) => columns,
        None => {
            let header = records.next();
            header.map_or_else(Vec::new, |record| record.fields)
        }
    };
    let mut rows = Vec::new();
    for record in records {
        if record.fields.len() != columns.len() {
            let (found, wanted) = (record.fields.len(), columns.len());
            return Err(Error::data(
                path,
                format!(
                    "line {}: found {found} fields, wanted {wanted} ({})",
                    record.line,
                    columns.join(", ")
                ),
                "put text that holds the separator in quotes",
            ));
        }
        let field = |text: String| Some(text).filter(|text| !text.is_empty());
        rows.push(Row {
            line: record.line,
            fields: record.fields.into_iter().map(field).collect(),
        });
    }
    Ok(Table {
        columns,
        rows,
        classes: None,
    })
}

/// The columns of a table without a header: path, label and perhaps split. Its first line starts
/// with an image.
fn headless(first: &[String]) -> Option<Vec<String>> {
    let is_image = first
        .first()
        .is_some_and(|field| has_image_extension(Path::new(field)));
    let columns = ["path", "label", "split"];
    let fits = is_image && (2..=3).contains(&first.len()) && called(&PATH_NAMES, first).is_none();
    fits.then(|| {
        columns[..first.len()]
            .iter()
            .map(|&c| c.to_owned())
            .collect()
    })
}

fn json_lines(path: &Path, text: &str) -> Result<Table> {
    let mut table = Table {
        columns: Vec::new(),
        rows: Vec::new(),
        classes: None,
    };
    for (line, text) in (1..)
        .zip(text.lines())
        .filter(|(_, text)| !text.trim().is_empty())
    {
        let wrong = |found: String| {
            let problem = format!(
                "line {line}: {found}, wanted a JSON object such as {{\"path\": \"cat/1.jpg\", \"label\": \"cat\"}}"
            );
            Error::data(path, problem, "write one object on each line")
        };
        let object = match serde_json::from_str(text) {
            Ok(Value::Object(object)) => object,
            Ok(_) => return Err(wrong("found a value that is no object".into())),
            Err(e) => return Err(wrong(format!("it is not JSON ({e})"))),
        };
        if table.rows.is_empty()
            && table.classes.is_none()
            && object.len() == 1
            && object.contains_key("classes")
        {
            let names = object["classes"].as_array();
            let names = names.and_then(|names| {
                names
                    .iter()
                    .map(|n| n.as_str().map(str::to_owned))
                    .collect()
            });
            table.classes =
                Some(names.ok_or_else(|| wrong("`classes` is no list of names".into()))?);
            continue;
        }
        if object.is_empty() {
            return Err(wrong("found an object without keys".into()));
        }
        if table.columns.is_empty() {
            table.columns = object.keys().cloned().collect();
        }
        let fields = table.columns.iter().map(|column| scalar(&object, column));
        let fields = fields.collect::<Result<Vec<_>, String>>().map_err(wrong)?;
        table.rows.push(Row { line, fields });
    }
    Ok(table)
}

fn scalar(object: &Map<String, Value>, column: &str) -> Result<Option<String>, String> {
    match object.get(column) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
        // Columns that nobody reads may hold anything.
        Some(_) => Ok(None),
    }
}
