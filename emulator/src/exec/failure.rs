//! What went wrong inside a kernel, and how a fiber stops for good.

use super::thread::Thread;
use crate::status::Status;

/// The first thing that went wrong in a launch.
#[derive(Debug, Clone)]
pub struct Failure {
    pub status: Status,
    /// Names kernel, block, thread and what happened.
    pub message: String,
}

/// Source position of a collective.
#[derive(Debug, Clone, Copy)]
pub struct Site {
    pub file: *const std::ffi::c_char,
    pub line: u32,
}

impl PartialEq for Site {
    fn eq(&self, other: &Self) -> bool {
        // The compiler may keep one copy of a file's name in each inlined function.
        self.line == other.line && (self.file == other.file || self.name() == other.name())
    }
}

impl Site {
    fn name(&self) -> std::borrow::Cow<'static, str> {
        if self.file.is_null() {
            return "?".into();
        }
        // SAFETY: `__builtin_FILE()` of a loaded kernel: a C string that lives as long as it.
        unsafe { std::ffi::CStr::from_ptr(self.file) }.to_string_lossy()
    }
}

impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.name(), self.line)
    }
}

/// Records the failure of the running thread and never returns: its block is abandoned.
pub fn fail(thread: *mut Thread, status: Status, what: String) -> ! {
    // SAFETY: called on the thread's own fiber; the borrows end before it pauses.
    unsafe {
        let run = &mut *(*thread).run;
        if run.failure.is_none() {
            run.failure = Some(Failure {
                status,
                message: format!("{}: {what}", run.locate((*thread).linear)),
            });
        }
        drop(what);
        loop {
            Thread::pause(thread);
        }
    }
}

/// The source line behind a return address, by `addr2line` where it is installed.
pub fn source_line(image: &str, offset: usize) -> Option<String> {
    let output = std::process::Command::new("addr2line")
        .args(["-e", image, &format!("{:#x}", offset.saturating_sub(1))])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let place = text.split(" (").next()?;
    let place = place
        .rsplit_once("/./")
        .map_or(place, |(_, file)| file)
        .trim_start_matches("./")
        .to_owned();
    (!place.starts_with("??") && !place.is_empty()).then_some(place)
}
