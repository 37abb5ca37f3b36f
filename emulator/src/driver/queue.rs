//! Streams as queues. Work runs as late as the API allows: when the host waits for it, or asks
//! often enough. So a missing wait shows as stale data instead of passing by luck.

use std::ffi::c_void;
use std::sync::Arc;
use std::time::Instant;

use super::refuse;
use super::state::{Recorded, State};
use crate::exec::{self, Launch};
use crate::memory;
use crate::status::{Result, Status};
use crate::{counters, report};

/// Where a copy to the device takes its bytes.
#[derive(Clone)]
pub enum Source {
    /// Pageable memory: taken at the call.
    Taken(Arc<Vec<u8>>),
    /// Page-locked (or captured) memory: read when the copy runs.
    Host(usize),
    /// Pageable memory that a late copy reads when it runs, and what was there at the call.
    Late {
        address: usize,
        at_call: Arc<Vec<u8>>,
    },
}

/// One piece of work.
#[derive(Clone)]
pub enum Op {
    Kernel(Arc<Launch>),
    ToDevice {
        to: usize,
        from: Source,
        bytes: usize,
    },
    ToHost {
        to: usize,
        from: usize,
        bytes: usize,
    },
    OnDevice {
        to: usize,
        from: usize,
        bytes: usize,
    },
    /// `count` times the first `width` bytes of `value`.
    Set {
        to: usize,
        value: u32,
        width: usize,
        count: usize,
    },
    Free {
        base: usize,
    },
    Record {
        event: usize,
    },
    WaitFor {
        stream: usize,
        position: u64,
    },
    Call {
        function: unsafe extern "C" fn(*mut c_void),
        data: usize,
    },
    Graph(Arc<Vec<Op>>),
}

impl State {
    /// Puts work on a stream, or into the graph being captured from it.
    pub fn enqueue(&mut self, stream: usize, op: Op) -> Result<()> {
        if let Some(capture) = self.streams[&stream].capture {
            return self.record(capture, stream, op);
        }
        let context = self.streams[&stream].context;
        let null_stream = self.contexts[&context].null_stream;
        if stream == null_stream {
            self.refuse_null_stream_in_capture(context)?;
            let others = self.streams.iter().filter(|(handle, one)| {
                **handle != stream && one.blocking && one.context == context
            });
            let waits: Vec<_> = others
                .map(|(&stream, one)| Op::WaitFor {
                    stream,
                    position: one.issued,
                })
                .collect();
            waits.into_iter().for_each(|wait| self.push(stream, wait));
        } else if self.streams[&stream].blocking {
            let position = self.streams[&null_stream].issued;
            self.push(
                stream,
                Op::WaitFor {
                    stream: null_stream,
                    position,
                },
            );
        }
        self.push(stream, op);
        match std::env::var("CUDA_LAUNCH_BLOCKING").as_deref() {
            Ok("1") => self.finish(stream),
            _ => Ok(()),
        }
    }

    fn push(&mut self, stream: usize, op: Op) {
        let stream = self
            .streams
            .get_mut(&stream)
            .expect("handles were resolved");
        stream.queue.push_back(op);
        stream.issued += 1;
    }

    /// Runs everything issued on the stream so far.
    pub fn finish(&mut self, stream: usize) -> Result<()> {
        let position = self.streams[&stream].issued;
        self.finish_until(stream, position)
    }

    /// Runs the stream until it has done `position` operations. A destroyed stream has done all.
    pub fn finish_until(&mut self, stream: usize, position: u64) -> Result<()> {
        while self
            .streams
            .get(&stream)
            .is_some_and(|one| one.done < position)
        {
            self.step(stream)?;
        }
        self.failed.map_or(Ok(()), Err)
    }

    /// Runs everything issued in the context.
    pub fn finish_all(&mut self, context: usize) -> Result<()> {
        let streams = self
            .streams
            .iter()
            .filter(|(_, one)| one.context == context);
        let streams: Vec<usize> = streams.map(|(&handle, _)| handle).collect();
        streams
            .into_iter()
            .try_for_each(|stream| self.finish(stream))
    }

    /// Runs one operation of the stream, if there is one.
    pub fn step(&mut self, stream: usize) -> Result<()> {
        let Some(one) = self.streams.get_mut(&stream) else {
            return Ok(());
        };
        let Some(op) = one.queue.pop_front() else {
            one.done = one.issued;
            return Ok(());
        };
        let result = self.execute(&op, stream);
        if let Some(one) = self.streams.get_mut(&stream) {
            one.done += 1;
        }
        if let Err(status) = result {
            // As on a GPU, the context is lost.
            self.failed = Some(status);
            for one in self.streams.values_mut() {
                one.queue.clear();
                one.done = one.issued;
            }
        }
        result
    }

    fn execute(&mut self, op: &Op, stream: usize) -> Result<()> {
        match op {
            Op::Kernel(launch) => run_kernel(launch),
            Op::ToDevice { to, from, bytes } => {
                memory::check_range(*to, *bytes, "copy to the device")?;
                let from = match from {
                    Source::Taken(taken) => taken.as_ptr() as usize,
                    Source::Host(address) => *address,
                    Source::Late { address, at_call } => {
                        check_unchanged(*address, at_call)?;
                        at_call.as_ptr() as usize
                    }
                };
                check_pinned(from, *bytes)?;
                // SAFETY: the target was just checked; the source is the caller's promise.
                unsafe { std::ptr::copy_nonoverlapping(from as *const u8, *to as *mut u8, *bytes) };
                memory::mark_initialised(*to, *bytes);
                Ok(())
            }
            Op::ToHost { to, from, bytes } => {
                memory::check_range(*from, *bytes, "copy to the host")?;
                check_pinned(*to, *bytes)?;
                // SAFETY: as above, the other way round.
                unsafe {
                    std::ptr::copy_nonoverlapping(*from as *const u8, *to as *mut u8, *bytes)
                };
                Ok(())
            }
            Op::OnDevice { to, from, bytes } => {
                memory::check_range(*from, *bytes, "copy on the device, source")?;
                memory::check_range(*to, *bytes, "copy on the device, target")?;
                // SAFETY: both ranges were just checked.
                unsafe { std::ptr::copy(*from as *const u8, *to as *mut u8, *bytes) };
                memory::copy_marks(*to, *from, *bytes);
                Ok(())
            }
            Op::Set {
                to,
                value,
                width,
                count,
            } => {
                memory::check_range(*to, width * count, "memset")?;
                let pattern = value.to_le_bytes();
                for i in 0..width * count {
                    // SAFETY: the range was just checked.
                    unsafe { *((to + i) as *mut u8) = pattern[i % width] };
                }
                memory::mark_initialised(*to, width * count);
                Ok(())
            }
            Op::Free { base } => memory::free(*base),
            Op::Record { event } => {
                let position = self.streams[&stream].done + 1;
                if let Some(event) = self.events.get_mut(event)
                    && event.recorded == (Recorded::At { stream, position })
                {
                    event.time = Some(Instant::now());
                }
                Ok(())
            }
            Op::WaitFor { stream, position } => self.finish_until(*stream, *position),
            Op::Call { function, data } => {
                // SAFETY: the program's own function and data; it may not call the driver.
                unsafe { function(*data as *mut c_void) };
                Ok(())
            }
            Op::Graph(ops) => ops.iter().try_for_each(|op| self.execute(op, stream)),
        }
    }
}

fn run_kernel(launch: &Arc<Launch>) -> Result<()> {
    // Memory may have been freed between the launch and now.
    super::launch::check_pointers(launch)?;
    match exec::run(launch) {
        Ok(counters) => {
            if counters.float_atomics > 0 {
                report::say(&format!(
                    "kernel `{}`: {} float atomics; the order of their additions is not fixed",
                    launch.kernel.program.name, counters.float_atomics
                ));
            }
            counters::book(launch, &counters);
            Ok(())
        }
        Err(failure) => refuse(failure.status, failure.message),
    }
}

/// Pageable memory that a copy still reads must be as it was when the copy was issued.
fn check_unchanged(address: usize, at_call: &[u8]) -> Result<()> {
    let bytes = at_call.len();
    let Some(now) = super::launch::read_host(address, bytes) else {
        return refuse(
            Status::ERROR_ILLEGAL_ADDRESS,
            format!(
                "copy to the device: {bytes} bytes of pageable memory at {address:#x} are gone before the copy was made"
            ),
        );
    };
    match now.iter().zip(at_call).position(|(now, then)| now != then) {
        None => Ok(()),
        Some(at) => refuse(
            Status::ERROR_LAUNCH_FAILED,
            format!(
                "copy to the device: {bytes} bytes of pageable memory at {address:#x} were changed before the copy was made, the first of them byte {at}"
            ),
        ),
    }
}

/// Page-locked memory must still be there when a copy runs.
fn check_pinned(address: usize, bytes: usize) -> Result<()> {
    if memory::is_device_address(address) {
        memory::check_range(address, bytes, "copy, page-locked host memory").map(drop)
    } else {
        Ok(())
    }
}

/// Whether the address is page-locked host memory.
pub fn is_pinned(address: usize) -> bool {
    memory::is_device_address(address)
        && memory::find(address).is_some_and(|one| one.home == memory::Home::PinnedHost)
}

/// For a pointer where device memory is wanted.
pub fn want_device(address: usize, bytes: usize, what: &str) -> Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    let found = memory::check_range(address, bytes, what)?;
    match found.home {
        memory::Home::Device(_) => Ok(()),
        memory::Home::PinnedHost => refuse(
            Status::ERROR_INVALID_VALUE,
            format!("{what}: {address:#x} is host memory"),
        ),
    }
}
