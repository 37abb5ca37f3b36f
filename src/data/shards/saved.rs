//! Folders that `save_to_disk` of Hugging Face's `datasets` wrote: one split, or a folder for each.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Shards;
use crate::data::columns::Columns;
use crate::error::{Error, Result};
use crate::json::JsonFile;

/// The data set saved in the folder `path`; `None` when it is not such a folder.
pub fn find(path: &Path, columns: &Columns) -> Result<Option<Shards>> {
    let list = path.join("dataset_dict.json");
    let splits = if list.is_file() {
        let file = JsonFile::read(&list)?;
        let names = texts(file.get("splits"));
        let names = names.ok_or_else(|| broken(&list, "`splits` is no list of names"))?;
        let split = |name: String| Ok((name.clone(), files(&path.join(name))?));
        names.into_iter().map(split).collect::<Result<_>>()?
    } else if path.join("state.json").is_file() && path.join("dataset_info.json").is_file() {
        let file = JsonFile::read(path.join("state.json"))?;
        let name = file.get("_split").and_then(Value::as_str);
        vec![(name.unwrap_or("train").to_owned(), files(path)?)]
    } else {
        return Ok(None);
    };
    Ok(Some(Shards {
        name: path.display().to_string(),
        root: path.to_owned(),
        splits,
        columns: columns.clone(),
    }))
}

/// The Arrow files of one split, in their order.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let state = folder.join("state.json");
    let file = JsonFile::read(&state)?;
    let names = file.get("_data_files").and_then(Value::as_array);
    let names = names.ok_or_else(|| broken(&state, "`_data_files` is no list"))?;
    if file
        .get("_indices_files")
        .is_some_and(|files| files != &Value::Array(Vec::new()))
    {
        return Err(broken(
            &state,
            "its rows are in another order than its files (`_indices_files`)",
        ));
    }
    let file = |entry: &Value| {
        let name = entry["filename"].as_str().map(Path::new);
        name.and_then(Path::file_name).map(|name| folder.join(name))
    };
    let files: Option<Vec<PathBuf>> = names.iter().map(file).collect();
    files.ok_or_else(|| broken(&state, "`_data_files` names no files"))
}

fn texts(value: Option<&Value>) -> Option<Vec<String>> {
    let names = value?.as_array()?.iter();
    names.map(|name| name.as_str().map(str::to_owned)).collect()
}

fn broken(path: &Path, problem: &str) -> Error {
    Error::data(
        path,
        problem,
        "save it again with save_to_disk of `datasets`",
    )
}
