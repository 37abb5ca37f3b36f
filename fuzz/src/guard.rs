//! Keeps the input at hand where a fault ends the process: a hang, a request for memory that fails, a
//! stack that is full.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::Input;
use crate::judge::{PATIENCE, processor_time};

/// An input that waits instead of working is given up after so long.
const STUCK: Duration = Duration::from_secs(60);

/// Address space of the process: a parser that wants more is aborted.
const ADDRESSES: libc::rlim_t = 4 << 30;

struct Current {
    folder: PathBuf,
    name: String,
    bytes: Vec<u8>,
    /// Processor time and time of day.
    start: (Duration, Instant),
}

static CURRENT: Mutex<Option<Current>> = Mutex::new(None);

/// From here on a fault that ends the process leaves its input in `folder`.
pub fn watch(folder: &Path) {
    fs::create_dir_all(folder).expect("a folder for what is found");
    *CURRENT.lock().expect("nobody panics here") = Some(Current {
        folder: folder.to_owned(),
        name: String::new(),
        bytes: Vec::new(),
        start: (Duration::MAX, Instant::now()),
    });
    let most = libc::rlimit {
        rlim_cur: ADDRESSES,
        rlim_max: ADDRESSES,
    };
    // SAFETY: the structure is read; the handler allocates, which may fail where memory is the
    // trouble, but then the process ends as it would have.
    unsafe {
        libc::setrlimit(libc::RLIMIT_AS, &most);
        libc::signal(libc::SIGABRT, aborted as extern "C" fn(i32) as usize);
    }
    thread::spawn(|| {
        crate::allocator::exempt_this_thread();
        loop {
            thread::sleep(Duration::from_millis(250));
            let current = CURRENT.lock().expect("nobody panics here");
            let Some(current) = &*current else { continue };
            let (processor, clock) = current.start;
            if processor == Duration::MAX {
                continue;
            }
            if processor_time().saturating_sub(processor) > PATIENCE || clock.elapsed() > STUCK {
                end(current, "hang");
            }
        }
    });
}

/// `input` is at hand.
pub fn begin(input: &Input) {
    let mut current = CURRENT.lock().expect("nobody panics here");
    if let Some(current) = &mut *current {
        current.name.clone_from(&input.name);
        current.bytes.clone_from(&input.bytes);
        current.start = (processor_time(), Instant::now());
    }
}

/// No input is at hand.
pub fn finish() {
    let mut current = CURRENT.lock().expect("nobody panics here");
    if let Some(current) = &mut *current {
        current.start.0 = Duration::MAX;
    }
}

extern "C" fn aborted(_: i32) {
    match CURRENT.try_lock().as_deref() {
        Ok(Some(current)) => end(current, "abort"),
        // SAFETY: ends the process.
        _ => unsafe { libc::_exit(1) },
    }
}

fn end(current: &Current, what: &str) -> ! {
    let path = current.folder.join(format!("{what}-{}", current.name));
    let _ = fs::write(&path, &current.bytes);
    let _ = writeln!(std::io::stderr(), "FAULT {what}: {}", path.display());
    // SAFETY: ends the process, whatever its other threads hold.
    unsafe { libc::_exit(1) }
}
