//! Tables of images and labels as `datasets` writes them.

use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use vitcuda::data::digits;

use super::{Made, made};

/// How a table is made.
#[derive(Clone, Copy)]
struct Layout {
    /// Of the label column: `optional int64`, …
    labels: &'static str,
    /// An optional struct of bytes and path, or required bytes.
    is_struct: bool,
    rows: usize,
    rows_in_group: usize,
    compression: Compression,
    has_dictionary: bool,
    features: Option<&'static str>,
}

const NAMES: &str = r#"{"info": {"features": {"image": {"_type": "Image"}, "label": {"names":
    ["zero", "one", "two"], "_type": "ClassLabel"}}}}"#;

const PLAIN: Layout = Layout {
    labels: "optional int64",
    is_struct: true,
    rows: 5,
    rows_in_group: 3,
    compression: Compression::UNCOMPRESSED,
    has_dictionary: true,
    features: Some(NAMES),
};

pub fn all() -> Vec<Made> {
    let zstd = Compression::ZSTD(ZstdLevel::default());
    let plain = PLAIN;
    [
        ("plain", plain),
        (
            "snappy",
            Layout {
                compression: Compression::SNAPPY,
                ..plain
            },
        ),
        (
            "zstd",
            Layout {
                compression: zstd,
                ..plain
            },
        ),
        (
            "ints",
            Layout {
                labels: "required int32",
                features: None,
                ..plain
            },
        ),
        (
            "no_dictionary",
            Layout {
                has_dictionary: false,
                rows_in_group: 100,
                ..plain
            },
        ),
        (
            "bytes",
            Layout {
                is_struct: false,
                ..plain
            },
        ),
        (
            "text",
            Layout {
                labels: "required binary",
                features: None,
                is_struct: false,
                ..plain
            },
        ),
        (
            "many",
            Layout {
                rows: 40,
                rows_in_group: 40,
                ..plain
            },
        ),
    ]
    .into_iter()
    .map(|(name, layout)| made("parquet", format!("{name}.parquet"), table(layout)))
    .collect()
}

/// A small table.
pub fn small() -> Vec<u8> {
    table(Layout { rows: 2, ..PLAIN })
}

fn table(layout: Layout) -> Vec<u8> {
    let text = if layout.labels.contains("binary") {
        " (UTF8)"
    } else {
        ""
    };
    let image = if layout.is_struct {
        "optional group image { optional binary bytes; optional binary path (UTF8); }"
    } else {
        "required binary image;"
    };
    let schema = format!(
        "message schema {{ {image} {} label{text}; }}",
        layout.labels
    );
    let schema = Arc::new(parse_message_type(&schema).expect("a schema"));
    let said = layout.features;
    let said = said.map(|text| vec![KeyValue::new("huggingface".into(), text.to_owned())]);
    let properties = WriterProperties::builder()
        .set_compression(layout.compression)
        .set_dictionary_enabled(layout.has_dictionary)
        .set_key_value_metadata(said)
        .set_created_by("vitcuda".into())
        .build();
    let mut file = Vec::new();
    let writer = SerializedFileWriter::new(&mut file, schema, Arc::new(properties));
    let mut writer = writer.expect("a writer");
    for start in (0..layout.rows).step_by(layout.rows_in_group) {
        let end = (start + layout.rows_in_group).min(layout.rows);
        let mut group = writer.next_row_group().expect("a row group");
        let mut leaf = 0;
        while let Some(mut column) = group.next_column().expect("a column") {
            write_leaf(column.untyped(), layout, leaf, start..end);
            column.close().expect("written");
            leaf += 1;
        }
        group.close().expect("written");
    }
    writer.close().expect("written");
    file
}

fn write_leaf(
    writer: &mut ColumnWriter,
    layout: Layout,
    leaf: usize,
    rows: std::ops::Range<usize>,
) {
    let present = vec![1; rows.len()];
    let bytes = |row: usize| ByteArray::from(digits::image(row).to_png());
    let written = match writer {
        ColumnWriter::ByteArrayColumnWriter(writer) => {
            let is_image = leaf == 0;
            let value = |row: usize| match (is_image, leaf) {
                (true, _) => bytes(row),
                (_, 1) if layout.is_struct => ByteArray::from(format!("{row}.png").as_str()),
                _ => ByteArray::from(["one", "two"][row % 2]),
            };
            let values: Vec<ByteArray> = rows.clone().map(value).collect();
            let levels = vec![2; values.len()];
            let is_optional = layout.is_struct && leaf < 2;
            writer.write_batch(&values, is_optional.then_some(&levels), None)
        }
        ColumnWriter::Int64ColumnWriter(writer) => {
            let values: Vec<i64> = rows.map(|row| row as i64 % 3).collect();
            writer.write_batch(&values, Some(&present), None)
        }
        ColumnWriter::Int32ColumnWriter(writer) => {
            let values: Vec<i32> = rows.map(|row| row as i32 % 3).collect();
            writer.write_batch(&values, None, None)
        }
        _ => unreachable!("the schema has no such column"),
    };
    written.expect("memory takes it");
}
