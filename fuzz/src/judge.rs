//! Runs a parser on an input and says whether it behaved: no panic, no more memory than the file
//! could hold, no more than [`PATIENCE`].

use std::fmt;
use std::panic::{self, AssertUnwindSafe, Location, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use crate::allocator::{self, Asked};
use crate::targets::Target;
use crate::{Input, coverage};

/// Processor time that an input may take in any parser.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What an input may take: memory from what its file can hold, and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Bytes whatever the file: buffers of fixed size, tables of the model at hand.
    pub base: usize,
    /// Bytes of memory that a byte of the file can stand for.
    pub per_byte: usize,
    /// Of the processor.
    pub time: Duration,
}

impl Limit {
    /// Memory for a file of so many bytes.
    pub fn memory(self, bytes: usize) -> usize {
        self.base + self.per_byte * bytes
    }
}

/// How a parser took an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    Refused,
    /// Refused, after a panic in another crate that is caught on purpose.
    GaveUp,
    Fault(Fault),
}

/// What must not happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The same for all inputs that show the same fault.
    pub kind: String,
    pub text: String,
}

/// The first line.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.lines().next().unwrap_or_default())
    }
}

/// A panic as the hook saw it.
struct Panic {
    place: String,
    text: String,
}

/// Whether a parser runs: other panics are printed as ever.
static IS_JUDGING: AtomicBool = AtomicBool::new(false);

static PANICS: Mutex<Vec<Panic>> = Mutex::new(Vec::new());

fn panics() -> MutexGuard<'static, Vec<Panic>> {
    PANICS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Panics are kept for the verdict, not printed.
fn keep_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_JUDGING.load(Relaxed) {
                return default(info);
            }
            let place = info.location().map(Location::to_string).unwrap_or_default();
            let payload = info.payload();
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
            let text = text.unwrap_or("no reason given").to_owned();
            panics().push(Panic { place, text });
        }));
    });
}

/// Whether the panic is in this project's own code: crates from elsewhere are compiled from absolute
/// paths, those of the workspace from paths within it.
fn is_ours(place: &str) -> bool {
    Path::new(place).is_relative() && !place.starts_with("library/")
}

/// Lets `target` read `input`, with `folder` for its files.
///
/// A panic in our own code is a fault even where something catches it: the nets below decoders from
/// elsewhere are not for ours.
pub fn judge(target: &Target, input: &Input, folder: &Path) -> Verdict {
    keep_panics();
    panics().clear();
    allocator::start();
    let start = processor_time();
    coverage::start();
    IS_JUDGING.store(true, Relaxed);
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input, folder)));
    IS_JUDGING.store(false, Relaxed);
    let taken = processor_time().saturating_sub(start);
    let asked = allocator::asked();

    let seen = std::mem::take(&mut *panics());
    let fatal = seen.iter().find(|panic| is_ours(&panic.place));
    let fatal = fatal.or(seen.last().filter(|_| outcome.is_err()));
    if let Some(Panic { place, text }) = fatal {
        return Verdict::Fault(Fault {
            kind: format!("panic at {place}"),
            text: format!("panic at {place}: {text}"),
        });
    }
    if let Some(fault) = too_much(asked, target.limit, input.bytes.len()) {
        return Verdict::Fault(fault);
    }
    if taken > target.limit.time {
        return Verdict::Fault(Fault {
            kind: "time".into(),
            text: format!("{:.1} s of processor time", taken.as_secs_f64()),
        });
    }
    match outcome {
        Ok(true) => Verdict::Accepted,
        Ok(false) if !seen.is_empty() => Verdict::GaveUp,
        _ => Verdict::Refused,
    }
}

fn too_much(asked: Asked, limit: Limit, bytes: usize) -> Option<Fault> {
    let Asked { largest, peak } = asked;
    let most = limit.memory(bytes);
    let (kind, text) = match (largest > most, peak > most) {
        (true, _) => ("request", format!("a request of {largest} bytes")),
        (_, true) => ("memory", format!("{peak} bytes held at once")),
        _ => return None,
    };
    Some(Fault {
        kind: kind.into(),
        text: format!("{text}, for a file of {bytes} at most {most}"),
    })
}

/// Processor time of all threads: other work on the machine does not make a hang.
pub fn processor_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call fills the structure it is given.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    assert_eq!(done, 0, "a clock of the process");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
