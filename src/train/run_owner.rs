//! `run.json`: which run an output folder belongs to, from before that run changes anything else
//! there. Where there is no checkpoint yet, it tells a resumed run what it is about to start anew.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::files::{self, Indent};

/// Name of the file in the output folder.
pub(super) const OWNER_FILE: &str = "run.json";

/// The run a folder belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Owner {
    pub(super) stage: Stage,
    /// By flag: what a resumed run must have in common with this one.
    pub(super) settings: Map<String, Value>,
}

/// How far the run has come with the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// What else is there may be an older run's.
    Clearing,
    /// What else is there is its own.
    Begun,
}

impl Owner {
    /// Reads it from `folder`; none where there is none.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(OWNER_FILE);
        let bytes = match crate::files::read_regular(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|e| Error::io(&path, "read it", e))?,
        };
        let owner = serde_json::from_slice(&bytes).map_err(|e| {
            Error::model(
                &path,
                format!("it does not say which run the folder holds: {e}"),
                "delete it to go on from the newest checkpoint all the same, or start anew with \
                 `--overwrite-output-dir` alone",
            )
        })?;
        Ok(Some(owner))
    }

    /// Writes it into `folder`, atomically.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        files::write_json(folder.join(OWNER_FILE), self, Indent::Two)
    }
}
