//! Simple kernels.

use std::sync::Arc;

use cudarc::driver::{CudaContext, DeviceRepr, LaunchConfig, PushKernelArg};

use crate::common::{counters, function, noise, reset_counters};
use crate::{SIMPLE, config};

const LANGUAGE: &str = include_str!("../kernels/language.cu");
const ACCESSES: &str = include_str!("../kernels/accesses.cu");

pub fn add(context: &Arc<CudaContext>) {
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

pub fn normalise(context: &Arc<CudaContext>) {
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

pub fn warp_functions(context: &Arc<CudaContext>) {
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

pub fn named_barriers(context: &Arc<CudaContext>) {
    let stream = context.default_stream();
    let kernel = function(context, SIMPLE, "named_barriers");
    let (blocks, threads) = (16, 72);
    let mut out = unsafe { stream.alloc::<u32>(blocks * threads) }.expect("memory");
    unsafe {
        stream
            .launch_builder(&kernel)
            .arg(&mut out)
            .launch(config(blocks as u32, threads as u32))
    }
    .expect("a launch");
    let out = stream.clone_dtoh(&out).expect("a copy");
    for (i, &found) in out.iter().enumerate() {
        let thread = (i % threads) as u32;
        let seen = if (32..64).contains(&thread) {
            3 * (thread - 32)
        } else {
            0
        };
        assert_eq!(found, seen + 1000 + 4000, "thread {thread}");
    }
}

pub fn shared_names(context: &Arc<CudaContext>) {
    use cudarc::driver::sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES as BYTES;
    let stream = context.default_stream();
    let kernel = function(context, SIMPLE, "shared_names");
    assert_eq!(kernel.get_attribute(BYTES).expect("known"), 3 * 128);
    let mut out = unsafe { stream.alloc::<f32>(32) }.expect("memory");
    unsafe {
        stream
            .launch_builder(&kernel)
            .arg(&mut out)
            .launch(config(1, 32))
    }
    .expect("a launch");
    for (i, found) in stream.clone_dtoh(&out).expect("a copy").iter().enumerate() {
        assert_eq!(*found, 200.5 + 2.0 * i as f32, "thread {i}");
    }
}

pub fn atomics(context: &Arc<CudaContext>) {
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

pub fn shared_atomics(context: &Arc<CudaContext>) {
    let stream = context.default_stream();
    let kernel = function(context, SIMPLE, "histogram");
    let mut out = stream.alloc_zeros::<u32>(8).expect("memory");
    unsafe {
        stream
            .launch_builder(&kernel)
            .arg(&mut out)
            .launch(config(1, 256))
    }
    .expect("a launch");
    let found = stream.clone_dtoh(&out).expect("a copy");
    assert_eq!(found[..7], [32; 7]);
    assert!((100..=132).contains(&found[7]), "{}", found[7]);
}

pub fn elementwise_speed(context: &Arc<CudaContext>) {
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
    assert_eq!(found.global_written as usize, 4 * n);
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Options {
    flag: u8,
    factor: f32,
    size: [i32; 2],
}

// SAFETY: plain numbers in the layout of the kernel's structure.
unsafe impl DeviceRepr for Options {}

pub fn language(context: &Arc<CudaContext>) {
    let stream = context.default_stream();
    let kernel = function(context, LANGUAGE, "language");
    let words: Vec<u32> = (0..256).collect();
    let words = stream.clone_htod(&words).expect("a copy");
    let mut out = unsafe { stream.alloc::<f32>(64) }.expect("memory");
    let options = Options {
        flag: 1,
        factor: 0.5,
        size: [40, 1],
    };
    let mut launch = stream.launch_builder(&kernel);
    launch.arg(&mut out).arg(&words).arg(&options).arg(&64u64);
    let geometry = LaunchConfig {
        shared_mem_bytes: 160,
        ..config(1, 64)
    };
    unsafe { launch.launch(geometry) }.expect("a launch");
    for (i, found) in stream
        .clone_dtoh(&out)
        .expect("a copy")
        .into_iter()
        .enumerate()
    {
        let j = i % 40 % 4;
        let scratch = [1, 2, 4, 8][j] + [3, 1, 2, 0][j] + [5, 6, 7, 8][j];
        let other = 3 * ((i + 32) % 64);
        let expected = other as f32
            + 0.5 * scratch as f32
            + (4 * i as u32).count_ones() as f32
            + (4 * i + 3) as f32
            + 64.0;
        assert_eq!(found, expected, "thread {i}");
    }
}

/// Cycles and sectors of accesses that can be counted by hand.
pub fn access_costs(context: &Arc<CudaContext>) {
    let stream = context.default_stream();
    let mut out = stream.alloc_zeros::<f32>(32).expect("memory");
    let x = stream.clone_htod(&noise(256, 1)).expect("a copy");
    reset_counters();
    let shared = function(context, ACCESSES, "shared_patterns");
    let global = function(context, ACCESSES, "global_patterns");
    unsafe {
        stream
            .launch_builder(&shared)
            .arg(&mut out)
            .launch(config(1, 32))
            .expect("a launch");
        stream
            .launch_builder(&global)
            .arg(&mut out)
            .arg(&x)
            .launch(config(1, 32))
            .expect("a launch");
    }
    stream.synchronize().expect("nothing fails");
    assert_eq!(
        counters("shared_patterns").shared_bank_conflicts,
        31 + 31 + 1
    );
    let found = counters("global_patterns");
    assert_eq!(
        (found.global_sectors, found.global_sectors_least),
        (32 + 4, 4 + 4)
    );
}

pub fn groups_of_lanes(context: &Arc<CudaContext>) {
    let stream = context.default_stream();
    let run = |name: &str, count: usize| {
        let mut out = stream.alloc_zeros::<f32>(count).expect("memory");
        let kernel = function(context, ACCESSES, name);
        unsafe {
            stream
                .launch_builder(&kernel)
                .arg(&mut out)
                .launch(config(1, 32))
        }
        .expect("a launch");
        stream.clone_dtoh(&out).expect("a copy")
    };
    let expected: Vec<f32> = (0..24).rev().map(|i| i as f32).collect();
    assert_eq!(run("some_returned", 24), expected);
    let expected: Vec<f32> = (0..32).map(|i| ((i ^ 1) + 100 * (i ^ 3)) as f32).collect();
    assert_eq!(run("small_groups", 32), expected);
}

pub fn shared_bytes(context: &Arc<CudaContext>) {
    let stream = context.default_stream();
    let mut out = stream.alloc_zeros::<u32>(64).expect("memory");
    let kernel = function(context, ACCESSES, "shared_bytes");
    unsafe {
        stream
            .launch_builder(&kernel)
            .arg(&mut out)
            .launch(config(1, 64))
    }
    .expect("a launch");
    for (i, found) in (0..).zip(stream.clone_dtoh(&out).expect("a copy")) {
        let two = (i & !1) | (i | 1) << 8;
        assert_eq!(found, i + 200 + 1000 * two, "thread {i}");
    }
}

pub fn some_exit(context: &Arc<CudaContext>) {
    let stream = context.default_stream();
    let mut out = stream.alloc_zeros::<u32>(64).expect("memory");
    let kernel = function(context, ACCESSES, "some_exit");
    unsafe {
        stream
            .launch_builder(&kernel)
            .arg(&mut out)
            .launch(config(1, 32))
    }
    .expect("a launch");
    let mut expected = [0xAAAA_AAA2u32; 32];
    expected[3] = 0;
    assert_eq!(stream.clone_dtoh(&out).expect("a copy")[..32], expected);
}

/// A value that was loaded too early and is not used is no fault.
pub fn speculation(context: &Arc<CudaContext>) {
    let stream = context.default_stream();
    let x = noise(32, 2);
    let device = stream.clone_htod(&x).expect("a copy");
    for name in ["speculated", "decided"] {
        let mut out = unsafe { stream.alloc::<f32>(32) }.expect("memory");
        let kernel = function(context, ACCESSES, name);
        unsafe {
            stream
                .launch_builder(&kernel)
                .arg(&mut out)
                .arg(&device)
                .launch(config(1, 32))
        }
        .expect("a launch");
        assert_eq!(stream.clone_dtoh(&out).expect("a copy"), x, "{name}");
    }
}
