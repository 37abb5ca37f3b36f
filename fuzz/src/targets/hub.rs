//! The hub's answers: a server on this machine gives those of the input, one to each request.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use vitcuda::hub::{Hub, Id, ModelPart, Network, Settings};

use crate::{Input, allocator};

/// What stands between the answers of an input.
pub const SEPARATOR: &[u8] = b"\n--next--\n";

/// The longest wait that a server may ask for and get.
const PATIENCE: u64 = 300;

static ANSWERS: Mutex<Answers> = Mutex::new(Answers {
    left: Vec::new(),
    headers: BTreeMap::new(),
});

/// What is answered.
struct Answers {
    /// From the last one to the next.
    left: Vec<Vec<u8>>,
    /// By request, those that were given.
    headers: BTreeMap<String, Vec<u8>>,
}

impl Answers {
    fn to(&mut self, asked: &str) -> Vec<u8> {
        if let Some(same) = self.headers.get(asked) {
            return same.clone();
        }
        let answer = self.left.pop().unwrap_or_default();
        if asked.starts_with("HEAD ") {
            self.headers.insert(asked.to_owned(), answer.clone());
        }
        answer
    }
}

/// Address of the server, which ends with the process.
static SERVER: LazyLock<String> = LazyLock::new(|| {
    stay_on_one_core();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        allocator::exempt_this_thread();
        for stream in listener.incoming().flatten() {
            // A client that leaves in the middle is no fault of the server.
            let _ = answer(stream);
        }
    });
    address
});

/// Keeps this thread, and those it starts, on the core it is on. Client and server wait for one another
/// all the time, and one core changes between them many times faster than two wake each other.
#[cfg(target_os = "linux")]
fn stay_on_one_core() {
    // SAFETY: a set of processors is plain bits; the calls read and fill the one they are given.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(libc::sched_getcpu().max(0) as usize, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set); // slower where it is refused
    }
}

#[cfg(not(target_os = "linux"))]
fn stay_on_one_core() {}

/// Reads a request, gives the next answer and hangs up. Who asks for the headers of a file again, as
/// `hf-hub` does before it loads one, gets the same ones.
fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let patience = Some(Duration::from_secs(2));
    stream.set_read_timeout(patience)?;
    stream.set_write_timeout(patience)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut asked = String::new();
    reader.read_line(&mut asked)?;
    let mut line = asked.clone();
    while line.len() > 2 {
        line.clear();
        reader.read_line(&mut line)?;
    }
    let answer = ANSWERS.lock().expect("nobody panics here").to(&asked);
    stream.write_all(&answer)
}

/// The cache and the client with it, which serves one input after the other: making one takes reading
/// all authorities of the system, and several threads.
static HUB: Mutex<Option<(PathBuf, Hub)>> = Mutex::new(None);

/// Loads a model or a data set into an empty cache, as the input's name says.
pub fn conversation(input: &Input, folder: &Path) -> bool {
    let bytes = kept_here(&input.bytes, &SERVER);
    let mut answers: Vec<Vec<u8>> = self::answers(&bytes)
        .into_iter()
        .map(<[u8]>::to_vec)
        .collect();
    answers.reverse();
    *ANSWERS.lock().expect("nobody panics here") = Answers {
        left: answers,
        headers: BTreeMap::new(),
    };
    let cache = folder.join("hub");
    let _ = std::fs::remove_dir_all(&cache);
    let mut hub = HUB.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, hub) = match hub.take_if(|(of, _)| *of == cache) {
        Some(same) => hub.insert(same),
        None => hub.insert((cache.clone(), client(cache))),
    };
    let id = Id::parse("owner/name").expect("an id");
    if input.name.contains("dataset") {
        hub.dataset(&id, Ok, &mut |_| {}).is_ok()
    } else {
        hub.model(&id, ModelPart::Whole, &mut |_| {}).is_ok()
    }
}

fn client(cache: PathBuf) -> Hub {
    let hub = Hub::new(Settings {
        endpoint: format!("http://{}", *SERVER),
        cache,
        token: None,
        network: Network::Online,
        certificates: None,
        pause: Duration::ZERO,
        patience: Duration::from_secs(2),
    });
    hub.expect("no certificates are asked for")
}

/// The answers of an input.
pub fn answers(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let next = |bytes: &[u8]| bytes.windows(SEPARATOR.len()).position(|w| w == SEPARATOR);
    while let Some(at) = next(bytes) {
        parts.push(&bytes[..at]);
        bytes = &bytes[at + SEPARATOR.len()..];
    }
    parts.push(bytes);
    parts
}

/// The same answers, but that every address is the server's, lest mutations ask other machines, and
/// that no wait is asked for which would be granted.
fn kept_here(bytes: &[u8], server: &str) -> Vec<u8> {
    let mut kept = Vec::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let lower = line.to_ascii_lowercase();
        let waits = [&b"retry-after"[..], b"ratelimit"];
        if waits.iter().any(|name| lower.starts_with(name)) {
            kept.extend(without_waits(line))
        } else {
            kept.extend(line)
        }
    }
    let mut rest = &kept[..];
    let mut addressed = Vec::with_capacity(kept.len());
    while let Some(at) = rest.windows(2).position(|pair| pair == b"//") {
        addressed.extend(&rest[..at + 2]);
        addressed.extend(server.as_bytes());
        rest = &rest[at + 2..];
        let ends = |byte: &u8| matches!(byte, b'/' | b'?' | b'"' | b' ' | b'\r' | b'\n');
        rest = &rest[rest.iter().position(ends).unwrap_or(rest.len())..];
    }
    addressed.extend(rest);
    addressed
}

fn without_waits(line: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(line);
    let mut kept = String::new();
    let mut digits = String::new();
    for c in text.chars().chain(['\0']) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let granted = digits.parse().is_ok_and(|n: u64| n <= PATIENCE);
        kept += if granted { "0" } else { &digits };
        digits.clear();
        if c != '\0' {
            kept.push(c);
        }
    }
    kept.into_bytes()
}
