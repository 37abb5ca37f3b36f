use vitcuda::ops::{gemm::Accumulate, linear};
fn main() {
    let n = 2056;
    let (c, f) = (384usize, 1536usize);
    let v = |l: usize| {
        (0..l)
            .map(|i| ((i * 7919) % 1000) as f32 / 500.0 - 1.0)
            .collect::<Vec<f32>>()
    };
    let (y, g) = (v(n * c), v(n * f));
    let mut dw = v(c * f);
    let mut db = v(c);
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build_global()
        .unwrap();
    for _ in 0..200 {
        linear::backward_weight(
            &mut dw,
            &mut db,
            &y,
            &g,
            Accumulate::Overwrite,
            linear::Shape {
                rows: n,
                inputs: f,
                outputs: c,
            },
        );
    }
}
