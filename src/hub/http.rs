//! Our own requests, the pauses between tries, ours and those of `hf-hub`, and how either connects.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::mpsc::Sender;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use vitcuda_hub::reqwest::blocking::{Body, Client, ClientBuilder, Response};
use vitcuda_hub::reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use vitcuda_hub::reqwest::redirect::Policy;
use vitcuda_hub::reqwest::{self, Certificate, Method, Url};

use super::failure::Failure;
use super::listening::listening;
use super::settings::Settings;
use super::transfer::{Listener, Transfer};
use crate::error::{Error, Result};

/// Times a request is made in all before it is given up.
pub(super) const TRIES: u32 = 5;

/// The longest that retries of one request wait in all: the window in which the hub counts requests.
const PATIENCE: Duration = Duration::from_secs(300);

/// A connection on which nothing moves for so long is given up.
pub(super) const STALLED: Duration = Duration::from_secs(60);

/// JSON answers end here; the listing of a repository with a hundred thousand files is smaller.
const MAX_JSON: u64 = 256 << 20;

const MAX_REDIRECTS: usize = 8;

/// An HTTP client that knows the hub.
pub(super) struct Http {
    pub settings: Settings,
    /// Whom to trust in place of those whom the system trusts.
    authorities: Option<Vec<Certificate>>,
    /// Made with the first request: reading the cache needs none.
    clients: OnceLock<Clients>,
}

struct Clients {
    plain: Client,
    /// For large bodies: it waits for an answer as long as what is sent arrives.
    sender: Client,
}

/// What is asked.
#[derive(Clone)]
pub(super) struct Request<'a> {
    pub method: Method,
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
pub(super) type Answer = Response;

impl<'a> Request<'a> {
    pub fn new(method: Method, url: String) -> Self {
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
    /// [`Error::Usage`] for a file of certificates that cannot be read.
    pub fn new(settings: Settings) -> Result<Self> {
        let authorities = settings.certificates.as_deref().map(trusted).transpose()?;
        Ok(Self {
            settings,
            authorities,
            clients: OnceLock::new(),
        })
    }

    /// How connections are made, by `hf-hub` and by ourselves.
    pub fn connections(&self) -> reqwest::ClientBuilder {
        // Sizes and ranges are of the file itself.
        let identity = HeaderValue::from_static("identity");
        let builder = reqwest::Client::builder()
            .default_headers([(ACCEPT_ENCODING, identity)].into_iter().collect())
            .user_agent(concat!("vitcuda/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(20));
        match &self.authorities {
            Some(authorities) => builder.tls_certs_only(authorities.clone()),
            None => builder,
        }
    }

    fn clients(&self) -> Result<&Clients, Failure> {
        if self.clients.get().is_none() {
            let sender = self.connections();
            #[cfg(target_os = "linux")]
            let sender = sender.tcp_user_timeout(STALLED);
            // The limit is one of each read, but of all that is written before an answer comes.
            let built = |builder: reqwest::ClientBuilder, limit: Option<Duration>| {
                let builder = ClientBuilder::from(builder.redirect(Policy::none()));
                let client = builder.timeout(limit).build();
                client.map_err(|e| Failure::of_connection(&self.settings.endpoint, &e))
            };
            let plain = built(self.connections(), Some(STALLED))?;
            let sender = built(sender, None)?;
            // Whoever was faster made the same.
            let _ = self.clients.set(Clients { plain, sender });
        }
        Ok(self.clients.get().expect("they are set"))
    }

    /// The answer, after as many tries as it takes and is reasonable.
    pub fn send(
        &self,
        request: &Request<'_>,
        listener: &mut dyn Listener,
    ) -> Result<Answer, Failure> {
        self.persist(listener, |listener| self.follow(request, listener))
    }

    /// What `once` does, after as many tries as it takes and is reasonable.
    pub fn persist<T>(
        &self,
        listener: &mut dyn Listener,
        mut once: impl FnMut(&mut dyn Listener) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut waits = Waits::new(self.settings.pause);
        loop {
            match once(listener) {
                Ok(done) => return Ok(done),
                Err(failure) => waits.after(failure, listener)?,
            }
        }
    }

    /// How long the server wants those to wait who ask for `url`.
    pub fn asked_wait(&self, url: &str) -> Option<Duration> {
        let request = Request::new(Method::GET, url.to_owned());
        let refused = self.follow(&request, &mut |_| {}).err()?;
        refused.asked_wait()
    }

    /// The JSON of the answer.
    pub fn json<T: DeserializeOwned>(
        &self,
        request: &Request<'_>,
        listener: &mut dyn Listener,
    ) -> Result<T, Failure> {
        let answer = self.send(request, listener)?;
        let bytes = whole(answer, self.settings.patience);
        let bytes = bytes.map_err(|e| Failure::broken(&request.url, &e))?;
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
            let answer = self.once(request, &url, listener)?;
            let status = answer.status().as_u16();
            if !(200..400).contains(&status) {
                return Err(Failure::of_answer(&url, answer));
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
    ) -> Result<Answer, Failure> {
        let clients = self.clients()?;
        let client = match request.content {
            Content::Piece { .. } => &clients.sender,
            Content::Nothing | Content::Bytes(_) => &clients.plain,
        };
        let mut builder = client.request(request.method.clone(), url);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        let token = self.settings.token.as_ref();
        let is_told = request.token == Token::Sent && same_server(url, &self.settings.endpoint);
        if let Some(token) = token.filter(|_| is_told) {
            builder = builder.bearer_auth(token);
        }
        let sent = match &request.content {
            Content::Nothing => builder.send(),
            Content::Bytes(bytes) => builder.body(bytes.clone()).send(),
            &Content::Piece {
                file,
                start,
                length,
                before,
            } => {
                let file = opened(file, start).map_err(|e| Failure::broken(url, &e))?;
                let mut at = before;
                let hear = |read: usize| {
                    at += read as u64;
                    listener.transfer(Transfer::At(at));
                };
                let inner = file.take(length);
                let send = |sender| {
                    builder
                        .body(Body::sized(Heard { inner, sender }, length))
                        .send()
                };
                listening(send, hear)
            }
        };
        sent.map_err(|e| Failure::of_connection(url, &e))
    }
}

/// All of a body, which ends at [`MAX_JSON`] and has `patience` to come: each read has a limit of its
/// own, which a byte now and then never meets.
fn whole(answer: Answer, patience: Duration) -> io::Result<Vec<u8>> {
    let (begun, mut bytes) = (Instant::now(), Vec::new());
    let mut body = answer.take(MAX_JSON);
    let mut buffer = vec![0; 64 << 10];
    loop {
        match body.read(&mut buffer)? {
            0 => return Ok(bytes),
            read => bytes.extend_from_slice(&buffer[..read]),
        }
        if begun.elapsed() > patience {
            let text = format!("{} bytes in {} s", bytes.len(), patience.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
    }
}

fn opened(path: &Path, start: u64) -> io::Result<File> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    Ok(file)
}

/// The authorities that the PEM file `path` holds.
fn trusted(path: &Path) -> Result<Vec<Certificate>> {
    let unusable = |found: String| {
        Error::usage(
            format!("SSL_CERT_FILE: {}: {found}", path.display()),
            "name a file of certificates in PEM, or unset it to trust those of the system",
        )
    };
    let text = std::fs::read(path).map_err(|e| unusable(e.to_string()))?;
    let certificates = Certificate::from_pem_bundle(&text);
    let certificates = certificates.map_err(|e| unusable(deepest(&e).to_string()))?;
    if certificates.is_empty() {
        Err(unusable("it holds no certificate".into()))
    } else {
        Ok(certificates)
    }
}

/// What `error` comes from in the end, which says more than the layers above it.
pub(super) fn deepest<'e>(
    error: &'e (dyn std::error::Error + 'static),
) -> &'e dyn std::error::Error {
    std::iter::successors(Some(error), |error| error.source())
        .last()
        .unwrap_or(error)
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

    /// Waits for the next try; gives `failure` back when there is to be none.
    pub fn after(&mut self, failure: Failure, listener: &mut dyn Listener) -> Result<(), Failure> {
        let Some(wait) = self.next(&failure) else {
            return Err(failure);
        };
        if wait >= Duration::from_secs(2) {
            let text = format!("{failure}; trying again in {} s", wait.as_secs());
            listener.transfer(Transfer::Notice(text));
        }
        sleep(wait);
        Ok(())
    }

    /// How long to wait after `failure`, as the server asks or else ever longer; `None` when another
    /// try would not help, was made often enough, or would have to wait too long.
    fn next(&mut self, failure: &Failure) -> Option<Duration> {
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
struct Heard<R> {
    inner: R,
    sender: Sender<usize>,
}

impl<R: Read> Read for Heard<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let _ = self.sender.send(read); // whoever has stopped to listen misses nothing
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
    let origin = |url| Url::parse(url).ok().map(|url| url.origin());
    origin(a).is_some_and(|found| origin(b) == Some(found))
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
