//! Signals. Ctrl-C: once to stop at the next step and save, twice to leave at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vitcuda::Error;

use super::output;

/// Exit code of a process that Ctrl-C ended (128 + SIGINT).
const INTERRUPTED: i32 = 130;

/// Installs the handler for Ctrl-C, SIGTERM and SIGHUP; the flag is set at the first one.
///
/// [`Error::Io`] if the operating system refuses; panics when called twice.
pub fn stop_flag() -> Result<Arc<AtomicBool>, Error> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    let installed = ctrlc::set_handler(move || {
        if set.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED);
        }
        output::notice("stopping after this step and saving; press Ctrl-C again to leave at once");
    });
    match installed {
        Ok(()) => Ok(flag),
        Err(ctrlc::Error::System(e)) => Err(Error::io("Ctrl-C", "handle it", e)),
        Err(e) => panic!("the Ctrl-C handler is installed once: {e}"),
    }
}

/// Lets a write beyond the limit on the size of files (`ulimit -f`) fail as on a full disk, not end the
/// process without a word.
#[cfg(unix)]
pub fn ignore_file_size_signal() {
    // SAFETY: ignoring a signal runs nothing of ours.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

#[cfg(not(unix))]
pub fn ignore_file_size_signal() {}
