//! Random crops and flips: the distribution, the pixels, and what they may depend on.

use approx::assert_abs_diff_eq;
use libtest_mimic::Trial;
use vitcuda::data::augment::{Augmentation, Facing, View};
use vitcuda::data::preprocess::Size;
use vitcuda::data::resize::{Axis, Filter, resize};
use vitcuda::data::{Batch, Loader, LoaderOptions, Preprocessor, Rgb};
use vitcuda::rng::randperm;

use crate::loader::{SIDE, all, dataset, folder, options};
use crate::pictures::noise;
use crate::plain;

pub fn trials() -> Vec<Trial> {
    vec![
        plain("areas and ratios of crops are uniform", distribution),
        plain("crops fall anywhere, half of them mirrored", places),
        plain("where no crop fits the middle is taken", middle),
        plain("a view is the crop, resized, mirrored", pixels),
        plain(
            "augmentation knows neither threads, batches, memory nor order",
            independent,
        ),
        plain("epochs, images and seeds have views of their own", distinct),
        plain("a pass goes on in its middle with the same images", goes_on),
    ]
}

const DRAWS: u64 = 20_000;

fn views(width: usize, height: usize) -> impl Iterator<Item = View> {
    (0..DRAWS).map(move |n| View::draw(42, n / 100, (n % 100) as usize, width, height))
}

/// Largest distance between the distribution of `values` and the uniform one on `low` to `high`
/// (Kolmogorov and Smirnov), times √n. Above 1.95 once in a thousand times.
fn not_uniform(mut values: Vec<f64>, (low, high): (f64, f64)) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let distance = |(i, value): (usize, &f64)| {
        let uniform = (value - low) / (high - low);
        (uniform - i as f64 / n).max((i + 1) as f64 / n - uniform)
    };
    let distances = values.iter().enumerate().map(distance);
    distances.fold(0.0, f64::max) * n.sqrt()
}

/// In a square of 100,000 pixels a side, rounding is nothing; a crop of ratio r fits if its area is
/// at most min(r, 1/r). Below 3/4 each does, so there areas and ratios are as they were drawn.
fn distribution() {
    let side = 100_000;
    let drawn: Vec<(f64, f64)> = views(side, side)
        .map(|v| {
            let (w, h) = (v.width as f64, v.height as f64);
            (w * h / (side * side) as f64, (w / h).ln())
        })
        .collect();
    let bound = (4.0_f64 / 3.0).ln();
    for &(area, ln_ratio) in &drawn {
        assert!((0.08 - 1e-4..=1.0).contains(&area), "{area}");
        assert!(ln_ratio.abs() <= bound + 1e-4, "{ln_ratio}");
    }
    let fitting: Vec<_> = drawn.iter().filter(|(area, _)| *area < 0.75).collect();
    let areas = fitting.iter().map(|d| d.0).collect();
    assert!(not_uniform(areas, (0.08, 0.75)) < 1.95);
    let ratios = fitting.iter().map(|d| d.1).collect();
    assert!(not_uniform(ratios, (-bound, bound)) < 1.95);
    // At area a > 3/4 those with |ln r| ≤ −ln a fit, so below 3/4 and above it there are
    // 0.67 · 2 ln 4/3 and ∫ −2 ln a da = 2 (1/4 + 3/4 ln 3/4) parts.
    let (below, above) = (0.67 * bound, 0.25 - 0.75 * bound);
    let wanted = below / (below + above);
    let deviation = (wanted * (1.0 - wanted) / DRAWS as f64).sqrt();
    let found = fitting.len() as f64 / DRAWS as f64;
    assert_abs_diff_eq!(found, wanted, epsilon = 4.0 * deviation);
}

/// Places are uniform in the room there is, sides a fair coin.
fn places() {
    let side = 100_000;
    let share = |start: usize, of: usize| start as f64 / (side - of) as f64;
    let drawn: Vec<View> = views(side, side).collect();
    let lefts = drawn.iter().map(|v| share(v.left, v.width)).collect();
    assert!(not_uniform(lefts, (0.0, 1.0)) < 1.95);
    let tops = drawn.iter().map(|v| share(v.top, v.height)).collect();
    assert!(not_uniform(tops, (0.0, 1.0)) < 1.95);
    let mirrored = drawn.iter().filter(|v| v.facing == Facing::Mirrored);
    // Standard deviation of 70 in 20,000.
    assert!(mirrored.count().abs_diff(10_000) < 4 * 71);
    // In a small picture every place comes up, the last ones too.
    let small: Vec<View> = views(7, 5).collect();
    assert!(
        small
            .iter()
            .all(|v| v.left + v.width <= 7 && v.top + v.height <= 5)
    );
    assert!(small.iter().any(|v| v.left + v.width == 7 && v.left > 0));
    assert!(small.iter().any(|v| v.top + v.height == 5 && v.top > 0));
}

/// By hand from torchvision's fallback: the largest part in the middle within the ratios.
fn middle() {
    let view = |width, height| View {
        facing: Facing::AsTaken,
        ..View::draw(42, 0, 0, width, height)
    };
    let part = |top, left, height, width| View {
        top,
        left,
        height,
        width,
        facing: Facing::AsTaken,
    };
    // Of a strip, 8 % are already higher than it is; 13.33 and 2.67 are rounded.
    assert_eq!(view(1000, 10), part(0, 493, 10, 13));
    assert_eq!(view(2, 1000), part(498, 0, 3, 2));
    assert_eq!(view(1, 1), part(0, 0, 1, 1));
}

fn pixels() {
    let picture = noise(37, 23);
    let size = Size {
        height: 12,
        width: 9,
    };
    for (n, filter) in [Filter::Bilinear, Filter::Bicubic].into_iter().enumerate() {
        let view = View::draw(1, 0, n, 37, 23);
        let inside = |y: usize| {
            let start = 3 * (y * 37 + view.left);
            picture.pixels[start..start + 3 * view.width].to_vec()
        };
        let rows = view.top..view.top + view.height;
        let crop = Rgb::new(view.width, view.height, rows.flat_map(inside).collect());
        let resized = resize(&crop, &Axis::whole(9), &Axis::whole(12), filter);
        let seen = |facing| View { facing, ..view }.of(&picture, size, filter);
        assert!(seen(Facing::AsTaken) == resized);
        let mirrored = seen(Facing::Mirrored);
        for (y, x) in (0..3 * 12).flat_map(|y| (0..9).map(move |x| (y, x))) {
            assert_eq!(mirrored[9 * y + x], resized[9 * y + 8 - x]);
        }
    }
}

const SEED: u64 = 42;

fn augmented(root: &tempfile::TempDir, cache_bytes: u64, threads: usize, seed: u64) -> Loader {
    let options = LoaderOptions {
        augmentation: Augmentation::CropFlip { seed },
        ..options(cache_bytes, threads)
    };
    let preprocessor = Preprocessor::new(SIDE);
    Loader::open(dataset(root), &preprocessor, &options, |_, _| {}).expect("good images")
}

/// The images of a pass, one behind the other.
fn images(batches: Vec<Batch>) -> Vec<u8> {
    batches.into_iter().flat_map(|batch| batch.images).collect()
}

fn independent() {
    let root = folder(30, &[4, 11, 29]);
    // The pictures hold 60 times 10 to 39 values.
    let sizes = (0..30).map(|i| {
        if [4, 11, 29].contains(&i) {
            0
        } else {
            60 * (10 + i)
        }
    });
    let whole: usize = sizes.sum();
    let reference = augmented(&root, whole as u64, 1, SEED);
    assert_eq!(reference.cached_bytes(), whole as u64);
    let said = reference.notices().join("\n");
    assert!(said.contains("MiB, full size, for random crops)"), "{said}");
    let order = |epoch| randperm(27, SEED + epoch);
    for epoch in 0..3 {
        let wanted = images(all(&reference, epoch, order(epoch), 4));
        assert_eq!(wanted.len(), 27 * 3 * SIDE * SIDE);
        for (cache_bytes, threads, batch_size) in
            [(0, 1, 4), (0, 2, 5), (10_000, 4, 1), (1 << 20, 2, 27)]
        {
            let other = augmented(&root, cache_bytes, threads, SEED);
            assert!(other.cached_bytes() <= cache_bytes);
            assert!(images(all(&other, epoch, order(epoch), batch_size)) == wanted);
        }
        // Another order, the same views.
        let image = 3 * SIDE * SIDE;
        let sorted = images(all(&reference, epoch, (0..27).collect(), 8));
        for (place, i) in order(epoch).into_iter().enumerate() {
            assert!(wanted[place * image..][..image] == sorted[i * image..][..image]);
        }
    }
}

fn distinct() {
    let root = folder(6, &[]);
    let loader = augmented(&root, 1 << 20, 2, SEED);
    let other = augmented(&root, 1 << 20, 2, SEED + 1);
    let pass = |loader: &Loader, epoch| images(all(loader, epoch, (0..6).collect(), 6));
    let first = pass(&loader, 0);
    assert!(first == pass(&loader, 0));
    assert!(first != pass(&loader, 1));
    assert!(first != pass(&other, 0));
    // The same picture under two numbers.
    let views: Vec<View> = (0..50).map(|i| View::draw(SEED, 0, i, 40, 40)).collect();
    assert!(views.windows(2).all(|pair| pair[0] != pair[1]));
    // Without augmentation nothing changes from epoch to epoch.
    let plain = crate::loader::loader(&root, &options(1 << 20, 2));
    assert!(pass(&plain, 0) == pass(&plain, 1));
}

/// As after a resume: the epoch's order without the images already seen.
fn goes_on() {
    let root = folder(20, &[]);
    let loader = augmented(&root, 4000, 2, SEED);
    let order = randperm(20, SEED + 1);
    let whole = all(&loader, 1, order.clone(), 4);
    let rest = all(&loader, 1, order[8..].to_vec(), 4);
    assert!(whole[2..] == rest[..]);
}
