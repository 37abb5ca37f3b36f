//! Decode and resize, images a second on one core: `cargo bench --bench data [-- --json]`.
//!
//! The photos are those of `cats_vs_dogs` in `VITCUDA_SHARED` (default: `shared` beside the
//! project); where there are none, made-up pictures stand in, and the output says so.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use vitcuda::data::decode::decode;
use vitcuda::data::folder::read_images;
use vitcuda::data::{Preprocessor, Rgb};

/// Each row is measured this often; the median counts.
const ROUNDS: usize = 5;

fn main() {
    let json = std::env::args().any(|argument| argument == "--json");
    let shared = std::env::var_os("VITCUDA_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"),
        PathBuf::from,
    );
    let (files, what) = match read_images(&shared.join("data/cats_vs_dogs/train")) {
        Ok((paths, _)) => (
            paths
                .iter()
                .map(|p| std::fs::read(p).expect("a readable photo"))
                .collect(),
            "photos of cats_vs_dogs",
        ),
        Err(_) => (made_up(200), "made-up JPEGs"),
    };
    let images: Vec<Rgb> = files
        .iter()
        .map(|f| decode(f).expect("a whole photo"))
        .collect();
    let pixels = images.iter().map(|i| i.width * i.height).sum::<usize>() / images.len();
    let preprocessor = Preprocessor::new(224);
    let rows = [
        (
            "decode",
            measure(|| files.iter().map(|f| decode(f).unwrap().width).sum()),
        ),
        (
            "resize to 224",
            measure(|| images.iter().map(|i| preprocessor.apply(i).len()).sum()),
        ),
        (
            "decode + resize to 224",
            measure(|| {
                let applied = files
                    .iter()
                    .map(|f| preprocessor.apply(&decode(f).unwrap()));
                applied.map(|planes| planes.len()).sum()
            }),
        ),
    ];
    if !json {
        println!(
            "{} {what}, {pixels} pixels on average, 1 thread",
            files.len()
        );
        println!("{:<24} {:>10} {:>10}", "what", "images/s", "ms");
    }
    for (name, time) in rows {
        let ms = 1e3 * time.as_secs_f64() / files.len() as f64;
        if json {
            println!(
                "{}",
                serde_json::json!({
                    "what": name, "data": what, "images": files.len(), "threads": 1,
                    "images_per_s": 1e3 / ms, "ms": ms,
                })
            )
        } else {
            println!("{name:<24} {:>10.0} {ms:>10.3}", 1e3 / ms)
        }
    }
}

/// Median time of a pass over all images, after one to warm up.
fn measure(pass: impl Fn() -> usize) -> Duration {
    std::hint::black_box(pass());
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            std::hint::black_box(pass());
            start.elapsed()
        })
        .collect();
    times.sort();
    times[ROUNDS / 2]
}

/// Soft coloured waves of photos' sizes.
fn made_up(count: usize) -> Vec<Vec<u8>> {
    let picture = |n: usize| {
        let (width, height) = (300 + 7 * (n % 30), 250 + 11 * (n % 20));
        let wave = |x: usize, y: usize, c: usize| {
            let phase = (x * (n % 7 + 1)) as f64 / 40.0 + (y * (c + 1)) as f64 / 60.0;
            (127.5 + 100.0 * phase.sin() + ((x * y * 31) % 29) as f64) as u8
        };
        let pixels: Vec<u8> = (0..height)
            .flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |c| wave(x, y, c))))
            .collect();
        let mut file = Vec::new();
        image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, 90)
            .encode(
                &pixels,
                width as u32,
                height as u32,
                image::ExtendedColorType::Rgb8,
            )
            .expect("an encoder");
        file
    };
    (0..count).map(picture).collect()
}
