//! Events.

use std::ffi::c_uint;

use super::queue::Op;
use super::state::{Event, Recorded, State, initialised, working};
use super::{Out, api, refuse};
use crate::counters::book_host_synchronisation;
use crate::status::{Result, Status};

const DISABLE_TIMING: c_uint = 2;

fn find(state: &State, event: usize) -> Result<&Event> {
    match state.events.get(&event) {
        Some(found) => Ok(found),
        None => refuse(
            Status::ERROR_INVALID_HANDLE,
            format!("{event:#x} is no event"),
        ),
    }
}

/// Where to wait for the event; `None` when there is nothing to wait for.
fn target(state: &mut State, event: usize) -> Result<Option<(usize, u64)>> {
    match find(state, event)?.recorded {
        Recorded::Never => Ok(None),
        Recorded::At { stream, position } => Ok(Some((stream, position))),
        Recorded::Captured { capture, .. } => {
            if let Some(capture) = state.captures.get_mut(&capture) {
                capture.broken = true;
            }
            refuse(
                Status::ERROR_CAPTURED_EVENT,
                "the event was last recorded in a capture: the host cannot wait for it",
            )
        }
    }
}

fn is_done(state: &State, (stream, position): (usize, u64)) -> bool {
    state
        .streams
        .get(&stream)
        .is_none_or(|one| one.done >= position)
}

fn elapsed(start: usize, end: usize) -> Result<f32> {
    let (mut state, _) = working()?;
    for event in [start, end] {
        let found = find(&state, event)?;
        if !found.timing || found.recorded == Recorded::Never {
            return refuse(
                Status::ERROR_INVALID_HANDLE,
                "elapsed time wants two recorded events made with timing",
            );
        }
        let Some(target) = target(&mut state, event)? else {
            return Err(Status::ERROR_INVALID_HANDLE);
        };
        if !is_done(&state, target) {
            return Err(Status::ERROR_NOT_READY);
        }
    }
    let time = |event: usize| state.events[&event].time.ok_or(Status::ERROR_NOT_READY);
    let (start, end) = (time(start)?, time(end)?);
    let forward = end.saturating_duration_since(start).as_secs_f32();
    Ok(1e3 * (forward - start.saturating_duration_since(end).as_secs_f32()))
}

api! {
    fn cuEventCreate(out: Out<usize>, flags: c_uint) {
        let (mut state, _) = working()?;
        let handle = state.handle();
        state.events.insert(handle, Event { timing: flags & DISABLE_TIMING == 0, recorded: Recorded::Never, time: None });
        out.give(handle)
    }

    fn cuEventDestroy_v2(event: usize) {
        let mut state = initialised()?;
        find(&state, event)?;
        state.events.remove(&event);
        Ok(())
    }

    fn cuEventRecord(event: usize, stream: usize) { record(event, stream) }
    fn cuEventRecordWithFlags(event: usize, stream: usize, _flags: c_uint) { record(event, stream) }

    fn cuEventQuery(event: usize) {
        let (mut state, _) = working()?;
        let target = target(&mut state, event)?;
        state.refuse_in_capture("cuEventQuery")?;
        let Some(target) = target else {
            return Ok(());
        };
        if is_done(&state, target) {
            return Ok(());
        }
        // Time passes for a program that keeps asking.
        state.step(target.0)?;
        Err(Status::ERROR_NOT_READY)
    }

    fn cuEventSynchronize(event: usize) {
        let (mut state, _) = working()?;
        let target = target(&mut state, event)?;
        state.refuse_in_capture("cuEventSynchronize")?;
        book_host_synchronisation("cuEventSynchronize");
        target.map_or(Ok(()), |(stream, position)| state.finish_until(stream, position))
    }

    fn cuEventElapsedTime(milliseconds: Out<f32>, start: usize, end: usize) { milliseconds.give(elapsed(start, end)?) }
    fn cuEventElapsedTime_v2(milliseconds: Out<f32>, start: usize, end: usize) { milliseconds.give(elapsed(start, end)?) }
}

fn record(event: usize, stream: usize) -> Result<()> {
    let (mut state, context) = working()?;
    let stream = state.stream(context, stream)?;
    find(&state, event)?;
    let recorded = match state.streams[&stream].capture {
        Some(capture) => {
            if state.captures.get(&capture).is_none_or(|one| one.broken) {
                return Err(Status::ERROR_STREAM_CAPTURE_INVALIDATED);
            }
            Recorded::Captured { capture, stream }
        }
        None => {
            state.enqueue(stream, Op::Record { event })?;
            let position = state.streams[&stream].issued;
            Recorded::At { stream, position }
        }
    };
    let event = state.events.get_mut(&event).expect("found above");
    event.recorded = recorded;
    Ok(())
}
