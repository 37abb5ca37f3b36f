use std::path::Path;

use libtest_mimic::Trial;
use tempfile::TempDir;
use vitcuda::data::source::{Part, open_part};
use vitcuda::data::{
    Augmentation, BadImages, Batch, Dataset, Labelled, Loader, LoaderOptions, Preprocessor, Source,
    digits,
};
use vitcuda::rng::randperm;

use crate::pictures::{noise, png_of};
use crate::plain;

pub fn trials() -> Vec<Trial> {
    vec![
        plain("batches hold the ordered images", batches),
        plain("memory, budget and threads change no byte", same_bytes),
        plain("bad images are left out and listed", skipped),
        plain("bad images stop the run when they should", refused),
        plain("a set of bad images alone is an error", all_bad),
        plain(
            "an image that vanishes during the run is an error",
            vanished,
        ),
        plain("digits load like files", digit_batches),
    ]
}

pub const SIDE: usize = 12;

/// Two classes of noise, each picture another size; every one in `bad` is a text instead.
pub fn folder(count: usize, bad: &[usize]) -> TempDir {
    let root = tempfile::tempdir().expect("a folder");
    for i in 0..count {
        let class = root.path().join(if i < count / 2 { "a" } else { "b" });
        std::fs::create_dir_all(&class).expect("a folder");
        let file = if bad.contains(&i) {
            b"not an image".to_vec()
        } else {
            png_of(&noise(10 + i, 20))
        };
        std::fs::write(class.join(format!("{i:02}.png")), file).expect("a file");
    }
    root
}

pub fn dataset(root: &TempDir) -> Dataset {
    let source = Source::Folder(root.path().to_owned());
    let Labelled { dataset, .. } = open_part(&source, Part::Train).expect("a data folder");
    dataset
}

pub fn options(cache_bytes: u64, threads: usize) -> LoaderOptions {
    LoaderOptions {
        cache_bytes,
        threads,
        bad_images: BadImages::Skip,
        augmentation: Augmentation::None,
    }
}

pub fn loader(root: &TempDir, options: &LoaderOptions) -> Loader {
    let preprocessor = Preprocessor::new(SIDE);
    Loader::open(dataset(root), &preprocessor, options, |_, _| {}).expect("good images")
}

pub fn all(loader: &Loader, epoch: u64, order: Vec<usize>, batch_size: usize) -> Vec<Batch> {
    loader
        .epoch(epoch, order, batch_size)
        .map(|batch| batch.expect("good images"))
        .collect()
}

fn batches() {
    let root = folder(10, &[]);
    let mut told = Vec::new();
    let preprocessor = Preprocessor::new(SIDE);
    let progress = |done, of| told.push((done, of));
    let loader = Loader::open(
        dataset(&root),
        &preprocessor,
        &options(1 << 20, 2),
        progress,
    )
    .expect("good images");
    assert_eq!(told, (1..=10).map(|i| (i, 10)).collect::<Vec<_>>());
    let order = vec![7, 0, 3, 9, 2];
    let batches = all(&loader, 0, order.clone(), 2);
    assert_eq!(
        batches.iter().map(Batch::len).collect::<Vec<_>>(),
        [2, 2, 1]
    );
    let labels: Vec<u32> = batches.iter().flat_map(|b| b.labels.clone()).collect();
    assert_eq!(labels, [1, 0, 0, 1, 0]);
    let images: Vec<u8> = batches.into_iter().flat_map(|b| b.images).collect();
    for (found, i) in images.chunks_exact(3 * SIDE * SIDE).zip(order) {
        assert!(found == preprocessor.apply(&noise(10 + i, 20)), "image {i}");
    }
    assert_eq!(loader.in_order(4).count(), 3);
    assert!(loader.wait().as_nanos() > 0);
    assert_eq!(loader.cached_bytes(), (10 * 3 * SIDE * SIDE) as u64);
    assert_eq!(
        loader.notices(),
        ["10 decoded images are kept in memory (1 MiB)"]
    );
}

fn same_bytes() {
    let root = folder(30, &[4, 11, 29]);
    let image = (3 * SIDE * SIDE) as u64;
    let reference = loader(&root, &options(1 << 20, 1));
    let order = |epoch| randperm(27, 42 + epoch);
    let wanted = [
        all(&reference, 0, order(0), 4),
        all(&reference, 1, order(1), 4),
    ];
    for (cache_bytes, threads) in [(0, 1), (0, 3), (10 * image, 2), (13 * image, 4)] {
        let other = loader(&root, &options(cache_bytes, threads));
        assert!(other.cached_bytes() <= cache_bytes);
        assert_eq!(other.len(), 27);
        for (epoch, wanted) in wanted.iter().enumerate() {
            assert!(all(&other, epoch as u64, order(epoch as u64), 4) == *wanted);
        }
        let said = other.notices().join("\n");
        assert!(said.contains("are decoded again each epoch"), "{said}");
        // Asking for little of an epoch and leaving is fine.
        assert!(other.epoch(2, order(2), 4).next().is_some());
    }
}

fn skipped() {
    let root = folder(30, &(0..25).collect::<Vec<_>>());
    let loader = loader(&root, &options(1 << 20, 2));
    assert_eq!((loader.len(), loader.bad().len()), (5, 25));
    assert_eq!(loader.dataset().name(0), "b/25.png");
    assert_eq!(loader.bad()[0].name, "a/00.png");
    assert!(loader.bad()[0].reason.contains("not an image"));
    let notices = loader.notices();
    assert!(
        notices[0].starts_with("skipped 25 bad of 30 images:\n  a/00.png: not an image"),
        "{}",
        notices[0]
    );
    assert!(notices[0].ends_with("\n  and 5 more"), "{}", notices[0]);
    assert_eq!(notices[0].lines().count(), 22);
}

fn error(root: &TempDir, bad_images: BadImages) -> vitcuda::Error {
    let options = LoaderOptions {
        bad_images,
        ..options(1 << 20, 2)
    };
    let result = Loader::open(dataset(root), &Preprocessor::new(SIDE), &options, |_, _| {});
    result.err().expect("this should have failed")
}

fn refused() {
    let found = error(&folder(6, &[2]), BadImages::Error);
    assert!(
        found
            .to_string()
            .contains("1 of 6 images are bad:\n  a/02.png: not an image"),
        "{found}"
    );
    assert!(
        found
            .help()
            .is_some_and(|help| help.contains("--bad-images skip"))
    );
    assert_eq!(found.exit_code(), 3);
}

fn all_bad() {
    let found = error(&folder(3, &[0, 1, 2]), BadImages::Skip);
    assert!(
        found
            .to_string()
            .contains("none of the 3 images can be used"),
        "{found}"
    );
    assert_eq!(found.exit_code(), 3);
}

fn vanished() {
    let root = folder(4, &[]);
    let loader = loader(&root, &options(0, 1));
    std::fs::remove_file(root.path().join("b/02.png")).expect("our own file");
    let mut epoch = loader.epoch(0, vec![0, 2], 1);
    assert!(epoch.next().expect("a batch").is_ok());
    let found = epoch.next().expect("a batch").expect_err("a missing file");
    assert!(
        found
            .to_string()
            .contains("02.png: it could be decoded when the run started"),
        "{found}"
    );
    assert_eq!(found.exit_code(), 3);
}

fn digit_batches() {
    let whole = digits::dataset();
    let preprocessor = Preprocessor::new(digits::SIDE);
    let loader = Loader::open(
        whole.clone(),
        &preprocessor,
        &LoaderOptions::default(),
        |_, _| {},
    );
    let loader = loader.expect("the embedded set");
    assert_eq!((loader.len(), whole.path(0)), (1797, None::<&Path>));
    let batch = loader
        .epoch(0, vec![1796], 1)
        .next()
        .expect("a batch")
        .expect("a digit");
    let wanted = digits::image(1796).pixels;
    let plane: Vec<u8> = wanted.chunks_exact(3).map(|pixel| pixel[0]).collect();
    assert_eq!(batch.images, plane.repeat(3));
    assert_eq!(batch.labels, [whole.label(1796)]);
}
