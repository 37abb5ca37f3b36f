//! Memory: allocation, copies, memset, pools.

use std::ffi::{c_int, c_uchar, c_uint, c_ushort};
use std::sync::Arc;

use super::queue::{Op, Source, is_pinned, want_device};
use super::state::{State, ready, working};
use super::{Out, api, refuse};
use crate::counters::{book_copy_to_device, book_host_synchronisation};
use crate::memory::{self, Home};
use crate::status::{Result, Status};

/// A copy that has happened when the call returns.
fn now(call: &str, make: impl FnOnce(&mut State) -> Op) -> Result<()> {
    let (mut state, context) = working()?;
    state.refuse_in_capture(call)?;
    let stream = state.contexts[&context].null_stream;
    let op = make(&mut state);
    state.enqueue(stream, op)?;
    book_host_synchronisation(call);
    state.finish(stream)
}

fn later(stream: usize, op: impl FnOnce(&State, usize) -> Result<Op>) -> Result<()> {
    let (mut state, context) = working()?;
    let stream = state.stream(context, stream)?;
    let op = op(&state, stream)?;
    state.enqueue(stream, op)
}

/// Up to here, pageable memory is put into the command itself.
const ALWAYS_STAGED: usize = 64 << 10;

/// Pageable memory of an asynchronous copy: taken at the call, as drivers do, or with
/// `VITCUDA_EMULATOR_PAGEABLE=late` read when the copy runs, as the API allows them to.
///
/// # Safety
/// `from` is the address of `bytes` readable bytes.
unsafe fn pageable(from: usize, bytes: usize) -> Source {
    // SAFETY: says the caller.
    let there = unsafe { std::slice::from_raw_parts(from as *const u8, bytes) };
    let there = Arc::new(there.to_vec());
    let late = std::env::var("VITCUDA_EMULATOR_PAGEABLE").is_ok_and(|when| when == "late");
    if late && bytes > ALWAYS_STAGED {
        return Source::Late {
            address: from,
            at_call: there,
        };
    }
    Source::Taken(there)
}

fn set(to: usize, value: u32, width: usize, count: usize) -> Result<Op> {
    want_device(to, width * count, "memset")?;
    if !to.is_multiple_of(width) {
        return Err(Status::ERROR_INVALID_VALUE);
    }
    Ok(Op::Set {
        to,
        value,
        width,
        count,
    })
}

api! {
    fn cuMemAlloc_v2(out: Out<usize>, bytes: usize) {
        let (mut state, context) = working()?;
        state.refuse_in_capture("cuMemAlloc")?;
        if bytes == 0 {
            return refuse(Status::ERROR_INVALID_VALUE, "cuMemAlloc of 0 bytes");
        }
        let device = state.contexts[&context].device;
        out.give(memory::allocate(bytes, Home::Device(device))?)
    }

    fn cuMemAllocAsync(out: Out<usize>, bytes: usize, stream: usize) { allocate_async(out, bytes, stream) }
    fn cuMemAllocFromPoolAsync(out: Out<usize>, bytes: usize, _pool: usize, stream: usize) { allocate_async(out, bytes, stream) }

    fn cuMemFree_v2(base: usize) {
        let (mut state, context) = working()?;
        if base == 0 {
            return Ok(());
        }
        state.refuse_in_capture("cuMemFree")?;
        book_host_synchronisation("cuMemFree");
        state.finish_all(context)?;
        memory::free(base)
    }

    fn cuMemFreeAsync(base: usize, stream: usize) {
        if base == 0 {
            return Ok(());
        }
        later(stream, |_, _| {
            want_device(base, 1, "cuMemFreeAsync")?;
            Ok(Op::Free { base })
        })
    }

    fn cuMemHostAlloc(out: Out<usize>, bytes: usize, _flags: c_uint) { allocate_host(out, bytes) }
    fn cuMemAllocHost_v2(out: Out<usize>, bytes: usize) { allocate_host(out, bytes) }

    fn cuMemFreeHost(base: usize) {
        let (mut state, context) = working()?;
        state.refuse_in_capture("cuMemFreeHost")?;
        state.finish_all(context)?;
        if !is_pinned(base) {
            return refuse(Status::ERROR_INVALID_VALUE, format!("cuMemFreeHost: {base:#x} is no page-locked memory"));
        }
        memory::free(base)
    }

    fn cuMemHostGetDevicePointer_v2(out: Out<usize>, host: usize, _flags: c_uint) {
        ready()?;
        if !is_pinned(host) {
            return Err(Status::ERROR_INVALID_VALUE);
        }
        out.give(host)
    }

    fn cuMemGetAddressRange_v2(base: Out<usize>, bytes: Out<usize>, address: usize) {
        ready()?;
        let found = memory::find(address).ok_or(Status::ERROR_INVALID_VALUE)?;
        base.offer(found.base);
        bytes.offer(found.bytes);
        Ok(())
    }

    fn cuMemcpyHtoD_v2(to: usize, from: usize, bytes: usize) {
        want_device(to, bytes, "cuMemcpyHtoD")?;
        now("cuMemcpyHtoD", |_| Op::ToDevice { to, from: Source::Host(from), bytes })
    }

    fn cuMemcpyDtoH_v2(to: usize, from: usize, bytes: usize) {
        want_device(from, bytes, "cuMemcpyDtoH")?;
        now("cuMemcpyDtoH", |_| Op::ToHost { to, from, bytes })
    }

    fn cuMemcpyDtoD_v2(to: usize, from: usize, bytes: usize) {
        want_device(to, bytes, "cuMemcpyDtoD")?;
        want_device(from, bytes, "cuMemcpyDtoD")?;
        let (mut state, context) = working()?;
        state.refuse_in_capture("cuMemcpyDtoD")?;
        let stream = state.contexts[&context].null_stream;
        state.enqueue(stream, Op::OnDevice { to, from, bytes })
    }

    fn cuMemcpyHtoDAsync_v2(to: usize, from: usize, bytes: usize, stream: usize) {
        if bytes == 0 {
            return Ok(());
        }
        want_device(to, bytes, "cuMemcpyHtoDAsync")?;
        book_copy_to_device(bytes);
        later(stream, |state, stream| {
            let captured = state.streams[&stream].capture.is_some();
            let from = if captured || is_pinned(from) {
                Source::Host(from)
            } else {
                // SAFETY: the driver API's contract: as many bytes of the host, until the call returns.
                unsafe { pageable(from, bytes) }
            };
            Ok(Op::ToDevice { to, from, bytes })
        })
    }

    fn cuMemcpyDtoHAsync_v2(to: usize, from: usize, bytes: usize, stream: usize) {
        if bytes == 0 {
            return Ok(());
        }
        want_device(from, bytes, "cuMemcpyDtoHAsync")?;
        later(stream, |_, _| Ok(Op::ToHost { to, from, bytes }))?;
        let (mut state, context) = working()?;
        let stream = state.stream(context, stream)?;
        if is_pinned(to) || state.streams[&stream].capture.is_some() {
            return Ok(());
        }
        // To pageable memory the real call waits, too.
        book_host_synchronisation("cuMemcpyDtoHAsync to pageable memory");
        state.finish(stream)
    }

    fn cuMemcpyDtoDAsync_v2(to: usize, from: usize, bytes: usize, stream: usize) {
        if bytes == 0 {
            return Ok(());
        }
        want_device(to, bytes, "cuMemcpyDtoDAsync")?;
        want_device(from, bytes, "cuMemcpyDtoDAsync")?;
        later(stream, |_, _| Ok(Op::OnDevice { to, from, bytes }))
    }

    fn cuMemcpyAsync(to: usize, from: usize, bytes: usize, stream: usize) {
        let on_device = |address| memory::is_device_address(address) && !is_pinned(address);
        // SAFETY: the same contract: of the three it is the one that the addresses tell.
        unsafe {
            super::from_code(match (on_device(to), on_device(from)) {
                (true, true) => cuMemcpyDtoDAsync_v2(to, from, bytes, stream),
                (true, false) => cuMemcpyHtoDAsync_v2(to, from, bytes, stream),
                (false, true) => cuMemcpyDtoHAsync_v2(to, from, bytes, stream),
                (false, false) => Status::ERROR_NOT_SUPPORTED.0,
            })
        }
    }

    fn cuMemcpyPeerAsync(to: usize, _to_context: usize, from: usize, _from_context: usize, bytes: usize, stream: usize) {
        want_device(to, bytes, "cuMemcpyPeerAsync")?;
        want_device(from, bytes, "cuMemcpyPeerAsync")?;
        later(stream, |_, _| Ok(Op::OnDevice { to, from, bytes }))
    }

    fn cuMemsetD8_v2(to: usize, value: c_uchar, count: usize) {
        let op = set(to, value.into(), 1, count)?;
        now("cuMemsetD8", |_| op)
    }
    fn cuMemsetD16_v2(to: usize, value: c_ushort, count: usize) {
        let op = set(to, value.into(), 2, count)?;
        now("cuMemsetD16", |_| op)
    }
    fn cuMemsetD32_v2(to: usize, value: c_uint, count: usize) {
        let op = set(to, value, 4, count)?;
        now("cuMemsetD32", |_| op)
    }
    fn cuMemsetD8Async(to: usize, value: c_uchar, count: usize, stream: usize) { later(stream, |_, _| set(to, value.into(), 1, count)) }
    fn cuMemsetD16Async(to: usize, value: c_ushort, count: usize, stream: usize) { later(stream, |_, _| set(to, value.into(), 2, count)) }
    fn cuMemsetD32Async(to: usize, value: c_uint, count: usize, stream: usize) { later(stream, |_, _| set(to, value, 4, count)) }

    fn cuDeviceGetDefaultMemPool(pool: Out<usize>, ordinal: c_int) { pool.give(0xF000 + 16 * ordinal as usize) }
    fn cuDeviceGetMemPool(pool: Out<usize>, ordinal: c_int) { pool.give(0xF000 + 16 * ordinal as usize) }
    fn cuDeviceSetMemPool(_ordinal: c_int, _pool: usize) { Ok(()) }
    fn cuMemPoolTrimTo(_pool: usize, _bytes: usize) { Ok(()) }
    fn cuMemPoolSetAttribute(_pool: usize, _attribute: c_int, _value: *const u8) { Ok(()) }
    fn cuMemPoolGetAttribute(_pool: usize, _attribute: c_int, value: Out<u64>) { value.give(0) }
}

fn allocate_async(out: Out<usize>, bytes: usize, stream: usize) -> Result<()> {
    let (mut state, context) = working()?;
    let stream = state.stream(context, stream)?;
    let device = state.contexts[&context].device;
    if let Some(capture) = state.streams[&stream].capture {
        // A GPU would make it a node of the graph, whose memory lives by the graph's launches.
        if let Some(capture) = state.captures.get_mut(&capture) {
            capture.broken = true;
        }
        return refuse(
            Status::ERROR_STREAM_CAPTURE_UNSUPPORTED,
            "memory is allocated while its stream is captured",
        );
    }
    match bytes {
        0 => out.give(0),
        _ => out.give(memory::allocate(bytes, Home::Device(device))?),
    }
}

fn allocate_host(out: Out<usize>, bytes: usize) -> Result<()> {
    let (mut state, _) = working()?;
    state.refuse_in_capture("cuMemHostAlloc")?;
    if bytes == 0 {
        return Err(Status::ERROR_INVALID_VALUE);
    }
    out.give(memory::allocate(bytes, Home::PinnedHost)?)
}
