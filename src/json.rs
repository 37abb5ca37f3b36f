//! Reading JSON files of other programs: every complaint names the file, the line, the key, what
//! was found and what was wanted.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::files;

/// A file that holds one JSON object. A key whose value is `null` counts as absent, as in Python.
#[derive(Debug)]
pub struct JsonFile {
    path: PathBuf,
    text: String,
    map: Map<String, Value>,
}

/// No configuration comes near this; a file that does is something else.
const MAX_BYTES: u64 = 64 << 20;

impl JsonFile {
    /// Reads `path`.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let mut bytes = Vec::new();
        files::open_regular(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|e| Error::io(path, "read it", e))?;
        if bytes.len() as u64 > MAX_BYTES {
            let problem = format!("larger than {} MiB, wanted a JSON object", MAX_BYTES >> 20);
            return Err(Error::model(path, problem, ""));
        }
        let map = match serde_json::from_slice(&bytes) {
            Ok(Value::Object(map)) => map,
            Ok(other) => {
                let problem = format!("found {}, wanted a JSON object", show(&other));
                return Err(Error::model(path, problem, ""));
            }
            Err(e) => {
                let found = files::recognise(&bytes).filter(|_| !bytes.starts_with(b"{"));
                let problem = match found {
                    Some(what) => format!("found {what}, wanted a JSON object"),
                    None => format!("not valid JSON: {e}"),
                };
                return Err(Error::model(path, problem, "download or write it again"));
            }
        };
        Ok(Self {
            path: path.to_owned(),
            text: String::from_utf8_lossy(&bytes).into_owned(),
            map,
        })
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The value of `key`, if there is one.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|v| !v.is_null())
    }

    /// The whole number under `key`, or `default` where it is absent.
    pub fn whole(&self, key: &str, default: usize) -> Result<usize> {
        self.read_as(key, default, "a whole number", whole)
    }

    /// The number under `key`, or `default` where it is absent.
    pub fn number(&self, key: &str, default: f64) -> Result<f64> {
        self.read_as(key, default, "a number", Value::as_f64)
    }

    /// The truth value under `key`, or `default` where it is absent.
    pub fn truth(&self, key: &str, default: bool) -> Result<bool> {
        self.read_as(key, default, "true or false", Value::as_bool)
    }

    /// The string under `key`, or `default` where it is absent.
    pub fn string(&self, key: &str, default: &str) -> Result<String> {
        let string = |v: &Value| v.as_str().map(str::to_owned);
        self.read_as(key, default.to_owned(), "a string", string)
    }

    /// What `convert` makes of the value under `key`, or `default` where it is absent; an error
    /// that asks for `wanted` where `convert` gives nothing.
    pub fn read_as<T>(
        &self,
        key: &str,
        default: T,
        wanted: &str,
        convert: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<T> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => {
                convert(value).ok_or_else(|| self.refuse(key, &format!("wanted {wanted}"), ""))
            }
        }
    }

    /// The error that `key`'s value is not what is `wanted` (`"wanted a multiple of 3"`).
    pub fn refuse(&self, key: &str, wanted: &str, help: &str) -> Error {
        let problem = match (self.line_of(key), self.map.get(key)) {
            (Some(line), Some(value)) => {
                format!("line {line}: `{key}` is {}, {wanted}", show(value))
            }
            (None, Some(value)) => format!("`{key}` is {}, {wanted}", show(value)),
            (_, None) => format!("there is no `{key}`, {wanted}"),
        };
        Error::model(&self.path, problem, help)
    }

    /// Line, from 1, of the first place where `key` stands before a colon.
    fn line_of(&self, key: &str) -> Option<usize> {
        let quoted = format!("\"{key}\"");
        let (at, _) = self.text.match_indices(&quoted).find(|(at, _)| {
            self.text[at + quoted.len()..]
                .trim_ascii_start()
                .starts_with(':')
        })?;
        Some(1 + self.text[..at].matches('\n').count())
    }
}

/// A whole number, also one that its writer gave a fraction of zero (`768.0`).
pub fn whole(value: &Value) -> Option<usize> {
    let float = |v: &Value| {
        v.as_f64()
            .filter(|f| f.fract() == 0.0 && (0.0..9e15).contains(f))
    };
    value
        .as_u64()
        .or_else(|| float(value).map(|f| f as u64))
        .and_then(|n| usize::try_from(n).ok())
}

/// `value` as it stood in the file, shortened.
fn show(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
