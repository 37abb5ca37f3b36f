//! A server on this machine that answers as the Hugging Face hub does, over real HTTP: the API's
//! listings, files described by their headers, large ones redirected to a second server (the hub's
//! CDN), ranges, git-lfs uploads and commits; and every fault a test asks for.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::json;

use crate::site::{Reply, Site, State, commit_of};

/// What goes wrong.
#[derive(Clone)]
pub enum Fault {
    /// An answer of this status, with these headers.
    Status(u16, Vec<(&'static str, &'static str)>),
    /// The body ends after so many bytes, though the headers promise more.
    Truncated(usize),
    /// The body stops after so many bytes, and the connection stays open.
    Stuck(usize),
    /// The body comes a byte at a time, with so long between two.
    Trickle(Duration),
    /// The range that is asked for is ignored.
    WholeFile,
    /// In place of the range that is asked for, the one that begins so many bytes later.
    LaterRange(usize),
    /// The bytes are not those of the file.
    Damaged,
    /// A text that is no JSON.
    Page,
}

pub struct Planned {
    method: &'static str,
    /// Part of the path.
    part: String,
    times: usize,
    fault: Fault,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// With its query.
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// A running hub. Its threads end with the process.
pub struct Server {
    /// `http://127.0.0.1:PORT`
    pub endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let hub = TcpListener::bind("127.0.0.1:0").expect("a port");
        let cdn = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = |listener: &TcpListener| {
            let address = listener.local_addr().expect("an address");
            format!("http://{address}")
        };
        let (endpoint, files) = (address(&hub), address(&cdn));
        for listener in [hub, cdn] {
            let (state, endpoint, files) = (state.clone(), endpoint.clone(), files.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let site = Site {
                        state: state.clone(),
                        hub: endpoint.clone(),
                        cdn: files.clone(),
                    };
                    // A client that leaves in the middle is no fault of the server.
                    std::thread::spawn(move || drop(site.serve(stream)));
                }
            });
        }
        Self { endpoint, state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it looks")
    }

    /// Adds a repository whose `revision` holds these files.
    pub fn add(&self, repository: &str, revision: &str, files: &[(&str, &[u8])]) -> String {
        let files: BTreeMap<String, Vec<u8>> = files
            .iter()
            .map(|(path, bytes)| (path.to_string(), bytes.to_vec()))
            .collect();
        let commit = commit_of(repository, &files);
        let mut state = self.state();
        let repository = state.repositories.entry(repository.into()).or_default();
        repository.revisions.insert(revision.into(), commit.clone());
        repository.commits.insert(commit.clone(), files);
        commit
    }

    /// The next `times` requests whose path holds `part` go wrong.
    pub fn fail(&self, times: usize, method: &'static str, part: &str, fault: Fault) {
        self.state().faults.push(Planned {
            method,
            part: part.into(),
            times,
            fault,
        });
    }

    /// Requests whose path holds `part`.
    pub fn asked(&self, method: &str, part: &str) -> Vec<Asked> {
        let state = self.state();
        let log = state.log.iter();
        let matching = log.filter(|asked| asked.method == method && asked.path.contains(part));
        matching.cloned().collect()
    }

    pub fn forget(&self) {
        self.state().log.clear();
    }
}

impl Site {
    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let Some(asked) = read(&stream)? else {
            return Ok(());
        };
        let fault = {
            let mut state = self.state.lock().expect("the state");
            state.log.push(asked.clone());
            let matching = |fault: &&mut Planned| {
                let is_meant = fault.method == asked.method && asked.path.contains(&fault.part);
                fault.times > 0 && is_meant
            };
            let planned = state.faults.iter_mut().find(matching);
            planned.map(|planned| {
                planned.times -= 1;
                planned.fault.clone()
            })
        };
        let mut asked = asked;
        match fault {
            Some(Fault::WholeFile) => drop(asked.headers.remove("range")),
            Some(Fault::LaterRange(bytes)) => {
                if let Some(value) = asked.headers.get_mut("range") {
                    let start = value
                        .strip_prefix("bytes=")
                        .and_then(|r| r.strip_suffix('-'));
                    let start: usize = start.expect("a range").parse().expect("a number");
                    *value = format!("bytes={}-", start + bytes);
                }
            }
            _ => {}
        }
        let mut reply = match &fault {
            Some(Fault::Status(status, headers)) => {
                let reply = Reply::new(*status, json!({ "error": "as planned" }).to_string());
                headers
                    .iter()
                    .fold(reply, |reply, (name, value)| reply.with(name, *value))
            }
            Some(Fault::Page) => Reply::new(200, "<html>log in to this network</html>"),
            _ => self.answer(&asked),
        };
        let promised = reply.body.len();
        match &fault {
            Some(Fault::Truncated(bytes) | Fault::Stuck(bytes)) => reply.body.truncate(*bytes),
            Some(Fault::Damaged) => reply.body.iter_mut().for_each(|byte| *byte ^= 1),
            _ => {}
        }
        let mut head = format!("HTTP/1.1 {} Status\r\nConnection: close\r\n", reply.status);
        for (name, value) in &reply.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !reply
            .headers
            .iter()
            .any(|(name, _)| name == "Content-Length")
        {
            head += &format!("Content-Length: {promised}\r\n");
        }
        stream.write_all((head + "\r\n").as_bytes())?;
        if let Some(Fault::Trickle(pause)) = fault {
            for byte in &reply.body {
                stream.write_all(&[*byte])?;
                stream.flush()?;
                std::thread::sleep(pause);
            }
        } else if asked.method != "HEAD" {
            stream.write_all(&reply.body)?;
        }
        stream.flush()?;
        if matches!(fault, Some(Fault::Stuck(_))) {
            std::thread::sleep(Duration::from_secs(60));
        }
        Ok(())
    }
}

/// One request; `None` where the client came and left.
fn read(stream: &TcpStream) -> std::io::Result<Option<Asked>> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .and_then(|length| length.parse().ok());
    assert_eq!(
        headers.get("transfer-encoding"),
        None,
        "the hub's storage takes no chunks"
    );
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok(Some(Asked {
        method,
        path,
        headers,
        body,
    }))
}
