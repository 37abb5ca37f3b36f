//! Requests, their retries and redirects.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use serde::de::DeserializeOwned;
use ureq::http::{HeaderMap, Request as HttpRequest, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, SendBody};

use super::failure::Failure;
use super::settings::Settings;
use super::transfer::{Listener, Transfer};
use crate::error::{Error, Result};

/// Times a request is made in all before it is given up.
pub(super) const TRIES: u32 = 5;

/// The longest that retries of one request wait in all: the window in which the hub counts requests.
const PATIENCE: Duration = Duration::from_secs(300);

/// A connection on which nothing moves for so long is given up.
const STALLED: Duration = Duration::from_secs(60);

/// JSON answers end here; the listing of a repository with a hundred thousand files is smaller.
const MAX_JSON: u64 = 256 << 20;

const MAX_REDIRECTS: usize = 8;

/// An HTTP client that knows the hub.
pub(super) struct Http {
    agent: Agent,
    pub settings: Settings,
}

/// What is asked.
#[derive(Clone)]
pub(super) struct Request<'a> {
    pub method: &'static str,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub content: Content<'a>,
    pub token: Token,
    pub redirects: Redirects,
}

/// What is sent along.
#[derive(Clone)]
pub(super) enum Content<'a> {
    Nothing,
    Bytes(Vec<u8>),
    /// `length` bytes of a file from `start` on; the listener hears of them as bytes after `before`.
    Piece {
        file: &'a Path,
        start: u64,
        length: u64,
        before: u64,
    },
}

/// Whether the hub is told who asks. Other servers never are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Sent,
    Withheld,
}

/// Which redirects are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Redirects {
    All,
    /// Those within the hub, as of a repository that got another name: the headers that describe a
    /// file are the hub's, not those of the servers that keep its bytes.
    WithinHub,
}

/// An answer of status 200 to 399.
pub(super) type Answer = ureq::http::Response<Body>;

impl<'a> Request<'a> {
    pub fn new(method: &'static str, url: String) -> Self {
        Self {
            method,
            url,
            headers: Vec::new(),
            content: Content::Nothing,
            token: Token::Sent,
            redirects: Redirects::All,
        }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn bytes(self, bytes: Vec<u8>, media_type: &str) -> Self {
        let mut request = self.header("content-type", media_type);
        request.content = Content::Bytes(bytes);
        request
    }

    pub fn json(self, value: &serde_json::Value) -> Self {
        self.bytes(value.to_string().into_bytes(), "application/json")
    }
}

impl Http {
    pub fn new(settings: Settings) -> Result<Self> {
        let mut tls = TlsConfig::builder();
        if let Some(file) = &settings.certificates {
            tls = tls.root_certs(trusted(file)?);
        }
        let config = Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_per_read(Some(STALLED))
            .timeout_per_write(Some(STALLED))
            .accept_encoding("identity") // sizes and ranges are of the file itself
            .user_agent(concat!("vitcuda/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self {
            agent: config.into(),
            settings,
        })
    }

    /// The answer, after as many tries as it takes and is reasonable.
    pub fn send(
        &self,
        request: &Request<'_>,
        listener: &mut dyn Listener,
    ) -> Result<Answer, Failure> {
        let mut waits = Waits::new(self.settings.pause);
        loop {
            let failure = match self.follow(request, listener) {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let Some(wait) = waits.next(&failure) else {
                return Err(failure);
            };
            if wait >= Duration::from_secs(2) {
                let text = format!("{failure}; trying again in {} s", wait.as_secs());
                listener.transfer(Transfer::Notice(text));
            }
            sleep(wait);
        }
    }

    /// The JSON of the answer.
    pub fn json<T: DeserializeOwned>(
        &self,
        request: &Request<'_>,
        listener: &mut dyn Listener,
    ) -> Result<T, Failure> {
        let mut answer = self.send(request, listener)?;
        let mut bytes = Vec::new();
        let reader = answer.body_mut().as_reader();
        reader
            .take(MAX_JSON)
            .read_to_end(&mut bytes)
            .map_err(|e| Failure::broken(&request.url, &e))?;
        serde_json::from_slice(&bytes).map_err(|e| Failure::Nonsense {
            url: request.url.clone(),
            found: format!("JSON that is not what the hub's is like: {e}"),
        })
    }

    /// One try, through redirects.
    fn follow(
        &self,
        request: &Request<'_>,
        listener: &mut dyn Listener,
    ) -> Result<Answer, Failure> {
        let mut url = request.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut answer = self
                .once(request, &url, listener)
                .map_err(|e| Failure::of_connection(&url, &e))?;
            let status = answer.status().as_u16();
            if !(200..400).contains(&status) {
                return Err(Failure::of_answer(&url, &mut answer));
            }
            let target = header(answer.headers(), "location").filter(|_| status >= 300);
            let Some(target) = target.map(|to| absolute(&url, to)) else {
                return Ok(answer);
            };
            if request.redirects == Redirects::WithinHub && !same_server(&url, &target) {
                return Ok(answer);
            }
            url = target;
        }
        Err(Failure::Nonsense {
            url,
            found: "a redirect after many others".into(),
        })
    }

    fn once(
        &self,
        request: &Request<'_>,
        url: &str,
        listener: &mut dyn Listener,
    ) -> Result<Answer, ureq::Error> {
        let mut builder = HttpRequest::builder().method(request.method).uri(url);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        let token = self.settings.token.as_ref();
        let is_told = request.token == Token::Sent && same_server(url, &self.settings.endpoint);
        if let Some(token) = token.filter(|_| is_told) {
            builder = builder.header("authorization", format!("Bearer {token}"));
        }
        match &request.content {
            Content::Nothing => self.agent.run(builder.body(())?),
            Content::Bytes(bytes) => self.agent.run(builder.body(&bytes[..])?),
            &Content::Piece {
                file,
                start,
                length,
                before,
            } => {
                let mut file = File::open(file)?;
                file.seek(SeekFrom::Start(start))?;
                let mut heard = Heard {
                    inner: file.take(length),
                    at: before,
                    listener,
                };
                let builder = builder.header("content-length", length);
                self.agent
                    .run(builder.body(SendBody::from_reader(&mut heard))?)
            }
        }
    }
}

/// The authorities that the PEM file `path` holds.
fn trusted(path: &Path) -> Result<RootCerts> {
    let unusable = |found: String| {
        Error::usage(
            format!("SSL_CERT_FILE: {}: {found}", path.display()),
            "name a file of certificates in PEM, or unset it to trust those of the web",
        )
    };
    let text = std::fs::read(path).map_err(|e| unusable(e.to_string()))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&text) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(e) => return Err(unusable(e.to_string())),
        }
    }
    match certificates.is_empty() {
        true => Err(unusable("it holds no certificate".into())),
        false => Ok(RootCerts::new_with_certs(&certificates)),
    }
}

/// The pauses between the tries of one request.
pub(super) struct Waits {
    pause: Duration,
    tries: u32,
    waited: Duration,
}

impl Waits {
    pub fn new(pause: Duration) -> Self {
        Self {
            pause,
            tries: 0,
            waited: Duration::ZERO,
        }
    }

    /// How long to wait after `failure`, as the server asks or else ever longer; `None` when another
    /// try would not help, was made often enough, or would have to wait too long.
    pub fn next(&mut self, failure: &Failure) -> Option<Duration> {
        self.tries += 1;
        if self.tries >= TRIES || !failure.may_pass() {
            return None;
        }
        let doubled = self.pause * (1 << (self.tries - 1));
        let wait = failure.asked_wait().unwrap_or(doubled);
        self.waited = self.waited.saturating_add(wait);
        (self.waited <= PATIENCE).then_some(wait)
    }

    /// A try got somewhere: those before it are forgotten.
    pub fn progressed(&mut self) {
        *self = Self::new(self.pause);
    }
}

/// Tells of what is read through it.
struct Heard<'a, R> {
    inner: R,
    at: u64,
    listener: &'a mut dyn Listener,
}

impl<R: Read> Read for Heard<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.at += read as u64;
        self.listener.transfer(Transfer::At(self.at));
        Ok(read)
    }
}

/// The header `name`, where it is text.
pub(super) fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// `target` as a redirect from `url` means it.
fn absolute(url: &str, target: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let server = rest.split(['/', '?']).next().unwrap_or(rest);
    match target {
        _ if target.starts_with("//") => format!("{scheme}:{target}"),
        _ if target.starts_with('/') => format!("{scheme}://{server}{target}"),
        _ => target.to_owned(),
    }
}

/// Whether both are of one scheme, host and port.
fn same_server(a: &str, b: &str) -> bool {
    let server = |url: &str| {
        let uri: Uri = url.parse().ok()?;
        Some((uri.scheme()?.clone(), uri.authority()?.clone()))
    };
    server(a).is_some_and(|found| server(b) == Some(found))
}

/// `text` as one part of a URL's path: everything but letters, digits and `-_.~` is escaped.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => escaped += &format!("%{byte:02X}"),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_resolved() {
        let from = "http://hub:80/api/datasets/a?x=1";
        for (target, url) in [
            ("/api/datasets/o/a", "http://hub:80/api/datasets/o/a"),
            ("//cdn/x", "http://cdn/x"),
            ("https://cdn/x", "https://cdn/x"),
        ] {
            assert_eq!(absolute(from, target), url);
        }
    }

    #[test]
    fn the_token_is_for_one_server() {
        let hub = "https://huggingface.co";
        assert!(same_server("https://huggingface.co/api/x?y", hub));
        for other in [
            "http://huggingface.co/x",
            "https://huggingface.co:8443/x",
            "https://huggingface.co.evil/x",
            "https://cdn-lfs.huggingface.co/x",
        ] {
            assert!(!same_server(other, hub), "{other}");
        }
    }

    #[test]
    fn revisions_are_one_part_of_a_path() {
        assert_eq!(escaped("refs/convert/parquet"), "refs%2Fconvert%2Fparquet");
        assert_eq!(escaped("v1.0 ü"), "v1.0%20%C3%BC");
    }
}
