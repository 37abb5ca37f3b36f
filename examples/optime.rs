#[repr(C)]
struct Ts {
    s: i64,
    n: i64,
}
unsafe extern "C" {
    fn clock_gettime(c: i32, t: *mut Ts) -> i32;
}
fn now() -> f64 {
    let mut t = Ts { s: 0, n: 0 };
    unsafe { clock_gettime(2, &mut t) };
    t.s as f64 + t.n as f64 * 1e-9
}
use vitcuda::ops::{
    attention::{self, Qkv},
    gemm::Accumulate,
    layer_norm::{self, Residual},
    linear::{self, Epilogue, Through},
};
fn t(name: &str, gflop: f64, mut f: impl FnMut()) {
    f();
    let mut b = 1e9f64;
    for _ in 0..7 {
        let s = now();
        f();
        b = b.min((now() - s));
    }
    println!(
        "{name:28} {:8.3} ms  {:7.1} GFLOP/s",
        b * 1e3,
        gflop / b / 1e9
    );
}
fn main() {
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build_global()
        .unwrap();
    micro();
    let n = 2056;
    let (c, f) = (384usize, 1536usize);
    let v = |l: usize| {
        (0..l)
            .map(|i| ((i * 7919) % 1000) as f32 / 500.0 - 1.0)
            .collect::<Vec<f32>>()
    };
    let (x, w3, b3) = (v(n * c), v(3 * c * c), v(3 * c));
    let (wf, bf) = (v(c * f), v(f));
    let bc = v(c);
    let wc = v(c * c);
    let mut q = v(n * 3 * c);
    let mut h = v(n * f);
    let mut g = v(n * f);
    let mut y = v(n * c);
    let mut y2 = v(n * c);
    let r = v(n * c);
    let fl = |i: usize, o: usize| 2.0 * (n * i * o) as f64;
    let s = |i, o| linear::Shape {
        rows: n,
        inputs: i,
        outputs: o,
    };
    t("qkv fwd", fl(c, 3 * c), || {
        linear::forward(&mut q, Epilogue::Bias, &x, &w3, &b3, s(c, 3 * c))
    });
    t("proj fwd", fl(c, c), || {
        linear::forward(&mut y, Epilogue::Residual(&r), &x, &wc, &bc, s(c, c))
    });
    t("fc1 fwd", fl(c, f), || {
        linear::forward(
            &mut g,
            Epilogue::Gelu {
                preactivation: &mut h,
            },
            &x,
            &wf,
            &bf,
            s(c, f),
        )
    });
    t("fc2 fwd", fl(c, f), || {
        linear::forward(&mut y, Epilogue::Residual(&r), &g, &wf, &bc, s(f, c))
    });
    let mut dg = v(n * f);
    let mut dq = v(n * 3 * c);
    let mut dw = v(c * f);
    let mut db = v(f);
    t("fc2 dx gelu", fl(c, f), || {
        linear::backward_input(
            &mut dg,
            &y,
            &wf,
            Through::Gelu { preactivation: &h },
            s(f, c),
        )
    });
    t("fc2 dw", fl(c, f), || {
        linear::backward_weight(
            &mut dw,
            &mut db[..c],
            &y,
            &g,
            Accumulate::Overwrite,
            s(f, c),
        )
    });
    t("fc1 dx", fl(c, f), || {
        linear::backward_input(&mut y, &dg, &wf, Through::Nothing, s(c, f))
    });
    t("fc1 dw", fl(c, f), || {
        linear::backward_weight(&mut dw, &mut db, &dg, &x, Accumulate::Overwrite, s(c, f))
    });
    t("proj dx", fl(c, c), || {
        linear::backward_input(&mut y2, &y, &wc, Through::Nothing, s(c, c))
    });
    t("proj dw", fl(c, c), || {
        linear::backward_weight(
            &mut dw[..c * c],
            &mut db[..c],
            &y,
            &x,
            Accumulate::Overwrite,
            s(c, c),
        )
    });
    t("qkv dx", fl(c, 3 * c), || {
        linear::backward_input(&mut y, &dq, &w3, Through::Nothing, s(c, 3 * c))
    });
    t("qkv dw", fl(c, 3 * c), || {
        linear::backward_weight(
            &mut dw[..3 * c * c],
            &mut db[..3 * c],
            &dq,
            &x,
            Accumulate::Overwrite,
            s(c, 3 * c),
        )
    });
    let sh = attention::Shape {
        images: 8,
        tokens: 257,
        heads: 6,
        head_size: 64,
    };
    let mut lse = vec![0f32; n * 6];
    let af = 4.0 * 8.0 * 6.0 * 257.0 * 257.0 * 64.0;
    t("attention fwd", af, || {
        attention::forward(&mut y, &mut lse, Qkv::Packed(&q), sh)
    });
    t("attention bwd", 2.5 * af, || {
        attention::backward(Qkv::Packed(&mut dq), &x, &y, &lse, Qkv::Packed(&q), sh)
    });
    let (mut m, mut rs) = (vec![0f32; n], vec![0f32; n]);
    t("norm fwd", 0.0, || {
        layer_norm::forward(&mut y, &mut m, &mut rs, &x, &bc, &bc, 1e-6)
    });
    t("norm bwd", 0.0, || {
        layer_norm::backward(
            &mut y2,
            &mut dw[..c],
            &mut db[..c],
            &y,
            &x,
            &bc,
            &m,
            &rs,
            Residual::Add,
            Accumulate::Overwrite,
        )
    });
}
#[allow(dead_code)]
fn micro() {
    use vitcuda::ops::real::{Real, simd};
    let h: Vec<f32> = (0..16384)
        .map(|i| (i % 1000) as f32 / 200.0 - 2.5)
        .collect();
    let mut y = h.clone();
    for (name, k) in [("gelu", 0), ("exp", 1), ("copy", 2)] {
        let s = now();
        for _ in 0..1000 {
            match k {
                0 => simd(
                    #[inline(always)]
                    || {
                        for (y, &h) in y.iter_mut().zip(h.iter()) {
                            *y = h * h.fast_normal().0;
                        }
                    },
                ),
                1 => simd(
                    #[inline(always)]
                    || {
                        for (y, &h) in y.iter_mut().zip(h.iter()) {
                            *y = h.fast_exp();
                        }
                    },
                ),
                _ => y.copy_from_slice(&h),
            }
            std::hint::black_box(&mut y);
        }
        println!(
            "{name}: {:.3} ns/element",
            (now() - s) * 1e9 / 1000.0 / 16384.0
        );
    }
}
