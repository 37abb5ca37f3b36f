//! Finding the columns of images and of labels.

use parquet::basic::{ConvertedType, Type as Physical};
use parquet::schema::types::Type;

use super::ParquetFile;
use crate::data::choice::{Choice, Column};
use crate::data::columns::Columns;
use crate::error::Result;

/// Where the bytes of images are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageColumn {
    pub name: String,
    /// Leaf of the image files' bytes.
    pub(super) bytes: usize,
    /// Leaf of the names that the files had, if they are kept.
    pub(super) path: Option<usize>,
}

/// Where the labels are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelColumn {
    pub name: String,
    pub kind: LabelKind,
    place: usize,
}

/// What labels look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelKind {
    /// Indices of these names.
    ClassLabel(Vec<String>),
    /// Whole numbers, whose decimals are the class names.
    Number,
    /// Class names.
    Text,
}

impl LabelColumn {
    /// The column `name`, number `place` of its table.
    pub fn new(name: &str, kind: LabelKind, place: usize) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            place,
        }
    }

    /// Its number among the columns of its table.
    pub fn place(&self) -> usize {
        self.place
    }
}

impl ParquetFile {
    /// The column of images: the one that was named, or the only one `datasets` calls `Image`, or
    /// the one that is called so, or the only one that could be it.
    pub fn image_column(&self, wanted: &Columns) -> Result<ImageColumn> {
        let place = self.choice().image(wanted)?;
        Ok(self
            .as_image(place)
            .expect("it is one of those that could be"))
    }

    /// The column of labels: the one that was named, or the only `ClassLabel`, or one that is
    /// called so.
    pub fn label_column(&self, wanted: &Columns) -> Result<LabelColumn> {
        self.choice().label(wanted)
    }

    fn choice(&self) -> Choice<'_> {
        let fields = self.schema().root_schema().get_fields();
        let columns = self.columns().into_iter().zip(fields).enumerate();
        let columns = columns.map(|(place, ((name, kind), field))| Column {
            name,
            kind,
            is_image: self.as_image(place).is_some(),
            label: match field.is_primitive().then(|| field.get_physical_type()) {
                Some(Physical::INT32 | Physical::INT64) => Some(LabelKind::Number),
                Some(Physical::BYTE_ARRAY) => Some(LabelKind::Text),
                _ => None,
            },
        });
        Choice {
            path: self.path(),
            features: self.features(),
            columns: columns.collect(),
        }
    }

    /// Number of the leaf of a column of labels.
    pub(super) fn label_leaf(&self, column: &LabelColumn) -> usize {
        let leaf = self.leaf(&[&column.name]);
        leaf.expect("a primitive column is a leaf")
    }

    /// Column number `place`, if its type is that of images.
    fn as_image(&self, place: usize) -> Option<ImageColumn> {
        let field = &self.schema().root_schema().get_fields()[place];
        let name = field.name();
        let (bytes, path) = if field.is_group() {
            (self.leaf(&[name, "bytes"])?, self.leaf(&[name, "path"]))
        } else {
            (self.leaf(&[name])?, None)
        };
        let holds = |leaf: usize| {
            let column = self.schema().column(leaf);
            let is_text = column.converted_type() == ConvertedType::UTF8;
            let is_flat = column.max_rep_level() == 0;
            let is_bytes = column.physical_type() == Physical::BYTE_ARRAY;
            (is_flat && is_bytes).then_some(is_text)
        };
        (holds(bytes) == Some(false)).then(|| ImageColumn {
            name: name.to_owned(),
            bytes,
            path: path.filter(|&leaf| holds(leaf) == Some(true)),
        })
    }

    /// Number of the leaf with this path.
    fn leaf(&self, path: &[&str]) -> Option<usize> {
        let mut leaves = self.schema().columns().iter();
        leaves.position(|leaf| leaf.path().parts() == path)
    }
}

/// A column's type as the file stores it, in a few words.
pub(super) fn stored_type(field: &Type) -> String {
    if field.is_group() {
        let parts: Vec<&str> = field.get_fields().iter().map(|f| f.name()).collect();
        return format!("struct<{}>", parts.join(", "));
    }
    let is_text = field.get_basic_info().converted_type() == ConvertedType::UTF8;
    match field.get_physical_type() {
        Physical::BYTE_ARRAY if is_text => "text".into(),
        Physical::BYTE_ARRAY => "bytes".into(),
        Physical::BOOLEAN => "bool".into(),
        Physical::INT32 => "int32".into(),
        Physical::INT64 => "int64".into(),
        Physical::FLOAT => "float32".into(),
        Physical::DOUBLE => "float64".into(),
        other => other.to_string().to_lowercase(),
    }
}
