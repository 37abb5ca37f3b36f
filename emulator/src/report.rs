//! Where the emulator says what it caught: stderr, the file `VITCUDA_EMULATOR_LOG`, and the
//! exported `vitcudaEmulatorLastMessage`.

use std::ffi::{c_char, c_int};
use std::io::Write;
use std::sync::Mutex;

static LAST: Mutex<String> = Mutex::new(String::new());

/// Reports one catch or refusal.
pub fn say(message: &str) {
    let line = format!("vitcuda emulator: {message}\n");
    eprint!("{line}");
    append("VITCUDA_EMULATOR_LOG", &line);
    *LAST.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = message.to_owned();
}

/// Appends `text` to the file that the environment variable names, if it names one.
pub fn append(variable: &str, text: &str) {
    let Some(path) = std::env::var_os(variable) else {
        return;
    };
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path);
    if let Err(error) = file.and_then(|mut file| file.write_all(text.as_bytes())) {
        eprintln!("vitcuda emulator: cannot write {}: {error}", path.display());
    }
}

/// Copies the latest message, cut to `capacity - 1` bytes and ended by a zero, into `buffer`;
/// returns its full length.
///
/// # Safety
/// `buffer` is valid for writes of `capacity` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vitcudaEmulatorLastMessage(buffer: *mut c_char, capacity: usize) -> c_int {
    let last = LAST.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if capacity > 0 {
        let count = last.len().min(capacity - 1);
        // SAFETY: `count + 1 <= capacity` bytes are writable, says the caller.
        unsafe {
            std::ptr::copy_nonoverlapping(last.as_ptr(), buffer.cast(), count);
            *buffer.add(count) = 0;
        }
    }
    last.len() as c_int
}
