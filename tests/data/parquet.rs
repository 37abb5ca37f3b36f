use std::path::Path;

use libtest_mimic::{Failed, Trial};
use parquet::basic::{Compression, ZstdLevel};
use tempfile::TempDir;
use vitcuda::data::source::{Part, open, open_part, open_unlabelled};
use vitcuda::data::{Columns, DataSpec, Dataset, Loader, LoaderOptions, Preprocessor, Source};
use vitcuda::{Error, Result};

use crate::common::with_shared;
use crate::plain;
use crate::tables::{Column, Layout, PLAIN, picture, pictures, write};

pub fn trials() -> Vec<Trial> {
    vec![
        with_shared(
            "the reference's file is read exactly",
            "golden/parquet",
            golden,
        ),
        plain("every layout and compression gives the same rows", layouts),
        plain("rows come in any order, one at a time", any_order),
        plain("a loader reads rows as it reads files", loader),
        plain("splits come from the names of files", splits),
        plain("several data sets in a folder are refused", configurations),
        plain(
            "names keep their order, rows without a label are left out",
            class_labels,
        ),
        plain("numbers and text are classes too", other_labels),
        plain("columns are found by type and name", columns),
        plain("each wrong column has its message", wrong_columns),
        plain("wrong labels are refused", wrong_labels),
        plain("rows without an image are bad images", without_image),
        plain(
            "files that are something else, or broken, are refused",
            broken,
        ),
        plain("rows of unlabelled tables can be predicted", unlabelled),
    ]
}

const CAT_DOG: &str =
    r#"{"image": {"_type": "Image"}, "labels": {"names": ["dog", "cat"], "_type": "ClassLabel"}}"#;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn source(path: &Path) -> Result<Source> {
    Source::find(path, &Columns::default())
}

fn all(path: &Path) -> Result<vitcuda::data::Labelled> {
    open_part(&source(path)?, Part::Train)
}

fn labels(dataset: &Dataset) -> Vec<u32> {
    (0..dataset.len()).map(|i| dataset.label(i)).collect()
}

fn named(image: Option<&str>, label: Option<&str>) -> Columns {
    Columns {
        image: image.map(str::to_owned),
        label: label.map(str::to_owned),
    }
}

#[track_caller]
fn refused<T>(result: Result<T>, texts: &[&str]) {
    let error = result.err().expect("an error");
    assert!(matches!(error, Error::Data { .. }), "{error}");
    let said = format!("{error}\n{}", error.help().unwrap_or_default());
    for text in texts {
        assert!(said.contains(text), "`{text}` is not in: {said}");
    }
}

/// The number of a made picture.
fn number(dataset: &Dataset, i: usize) -> usize {
    let pixels = dataset.image(i).expect("a picture").pixels;
    usize::from(pixels[0]) + 256 * usize::from(pixels[1])
}

fn golden(folder: &Path) -> Result<(), Failed> {
    let text = std::fs::read_to_string(folder.join("rows.json"))?;
    let rows: Vec<serde_json::Value> = serde_json::from_str(&text)?;
    let set = all(folder)?;
    assert_eq!(set.classes, ["cat", "dog"]);
    assert_eq!(set.dataset.len(), rows.len());
    let file = std::sync::Arc::new(vitcuda::data::parquet::ParquetFile::open(
        &folder.join("train-00000-of-00001.parquet"),
    )?);
    let column = file.image_column(&Columns::default())?;
    let images = std::sync::Arc::new(vitcuda::data::parquet::ImageRows::new(file, column));
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(
            u64::from(set.dataset.label(i)),
            row["labels"].as_u64().unwrap()
        );
        let name = images.path(i)?;
        assert_eq!(name.as_deref(), row["path"].as_str());
        let cursor = vitcuda::data::parquet::Cursor::open(images.clone(), i);
        let bytes = cursor?.read(i)?.expect("an image");
        assert_eq!(bytes.len() as u64, row["bytes"].as_u64().unwrap());
        let digest: String = <sha2::Sha256 as sha2::Digest>::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(Some(digest.as_str()), row["sha256"].as_str());
        set.dataset.image(i)?;
    }
    Ok(())
}

const LAYOUTS: [Layout; 5] = [
    PLAIN,
    Layout {
        rows_in_group: 7,
        ..PLAIN
    },
    Layout {
        rows_in_page: 3,
        ..PLAIN
    },
    Layout {
        rows_in_group: 20,
        rows_in_page: 6,
        compression: Compression::SNAPPY,
    },
    Layout {
        rows_in_group: 33,
        rows_in_page: 4,
        compression: Compression::UNCOMPRESSED,
    },
];

fn layouts() {
    let root = folder();
    let zstd = Compression::ZSTD(ZstdLevel::default());
    let zstd = Layout {
        compression: zstd,
        ..LAYOUTS[3]
    };
    for (n, layout) in LAYOUTS.into_iter().chain([zstd]).enumerate() {
        let path = root.path().join(format!("{n}.parquet"));
        let labels = Column::Longs((0..50).map(|n| Some(n % 2)).collect());
        write(
            &path,
            &[("image", pictures(50)), ("labels", labels)],
            Some(CAT_DOG),
            layout,
        );
        let set = all(&path).expect("a table");
        assert_eq!(set.dataset.len(), 50);
        for i in 0..50 {
            assert_eq!(number(&set.dataset, i), i, "layout {n}");
            assert_eq!(set.dataset.label(i), i as u32 % 2);
        }
        assert_eq!(set.dataset.name(49), format!("{n}.parquet#image[49]"));
    }
}

/// A file of 300 pictures with the layout.
fn three_hundred(path: &Path, layout: Layout) {
    let labels = Column::Longs((0..300).map(|n| Some(n % 2)).collect());
    write(
        path,
        &[("image", pictures(300)), ("labels", labels)],
        Some(CAT_DOG),
        layout,
    );
}

fn any_order() {
    let root = folder();
    let path = root.path().join("x.parquet");
    three_hundred(&path, LAYOUTS[3]);
    let set = all(&path).expect("a table").dataset;
    let order: Vec<usize> = (0..300).map(|n| n * 77 % 300).collect();
    let shuffled = set.select(&order);
    for (i, &n) in order.iter().enumerate() {
        assert_eq!(number(&shuffled, i), n);
    }
}

fn loader() {
    let root = folder();
    three_hundred(&root.path().join("x.parquet"), LAYOUTS[3]);
    let spec = DataSpec {
        train_samples: Some(100),
        eval_samples: Some(50),
        ..DataSpec::new(source(root.path()).expect("a table"))
    };
    let train = open(&spec).expect("a split").train;
    let preprocessor = Preprocessor::new(2);
    // All in memory, some, none: the same batches, whatever the number of threads.
    let batches = |cache_bytes, threads| {
        let options = LoaderOptions {
            cache_bytes,
            threads,
            ..LoaderOptions::default()
        };
        let mut done = 0;
        let loader = Loader::open(train.clone(), &preprocessor, &options, |n, _| done = n);
        let loader = loader.expect("good images");
        assert_eq!(done, 100);
        loader
            .in_order(16)
            .map(|b| b.expect("a batch"))
            .collect::<Vec<_>>()
    };
    let expected = batches(1 << 20, 1);
    let found: Vec<usize> = expected
        .iter()
        .flat_map(|batch| batch.images.chunks(12))
        .map(|planes| usize::from(planes[0]) + 256 * usize::from(planes[4]))
        .collect();
    let drawn: Vec<usize> = (0..100).map(|i| number(&train, i)).collect();
    assert_eq!(found, drawn);
    for (cache_bytes, threads) in [(1 << 20, 7), (600, 3), (0, 2)] {
        assert_eq!(batches(cache_bytes, threads), expected);
    }
}

fn table(path: &Path, count: usize) {
    let labels = Column::Longs((0..count as i64).map(|n| Some(n % 2)).collect());
    write(
        path,
        &[("image", pictures(count)), ("labels", labels)],
        Some(CAT_DOG),
        PLAIN,
    );
}

fn splits() {
    let root = folder();
    let at = |name: &str| root.path().join(name);
    table(&at("data/train-00000-of-00002.parquet"), 4);
    table(&at("data/train-00001-of-00002.parquet"), 3);
    table(&at("data/test-00000-of-00001.parquet"), 2);
    let spec = DataSpec::new(source(root.path()).expect("tables"));
    let found = open(&spec).expect("splits");
    assert_eq!((found.train.len(), found.validation.len()), (7, 2));
    assert_eq!(
        found.train.name(4),
        "data/train-00001-of-00002.parquet#image[0]"
    );

    table(&at("data/validation-00000-of-00001.parquet"), 5);
    let spec = DataSpec::new(source(root.path()).expect("tables"));
    let found = open(&spec).expect("splits");
    assert_eq!(found.validation.len(), 5);
    assert!(
        found
            .notices
            .join("\n")
            .contains("splits that are not used: test")
    );
    let spec = DataSpec {
        eval_split: Some("test".into()),
        ..spec
    };
    assert_eq!(open(&spec).expect("splits").validation.len(), 2);
    let spec = DataSpec {
        train_split: Some("trian".into()),
        ..spec
    };
    let error = open(&spec).expect_err("no such split");
    assert!(matches!(error, Error::Usage { .. }), "{error}");
    assert!(
        error.help().unwrap().contains("did you mean `train`"),
        "{error:?}"
    );
    let test = open_part(&spec.source, Part::Named("test".into())).expect("a split");
    assert_eq!(test.dataset.len(), 2);
}

fn configurations() {
    let root = folder();
    table(&root.path().join("plain/train/0000.parquet"), 4);
    table(&root.path().join("plain/test/0000.parquet"), 4);
    assert_eq!(
        open(&DataSpec::new(source(root.path()).unwrap()))
            .unwrap()
            .validation
            .len(),
        4
    );
    table(&root.path().join("cropped/train/0000.parquet"), 4);
    refused(
        source(root.path()),
        &["several data sets", "cropped, plain", "name the folder"],
    );
    assert!(source(&root.path().join("plain")).is_ok());
}

fn class_labels() {
    let root = folder();
    let path = root.path().join("x.parquet");
    let values = [Some(1), None, Some(0), Some(-1), Some(1)];
    let columns = [
        ("image", pictures(5)),
        ("labels", Column::Longs(values.to_vec())),
    ];
    write(&path, &columns, Some(CAT_DOG), PLAIN);
    let set = all(&path).expect("a table");
    // Not sorted: the order is the data set's, and the index is what the file says.
    assert_eq!(set.classes, ["dog", "cat"]);
    assert_eq!(labels(&set.dataset), [1, 0, 1]);
    assert_eq!(set.dataset.name(2), "x.parquet#image[4]");
    assert!(set.notices.join("\n").contains("left out 2 of the 5 rows"));
}

fn other_labels() {
    let root = folder();
    let path = root.path().join("x.parquet");
    let texts = Column::Texts(["b", "a", "b"].map(String::from).to_vec());
    write(
        &path,
        &[("img", pictures(3)), ("class", texts)],
        None,
        PLAIN,
    );
    let set = all(&path).expect("a table");
    assert_eq!(set.classes, ["a", "b"]);
    assert_eq!(labels(&set.dataset), [1, 0, 1]);

    let ints = Column::Ints(vec![10, 2, 10]);
    write(&path, &[("img", pictures(3)), ("label", ints)], None, PLAIN);
    let set = all(&path).expect("a table");
    assert_eq!(set.classes, ["2", "10"]);
    assert_eq!(labels(&set.dataset), [1, 0, 1]);
}

fn columns() {
    let root = folder();
    let path = root.path().join("x.parquet");
    let bytes = || Column::Bytes((10..13).map(|n| Some(picture(n))).collect());
    let texts = |a, b, c| Column::Texts([a, b, c].map(String::from).to_vec());
    write(
        &path,
        &[
            ("caption", texts("x", "y", "z")),
            ("thumbnail", bytes()),
            ("image", pictures(3)),
            ("breed", texts("q", "p", "q")),
            ("label", Column::Ints(vec![0, 1, 0])),
        ],
        None,
        PLAIN,
    );
    let set = all(&path).expect("a table");
    assert_eq!((number(&set.dataset, 2), set.dataset.label(2)), (2, 0));
    let columns = named(Some("thumbnail"), Some("breed"));
    let set = open_part(&Source::find(&path, &columns).unwrap(), Part::Train).expect("a table");
    assert_eq!((number(&set.dataset, 2), set.dataset.label(2)), (12, 1));
    assert_eq!(set.classes, ["p", "q"]);
}

fn wrong_columns() {
    let root = folder();
    let path = root.path().join("x.parquet");
    let bytes = || Column::Bytes((0..3).map(|n| Some(picture(n))).collect());
    let with = |columns: &Columns| {
        Source::find(&path, columns).and_then(|source| open_part(&source, Part::Train))
    };
    let write = |columns: &[(&str, Column)]| write(&path, columns, None, PLAIN);
    write(&[
        ("left", bytes()),
        ("right", bytes()),
        ("labels", Column::Ints(vec![0, 1, 0])),
        ("score", Column::Doubles(vec![0.5; 3])),
    ]);
    let file = "x.parquet";
    refused(
        with(&Columns::default()),
        &[file, "several columns hold images: left, right"],
    );
    refused(
        with(&named(Some("lft"), None)),
        &[file, "`lft` (--image-column)", "did you mean `left`"],
    );
    refused(
        with(&named(Some("labels"), None)),
        &[file, "`labels` holds int32, wanted images"],
    );
    let left = |label| named(Some("left"), Some(label));
    refused(
        with(&left("label")),
        &["`label` (--label-column)", "did you mean `labels`"],
    );
    refused(
        with(&left("score")),
        &["`score` holds float64, wanted class indices"],
    );
    refused(
        with(&left("qqq")),
        &["its columns are left, right, labels, score"],
    );

    write(&[("image", bytes()), ("score", Column::Doubles(vec![0.5; 3]))]);
    refused(
        with(&Columns::default()),
        &["no column is known to hold labels", "score: float64"],
    );
    write(&[("score", Column::Doubles(vec![0.5; 3]))]);
    refused(
        with(&Columns::default()),
        &["no column holds images", "score: float64"],
    );

    let other = root.path().join("photos");
    std::fs::create_dir(&other).expect("a folder");
    let error = Source::find(&other, &left("label")).expect_err("no table");
    assert!(
        error.to_string().contains("is no table and has no columns"),
        "{error}"
    );
}

fn wrong_labels() {
    let root = folder();
    let path = root.path().join("x.parquet");
    let columns = [
        ("image", pictures(3)),
        ("labels", Column::Ints(vec![0, 2, 1])),
    ];
    write(&path, &columns, Some(CAT_DOG), PLAIN);
    refused(
        all(&path),
        &["column `labels`, row 1: found the label 2", "2 classes"],
    );

    let two = root.path().join("two");
    table(&two.join("train-00000-of-00002.parquet"), 3);
    let others = CAT_DOG.replace("\"dog\", \"cat\"", "\"cat\", \"dog\"");
    let columns = [
        ("image", pictures(3)),
        ("labels", Column::Ints(vec![0, 1, 1])),
    ];
    write(
        &two.join("train-00001-of-00002.parquet"),
        &columns,
        Some(&others),
        PLAIN,
    );
    refused(
        all(&two),
        &["train-00001-of-00002.parquet", "other class names"],
    );
}

fn without_image() {
    let root = folder();
    let path = root.path().join("x.parquet");
    std::fs::write(root.path().join("beside.png"), picture(9)).expect("a file");
    let images = Column::Images(vec![
        Some((Some(picture(0)), None)),
        None,
        Some((None, None)),
        Some((None, Some("gone.png".into()))),
        Some((None, Some("beside.png".into()))),
        Some((Some(b"text".to_vec()), None)),
    ]);
    let columns = [
        ("image", images),
        ("label", Column::Ints(vec![0, 1, 0, 1, 0, 1])),
    ];
    write(&path, &columns, None, PLAIN);
    let set = all(&path).expect("a table").dataset;
    let reason = |i| set.image(i).expect_err("no image").to_string();
    assert_eq!(number(&set, 0), 0);
    assert_eq!(reason(1), "the row holds no image");
    assert_eq!(reason(2), "the row holds no image");
    assert!(
        reason(3).contains("no file is at its path `gone.png`"),
        "{}",
        reason(3)
    );
    assert_eq!(number(&set, 4), 9);
    assert!(reason(5).contains("not an image"), "{}", reason(5));
}

fn broken() {
    let root = folder();
    let path = root.path().join("x.parquet");
    let found = |bytes: &[u8]| {
        std::fs::write(&path, bytes).expect("a file");
        all(&path)
    };
    refused(found(b""), &["it is an empty file, wanted a Parquet file"]);
    refused(
        found(b"version https://git-lfs.github.com/spec/v1\n"),
        &["it is a git-lfs pointer"],
    );
    refused(
        found(b"<!doctype html><p>not found"),
        &["it is an HTML page"],
    );
    refused(
        found(&[7; 100]),
        &["it is no Parquet file that can be read"],
    );
    let good = root.path().join("good.parquet");
    three_hundred(&good, LAYOUTS[3]);
    let good = std::fs::read(&good).expect("a file");
    refused(
        found(&good[..good.len() / 2]),
        &["it is no Parquet file that can be read"],
    );
    // Wherever a byte is wrong, the answer is an error, a bad image or a different value; nothing
    // ends the process.
    for at in (0..good.len()).step_by(good.len() / 150) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x5a;
        if let Ok(set) = found(&bytes) {
            for i in (0..set.dataset.len()).step_by(20) {
                let _ = set.dataset.image(i);
            }
        }
    }
}

fn unlabelled() {
    let root = folder();
    let path = root.path().join("x.parquet");
    write(&path, &[("image", pictures(3))], None, PLAIN);
    let (set, _) = open_unlabelled(&[Source::find(&path, &Columns::default()).expect("a table")])
        .expect("images");
    assert_eq!(
        (0..3).map(|i| number(&set, i)).collect::<Vec<_>>(),
        [0, 1, 2]
    );
}
