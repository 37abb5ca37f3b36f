//! Streams, and the calls of stream capture.

use std::ffi::{c_int, c_uint, c_void};
use std::sync::Arc;

use super::capture::{Capture, HEEDS, RELAXED};
use super::queue::Op;
use super::state::{Recorded, State, working};
use super::{Out, api, refuse};
use crate::counters::book_host_synchronisation;
use crate::status::{Result, Status};

const NON_BLOCKING: c_uint = 1;

/// `CUstreamCaptureStatus` of a stream in this capture: none, active or invalidated.
fn capture_status(state: &State, capture: Option<usize>) -> c_int {
    let broken = |id| state.captures.get(&id).is_none_or(|one| one.broken);
    capture.map_or(0, |id| 1 + c_int::from(broken(id)))
}

fn create(flags: c_uint) -> Result<usize> {
    let (mut state, context) = working()?;
    if flags > NON_BLOCKING {
        return Err(Status::ERROR_INVALID_VALUE);
    }
    Ok(state.new_stream(context, flags & NON_BLOCKING == 0))
}

api! {
    fn cuStreamCreate(out: Out<usize>, flags: c_uint) { out.give(create(flags)?) }
    fn cuStreamCreateWithPriority(out: Out<usize>, flags: c_uint, _priority: c_int) { out.give(create(flags)?) }

    fn cuStreamDestroy_v2(stream: usize) {
        let (mut state, context) = working()?;
        let handle = state.stream(context, stream)?;
        if stream <= 2 {
            return Err(Status::ERROR_INVALID_HANDLE);
        }
        let finished = state.finish(handle);
        state.streams.remove(&handle);
        finished
    }

    fn cuStreamGetPriority(_stream: usize, priority: Out<c_int>) { priority.give(0) }
    fn cuStreamGetFlags(stream: usize, flags: Out<c_uint>) {
        let (state, context) = working()?;
        let blocking = state.streams[&state.stream(context, stream)?].blocking;
        flags.give(c_uint::from(!blocking))
    }
    fn cuStreamGetCtx(stream: usize, out: Out<usize>) {
        let (state, context) = working()?;
        state.stream(context, stream)?;
        out.give(context)
    }

    fn cuStreamSynchronize(stream: usize) {
        let (mut state, context) = working()?;
        let handle = state.stream(context, stream)?;
        state.refuse_wait("cuStreamSynchronize", |one| one == handle)?;
        let null_stream = handle == state.contexts[&context].null_stream;
        if null_stream {
            state.refuse_null_stream_in_capture(context)?;
        }
        state.refuse_in_capture("cuStreamSynchronize")?;
        book_host_synchronisation("cuStreamSynchronize");
        if null_stream {
            let blocking: Vec<usize> = state.streams.iter().filter(|(_, one)| one.blocking && one.context == context).map(|(&one, _)| one).collect();
            return blocking.into_iter().try_for_each(|one| state.finish(one));
        }
        state.finish(handle)
    }

    fn cuStreamQuery(stream: usize) {
        let (mut state, context) = working()?;
        let handle = state.stream(context, stream)?;
        state.refuse_wait("cuStreamQuery", |one| one == handle)?;
        if handle == state.contexts[&context].null_stream {
            state.refuse_null_stream_in_capture(context)?;
        }
        state.refuse_in_capture("cuStreamQuery")?;
        if state.streams[&handle].queue.is_empty() {
            return Ok(());
        }
        // Time passes for a program that keeps asking.
        state.step(handle)?;
        Err(Status::ERROR_NOT_READY)
    }

    fn cuStreamWaitEvent(stream: usize, event: usize, _flags: c_uint) {
        let (mut state, context) = working()?;
        let handle = state.stream(context, stream)?;
        let Some(found) = state.events.get(&event) else {
            return refuse(Status::ERROR_INVALID_HANDLE, format!("{event:#x} is no event"));
        };
        match (found.recorded, state.streams[&handle].capture) {
            (Recorded::Never, _) => Ok(()),
            (Recorded::At { stream, position }, None) => state.enqueue(handle, Op::WaitFor { stream, position }),
            (Recorded::At { .. }, Some(capture)) => {
                if let Some(capture) = state.captures.get_mut(&capture) {
                    capture.broken = true;
                }
                refuse(Status::ERROR_STREAM_CAPTURE_ISOLATION, "a captured stream waits for an event recorded outside the capture")
            }
            (Recorded::Captured { capture, stream: recorded_on }, own) => {
                let Some(active) = state.captures.get_mut(&capture) else {
                    return refuse(Status::ERROR_CAPTURED_EVENT, "the event was recorded in a capture that is over");
                };
                match own {
                    Some(own) if own != capture => return refuse(Status::ERROR_STREAM_CAPTURE_MERGE, "the event belongs to another capture"),
                    Some(_) => {
                        if let Some((_, unjoined)) = active.joined.iter_mut().find(|(one, _)| *one == recorded_on) {
                            *unjoined = false;
                        }
                    }
                    None => {
                        active.joined.push((handle, false));
                        state.streams.get_mut(&handle).expect("resolved above").capture = Some(capture);
                    }
                }
                Ok(())
            }
        }
    }

    fn cuStreamBeginCapture_v2(stream: usize, mode: c_int) {
        let (mut state, context) = working()?;
        let handle = state.stream(context, stream)?;
        if stream <= 1 {
            return refuse(Status::ERROR_STREAM_CAPTURE_UNSUPPORTED, "the null stream cannot be captured");
        }
        if state.streams[&handle].capture.is_some() {
            return refuse(Status::ERROR_INVALID_VALUE, "the stream is being captured already");
        }
        if !(0..=RELAXED).contains(&mode) {
            return Err(Status::ERROR_INVALID_VALUE);
        }
        let id = state.handle();
        let thread = std::thread::current().id();
        state.captures.insert(id, Capture { origin: handle, mode, thread, ops: Vec::new(), broken: false, joined: Vec::new() });
        state.streams.get_mut(&handle).expect("resolved above").capture = Some(id);
        Ok(())
    }

    fn cuStreamEndCapture(stream: usize, graph: Out<usize>) {
        let (mut state, context) = working()?;
        let handle = state.stream(context, stream)?;
        graph.offer(0);
        let Some(id) = state.streams[&handle].capture else {
            return refuse(Status::ERROR_INVALID_VALUE, "the stream is not being captured");
        };
        let Some(capture) = state.captures.get(&id) else {
            state.streams.get_mut(&handle).expect("resolved above").capture = None;
            return Err(Status::ERROR_STREAM_CAPTURE_INVALIDATED);
        };
        if capture.origin != handle {
            return refuse(Status::ERROR_STREAM_CAPTURE_UNMATCHED, "the capture began in another stream");
        }
        if capture.mode != RELAXED && capture.thread != std::thread::current().id() {
            return refuse(Status::ERROR_STREAM_CAPTURE_WRONG_THREAD, "the capture began in another thread");
        }
        let capture = state.captures.remove(&id).expect("found above");
        for one in state.streams.values_mut().filter(|one| one.capture == Some(id)) {
            one.capture = None;
        }
        if capture.broken {
            return refuse(Status::ERROR_STREAM_CAPTURE_INVALIDATED, "the capture was broken by an earlier call; there is no graph");
        }
        if capture.joined.iter().any(|&(_, unjoined)| unjoined) {
            return refuse(Status::ERROR_STREAM_CAPTURE_UNJOINED, "a forked stream was not waited for before the capture ended");
        }
        let made = state.handle();
        state.graphs.insert(made, Arc::new(capture.ops));
        graph.give(made)
    }

    fn cuStreamIsCapturing(stream: usize, status: Out<c_int>) {
        let (state, context) = working()?;
        let capture = state.streams[&state.stream(context, stream)?].capture;
        status.give(capture_status(&state, capture))
    }

    fn cuStreamGetCaptureInfo_v2(stream: usize, status: Out<c_int>, id: Out<u64>, _graph: *mut usize, _dependencies: *mut usize, _count: *mut usize) {
        let (state, context) = working()?;
        let capture = state.streams[&state.stream(context, stream)?].capture;
        status.give(capture_status(&state, capture))?;
        id.offer(capture.unwrap_or(0) as u64);
        Ok(())
    }

    fn cuThreadExchangeStreamCaptureMode(mode: Out<c_int>) {
        let wanted = mode.read()?;
        if !(0..=RELAXED).contains(&wanted) {
            return Err(Status::ERROR_INVALID_VALUE);
        }
        mode.give(HEEDS.replace(wanted))
    }

    fn cuLaunchHostFunc(stream: usize, function: Option<unsafe extern "C" fn(*mut c_void)>, data: usize) {
        let (mut state, context) = working()?;
        let stream = state.stream(context, stream)?;
        let function = function.ok_or(Status::ERROR_INVALID_VALUE)?;
        state.enqueue(stream, Op::Call { function, data })
    }
}
