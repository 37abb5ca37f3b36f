//! Correct kernels and calls give correct results, through cudarc's safe API, on every architecture.

mod common;

use std::sync::Arc;

use common::{counters, function, function_with, noise, reset_counters};
use cudarc::driver::sys::{CUevent_flags, CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, LaunchConfig, PushKernelArg};
use half::{bf16, f16};
use libtest_mimic::{Arguments, Trial};

const ARCHITECTURES: [u32; 6] = [75, 80, 86, 89, 90, 120];

const SIMPLE: &str = include_str!("kernels/simple.cu");
const PRIMITIVES: &str = include_str!("kernels/primitives.cu");
const GEMM: &str = include_str!("kernels/gemm.cu");

fn main() {
    let names: Vec<String> = ARCHITECTURES.map(|arch| format!("sm_{arch}")).into();
    // One process plays them all, as devices 0 to 5.
    // SAFETY: no other thread yet.
    unsafe { std::env::set_var("VITCUDA_EMULATE", names.join(",")) };
    common::stand_first();
    let mut tests = Vec::new();
    let mut test = |name: String, ordinal: usize, body: fn(&Arc<CudaContext>)| {
        tests.push(Trial::test(name, move || {
            body(&CudaContext::new(ordinal).expect("the device is played"));
            Ok(())
        }));
    };
    for (ordinal, arch) in ARCHITECTURES.into_iter().enumerate() {
        test(format!("sm_{arch}: device attributes"), ordinal, attributes);
        test(format!("sm_{arch}: gemm f16 equals f64"), ordinal, gemm_f16);
    }
    test(
        "ldmatrix hands out fragments as PTX defines them".into(),
        1,
        ldmatrix_layouts,
    );
    test("mma.m16n8k8 f16 equals f64".into(), 0, mma_k8);
    test("mma.m16n8k16 f16 equals f64".into(), 1, mma_k16::<f16>);
    test("mma.m16n8k16 bf16 equals f64".into(), 1, mma_k16::<bf16>);
    test("cp.async copies, and fills with zeros".into(), 1, copies);
    test(
        "f16 conversions equal the half crate's".into(),
        0,
        conversions::<f16>,
    );
    test(
        "bf16 conversions equal the half crate's".into(),
        1,
        conversions::<bf16>,
    );
    test("gemm bf16 equals f64".into(), 1, gemm_bf16);
    test("vector add, odd size".into(), 1, add);
    test("layer norm statistics equal f64".into(), 1, normalise);
    test("votes and shuffles".into(), 1, warp_functions);
    test("integer atomics".into(), 1, atomics);
    test("capture and replay of a graph".into(), 1, graph);
    test("fork and join inside a capture".into(), 1, forked_capture);
    test("two streams and an event".into(), 1, streams);
    test("work waits for the host to wait".into(), 1, laziness);
    test("event timing".into(), 1, timing);
    test("pinned memory is read when the copy runs".into(), 1, pinned);
    test("memory is given back".into(), 1, memory);
    test("counters of a gemm".into(), 1, gemm_counters);
    test("gemm speed, sm_80".into(), 1, gemm_speed);
    test("elementwise speed".into(), 1, elementwise_speed);
    test("gemm speed, sm_75".into(), 0, gemm_speed);
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1); // counters and memory are the process's
    libtest_mimic::run(&arguments, tests).exit();
}

fn config(grid: u32, block: u32) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (grid, 1, 1),
        block_dim: (block, 1, 1),
        shared_mem_bytes: 0,
    }
}

/// A 16-bit float as the kernels see it.
trait Element: Copy + Into<f64> + 'static {
    const OPTIONS: &'static [&'static str];
    fn round(x: f32) -> Self;
    fn bits(self) -> u16;
    fn float(self) -> f32;
}
impl Element for f16 {
    const OPTIONS: &'static [&'static str] = &[];
    fn round(x: f32) -> Self {
        Self::from_f32(x)
    }
    fn bits(self) -> u16 {
        self.to_bits()
    }
    fn float(self) -> f32 {
        self.to_f32()
    }
}
impl Element for bf16 {
    const OPTIONS: &'static [&'static str] = &["-DVITCUDA_BF16"];
    fn round(x: f32) -> Self {
        Self::from_f32(x)
    }
    fn bits(self) -> u16 {
        self.to_bits()
    }
    fn float(self) -> f32 {
        self.to_f32()
    }
}

fn upload<T: Element>(stream: &Arc<CudaStream>, values: &[T]) -> CudaSlice<u16> {
    let bits: Vec<u16> = values.iter().map(|x| x.bits()).collect();
    stream.clone_htod(&bits).expect("a copy")
}

fn attributes(context: &Arc<CudaContext>) {
    use cudarc::driver::sys::CUdevice_attribute as A;
    let (major, minor) = context.compute_capability().expect("it has one");
    let kib = |attribute| context.attribute(attribute).expect("known") / 1024;
    let optin = kib(A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
    let expected = match major * 10 + minor {
        75 => 64,
        80 => 163,
        90 => 227,
        _ => 99,
    };
    assert_eq!(optin, expected);
    assert_eq!(kib(A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK), 48);
    assert_eq!(
        context
            .attribute(A::CU_DEVICE_ATTRIBUTE_WARP_SIZE)
            .expect("known"),
        32
    );
    assert!(context.name().expect("it has one").contains("emulator"));
}

fn ldmatrix_layouts(context: &Arc<CudaContext>) {
    let stream = context.default_stream();
    let x: Vec<u16> = (0..256).collect();
    let device = stream.clone_htod(&x).expect("a copy");
    for (count, transposed) in [
        (1, false),
        (2, false),
        (4, false),
        (1, true),
        (2, true),
        (4, true),
    ] {
        let name = format!(
            "ldmatrix_x{count}{}",
            if transposed { "_trans" } else { "" }
        );
        let kernel = function(context, PRIMITIVES, &name);
        let mut d = stream.alloc_zeros::<u32>(128).expect("memory");
        unsafe {
            stream
                .launch_builder(&kernel)
                .arg(&mut d)
                .arg(&device)
                .launch(config(1, 32))
        }
        .expect("a launch");
        let d = stream.clone_dtoh(&d).expect("a copy");
        for lane in 0..32 {
            for m in 0..count {
                let at = |row: usize, col: usize| x[(8 * m + row) * 8 + col] as u32;
                let (g, t) = (lane / 4, lane % 4 * 2);
                let expected = match transposed {
                    false => at(g, t) | at(g, t + 1) << 16,
                    true => at(t, g) | at(t + 1, g) << 16,
                };
                assert_eq!(d[lane * 4 + m], expected, "{name}, lane {lane}, matrix {m}");
            }
        }
    }
}

/// Rows of A (16, K) times columns of B (K, 8), and the sums of absolute products.
fn product<T: Element>(a: &[T], b: &[T], depth: usize) -> Vec<(f64, f64)> {
    let cell = |i: usize| {
        let terms = (0..depth).map(|k| a[i / 8 * depth + k].into() * b[k * 8 + i % 8].into());
        terms.fold((0.0, 0.0), |(sum, size), x: f64| (sum + x, size + x.abs()))
    };
    (0..128).map(cell).collect()
}

/// `depth` additions in f32, each off by at most half a unit in the last place of the partial sum.
fn assert_close(found: &[f32], expected: &[(f64, f64)], depth: usize) {
    for (i, (&found, &(sum, size))) in found.iter().zip(expected).enumerate() {
        let tolerance = (depth as f64 + 2.0) * f64::from(f32::EPSILON) * (size + 1.0);
        let error = (f64::from(found) - sum).abs();
        assert!(
            error <= tolerance,
            "element {i}: {found} is not {sum} ± {tolerance}"
        );
    }
}

fn mma_k8(context: &Arc<CudaContext>) {
    mma::<f16>(context, "multiply_k8", 8);
}

fn mma_k16<T: Element>(context: &Arc<CudaContext>) {
    mma::<T>(context, "multiply_k16", 16);
}

fn mma<T: Element>(context: &Arc<CudaContext>, name: &str, depth: usize) {
    let stream = context.default_stream();
    let kernel = function_with(context, PRIMITIVES, name, T::OPTIONS);
    let values = |count, seed| {
        noise(count, seed)
            .into_iter()
            .map(T::round)
            .collect::<Vec<T>>()
    };
    let (a, b) = (values(16 * depth, 1), values(depth * 8, 2));
    let mut d = stream.alloc_zeros::<f32>(128).expect("memory");
    let (device_a, device_b) = (upload(&stream, &a), upload(&stream, &b));
    unsafe {
        stream
            .launch_builder(&kernel)
            .arg(&mut d)
            .arg(&device_a)
            .arg(&device_b)
            .launch(config(1, 32))
    }
    .expect("a launch");
    assert_close(
        &stream.clone_dtoh(&d).expect("a copy"),
        &product(&a, &b, depth),
        depth,
    );
}

fn copies(context: &Arc<CudaContext>) {
    let stream = context.default_stream();
    let kernel = function(context, PRIMITIVES, "copies");
    let x: Vec<u8> = (0..32 * 48).map(|i| (i % 251) as u8 + 1).collect();
    let device = stream.clone_htod(&x).expect("a copy");
    let mut d = stream.alloc_zeros::<u8>(x.len()).expect("memory");
    unsafe {
        stream
            .launch_builder(&kernel)
            .arg(&mut d)
            .arg(&device)
            .launch(config(1, 32))
    }
    .expect("a launch");
    let d = stream.clone_dtoh(&d).expect("a copy");
    for (i, (&found, &source)) in d.iter().zip(&x).enumerate() {
        let (lane, byte) = (i / 48, i % 48);
        let copied = match byte {
            4..8 => false,
            32.. => byte - 32 < lane % 17,
            _ => true,
        };
        assert_eq!(
            found,
            if copied { source } else { 0 },
            "lane {lane}, byte {byte}"
        );
    }
}

fn conversions<T: Element>(context: &Arc<CudaContext>) {
    let stream = context.default_stream();
    let kernel = function_with(context, PRIMITIVES, "conversions", T::OPTIONS);
    let mut x = vec![
        0.0,
        -0.0,
        1.0,
        65504.0,
        65519.9,
        65520.0,
        1e-8,
        6e-8,
        6.1e-5,
        f32::INFINITY,
        3.4e38,
        1.0009766,
        2049.0,
        2051.0,
    ];
    x.extend(
        noise(2000, 3)
            .into_iter()
            .enumerate()
            .map(|(i, v)| v * 10f32.powi(i as i32 % 12 - 7)),
    );
    let device = stream.clone_htod(&x).expect("a copy");
    let mut y = stream.alloc_zeros::<f32>(x.len()).expect("memory");
    let mut packed = stream.alloc_zeros::<u32>(x.len() / 2).expect("memory");
    let n = x.len() as i32;
    unsafe {
        stream
            .launch_builder(&kernel)
            .arg(&mut y)
            .arg(&mut packed)
            .arg(&device)
            .arg(&n)
            .launch(config(n as u32 / 128 + 1, 64))
    }
    .expect("a launch");
    let (y, packed) = (
        stream.clone_dtoh(&y).expect("a copy"),
        stream.clone_dtoh(&packed).expect("a copy"),
    );
    for i in 0..x.len() {
        let expected = T::round(x[i]);
        assert_eq!(y[i].to_bits(), expected.float().to_bits(), "{}", x[i]);
        assert_eq!(
            (packed[i / 2] >> (i % 2 * 16)) as u16,
            expected.bits(),
            "{}",
            x[i]
        );
    }
}

fn gemm_f16(context: &Arc<CudaContext>) {
    gemm::<f16>(context, 100, 72, 88);
}

fn gemm_bf16(context: &Arc<CudaContext>) {
    gemm::<bf16>(context, 130, 64, 64);
}

fn gemm<T: Element>(context: &Arc<CudaContext>, m: usize, n: usize, k: usize) {
    let kernel = function_with(context, GEMM, "gemm", T::OPTIONS);
    let values = |count, seed| {
        noise(count, seed)
            .into_iter()
            .map(T::round)
            .collect::<Vec<T>>()
    };
    let (a, b) = (values(m * k, 1), values(n * k, 2));
    let c = run_gemm(context, &kernel, &a, &b, (m, n, k));
    for (i, &found) in c.iter().enumerate() {
        let terms = (0..k).map(|j| a[i / n * k + j].into() * b[i % n * k + j].into());
        let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), x: f64| (sum + x, size + x.abs()));
        assert_close(&[found], &[(sum, size)], k);
    }
}

fn run_gemm<T: Element>(
    context: &Arc<CudaContext>,
    kernel: &cudarc::driver::CudaFunction,
    a: &[T],
    b: &[T],
    (m, n, k): (usize, usize, usize),
) -> Vec<f32> {
    let stream = context.default_stream();
    let (a, b) = (upload(&stream, a), upload(&stream, b));
    let mut c = unsafe { stream.alloc::<f32>(m * n) }.expect("memory");
    let geometry = LaunchConfig {
        grid_dim: (n.div_ceil(64) as u32, m.div_ceil(64) as u32, 1),
        block_dim: (128, 1, 1),
        shared_mem_bytes: 2 * 2 * 64 * 32 * 2,
    };
    let (m, n, k) = (m as i32, n as i32, k as i32);
    unsafe {
        stream
            .launch_builder(kernel)
            .arg(&mut c)
            .arg(&a)
            .arg(&b)
            .arg(&m)
            .arg(&n)
            .arg(&k)
            .launch(geometry)
    }
    .expect("a launch");
    stream.clone_dtoh(&c).expect("a copy")
}

fn add(context: &Arc<CudaContext>) {
    let stream = context.default_stream();
    let kernel = function(context, SIMPLE, "add");
    let n = 1000;
    let (a, b) = (noise(n, 1), noise(n, 2));
    let (device_a, device_b) = (
        stream.clone_htod(&a).expect("a copy"),
        stream.clone_htod(&b).expect("a copy"),
    );
    let mut c = unsafe { stream.alloc::<f32>(n) }.expect("memory");
    unsafe {
        stream
            .launch_builder(&kernel)
            .arg(&mut c)
            .arg(&device_a)
            .arg(&device_b)
            .arg(&(n as i32))
            .launch(config(8, 128))
    }
    .expect("a launch");
    let c = stream.clone_dtoh(&c).expect("a copy");
    assert!((0..n).all(|i| c[i] == a[i] + b[i]));
}

fn normalise(context: &Arc<CudaContext>) {
    let stream = context.default_stream();
    let kernel = function(context, SIMPLE, "normalise");
    let (rows, width) = (5, 197);
    let x = noise(rows * width, 4);
    let device = stream.clone_htod(&x).expect("a copy");
    let run = |seed: &str| {
        // SAFETY: the only other threads are the emulator's, which read it between launches.
        unsafe { std::env::set_var("VITCUDA_EMULATOR_SEED", seed) };
        let mut y = unsafe { stream.alloc::<f32>(x.len()) }.expect("memory");
        unsafe {
            stream
                .launch_builder(&kernel)
                .arg(&mut y)
                .arg(&device)
                .arg(&(width as i32))
                .launch(config(rows as u32, 128))
        }
        .expect("a launch");
        stream.clone_dtoh(&y).expect("a copy")
    };
    let y = run("0");
    for (row, found) in x.chunks(width).zip(y.chunks(width)) {
        let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / width as f64;
        let variance = row
            .iter()
            .map(|&v| (f64::from(v) - mean).powi(2))
            .sum::<f64>()
            / width as f64;
        for (&v, &found) in row.iter().zip(found) {
            let expected = (f64::from(v) - mean) / variance.sqrt();
            // About ten roundings on the way, of numbers up to 2.
            assert!(
                (f64::from(found) - expected).abs() < 20.0 * f64::from(f32::EPSILON),
                "{found} is not {expected}"
            );
        }
    }
    assert_eq!(y, run("1"), "the order of the threads does not matter");
    assert_eq!(y, run("2"), "the order of the threads does not matter");
}

fn warp_functions(context: &Arc<CudaContext>) {
    let stream = context.default_stream();
    let kernel = function(context, SIMPLE, "warp_functions");
    let mut out = unsafe { stream.alloc::<u32>(32) }.expect("memory");
    unsafe {
        stream
            .launch_builder(&kernel)
            .arg(&mut out)
            .launch(config(1, 32))
    }
    .expect("a launch");
    let ballot = (0..32)
        .filter(|lane| lane % 3 == 0)
        .fold(0u32, |mask, lane| mask | 1 << lane);
    for (lane, found) in (0u32..).zip(stream.clone_dtoh(&out).expect("a copy")) {
        let up = if lane >= 3 { lane - 3 } else { lane };
        let down = if lane + 3 < 32 { lane + 3 } else { lane };
        let across = if lane < 16 { lane ^ 1 } else { 0 };
        let wide = ((u64::from(lane / 8 * 8 + 2)) << 33) as u32;
        let expected = ballot.wrapping_add(1 + 2 + 50 + up + down + across + wide + 9000);
        assert_eq!(found, expected, "lane {lane}");
    }
}

fn atomics(context: &Arc<CudaContext>) {
    let stream = context.default_stream();
    let kernel = function(context, SIMPLE, "count");
    let (mut total, mut largest) = (
        stream.alloc_zeros::<u32>(1).expect("memory"),
        stream.alloc_zeros::<i32>(1).expect("memory"),
    );
    unsafe {
        stream
            .launch_builder(&kernel)
            .arg(&mut total)
            .arg(&mut largest)
            .arg(&1000i32)
            .launch(config(8, 128))
    }
    .expect("a launch");
    assert_eq!(stream.clone_dtoh(&total).expect("a copy"), [1000]);
    assert_eq!(stream.clone_dtoh(&largest).expect("a copy"), [999]);
}

fn scale_on(
    stream: &Arc<CudaStream>,
    kernel: &cudarc::driver::CudaFunction,
    x: &mut CudaSlice<f32>,
    factor: f32,
) {
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

fn graph(context: &Arc<CudaContext>) {
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

fn forked_capture(context: &Arc<CudaContext>) {
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

fn streams(context: &Arc<CudaContext>) {
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
fn laziness(context: &Arc<CudaContext>) {
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

fn timing(context: &Arc<CudaContext>) {
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

fn pinned(context: &Arc<CudaContext>) {
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

fn memory(context: &Arc<CudaContext>) {
    let stream = context.new_stream().expect("a stream");
    let (before, total) = context.mem_get_info().expect("known");
    let x = unsafe { stream.alloc::<u8>(1 << 20) }.expect("memory");
    assert_eq!(context.mem_get_info().expect("known").0, before - (1 << 20));
    drop(x);
    stream.synchronize().expect("nothing fails");
    assert_eq!(context.mem_get_info().expect("known").0, before);
    assert!(
        unsafe { stream.alloc::<u8>(total) }.is_err() || before == total,
        "more than there is"
    );
    assert!(
        unsafe { stream.alloc::<u8>(total + 1) }.is_err(),
        "more than there is"
    );
}

fn gemm_counters(context: &Arc<CudaContext>) {
    let kernel = function(context, GEMM, "gemm");
    let (m, n, k) = (128, 128, 64);
    let (a, b) = (vec![f16::ONE; m * k], vec![f16::ONE; n * k]);
    reset_counters();
    run_gemm(context, &kernel, &a, &b, (m, n, k));
    let found = counters("gemm");
    assert_eq!(found.launches, 1);
    assert_eq!(found.mma_flops as usize, 2 * m * n * k);
    assert_eq!(found.ldmatrix_bank_conflicts, 0, "the tiles are swizzled");
    assert_eq!(found.cp_async_bank_conflicts, 0, "the tiles are swizzled");
    if !common::sees_every_access() {
        return;
    }
    assert_eq!(found.global_read_distinct as usize, 2 * (m * k + n * k));
    assert_eq!(
        found.global_read as usize,
        2 * 2 * (m * k + n * k),
        "each tile is read by two blocks"
    );
    assert_eq!(found.global_written as usize, 4 * m * n);
    assert_eq!(found.float_atomics, 0);
    assert_eq!(common::host_synchronisations(), 1, "the copy of the result");
}

fn gemm_speed(context: &Arc<CudaContext>) {
    let kernel = function(context, GEMM, "gemm");
    let (m, n, k) = (256, 256, 512);
    let half = |seed| {
        noise(m * k, seed)
            .into_iter()
            .map(f16::from_f32)
            .collect::<Vec<_>>()
    };
    let (a, b) = (half(1), half(2));
    run_gemm(context, &kernel, &a, &b, (m, n, k)); // the first one starts threads and maps stacks
    reset_counters();
    for _ in 0..5 {
        run_gemm(context, &kernel, &a, &b, (m, n, k));
    }
    let found = counters("gemm");
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let rate = found.mma_flops as f64 / found.nanoseconds as f64;
    println!(
        "gemm {m}×{n}×{k} f16: {rate:.2} GFLOP/s, {:.2} a core",
        rate / threads
    );
}

fn elementwise_speed(context: &Arc<CudaContext>) {
    let stream = context.default_stream();
    let kernel = function(context, SIMPLE, "add");
    let n = 1 << 20;
    let (a, b) = (
        stream.clone_htod(&noise(n, 1)).expect("a copy"),
        stream.clone_htod(&noise(n, 2)).expect("a copy"),
    );
    let mut c = unsafe { stream.alloc::<f32>(n) }.expect("memory");
    reset_counters();
    let mut launch = stream.launch_builder(&kernel);
    let count = n as i32;
    launch.arg(&mut c).arg(&a).arg(&b).arg(&count);
    unsafe { launch.launch(config(n as u32 / 256, 256)) }.expect("a launch");
    stream.synchronize().expect("nothing fails");
    let found = counters("add");
    let rate = n as f64 * 1e3 / found.nanoseconds as f64;
    println!("add of {n} numbers, one a thread: {rate:.1} million threads a second");
    let written = if common::sees_every_access() {
        4 * n
    } else {
        0
    };
    assert_eq!(found.global_written as usize, written);
}
