//! A hub, a client with a cache of its own, and what both said.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use vitcuda::hub::{DatasetFiles, Hub, Id, ModelPart, Network, Settings, Transfer};
use vitcuda::{Error, Result};

use crate::server::Server;

/// The name of the data set in most tests.
pub const PETS: &str = "datasets/them/pets";

/// A hub, and somebody with an empty cache.
pub struct World {
    pub server: Server,
    pub folder: TempDir,
    pub settings: Settings,
    /// What was heard, and when a notice came.
    pub heard: Vec<Transfer>,
}

impl World {
    pub fn new() -> Self {
        let server = Server::start();
        let folder = tempfile::tempdir().expect("a folder");
        let settings = Settings {
            endpoint: server.endpoint.clone(),
            cache: folder.path().join("hub"),
            token: None,
            network: Network::Online,
            certificates: None,
            pause: Duration::from_millis(5),
            patience: Duration::from_secs(60),
        };
        Self {
            server,
            folder,
            settings,
            heard: Vec::new(),
        }
    }

    pub fn hub(&self) -> Hub {
        Hub::new(self.settings.clone()).expect("a hub")
    }

    /// Loads all Parquet files of `id`.
    pub fn dataset(&mut self, id: &str) -> Result<DatasetFiles> {
        let id = Id::parse(id).expect("an id");
        let hub = self.hub();
        hub.dataset(&id, Ok, &mut |transfer| self.heard.push(transfer))
    }

    pub fn model(&mut self, id: &str, part: ModelPart) -> Result<PathBuf> {
        let id = Id::parse(id).expect("an id");
        let hub = self.hub();
        hub.model(&id, part, &mut |transfer| self.heard.push(transfer))
    }

    /// The cached files of the data set `them/pets`.
    pub fn pets(&self) -> PathBuf {
        self.settings.cache.join("datasets--them--pets")
    }

    /// Where the blob of these bytes is while it comes.
    pub fn incomplete(&self, bytes: &[u8]) -> PathBuf {
        let name = format!("{}.incomplete", crate::site::sha256(bytes));
        self.pets().join("blobs").join(name)
    }

    /// What an earlier, interrupted download left.
    pub fn leave(&self, whole: &[u8], left: &[u8]) {
        let path = self.incomplete(whole);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, left).expect("written");
    }

    /// All notices, a line each.
    pub fn notices(&self) -> String {
        let text = |heard: &Transfer| match heard {
            Transfer::Notice(text) => Some(text.clone()),
            _ => None,
        };
        let texts: Vec<String> = self.heard.iter().filter_map(text).collect();
        texts.join("\n")
    }
}

/// `count` bytes that look like nothing in particular.
pub fn noise(count: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let byte = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..count).map(byte).collect()
}

pub fn read(folder: &Path, file: &str) -> Vec<u8> {
    std::fs::read(folder.join(file)).expect(file)
}

/// Checks that it is an error of the hub that says all of this, and gives some help.
#[track_caller]
pub fn refused<T>(result: Result<T>, texts: &[&str]) {
    let error = result.err().expect("an error");
    assert!(matches!(error, Error::Hub { .. }), "{error:?}");
    said(&error, texts);
}

/// Checks that error and help together say all of this.
#[track_caller]
pub fn said(error: &Error, texts: &[&str]) {
    let help = error.help().expect("some help");
    let all = format!("{error}\n{help}");
    for text in texts {
        assert!(all.contains(text), "`{text}` is not in: {all}");
    }
}
