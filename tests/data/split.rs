use std::collections::BTreeSet;
use std::path::Path;

use libtest_mimic::{Failed, Trial};
use vitcuda::data::source::{Part, open, open_part};
use vitcuda::data::{DataSpec, Dataset, Source, digits, split};
use vitcuda::rng::randperm;

use crate::common::with_shared;
use crate::plain;

pub fn trials() -> Vec<Trial> {
    vec![
        plain("the split is the tutorial's", tutorial),
        plain("a stratified split keeps the shares", stratified),
        plain("impossible counts and fractions are refused", refusals),
        plain(
            "the digits are all there, in a fixed split",
            embedded_digits,
        ),
        with_shared(
            "the first epoch has the reference's order",
            ".",
            reference_order,
        ),
        with_shared(
            "counts draw from each part of a split set",
            "data/cats_vs_dogs",
            counts,
        ),
    ]
}

/// Indices made with CPython; the tutorial's 23,410 photos.
fn tutorial() {
    let split = split::sampled(23_410, 1000, 200, 42).expect("enough images");
    assert_eq!(
        split.train[..8],
        [20952, 3648, 819, 9012, 8024, 7314, 4572, 3358]
    );
    assert_eq!(
        split.validation[..8],
        [13774, 9337, 17121, 18482, 16896, 14987, 2752, 20466]
    );
    assert_eq!((split.train.len(), split.validation.len()), (1000, 200));
    let all: BTreeSet<_> = split.train.iter().chain(&split.validation).collect();
    assert_eq!(all.len(), 1200);
}

fn stratified() {
    let labels: Vec<u32> = [vec![0; 100], vec![1; 10], vec![2; 2], vec![3; 1]].concat();
    let split = split::stratified(&labels, 0.15, 7).expect("a fraction");
    let validation = |class: u32| {
        split
            .validation
            .iter()
            .filter(|&&i| labels[i] == class)
            .count()
    };
    assert_eq!([0, 1, 2, 3].map(validation), [15, 2, 1, 0]);
    let mut all = [split.train.clone(), split.validation.clone()].concat();
    assert!(split.train.is_sorted() && split.validation.is_sorted());
    all.sort_unstable();
    assert_eq!(all, (0..113).collect::<Vec<_>>());
    let again = split::stratified(&labels, 0.15, 7).expect("a fraction");
    assert_eq!(split, again);
    assert_ne!(
        split,
        split::stratified(&labels, 0.15, 8).expect("a fraction")
    );
}

fn refusals() {
    for (result, wanted) in [
        (split::sampled(10, 8, 3, 1).err(), "more than the 10 images"),
        (
            split::sampled(10, 11, 1, 1).err(),
            "--train-samples 11: there are only 10",
        ),
        (
            split::sampled(10, 1, 0, 1).err(),
            "--eval-samples 0 leaves nothing",
        ),
        (split::stratified(&[0, 1], 1.0, 1).err(), "no share"),
        (split::stratified(&[0, 1], f64::NAN, 1).err(), "no share"),
    ] {
        let error = result.expect(wanted);
        assert!(error.to_string().contains(wanted), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}

fn names(dataset: &Dataset) -> Vec<String> {
    (0..dataset.len()).map(|i| dataset.name(i)).collect()
}

fn embedded_digits() {
    let whole = digits::dataset();
    // The class sizes that the set's own description gives.
    let sizes = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180];
    assert_eq!(whole.class_counts(10), sizes);
    // The first digit is a zero; its rows as published, 0…16.
    let rows = [
        [0, 0, 5, 13, 9, 1, 0, 0],
        [0, 0, 13, 15, 10, 15, 5, 0],
        [0, 3, 15, 2, 0, 11, 8, 0],
        [0, 4, 12, 0, 0, 8, 8, 0],
        [0, 5, 8, 0, 0, 9, 8, 0],
        [0, 4, 11, 0, 1, 12, 7, 0],
        [0, 2, 14, 5, 10, 12, 0, 0],
        [0, 0, 6, 13, 10, 0, 0, 0],
    ];
    let wanted = rows
        .concat()
        .into_iter()
        .flat_map(|v| [(f64::from(v) * 255.0 / 16.0).round() as u8; 3]);
    assert_eq!(digits::image(0).pixels, wanted.collect::<Vec<u8>>());
    assert_eq!(whole.label(0), 0);

    let splits = open(&DataSpec::new(Source::Digits)).expect("the embedded set");
    assert_eq!((splits.train.len(), splits.validation.len()), (1438, 359));
    assert_eq!(splits.classes[9], "9");
    let mut all = [names(&splits.train), names(&splits.validation)].concat();
    all.sort();
    assert_eq!(all, names(&whole));
    let other_seed = DataSpec {
        seed: 7,
        ..DataSpec::new(Source::Digits)
    };
    assert_eq!(open(&other_seed).expect("the embedded set"), splits);
}

fn reference_order(shared: &Path) -> Result<(), Failed> {
    let text = std::fs::read_to_string(shared.join("golden/real_steps/trace.json"))?;
    let trace: serde_json::Value = serde_json::from_str(&text)?;
    let wanted: Vec<String> = serde_json::from_value(trace["order"].clone())?;
    let root = shared.join("data/cats_vs_dogs");
    let splits = open(&DataSpec::new(Source::Folder(root)))?;
    assert_eq!(splits.classes, ["cat", "dog"]);
    assert_eq!((splits.train.len(), splits.validation.len()), (1000, 200));
    let order = randperm(splits.train.len(), 42);
    assert_eq!(names(&splits.train.select(&order)), wanted);
    assert_eq!(splits.train.label(order[0]), 1, "a dog comes first");
    Ok(())
}

fn counts(root: &Path) -> Result<(), Failed> {
    let source = Source::Folder(root.to_owned());
    let whole = open(&DataSpec::new(source.clone()))?;
    let spec = DataSpec {
        train_samples: Some(100),
        eval_samples: Some(20),
        ..DataSpec::new(source.clone())
    };
    let drawn = open(&spec)?;
    let train = split::sample(1000, 100, 42, "")?;
    assert_eq!(drawn.train, whole.train.select(&train));
    assert_eq!(drawn.validation.len(), 20);
    assert_eq!(
        open_part(&source, Part::Validation)?.dataset,
        whole.validation
    );
    // A part has no parts: both counts draw from it, as the tutorial's script does.
    let single = open(&DataSpec {
        source: Source::Folder(root.join("train")),
        ..spec
    })?;
    let wanted = split::sampled(1000, 100, 20, 42)?;
    let all = open_part(&Source::Folder(root.join("train")), Part::Train)?.dataset;
    assert_eq!(single.train, all.select(&wanted.train));
    assert_eq!(single.validation, all.select(&wanted.validation));
    Ok(())
}
