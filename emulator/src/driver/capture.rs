//! Stream capture: work is put into a list instead of on the queue, in the order of the calls.

use std::cell::Cell;

use super::queue::Op;
use super::refuse;
use super::state::State;
use crate::status::{Result, Status};

/// A capture in progress.
pub struct Capture {
    pub origin: usize,
    pub mode: i32,
    pub thread: std::thread::ThreadId,
    pub ops: Vec<Op>,
    /// The first call that broke it.
    pub broken: bool,
    /// Streams that joined, and whether they have work the origin has not waited for.
    pub joined: Vec<(usize, bool)>,
}

pub const GLOBAL: i32 = 0;
pub const THREAD_LOCAL: i32 = 1;
pub const RELAXED: i32 = 2;

thread_local! {
    /// Which captures this CPU thread heeds: `cuThreadExchangeStreamCaptureMode`.
    pub static HEEDS: Cell<i32> = const { Cell::new(GLOBAL) };
}

impl State {
    /// Adds work to a capture.
    pub fn record(&mut self, capture: usize, stream: usize, op: Op) -> Result<()> {
        let capture = self
            .captures
            .get_mut(&capture)
            .ok_or(Status::ERROR_STREAM_CAPTURE_INVALIDATED)?;
        if capture.broken {
            return refuse(
                Status::ERROR_STREAM_CAPTURE_INVALIDATED,
                "the capture of this stream was broken by an earlier call",
            );
        }
        if matches!(op, Op::Free { .. }) {
            capture.broken = true;
            return refuse(
                Status::ERROR_STREAM_CAPTURE_UNSUPPORTED,
                "memory is freed while its stream is captured",
            );
        }
        capture.ops.push(op);
        if let Some((_, unjoined)) = capture.joined.iter_mut().find(|(one, _)| *one == stream) {
            *unjoined = true;
        }
        Ok(())
    }

    /// Refuses a call that may not happen during a capture (allocation, synchronisation, blocking
    /// copies, queries, loading of code), by the rules of the capture's mode and the thread's; the
    /// capture is broken by the attempt.
    pub fn refuse_in_capture(&mut self, call: &str) -> Result<()> {
        let here = std::thread::current().id();
        let heeds = HEEDS.get();
        let forbidden = |one: &&mut Capture| match heeds {
            RELAXED => false,
            THREAD_LOCAL => one.thread == here && one.mode != RELAXED,
            _ => one.mode == GLOBAL || one.thread == here && one.mode == THREAD_LOCAL,
        };
        match self.captures.values_mut().find(forbidden) {
            None => Ok(()),
            Some(capture) => {
                capture.broken = true;
                refuse(
                    Status::ERROR_STREAM_CAPTURE_UNSUPPORTED,
                    format!("{call} while a stream is captured"),
                )
            }
        }
    }

    /// Refuses a call that waits for a capturing stream, in any mode.
    pub fn refuse_wait(&mut self, call: &str, is_waited_for: impl Fn(usize) -> bool) -> Result<()> {
        let waited = self
            .streams
            .iter()
            .find(|(handle, one)| one.capture.is_some() && is_waited_for(**handle));
        let Some(capture) = waited.and_then(|(_, one)| one.capture) else {
            return Ok(());
        };
        if let Some(capture) = self.captures.get_mut(&capture) {
            capture.broken = true;
        }
        refuse(
            Status::ERROR_STREAM_CAPTURE_UNSUPPORTED,
            format!("{call} waits for a stream that is being captured"),
        )
    }

    /// The null stream would depend on a capturing blocking stream.
    pub fn refuse_null_stream_in_capture(&mut self, context: usize) -> Result<()> {
        let entangled = self
            .streams
            .values()
            .find(|one| one.context == context && one.blocking && one.capture.is_some());
        let Some(capture) = entangled.and_then(|one| one.capture) else {
            return Ok(());
        };
        if let Some(capture) = self.captures.get_mut(&capture) {
            capture.broken = true;
        }
        refuse(
            Status::ERROR_STREAM_CAPTURE_IMPLICIT,
            "work on the null stream while a blocking stream is captured",
        )
    }
}
