//! Bringing files into the cache. A file's first attempt is `hf-hub`'s, into a name of its own; what
//! came of an interrupted one stays beside the blobs, and the next attempt, which is ours, asks for the
//! rest of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};

use vitcuda_hub::reqwest::Method;

use super::cache::{Cache, create_parent, unwritable};
use super::client::Client;
use super::digest::Wanted;
use super::failure::{Failure, Purpose};
use super::http::{Redirects, Request, Waits, deepest, header};
use super::repository::{Listing, Repository};
use super::transfer::{Direction, Listener, Transfer};
use crate::error::{Error, Result};

/// No file of the hub comes near this, and no sum of such sizes is too large to count.
const MAX_BYTES: u64 = 1 << 50;

/// A download of files of one commit.
pub(super) struct Download<'a> {
    pub client: &'a Client,
    pub cache: &'a Cache,
    pub repository: &'a Repository,
    pub listing: &'a Listing,
}

/// A file as the hub describes it before it is loaded.
struct Described<'a> {
    path: &'a str,
    /// Name of its blob.
    etag: String,
    bytes: u64,
    /// What the hub tells of its bytes.
    digest: Option<Wanted>,
}

/// How one attempt ended.
enum Attempt {
    /// All of the body came.
    Whole,
    /// It stopped early, which another request may make good.
    Broken(Failure),
}

impl Download<'_> {
    /// Loads those of `files` that are not in the cache. They appear in the snapshot together, when
    /// the last one is there, so that nobody takes a part of a data set for all of it.
    pub fn run(&self, files: &[String], listener: &mut dyn Listener) -> Result<()> {
        let snapshot = self.cache.snapshot(&self.listing.commit);
        // A disk that was full leaves empty files; those that are meant to be are not loaded again.
        let is_there = |path: &String| fs::metadata(snapshot.join(path)).is_ok_and(|m| m.len() > 0);
        let missing = files.iter().filter(|path| !is_there(path));
        let described = missing.map(|path| self.describe(path, listener));
        let described: Vec<Described> = described.collect::<Result<_>>()?;
        let (here, to_load): (Vec<&Described>, Vec<&Described>) =
            described.iter().partition(|file| self.has(file));
        if !to_load.is_empty() {
            self.load_all(&to_load, listener)?;
        }
        for file in here.iter().chain(&to_load) {
            self.cache
                .link(&self.listing.commit, file.path, &file.etag)?;
        }
        Ok(())
    }

    /// Whether the cache has all bytes of a file.
    fn has(&self, file: &Described) -> bool {
        fs::metadata(self.cache.blob(&file.etag)).is_ok_and(|m| m.len() == file.bytes)
    }

    fn load_all(&self, files: &[&Described], listener: &mut dyn Listener) -> Result<()> {
        let present = |file: &&Described| {
            let size = fs::metadata(self.cache.incomplete(&file.etag)).map_or(0, |m| m.len());
            if size <= file.bytes { size } else { 0 }
        };
        listener.transfer(Transfer::Started {
            direction: Direction::Down,
            repository: self.repository.name.clone(),
            files: files.len(),
            bytes: files.iter().map(|file| file.bytes).sum(),
            present: files.iter().map(present).sum(),
        });
        let mut before = 0;
        for file in files {
            self.load(file, before, listener)?;
            before += file.bytes;
            listener.transfer(Transfer::At(before));
        }
        listener.transfer(Transfer::Finished);
        Ok(())
    }

    fn url(&self, path: &str) -> String {
        let endpoint = &self.client.http.settings.endpoint;
        self.repository
            .file_url(endpoint, &self.listing.commit, path)
    }

    fn explained(&self, failure: Failure, file: &str) -> Error {
        let revision = &self.listing.commit;
        let purpose = Purpose::ReadFile { revision, file };
        failure.explain(self.repository, purpose, &self.client.http.settings)
    }

    /// Asks for the headers of a file.
    fn describe<'p>(&self, path: &'p str, listener: &mut dyn Listener) -> Result<Described<'p>> {
        let url = self.url(path);
        let mut request = Request::new(Method::HEAD, url.clone());
        request.redirects = Redirects::WithinHub;
        let answer = self
            .client
            .http
            .send(&request, listener)
            .map_err(|failure| self.explained(failure, path))?;
        let found = |name| header(answer.headers(), name);
        let plain = |tag: &str| tag.trim_start_matches("W/").trim_matches('"').to_owned();
        let linked = found("x-linked-etag").map(plain);
        let etag = linked.clone().or_else(|| found("etag").map(plain));
        let is_name = |tag: &String| {
            !tag.is_empty() && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let bytes = found("x-linked-size").or_else(|| found("content-length"));
        let bytes = bytes.and_then(|bytes| bytes.parse().ok());
        let bytes = bytes.filter(|&bytes: &u64| bytes <= MAX_BYTES);
        match (etag.filter(is_name), bytes) {
            (Some(etag), Some(bytes)) => Ok(Described {
                path,
                digest: Wanted::by_name(&etag, linked.is_some()),
                etag,
                bytes,
            }),
            _ => {
                let found = "neither an ETag nor a size, or one of them".into();
                Err(self.explained(Failure::Nonsense { url, found }, path))
            }
        }
    }

    /// Loads one file into its blob; `before` are the bytes of the files before it.
    fn load(&self, described: &Described, before: u64, listener: &mut dyn Listener) -> Result<()> {
        let blob = self.cache.blob(&described.etag);
        let incomplete = self.cache.incomplete(&described.etag);
        create_parent(&blob)?;
        let _lock = self.cache.lock(&described.etag)?;
        if self.has(described) {
            return Ok(()); // somebody else was faster
        }
        let refused = |e| unwritable(&incomplete, e);
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&incomplete)
            .map_err(refused)?;
        let mut have = file.metadata().map_err(refused)?.len();
        if have > described.bytes {
            file.set_len(0).map_err(refused)?;
            have = 0;
        }
        let mut waits = Waits::new(self.client.http.settings.pause);
        let mut most = have;
        let mut is_new = have == 0;
        while have < described.bytes {
            let attempt = if is_new {
                self.load_whole(described, &mut file, &mut have, before, listener)?
            } else {
                self.load_rest(described, &mut file, &mut have, before, listener)?
            };
            is_new = false;
            let Attempt::Broken(failure) = attempt else {
                continue;
            };
            if have > most {
                most = have;
                waits.progressed();
            }
            waits
                .after(failure, listener)
                .map_err(|failure| self.explained(failure, described.path))?;
        }
        file.sync_all().map_err(refused)?;
        drop(file);
        self.verify(described)?;
        fs::rename(&incomplete, &blob).map_err(|e| unwritable(&blob, e))
    }

    /// Has `hf-hub` load the file, which is empty.
    fn load_whole(
        &self,
        described: &Described,
        file: &mut File,
        have: &mut u64,
        before: u64,
        listener: &mut dyn Listener,
    ) -> Result<Attempt> {
        let refused = |e| unwritable(&self.cache.incomplete(&described.etag), e);
        let landing = self.cache.landing(described.path, &described.etag)?;
        let hear = |bytes| listener.transfer(Transfer::At(before + bytes));
        let (commit, path) = (&self.listing.commit, described.path);
        let loaded = (self.client)
            .download(self.repository, commit, path, landing.folder(), hear)
            .map_err(refused)?;
        *have = file.metadata().map_err(refused)?.len();
        if *have > described.bytes {
            return Err(self.too_long(described, file));
        }
        match loaded {
            Ok(()) => Ok(Attempt::Whole),
            // It asks for the headers first, and an address may be signed for GET alone.
            Err(failure) if matches!(failure.status(), Some(403 | 405)) => {
                Ok(Attempt::Broken(failure.into_passing(&self.url(path))))
            }
            Err(failure) => Ok(Attempt::Broken(failure)),
        }
    }

    /// The error that more came than the file has; all of it is thrown away.
    fn too_long(&self, described: &Described, file: &File) -> Error {
        if let Err(e) = file.set_len(0) {
            return unwritable(&self.cache.incomplete(&described.etag), e);
        }
        let failure = Failure::Nonsense {
            url: self.url(described.path),
            found: format!("more than the {} bytes it has", described.bytes),
        };
        self.explained(failure, described.path)
    }

    /// Asks for what comes after the `have` bytes in `file`, and adds what comes.
    fn load_rest(
        &self,
        described: &Described,
        file: &mut File,
        have: &mut u64,
        before: u64,
        listener: &mut dyn Listener,
    ) -> Result<Attempt> {
        let refused = |e| unwritable(&self.cache.incomplete(&described.etag), e);
        let url = self.url(described.path);
        let mut request = Request::new(Method::GET, url.clone());
        if *have > 0 {
            request = request.header("range", format!("bytes={have}-"));
        }
        let mut answer = match self.client.http.send(&request, listener) {
            Ok(answer) => answer,
            Err(failure) if failure.status() == Some(416) && *have > 0 => {
                file.set_len(0).map_err(refused)?;
                *have = 0;
                return Ok(Attempt::Broken(failure.into_passing(&url)));
            }
            Err(failure) => return Err(self.explained(failure, described.path)),
        };
        let range = header(answer.headers(), "content-range").unwrap_or_default();
        let is_part = answer.status() == 206;
        let is_rest = is_part && *have > 0 && is_rest(range, *have, described.bytes);
        if !is_rest && *have > 0 {
            file.set_len(0).map_err(refused)?;
            *have = 0;
        }
        if is_part && !is_rest {
            // Bytes of another place must not be taken for the first ones.
            let text = format!("another part of {} came than was asked for", described.path);
            return Ok(Attempt::Broken(Failure::broken(
                &url,
                &io::Error::other(text),
            )));
        }
        let mut buffer = vec![0; 128 << 10];
        loop {
            let outcome = match answer.read(&mut buffer) {
                Ok(0) if *have == described.bytes => return Ok(Attempt::Whole),
                Ok(0) => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                read => read,
            };
            let read = match outcome {
                Ok(read) => read,
                Err(e) => {
                    let text = format!("{}, {have} of {} bytes came", deepest(&e), described.bytes);
                    let failure = Failure::broken(&url, &io::Error::new(e.kind(), text));
                    return Ok(Attempt::Broken(failure));
                }
            };
            if *have + read as u64 > described.bytes {
                return Err(self.too_long(described, file));
            }
            file.write_all(&buffer[..read]).map_err(refused)?;
            *have += read as u64;
            listener.transfer(Transfer::At(before + *have));
        }
    }

    /// Checks the bytes where the hub tells their digest; others are thrown away.
    fn verify(&self, described: &Described) -> Result<()> {
        let incomplete = self.cache.incomplete(&described.etag);
        let failed = |e| Error::io(&incomplete, "read it", e);
        let Some(wanted) = &described.digest else {
            return Ok(());
        };
        let Some(found) = wanted.differs(&incomplete).map_err(failed)? else {
            return Ok(());
        };
        fs::remove_file(&incomplete).map_err(|e| unwritable(&incomplete, e))?;
        let (repository, path) = (self.repository, described.path);
        Err(Error::hub(
            format!("{repository}: {path} came damaged: it is {found}, wanted {wanted}"),
            "run the command again, which loads it anew",
        ))
    }
}

/// Whether `range`, a `Content-Range`, is of the bytes from `start` on of a file of `bytes`.
fn is_rest(range: &str, start: u64, bytes: u64) -> bool {
    let Some((span, all)) = range.strip_prefix("bytes ").and_then(|r| r.split_once('/')) else {
        return false;
    };
    let begins = span
        .split_once('-')
        .and_then(|(first, _)| first.parse().ok());
    begins == Some(start) && (all == "*" || all.parse() == Ok(bytes))
}
