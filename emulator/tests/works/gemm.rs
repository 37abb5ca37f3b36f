//! A whole GEMM: numbers, counters, speed.

use std::sync::Arc;

use cudarc::driver::{
    CudaContext, CudaFunction, CudaSlice, CudaStream, LaunchConfig, PushKernelArg,
};
use half::{bf16, f16};

use crate::common::{self, counters, function, function_with, noise, reset_counters};
use crate::element::{Element, assert_close, upload};

const GEMM: &str = include_str!("../kernels/gemm.cu");

pub fn gemm_f16(context: &Arc<CudaContext>) {
    gemm::<f16>(context, 100, 72, 88);
}

pub fn gemm_bf16(context: &Arc<CudaContext>) {
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
    kernel: &CudaFunction,
    a: &[T],
    b: &[T],
    shape: (usize, usize, usize),
) -> Vec<f32> {
    let stream = context.default_stream();
    let (a, b) = (upload(&stream, a), upload(&stream, b));
    let mut c = unsafe { stream.alloc::<f32>(shape.0 * shape.1) }.expect("memory");
    launch_gemm(&stream, kernel, &mut c, (&a, &b), shape);
    stream.clone_dtoh(&c).expect("a copy")
}

fn launch_gemm(
    stream: &Arc<CudaStream>,
    kernel: &CudaFunction,
    c: &mut CudaSlice<f32>,
    (a, b): (&CudaSlice<u16>, &CudaSlice<u16>),
    (m, n, k): (usize, usize, usize),
) {
    let geometry = LaunchConfig {
        grid_dim: (n.div_ceil(64) as u32, m.div_ceil(64) as u32, 1),
        block_dim: (128, 1, 1),
        shared_mem_bytes: 2 * 2 * 64 * 32 * 2,
    };
    let (m, n, k) = (m as i32, n as i32, k as i32);
    unsafe {
        stream
            .launch_builder(kernel)
            .arg(c)
            .arg(a)
            .arg(b)
            .arg(&m)
            .arg(&n)
            .arg(&k)
            .launch(geometry)
    }
    .expect("a launch");
}

pub fn gemm_counters(context: &Arc<CudaContext>) {
    let kernel = function(context, GEMM, "gemm");
    let (m, n, k) = (128, 128, 64);
    let (a, b) = (vec![f16::ONE; m * k], vec![f16::ONE; n * k]);
    // More than once: two CPU threads that read a byte at the same moment used to count it twice.
    for _ in 0..20 {
        reset_counters();
        count_gemm(context, &kernel, &a, &b, (m, n, k));
    }
}

fn count_gemm(
    context: &Arc<CudaContext>,
    kernel: &CudaFunction,
    a: &[f16],
    b: &[f16],
    (m, n, k): (usize, usize, usize),
) {
    run_gemm(context, kernel, a, b, (m, n, k));
    let found = counters("gemm");
    assert_eq!(found.launches, 1);
    assert_eq!(found.mma_flops as usize, 2 * m * n * k);
    assert_eq!(found.ldmatrix_bank_conflicts, 0, "the tiles are swizzled");
    assert_eq!(found.cp_async_bank_conflicts, 0, "the tiles are swizzled");
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

pub fn gemm_speed(context: &Arc<CudaContext>) {
    let kernel = function(context, GEMM, "gemm");
    let (m, n, k) = (256, 256, 512);
    let half = |seed| {
        noise(m * k, seed)
            .into_iter()
            .map(f16::from_f32)
            .collect::<Vec<_>>()
    };
    let stream = context.default_stream();
    let (a, b) = (upload(&stream, &half(1)), upload(&stream, &half(2)));
    let mut c = unsafe { stream.alloc::<f32>(m * n) }.expect("memory");
    // The first launches start threads and touch fresh pages.
    for measured in [false, true] {
        reset_counters();
        for _ in 0..10 {
            launch_gemm(&stream, &kernel, &mut c, (&a, &b), (m, n, k));
        }
        stream.synchronize().expect("ten launches");
        if measured {
            print_speed(&format!("gemm {m}×{n}×{k} f16"), &counters("gemm"));
        }
    }
}

fn print_speed(name: &str, found: &common::Counters) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let nanoseconds = found.nanoseconds as f64;
    println!(
        "{name}: {:.2} GFLOP/s, {:.1} million warp instructions a second and core",
        found.mma_flops as f64 / nanoseconds,
        found.warp_instructions as f64 / nanoseconds * 1e3 / threads
    );
}
