//! Why a request failed, and what a person should do about it.

use std::fmt;
use std::io;
use std::io::Read;
use std::time::Duration;

use super::http::{Answer, TRIES, deepest, header};
use super::repository::{Kind, Repository};
use super::settings::Settings;
use crate::error::Error;

/// A request that came to nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// No connection, or it broke.
    Unreachable {
        server: String,
        reason: String,
        outlook: Outlook,
    },
    /// A status from 400 on.
    Refused(Refusal),
    /// The answer is none that the hub gives.
    Nonsense { url: String, found: String },
}

/// Whether the same request may do better a moment later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    MayPass,
    WillStay,
}

/// A status from 400 on, and what came with it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub status: u16,
    /// `X-Error-Code`: `GatedRepo`, `RepoNotFound`, `RevisionNotFound`, `EntryNotFound`, …
    pub code: String,
    /// In the server's words.
    pub message: String,
    /// `Retry-After`, or the `t` of `RateLimit`.
    pub wait: Option<Duration>,
}

/// What the request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose<'a> {
    Read { revision: &'a str },
    ReadFile { revision: &'a str, file: &'a str },
    Push { revision: &'a str },
}

impl Failure {
    pub fn of_connection(url: &str, error: &vitcuda_hub::reqwest::Error) -> Self {
        let layers = || {
            let first: &(dyn std::error::Error + 'static) = error;
            std::iter::successors(Some(first), |error| error.source())
        };
        // Neither has a kind of its own; these are words of hyper's.
        let is_nameless = layers().any(|layer| layer.to_string() == "dns error");
        let kind = layers().find_map(|layer| Some(layer.downcast_ref::<io::Error>()?.kind()));
        let stays = matches!(
            kind,
            Some(
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::NotFound
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::InvalidData // certificates, above all
            )
        );
        Self::Unreachable {
            server: server(url).to_owned(),
            reason: match (is_nameless, error.is_timeout()) {
                (true, _) => "there is no such host, or no network".into(),
                (false, true) => "nothing came for a long time".into(),
                (false, false) => deepest(error).to_string(),
            },
            outlook: if stays || is_nameless || error.is_builder() {
                Outlook::WillStay
            } else {
                Outlook::MayPass
            },
        }
    }

    /// A body that ended too early.
    pub fn broken(url: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        let error = deepest(error);
        Self::Unreachable {
            server: server(url).to_owned(),
            reason: format!("the connection broke: {error}"),
            outlook: Outlook::MayPass,
        }
    }

    pub fn of_answer(url: &str, answer: Answer) -> Self {
        let text = |name| {
            header(answer.headers(), name)
                .unwrap_or_default()
                .to_owned()
        };
        let seconds = text("retry-after").parse().ok();
        let seconds = seconds.or_else(|| {
            let limits = text("ratelimit");
            let wait = limits
                .split(';')
                .find_map(|part| part.trim().strip_prefix("t="));
            wait.and_then(|wait| wait.parse().ok())
        });
        let (status, code) = (answer.status().as_u16(), text("x-error-code"));
        let mut message = text("x-error-message");
        if message.is_empty() {
            let mut bytes = Vec::new();
            // Best effort: the status is what counts.
            let _ = answer.take(4096).read_to_end(&mut bytes);
            message = said(&bytes);
        }
        let refusal = Refusal {
            status,
            code,
            message,
            wait: seconds.map(Duration::from_secs),
        };
        if (300..400).contains(&status) {
            Self::Nonsense {
                url: url.to_owned(),
                found: format!("status {status} without a target"),
            }
        } else {
            Self::Refused(refusal)
        }
    }

    /// The same as something that another request may make good.
    pub fn into_passing(self, url: &str) -> Self {
        Self::broken(url, &io::Error::other(self.to_string()))
    }

    /// Whether another try may help.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { outlook, .. } => *outlook == Outlook::MayPass,
            Self::Refused(refusal) => matches!(refusal.status, 408 | 429 | 500 | 502 | 503 | 504),
            Self::Nonsense { .. } => false,
        }
    }

    /// Whether it says nothing about what was asked for, so that an older copy is as good as before.
    pub fn is_no_answer(&self) -> bool {
        matches!(self, Self::Unreachable { .. }) || self.may_pass()
    }

    /// Whether the repository, or this revision of it, is not there.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status == 404)
    }

    /// The status of an answer that refuses.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(refusal) => Some(refusal.status),
            Self::Unreachable { .. } | Self::Nonsense { .. } => None,
        }
    }

    pub fn asked_wait(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.wait,
            Self::Unreachable { .. } | Self::Nonsense { .. } => None,
        }
    }

    /// The error a person sees.
    pub fn explain(self, repository: &Repository, purpose: Purpose, settings: &Settings) -> Error {
        match self {
            Self::Refused(refusal) => refusal.explain(repository, purpose, settings),
            Self::Unreachable { .. } => Error::hub(
                match purpose {
                    Purpose::Read { .. } => {
                        format!("{repository}: there is no folder of this name, and {self}")
                    }
                    Purpose::ReadFile { .. } | Purpose::Push { .. } => {
                        format!("{repository}: {self}")
                    }
                },
                "check the network, HTTPS_PROXY and SSL_CERT_FILE, or name another server with \
                 HF_ENDPOINT; what was loaded is kept, and files in the cache need no network",
            ),
            Self::Nonsense { .. } => Error::hub(
                format!("{repository}: {self}"),
                format!(
                    "is {} a Hugging Face hub? HF_ENDPOINT names another",
                    settings.endpoint
                ),
            ),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { server, reason, .. } => {
                write!(f, "{server} cannot be reached: {reason}")
            }
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Nonsense { url, found } => write!(f, "{url} gives {found}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the hub answers {}", self.status)?;
        if self.message.is_empty() {
            Ok(())
        } else {
            write!(f, " ({})", self.message)
        }
    }
}

impl Refusal {
    fn explain(self, repository: &Repository, purpose: Purpose, settings: &Settings) -> Error {
        let (
            Settings {
                endpoint, token, ..
            },
            name,
        ) = (settings, &repository.name);
        let tokens = format!("{endpoint}/settings/tokens");
        let page = repository.url(endpoint);
        let is_known = token.is_some();
        let (problem, help) = match (self.status, self.code.as_str(), purpose) {
            (401, "GatedRepo", _) | (403, "GatedRepo", _) => (
                "its owners let in only those who accepted their terms".into(),
                if is_known {
                    format!("accept the terms at {page} with the account of your token")
                } else {
                    format!(
                        "accept the terms at {page}, and set HF_TOKEN to a token of yours ({tokens})"
                    )
                },
            ),
            (401, _, _) if is_known => (
                "the hub does not accept the token".into(),
                format!("set HF_TOKEN to one that is valid: {tokens}"),
            ),
            (401 | 403, _, Purpose::Push { .. }) => (
                format!("the token may not write there: {self}"),
                format!("set HF_TOKEN to a token that may write to {name}: {tokens}"),
            ),
            (401, _, _) => (
                "there is no such repository that is open to everyone, and no folder of this name"
                    .into(),
                format!(
                    "check the spelling; for a private or gated one set HF_TOKEN to a token of \
                     yours ({tokens})"
                ),
            ),
            (403, _, _) => (
                self.to_string(),
                format!("look at {page}; does the account of HF_TOKEN have access?"),
            ),
            (404, "RevisionNotFound", Purpose::Read { revision } | Purpose::Push { revision })
            | (404, "RevisionNotFound", Purpose::ReadFile { revision, .. }) => (
                format!("there is no revision `{revision}`"),
                format!(
                    "its branches and tags are listed at {page}/tree/main; without @REVISION it is main"
                ),
            ),
            (404, _, Purpose::ReadFile { revision, file }) => (
                format!("there is no file {file} in revision {revision}"),
                format!("its files are listed at {page}/tree/main"),
            ),
            (404, _, Purpose::Read { .. }) => (
                "there is no such repository on the hub, and no folder of this name".into(),
                match repository.kind {
                    Kind::Dataset => "check the spelling, or name a folder or a file that is there",
                    Kind::Model => "check the spelling, or name a folder that is there or a preset",
                }
                .into(),
            ),
            (429, _, _) => {
                let wait = match self.wait {
                    Some(wait) => format!("wait {} s", wait.as_secs()),
                    None => "wait some minutes".into(),
                };
                let more = if is_known {
                    ""
                } else {
                    "; those who set HF_TOKEN may ask more often"
                };
                (
                    format!("too many requests: {self}"),
                    format!(
                        "{wait} and run the command again, which goes on where it stopped{more}"
                    ),
                )
            }
            (500.., _, _) => (
                format!("{self}, {TRIES} times"),
                "try again in some minutes; what was loaded is kept".into(),
            ),
            _ => (self.to_string(), String::new()),
        };
        Error::hub(format!("{repository}: {problem}"), help)
    }
}

/// Scheme, host and port.
fn server(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..]
        .find(['/', '?'])
        .map_or(url.len(), |at| start + at);
    &url[..end]
}

/// The `error` of a JSON body, or the start of a short text.
pub(super) fn said(body: &[u8]) -> String {
    let json = serde_json::from_slice::<serde_json::Value>(body).ok();
    let error = json.as_ref().and_then(|value| value.get("error")?.as_str());
    let text = String::from_utf8_lossy(body);
    let line = text.lines().next().unwrap_or_default().trim();
    let is_page = line.starts_with('<');
    error
        .unwrap_or(if is_page { "" } else { line })
        .chars()
        .take(200)
        .collect()
}
