//! Parquet files made for a test.
#![allow(dead_code)] // each test binary uses its own part

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use crate::pictures::png_of;
use vitcuda::data::Rgb;

type BytesAndPath = (Option<Vec<u8>>, Option<String>);

/// What one column holds, row by row.
pub enum Column {
    /// An optional struct of optional bytes and path; `None` is a null struct.
    Images(Vec<Option<BytesAndPath>>),
    /// Optional bytes.
    Bytes(Vec<Option<Vec<u8>>>),
    /// Optional 64-bit numbers.
    Longs(Vec<Option<i64>>),
    /// Required 32-bit numbers.
    Ints(Vec<i32>),
    /// Required text.
    Texts(Vec<String>),
    /// Required floating-point numbers.
    Doubles(Vec<f64>),
}

impl Column {
    fn declared(&self, name: &str) -> String {
        match self {
            Self::Images(_) => format!(
                "optional group {name} {{ optional binary bytes; optional binary path (UTF8); }}"
            ),
            Self::Bytes(_) => format!("optional binary {name};"),
            Self::Longs(_) => format!("optional int64 {name};"),
            Self::Ints(_) => format!("required int32 {name};"),
            Self::Texts(_) => format!("required binary {name} (UTF8);"),
            Self::Doubles(_) => format!("required double {name};"),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Images(rows) => rows.len(),
            Self::Bytes(rows) => rows.len(),
            Self::Longs(rows) => rows.len(),
            Self::Ints(rows) => rows.len(),
            Self::Texts(rows) => rows.len(),
            Self::Doubles(rows) => rows.len(),
        }
    }
}

/// How a file is stored.
#[derive(Clone, Copy)]
pub struct Layout {
    pub rows_in_group: usize,
    pub rows_in_page: usize,
    pub compression: Compression,
}

pub const PLAIN: Layout = Layout {
    rows_in_group: 1000,
    rows_in_page: 1000,
    compression: Compression::UNCOMPRESSED,
};

/// Writes a file with these columns; `features` is what `datasets` would say about them.
pub fn write(path: &Path, columns: &[(&str, Column)], features: Option<&str>, layout: Layout) {
    let declared = columns.iter().map(|(name, column)| column.declared(name));
    let schema = format!("message schema {{ {} }}", declared.collect::<String>());
    let schema = Arc::new(parse_message_type(&schema).expect("a schema"));
    let said = features.map(|features| {
        let text = format!("{{\"info\": {{\"features\": {features}}}}}");
        vec![KeyValue::new("huggingface".into(), text)]
    });
    let properties = WriterProperties::builder()
        .set_compression(layout.compression)
        .set_data_page_row_count_limit(layout.rows_in_page)
        .set_write_batch_size(layout.rows_in_page)
        .set_key_value_metadata(said)
        .build();
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).expect("a folder");
    }
    let file = File::create(path).expect("a file");
    let mut writer =
        SerializedFileWriter::new(file, schema, Arc::new(properties)).expect("a writer");
    let rows = columns[0].1.len();
    let mut start = 0;
    while start < rows {
        let end = (start + layout.rows_in_group).min(rows);
        let mut group = writer.next_row_group().expect("a row group");
        for (_, column) in columns {
            for leaf in 0..1 + usize::from(matches!(column, Column::Images(_))) {
                let mut next = group.next_column().expect("a column").expect("one more");
                write_leaf(next.untyped(), column, leaf, start..end);
                next.close().expect("written");
            }
        }
        group.close().expect("written");
        start = end;
    }
    writer.close().expect("written");
}

fn write_leaf(
    writer: &mut ColumnWriter,
    column: &Column,
    leaf: usize,
    rows: std::ops::Range<usize>,
) {
    let present = |levels: &[bool]| {
        levels
            .iter()
            .map(|&there| i16::from(there))
            .collect::<Vec<_>>()
    };
    match (writer, column) {
        (ColumnWriter::ByteArrayColumnWriter(writer), Column::Images(images)) => {
            let (mut values, mut levels) = (Vec::new(), Vec::new());
            for row in &images[rows] {
                let value = row.as_ref().map(|(bytes, path)| match leaf {
                    0 => bytes.clone(),
                    _ => path.clone().map(String::into_bytes),
                });
                levels.push(match &value {
                    None => 0,
                    Some(None) => 1,
                    Some(Some(_)) => 2,
                });
                values.extend(value.flatten().map(ByteArray::from));
            }
            writer
                .write_batch(&values, Some(&levels), None)
                .expect("written");
        }
        (ColumnWriter::ByteArrayColumnWriter(writer), Column::Bytes(bytes)) => {
            let rows = &bytes[rows];
            let levels = present(&rows.iter().map(Option::is_some).collect::<Vec<_>>());
            let values: Vec<ByteArray> = rows
                .iter()
                .flatten()
                .cloned()
                .map(ByteArray::from)
                .collect();
            writer
                .write_batch(&values, Some(&levels), None)
                .expect("written");
        }
        (ColumnWriter::Int64ColumnWriter(writer), Column::Longs(longs)) => {
            let rows = &longs[rows];
            let levels = present(&rows.iter().map(Option::is_some).collect::<Vec<_>>());
            let values: Vec<i64> = rows.iter().flatten().copied().collect();
            writer
                .write_batch(&values, Some(&levels), None)
                .expect("written");
        }
        (ColumnWriter::Int32ColumnWriter(writer), Column::Ints(ints)) => {
            writer
                .write_batch(&ints[rows], None, None)
                .expect("written");
        }
        (ColumnWriter::ByteArrayColumnWriter(writer), Column::Texts(texts)) => {
            let values: Vec<ByteArray> = texts[rows].iter().map(|t| t.as_str().into()).collect();
            writer.write_batch(&values, None, None).expect("written");
        }
        (ColumnWriter::DoubleColumnWriter(writer), Column::Doubles(doubles)) => {
            writer
                .write_batch(&doubles[rows], None, None)
                .expect("written");
        }
        _ => unreachable!("the schema was made from the columns"),
    }
}

/// A picture of one colour, different for each number, as a PNG file.
pub fn picture(number: usize) -> Vec<u8> {
    let colour = [number as u8, (number >> 8) as u8, 7];
    png_of(&Rgb::new(3, 2, colour.repeat(6)))
}

/// Pictures number 0 to `count`, each under the name `N.png`.
pub fn pictures(count: usize) -> Column {
    let row = |n| Some((Some(picture(n)), Some(format!("{n}.png"))));
    Column::Images((0..count).map(row).collect())
}
