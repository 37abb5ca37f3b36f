//! What Hugging Face's `datasets` says about the columns in a file's footer.

use serde_json::{Map, Value};

/// The features by column, in the order of the data set; empty where nobody said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Features(Map<String, Value>);

impl Features {
    /// Those of the footer's `huggingface` entry:
    /// `{"info": {"features": {"image": {"_type": "Image"}, …}}}`.
    ///
    /// Text that says something else gives no features: the columns themselves still do.
    pub fn parse(text: &str) -> Self {
        let value: Option<Value> = serde_json::from_str(text).ok();
        let features = value.as_ref().and_then(|v| v.pointer("/info/features"));
        Self(
            features
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
        )
    }

    /// Columns of this type (`"Image"`, `"ClassLabel"`).
    pub fn of_type<'a>(&'a self, wanted: &'a str) -> impl Iterator<Item = &'a str> {
        let is = move |feature: &Value| feature["_type"] == wanted;
        let found = self.0.iter().filter(move |(_, feature)| is(feature));
        found.map(|(column, _)| column.as_str())
    }

    /// The class names of a `ClassLabel` column, by index.
    pub fn class_names(&self, column: &str) -> Option<Vec<String>> {
        let feature = self.0.get(column).filter(|f| f["_type"] == "ClassLabel")?;
        let names = feature["names"].as_array()?.iter();
        names.map(|name| name.as_str().map(str::to_owned)).collect()
    }

    /// The type of a column in the words of `datasets`: `Image`, `ClassLabel`, `Value(int64)`.
    pub fn describe(&self, column: &str) -> Option<String> {
        let feature = self.0.get(column)?;
        let kind = feature["_type"].as_str()?;
        Some(match feature["dtype"].as_str() {
            Some(dtype) if kind == "Value" => format!("Value({dtype})"),
            _ => kind.to_owned(),
        })
    }
}
