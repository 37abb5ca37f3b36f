//! The primitives of mma.cuh, each against its definition.

use std::sync::Arc;

use cudarc::driver::{CudaContext, PushKernelArg};
use half::f16;

use crate::common::{function, function_with, noise};
use crate::config;
use crate::element::{Element, assert_close, upload};

const PRIMITIVES: &str = include_str!("../kernels/primitives.cu");

pub fn ldmatrix_layouts(context: &Arc<CudaContext>) {
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
                let expected = if transposed {
                    at(t, g) | at(t + 1, g) << 16
                } else {
                    at(g, t) | at(g, t + 1) << 16
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

pub fn mma_k8(context: &Arc<CudaContext>) {
    mma::<f16>(context, "multiply_k8", 8);
}

pub fn mma_k16<T: Element>(context: &Arc<CudaContext>) {
    mma::<T>(context, "multiply_k16", 16);
}

pub fn mma<T: Element>(context: &Arc<CudaContext>, name: &str, depth: usize) {
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

pub fn copies(context: &Arc<CudaContext>) {
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

pub fn three_words(context: &Arc<CudaContext>) {
    let stream = context.default_stream();
    let kernel = function(context, PRIMITIVES, "copy_three_words");
    let x = noise(256, 5);
    let mut device = stream.clone_htod(&x).expect("a copy");
    unsafe {
        stream
            .launch_builder(&kernel)
            .arg(&mut device)
            .launch(config(1, 64))
    }
    .expect("a launch");
    let found = stream.clone_dtoh(&device).expect("a copy");
    for (i, (found, x)) in found.iter().zip(x).enumerate() {
        assert_eq!(*found, if i % 4 < 3 { 2.0 * x } else { 0.0 }, "word {i}");
    }
}

pub fn conversions<T: Element>(context: &Arc<CudaContext>) {
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
