//! Which columns of a table of images are read, whatever its format.

use std::path::Path;

use super::columns::{Columns, IMAGE_NAMES, LABEL_NAMES, called, unknown};
use super::parquet::{Features, LabelColumn, LabelKind};
use crate::error::{Error, Result};

/// The columns to choose from.
pub struct Choice<'a> {
    pub path: &'a Path,
    pub features: &'a Features,
    pub columns: Vec<Column>,
}

/// One of them.
pub struct Column {
    pub name: String,
    /// Its type in a word, as `datasets` calls it or else as the file stores it.
    pub kind: String,
    /// Whether its type is that of images.
    pub is_image: bool,
    /// What labels in it would be; numbers may have names besides.
    pub label: Option<LabelKind>,
}

impl Choice<'_> {
    /// Place of the column of images: the one that was named, or the only one `datasets` calls
    /// `Image`, or the one that is called so, or the only one that could be it.
    pub fn image(&self, wanted: &Columns) -> Result<usize> {
        const WANTED: &str = "a struct of `bytes` and `path`, or bytes";
        let names = self.names();
        if let Some(name) = &wanted.image {
            let place = self.named("--image-column", name, &names)?;
            return if self.columns[place].is_image {
                Ok(place)
            } else {
                let found = &self.columns[place].kind;
                let problem = format!("column `{name}` holds {found}, wanted images: {WANTED}");
                Err(self.refuse(problem, "name the column of images with --image-column"))
            };
        }
        let possible = |name: &&str| {
            let mut columns = self.columns.iter();
            columns.any(|column| column.is_image && column.name == **name)
        };
        let declared = self.features.of_type("Image").filter(possible);
        let mut candidates: Vec<String> = declared.map(str::to_owned).collect();
        if candidates.is_empty() {
            let possible = self.columns.iter().filter(|column| column.is_image);
            candidates = possible.map(|column| column.name.clone()).collect();
        }
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
        let place = self
            .columns
            .iter()
            .position(|c| c.is_image && c.name == *chosen);
        Ok(place.expect("it is one of them"))
    }

    /// The column of labels: the one that was named, or the only `ClassLabel`, or one that is
    /// called so.
    pub fn label(&self, wanted: &Columns) -> Result<LabelColumn> {
        const WANTED: &str = "class indices, whole numbers or text";
        let names = self.names();
        let classes = self.features.of_type("ClassLabel");
        let classes = classes.filter(|name| names.iter().any(|n| n == name));
        let classes: Vec<String> = classes.map(str::to_owned).collect();
        let name = match (&wanted.label, &classes[..]) {
            (Some(name), _) => &names[self.named("--label-column", name, &names)?],
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
        let kind = match &self.columns[place].label {
            Some(LabelKind::Number) => match self.features.class_names(name) {
                Some(names) => LabelKind::ClassLabel(names),
                None => LabelKind::Number,
            },
            Some(kind) => kind.clone(),
            None => {
                let found = &self.columns[place].kind;
                let problem = format!("column `{name}` holds {found}, wanted {WANTED}");
                return Err(self.refuse(problem, "name the column of labels with --label-column"));
            }
        };
        Ok(LabelColumn::new(name, kind, place))
    }

    fn names(&self) -> Vec<String> {
        self.columns
            .iter()
            .map(|column| column.name.clone())
            .collect()
    }

    /// Place of the column that a person named.
    fn named(&self, flag: &str, name: &str, names: &[String]) -> Result<usize> {
        names.iter().position(|n| n == name).ok_or_else(|| {
            let (problem, help) = unknown(flag, name, names);
            self.refuse(problem, help)
        })
    }

    fn listed(&self) -> String {
        let shown = self
            .columns
            .iter()
            .map(|c| format!("{}: {}", c.name, c.kind));
        shown.collect::<Vec<_>>().join(", ")
    }

    fn refuse(&self, problem: String, help: impl Into<String>) -> Error {
        Error::data(self.path, problem, help)
    }
}
