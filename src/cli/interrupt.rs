//! Signals: the first one that ends a run lets the step finish and saves.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use vitcuda::Error;

/// The flag that the first SIGINT, SIGTERM or SIGHUP sets. A signal that was ignored when the
/// program started stays ignored, as `nohup` and `trap '' INT` want it.
///
/// After the first one only Ctrl-C leaves at once: `timeout` sends its signal twice in a moment, to
/// the program and to its group.
///
/// [`Error::Io`] if the operating system refuses.
pub fn stop_flag() -> Result<Arc<AtomicBool>, Error> {
    let flag = Arc::new(AtomicBool::new(false));
    #[cfg(unix)]
    unix::install(&flag).map_err(|e| Error::io("signals", "handle them", e))?;
    Ok(flag)
}

#[cfg(unix)]
mod unix {
    use std::io;
    use std::mem::MaybeUninit;
    use std::ptr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    use signal_hook_registry::register_sigaction;

    const ENDING: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

    /// Exit code of a process that Ctrl-C ended (128 + SIGINT).
    const INTERRUPTED: i32 = 130;

    /// A SIGINT that a process sent so soon after the start of the stop is the same one again.
    const SAME: Duration = Duration::from_secs(1);

    const STOPPING: &[u8] =
        b"stopping after this step and saving; press Ctrl-C again to leave at once\n";

    pub fn install(flag: &Arc<AtomicBool>) -> io::Result<()> {
        let start = Instant::now();
        let stopped_at = Arc::new(AtomicU64::new(0));
        for signal in ENDING {
            if is_ignored(signal)? {
                continue;
            }
            let (flag, stopped_at) = (Arc::clone(flag), Arc::clone(&stopped_at));
            let act = move |info: &libc::siginfo_t| {
                let now = start.elapsed();
                if !flag.swap(true, Ordering::SeqCst) {
                    stopped_at.store(now.as_nanos() as u64, Ordering::SeqCst);
                    say(STOPPING);
                    return;
                }
                let stopped = Duration::from_nanos(stopped_at.load(Ordering::SeqCst));
                // The terminal's own SIGINT is the kernel's, not a process's.
                let by_hand = info.si_code != libc::SI_USER || now >= stopped + SAME;
                if signal == libc::SIGINT && by_hand {
                    // SAFETY: `_exit` may be called anywhere.
                    unsafe { libc::_exit(INTERRUPTED) };
                }
            };
            // SAFETY: what the action does is allowed in a signal handler: atomics, reading the
            // clock, `write`, `_exit`; dropping nothing.
            unsafe { register_sigaction(signal, act) }?;
        }
        Ok(())
    }

    fn is_ignored(signal: i32) -> io::Result<bool> {
        let mut present = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: asks for the present action and sets none; it is written if the call succeeds.
        match unsafe { libc::sigaction(signal, ptr::null(), present.as_mut_ptr()) } {
            // SAFETY: as above.
            0 => Ok(unsafe { present.assume_init() }.sa_sigaction == libc::SIG_IGN),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// A stderr that is gone is no reason to stop.
    fn say(text: &[u8]) {
        // SAFETY: the text is as long as is said.
        unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
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
