//! What instructions make of numbers, as "Parallel Thread Execution ISA" documents it.

use std::cmp::Ordering;
use std::sync::Arc;

use cudarc::driver::{CudaContext, DeviceRepr, PushKernelArg};

use crate::common::function;
use crate::config;

const NUMBERS: &str = include_str!("../kernels/numbers.cu");

/// Runs `name(out, x, y)` with a thread for each pair.
fn run<T: DeviceRepr>(context: &Arc<CudaContext>, name: &str, x: &[T], y: &[T]) -> Vec<u32> {
    let stream = context.default_stream();
    let kernel = function(context, NUMBERS, name);
    let mut out = stream.alloc_zeros::<u32>(x.len()).expect("memory");
    let x_device = stream.clone_htod(x).expect("a copy");
    let y_device = stream.clone_htod(y).expect("a copy");
    unsafe {
        stream
            .launch_builder(&kernel)
            .arg(&mut out)
            .arg(&x_device)
            .arg(&y_device)
            .launch(config(1, x.len() as u32))
    }
    .expect("a launch");
    stream.clone_dtoh(&out).expect("a copy")
}

/// The comparisons that hold, in the order of the kernels.
fn holding(order: Option<Ordering>, is_float: bool, is_unsigned: bool) -> u32 {
    use Ordering::{Equal, Greater, Less};
    let among = |orders: &[Ordering]| order.is_some_and(|order| orders.contains(&order));
    let ordered = [
        among(&[Equal]),
        among(&[Less, Greater]),
        among(&[Less]),
        among(&[Less, Equal]),
        among(&[Greater]),
        among(&[Greater, Equal]),
    ];
    let mut all = ordered.to_vec();
    if is_unsigned {
        all.extend(&ordered[2..]);
    }
    if is_float {
        all.extend(ordered.map(|holds| holds || order.is_none()));
        all.extend([order.is_some(), order.is_none()]);
    }
    let bits = all.iter().enumerate();
    bits.fold(0, |bits, (i, &holds)| bits | u32::from(holds) << i)
}

/// Every comparison of every pair of `values`.
fn compare<T: DeviceRepr + PartialOrd + Copy + std::fmt::Debug>(
    context: &Arc<CudaContext>,
    kind: &str,
    values: &[T],
) {
    let pairs = values
        .iter()
        .flat_map(|&x| values.iter().map(move |&y| (x, y)));
    let (x, y): (Vec<T>, Vec<T>) = pairs.unzip();
    let found = run(context, &format!("compare_{kind}"), &x, &y);
    for ((x, y), found) in x.iter().zip(&y).zip(found) {
        let order = x.partial_cmp(y);
        let expected = holding(order, kind.starts_with('f'), kind.starts_with('u'));
        assert_eq!(
            found, expected,
            "{kind}: {x:?} and {y:?}, {found:#b} is not {expected:#b}"
        );
    }
}

pub fn comparisons(context: &Arc<CudaContext>) {
    compare(
        context,
        "f32",
        &[-1.0f32, -0.0, 0.0, f32::INFINITY, f32::NAN, -f32::NAN],
    );
    compare(
        context,
        "f64",
        &[-1.0f64, -0.0, 0.0, f64::INFINITY, f64::NAN, -f64::NAN],
    );
    compare(context, "s16", &[i16::MIN, -1, 0, 1]);
    compare(context, "u16", &[0, 1, u16::MAX]);
    compare(context, "s32", &[i32::MIN, -1, 0, 1]);
    compare(context, "u32", &[0, 1, u32::MAX]);
    compare(context, "s64", &[i64::MIN, -1, 0, 1]);
    compare(context, "u64", &[0, 1, u64::MAX]);
}

pub fn sixteen_bits(context: &Arc<CudaContext>) {
    let stream = context.default_stream();
    let kernel = function(context, NUMBERS, "sixteen_bits");
    let x = stream.clone_htod(&[0x80u8, 0x80]).expect("a copy");
    let mut out = stream.alloc_zeros::<u32>(16).expect("memory");
    unsafe {
        stream
            .launch_builder(&kernel)
            .arg(&mut out)
            .arg(&x)
            .launch(config(1, 1))
    }
    .expect("a launch");
    let expected = [
        0xFFFE,
        0xFFF,
        0xFF,
        0xFFFF,
        0xFFFC,
        0xFFF,
        0xFF8,
        0x8080,
        3 * 0xFFFF,
        0xFFFF_FF80,
        0xFFFF_8080,
        0x2345,
        (0x2345 as f32).to_bits(),
        (0x23 as f32).to_bits(),
        1,
        1,
    ];
    assert_eq!(stream.clone_dtoh(&out).expect("a copy"), expected);
}

pub fn to_integers(context: &Arc<CudaContext>) {
    let stream = context.default_stream();
    let kernel = function(context, NUMBERS, "to_integers");
    let run = |x: f32| {
        let mut out = stream.alloc_zeros::<u64>(8).expect("memory");
        unsafe {
            stream
                .launch_builder(&kernel)
                .arg(&mut out)
                .arg(&x)
                .launch(config(1, 1))
        }
        .expect("a launch");
        stream.clone_dtoh(&out).expect("a copy")
    };
    let minus = |x: i32| u64::from(x as u32);
    let wide_minus = -2i64 as u64;
    assert_eq!(
        run(-2.75),
        [
            minus(-2),
            minus(-3),
            minus(-3),
            minus(-2),
            0,
            wide_minus,
            0,
            minus(-2)
        ]
    );
    let (most, wide_most) = (i32::MAX as u64, i64::MAX as u64);
    let all = u64::from(u32::MAX);
    assert_eq!(
        run(f32::INFINITY),
        [most, most, most, most, all, wide_most, u64::MAX, most]
    );
    assert_eq!(run(f32::NAN), [0, 0, 0, 0, 0, 1 << 63, 1 << 63, 1 << 31]);
}

/// Of subnormal numbers, and where a result is infinite: without `.ftz`, and with it.
pub fn approximations(context: &Arc<CudaContext>) {
    let stream = context.default_stream();
    let kernel = function(context, NUMBERS, "approximations");
    let infinity = f32::INFINITY;
    let cases = [
        (
            1e-38,
            [
                1.0,
                1.0,
                1e38,
                infinity,
                1e-19,
                0.0,
                1e19,
                infinity,
                -126.233_27,
                -infinity,
            ],
        ),
        (
            3e38,
            [
                infinity,
                infinity,
                3.333_333e-39,
                0.0,
                1.732_050_8e19,
                1.732_050_8e19,
                5.773_503e-20,
                5.773_503e-20,
                127.818_23,
                127.818_23,
            ],
        ),
        (
            -130.0,
            [
                7.346_84e-40,
                0.0,
                -1.0 / 130.0,
                -1.0 / 130.0,
                f32::NAN,
                f32::NAN,
                f32::NAN,
                f32::NAN,
                f32::NAN,
                f32::NAN,
            ],
        ),
        (
            0.0,
            [
                1.0, 1.0, infinity, infinity, 0.0, 0.0, infinity, infinity, -infinity, -infinity,
            ],
        ),
        (
            infinity,
            [
                infinity, infinity, 0.0, 0.0, infinity, infinity, 0.0, 0.0, infinity, infinity,
            ],
        ),
    ];
    for (x, expected) in cases {
        let mut out = stream.alloc_zeros::<f32>(10).expect("memory");
        unsafe {
            stream
                .launch_builder(&kernel)
                .arg(&mut out)
                .arg(&x)
                .launch(config(1, 1))
        }
        .expect("a launch");
        let found = stream.clone_dtoh(&out).expect("a copy");
        for (i, (found, expected)) in found.into_iter().zip(expected).enumerate() {
            // Of the documented bounds 2^-22 is the widest; of subnormal numbers few bits are left.
            let same = found == expected || (found.is_nan() && expected.is_nan());
            let close = (found - expected).abs() <= 1e-6 * expected.abs() + f32::from_bits(1);
            assert!(
                same || close,
                "result {i} of {x:e}: {found:e} is not {expected:e}"
            );
        }
    }
}
