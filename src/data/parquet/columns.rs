//! Finding the columns of images and of labels.

use parquet::basic::{ConvertedType, Type as Physical};
use parquet::schema::types::Type;

use super::ParquetFile;
use crate::data::columns::{Columns, IMAGE_NAMES, LABEL_NAMES, called, unknown};
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
    pub(super) leaf: usize,
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

impl ParquetFile {
    /// The column of images: the one that was named, or the only one `datasets` calls `Image`, or
    /// the one that is called so, or the only one that could be it.
    pub fn image_column(&self, wanted: &Columns) -> Result<ImageColumn> {
        const WANTED: &str = "a struct of `bytes` and `path`, or bytes";
        let names = self.names();
        if let Some(name) = &wanted.image {
            let place = names.iter().position(|n| n == name).ok_or_else(|| {
                let (problem, help) = unknown("--image-column", name, &names);
                self.refuse(problem, help)
            })?;
            return self.as_image(place).ok_or_else(|| {
                let found = self.columns().swap_remove(place).1;
                let problem = format!("column `{name}` holds {found}, wanted images: {WANTED}");
                self.refuse(problem, "name the column of images with --image-column")
            });
        }
        let possible: Vec<ImageColumn> =
            (0..names.len()).filter_map(|i| self.as_image(i)).collect();
        let is_possible = |name: &&str| possible.iter().any(|column| column.name == *name);
        let declared: Vec<String> = self
            .features()
            .of_type("Image")
            .filter(is_possible)
            .map(str::to_owned)
            .collect();
        let candidates: Vec<String> = match declared.is_empty() {
            false => declared,
            true => possible.iter().map(|column| column.name.clone()).collect(),
        };
        let chosen = match &candidates[..] {
            [] => {
                let problem = format!(
                    "no column holds images ({WANTED}); it has {}",
                    self.listed()
                );
                return Err(self.refuse(problem, "vitcuda trains on images with labels"));
            }
            [only] => only,
            several => called(&IMAGE_NAMES, several).ok_or_else(|| {
                let problem = format!("several columns hold images: {}", several.join(", "));
                self.refuse(problem, "name one with --image-column")
            })?,
        };
        let found = possible.iter().find(|column| column.name == *chosen);
        Ok(found.expect("it is one of them").clone())
    }

    /// The column of labels: the one that was named, or the only `ClassLabel`, or one that is
    /// called so.
    pub fn label_column(&self, wanted: &Columns) -> Result<LabelColumn> {
        const WANTED: &str = "class indices, whole numbers or text";
        let names = self.names();
        let classes: Vec<String> = self
            .features()
            .of_type("ClassLabel")
            .filter(|name| names.iter().any(|n| n == name))
            .map(str::to_owned)
            .collect();
        let name = match (&wanted.label, &classes[..]) {
            (Some(name), _) if names.contains(name) => name,
            (Some(name), _) => {
                let (problem, help) = unknown("--label-column", name, &names);
                return Err(self.refuse(problem, help));
            }
            (None, [only]) => only,
            (None, []) => called(&LABEL_NAMES, &names).ok_or_else(|| {
                let problem = format!(
                    "no column is known to hold labels; it has {}",
                    self.listed()
                );
                self.refuse(problem, "name the column of labels with --label-column")
            })?,
            (None, several) => called(&LABEL_NAMES, several).ok_or_else(|| {
                let problem = format!("several columns hold labels: {}", several.join(", "));
                self.refuse(problem, "name one with --label-column")
            })?,
        };
        let place = names.iter().position(|n| n == name);
        let place = place.expect("it is one of the columns");
        let field = &self.schema().root_schema().get_fields()[place];
        let kind = match field.is_primitive().then(|| field.get_physical_type()) {
            Some(Physical::INT32 | Physical::INT64) => match self.features().class_names(name) {
                Some(names) => LabelKind::ClassLabel(names),
                None => LabelKind::Number,
            },
            Some(Physical::BYTE_ARRAY) => LabelKind::Text,
            _ => {
                let found = self.columns().swap_remove(place).1;
                let problem = format!("column `{name}` holds {found}, wanted {WANTED}");
                return Err(self.refuse(problem, "name the column of labels with --label-column"));
            }
        };
        Ok(LabelColumn {
            name: name.clone(),
            kind,
            leaf: self.leaf(&[name]).expect("a primitive column is a leaf"),
        })
    }

    fn names(&self) -> Vec<String> {
        self.columns().into_iter().map(|(name, _)| name).collect()
    }

    fn listed(&self) -> String {
        let columns = self.columns();
        let shown = columns.iter().map(|(name, kind)| format!("{name}: {kind}"));
        shown.collect::<Vec<_>>().join(", ")
    }

    /// Column number `place`, if its type is that of images.
    fn as_image(&self, place: usize) -> Option<ImageColumn> {
        let field = &self.schema().root_schema().get_fields()[place];
        let name = field.name();
        let (bytes, path) = match field.is_group() {
            true => (self.leaf(&[name, "bytes"])?, self.leaf(&[name, "path"])),
            false => (self.leaf(&[name])?, None),
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
