//! The one error type of the library.
//!
//! Each message says where, what was found and what was wanted; [`Error::help`] says what to do.
//! The binary prints `error:` and `help:` lines and exits with [`Error::exit_code`].

use std::path::{Path, PathBuf};

/// Everything that can go wrong for a reason outside this program.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request itself makes no sense (flags that exclude each other, an unknown name).
    #[error("{problem}")]
    Usage { problem: String, help: String },
    /// Images, labels, folders.
    #[error("{}: {problem}", path.display())]
    Data {
        path: PathBuf,
        problem: String,
        help: String,
    },
    /// `config.json`, `model.safetensors`, `preprocessor_config.json`, checkpoints.
    #[error("{}: {problem}", path.display())]
    Model {
        path: PathBuf,
        problem: String,
        help: String,
    },
    /// No GPU, no driver, no NVRTC, or one of them failed.
    #[error("{problem}")]
    Device { problem: String, help: String },
    /// The run does not fit; the message names the batch that does.
    #[error("{problem}")]
    Memory { problem: String, help: String },
    /// The loss or the gradients stopped being finite.
    #[error("{problem}")]
    Diverged { problem: String, help: String },
    /// Ctrl-C or SIGTERM, after the state was saved.
    #[error("{problem}")]
    Interrupted { problem: String, help: String },
    /// A checkpoint or the final model could not be written; the help names what is left.
    #[error("{problem}")]
    NotSaved { problem: String, help: String },
    /// The Hugging Face hub refused something, or could not be reached.
    #[error("{problem}")]
    Hub { problem: String, help: String },
    /// The operating system refused a file operation.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        path: PathBuf,
        action: &'static str,
        source: std::io::Error,
    },
}

/// `Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A [`Error::Usage`].
    pub fn usage(problem: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Usage {
            problem: problem.into(),
            help: help.into(),
        }
    }

    /// A [`Error::Data`] about `path`.
    pub fn data(
        path: impl AsRef<Path>,
        problem: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self::Data {
            path: path.as_ref().to_owned(),
            problem: problem.into(),
            help: help.into(),
        }
    }

    /// A [`Error::Model`] about `path`.
    pub fn model(
        path: impl AsRef<Path>,
        problem: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self::Model {
            path: path.as_ref().to_owned(),
            problem: problem.into(),
            help: help.into(),
        }
    }

    /// A [`Error::Device`].
    pub fn device(problem: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Device {
            problem: problem.into(),
            help: help.into(),
        }
    }

    /// A [`Error::Hub`].
    pub fn hub(problem: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Hub {
            problem: problem.into(),
            help: help.into(),
        }
    }

    /// A [`Error::Io`]: `action` completes "cannot …" (`"read it"`, `"create the folder"`).
    pub fn io(path: impl AsRef<Path>, action: &'static str, source: std::io::Error) -> Self {
        Self::Io {
            path: path.as_ref().to_owned(),
            action,
            source,
        }
    }

    /// Exit code of the process: 2 usage, 3 data, 4 model file, 5 GPU or driver, 6 out of memory,
    /// 7 diverged, 8 the hub or the way to it, 130 interrupted and saved, 1 for the operating system's
    /// refusals, those to save among them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Io { .. } | Self::NotSaved { .. } => 1,
            Self::Usage { .. } => 2,
            Self::Data { .. } => 3,
            Self::Model { .. } => 4,
            Self::Device { .. } => 5,
            Self::Memory { .. } => 6,
            Self::Diverged { .. } => 7,
            Self::Hub { .. } => 8,
            Self::Interrupted { .. } => 130,
        }
    }

    /// What the person can do about it.
    pub fn help(&self) -> Option<&str> {
        match self {
            Self::Io { .. } => None,
            Self::Usage { help, .. }
            | Self::Data { help, .. }
            | Self::Model { help, .. }
            | Self::Device { help, .. }
            | Self::Memory { help, .. }
            | Self::Diverged { help, .. }
            | Self::NotSaved { help, .. }
            | Self::Hub { help, .. }
            | Self::Interrupted { help, .. } => (!help.is_empty()).then_some(help),
        }
    }
}
