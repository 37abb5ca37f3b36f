//! Streams, events, captures, memory.

use std::sync::Arc;

use cudarc::driver::sys::{CUevent_flags, CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{CudaContext, CudaFunction, CudaSlice, CudaStream, PushKernelArg};

use crate::common::function;
use crate::{SIMPLE, config};

fn scale_on(stream: &Arc<CudaStream>, kernel: &CudaFunction, x: &mut CudaSlice<f32>, factor: f32) {
    let n = x.len() as i32;
    unsafe {
        stream
            .launch_builder(kernel)
            .arg(x)
            .arg(&factor)
            .arg(&n)
            .launch(config(1, 64))
    }
    .expect("a launch");
}

pub fn graph(context: &Arc<CudaContext>) {
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream().expect("a stream");
    let kernel = function(context, SIMPLE, "scale");
    let mut x = stream.clone_htod(&[1.0f32, 2.0, 3.0]).expect("a copy");
    stream.synchronize().expect("nothing fails");
    stream
        .begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
        .expect("a capture");
    scale_on(&stream, &kernel, &mut x, 2.0);
    scale_on(&stream, &kernel, &mut x, 5.0);
    let graph = stream
        .end_capture(CUgraphInstantiate_flags(0))
        .expect("nothing was refused")
        .expect("a graph");
    assert_eq!(
        stream.clone_dtoh(&x).expect("a copy"),
        [1.0, 2.0, 3.0],
        "a capture runs nothing"
    );
    graph.upload().expect("an upload");
    graph.launch().expect("a launch");
    graph.launch().expect("a launch");
    assert_eq!(
        stream.clone_dtoh(&x).expect("a copy"),
        [100.0, 200.0, 300.0]
    );
}

pub fn forked_capture(context: &Arc<CudaContext>) {
    unsafe { context.disable_event_tracking() };
    let (stream, side) = (
        context.new_stream().expect("a stream"),
        context.new_stream().expect("a stream"),
    );
    let kernel = function(context, SIMPLE, "scale");
    let (mut x, mut y) = (
        stream.clone_htod(&[1.0f32; 3]).expect("a copy"),
        stream.clone_htod(&[1.0f32; 3]).expect("a copy"),
    );
    stream.synchronize().expect("nothing fails");
    stream
        .begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
        .expect("a capture");
    let forked = stream.record_event(None).expect("an event");
    side.wait(&forked).expect("a fork");
    scale_on(&side, &kernel, &mut y, 3.0);
    scale_on(&stream, &kernel, &mut x, 2.0);
    stream
        .wait(&side.record_event(None).expect("an event"))
        .expect("a join");
    let graph = stream
        .end_capture(CUgraphInstantiate_flags(0))
        .expect("nothing was refused")
        .expect("a graph");
    graph.launch().expect("a launch");
    assert_eq!(stream.clone_dtoh(&x).expect("a copy"), [2.0; 3]);
    assert_eq!(stream.clone_dtoh(&y).expect("a copy"), [3.0; 3]);
}

pub fn streams(context: &Arc<CudaContext>) {
    unsafe { context.disable_event_tracking() };
    let (first, second) = (
        context.new_stream().expect("a stream"),
        context.new_stream().expect("a stream"),
    );
    let kernel = function(context, SIMPLE, "scale");
    let mut x = first.clone_htod(&[1.0f32; 4]).expect("a copy");
    scale_on(&first, &kernel, &mut x, 2.0);
    let ready = first.record_event(None).expect("an event");
    second.wait(&ready).expect("a wait");
    scale_on(&second, &kernel, &mut x, 3.0);
    assert_eq!(second.clone_dtoh(&x).expect("a copy"), [6.0; 4]);
}

/// Without the wait of the test above the second stream does not see the first one's work.
pub fn laziness(context: &Arc<CudaContext>) {
    unsafe { context.disable_event_tracking() };
    let (first, second) = (
        context.new_stream().expect("a stream"),
        context.new_stream().expect("a stream"),
    );
    let kernel = function(context, SIMPLE, "scale");
    let mut x = first.clone_htod(&[1.0f32; 4]).expect("a copy");
    first.synchronize().expect("nothing fails");
    scale_on(&first, &kernel, &mut x, 2.0);
    assert_eq!(
        second.clone_dtoh(&x).expect("a copy"),
        [1.0; 4],
        "the first stream has not run yet"
    );
    assert_eq!(first.clone_dtoh(&x).expect("a copy"), [2.0; 4]);
}

pub fn timing(context: &Arc<CudaContext>) {
    let stream = context.new_stream().expect("a stream");
    let kernel = function(context, SIMPLE, "scale");
    let mut x = stream.clone_htod(&[1.0f32; 4]).expect("a copy");
    let event = || {
        context
            .new_event(Some(CUevent_flags::CU_EVENT_DEFAULT))
            .expect("an event")
    };
    let (start, end) = (event(), event());
    start.record(&stream).expect("a record");
    scale_on(&stream, &kernel, &mut x, 2.0);
    end.record(&stream).expect("a record");
    let milliseconds = start.elapsed_ms(&end).expect("both were recorded");
    assert!(
        milliseconds > 0.0 && milliseconds < 10_000.0,
        "{milliseconds} ms"
    );
}

pub fn pinned(context: &Arc<CudaContext>) {
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream().expect("a stream");
    let mut host = unsafe { context.alloc_pinned::<f32>(4) }.expect("memory");
    host.as_mut_slice().expect("idle").fill(1.0);
    let mut x = unsafe { stream.alloc::<f32>(4) }.expect("memory");
    stream.memcpy_htod(&host, &mut x).expect("a copy");
    let pointer = host.as_mut_ptr().expect("idle");
    // Too early: the copy has not run, and takes what it finds then.
    unsafe { pointer.write(7.0) };
    assert_eq!(stream.clone_dtoh(&x).expect("a copy"), [7.0, 1.0, 1.0, 1.0]);
}

pub fn memory(context: &Arc<CudaContext>) {
    let stream = context.new_stream().expect("a stream");
    let (before, total) = context.mem_get_info().expect("known");
    let granules = || {
        let taken = before - context.mem_get_info().expect("known").0;
        assert!(taken.is_multiple_of(2 << 20), "{taken} bytes");
        taken >> 21
    };
    let take = |bytes| unsafe { stream.alloc::<u8>(bytes) }.expect("memory");
    let (x, y) = (take(1 << 20), take(1 << 20));
    assert_eq!(granules(), 1, "two small allocations share a granule");
    let z = take(1);
    assert_eq!(granules(), 2, "a third has no room in it");
    let large = take((2 << 20) + 1);
    assert_eq!(granules(), 4, "a large one has its own");
    drop((x, z));
    stream.synchronize().expect("nothing fails");
    assert_eq!(granules(), 3, "one of those that shared is still there");
    drop((y, large));
    stream.synchronize().expect("nothing fails");
    assert_eq!(granules(), 0);
    assert!(
        unsafe { stream.alloc::<u8>(total) }.is_err() || before == total,
        "more than there is"
    );
    assert!(
        unsafe { stream.alloc::<u8>(total + 1) }.is_err(),
        "more than there is"
    );
}
