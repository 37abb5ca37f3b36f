//! Rows: all of them, in any layout and order.

use std::path::Path;

use libtest_mimic::{Failed, Trial};
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use vitcuda::data::source::{open, open_unlabelled};
use vitcuda::data::{Columns, DataSpec, Loader, LoaderOptions, Preprocessor};

use super::{CAT_DOG, all, folder, labels, number, source, three_hundred};
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
        plain("pages in Brotli are read, those of both versions", brotli),
        plain("rows come in any order, one at a time", any_order),
        plain("a loader reads rows as it reads files", loader),
        plain("rows without an image are bad images", without_image),
        plain("rows of unlabelled tables can be predicted", unlabelled),
    ]
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

pub const LAYOUTS: [Layout; 5] = [
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
    let packed = [
        Compression::GZIP(GzipLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
    ];
    let packed = packed.map(|compression| Layout {
        compression,
        ..LAYOUTS[3]
    });
    let all_layouts = LAYOUTS.into_iter().chain([zstd]).chain(packed);
    for (n, layout) in all_layouts.enumerate() {
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

/// Written by pyarrow 26, with pages of six rows, a dictionary for the labels, and no image in row 17.
fn brotli() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/parquet");
    for name in ["brotli.parquet", "brotli_v2.parquet"] {
        let bytes = std::fs::read(folder.join(name)).expect("a file");
        let set = all(&folder.join(name)).expect("a table").dataset;
        assert_eq!(labels(&set), (0..50).map(|n| n % 2).collect::<Vec<_>>());
        for i in (0..50).rev().filter(|&i| i != 17) {
            assert_eq!(number(&set, i), i, "{name}");
        }
        let error = set.image(17).expect_err("there is none").to_string();
        assert!(error.contains("the row holds no bytes"), "{error}");
        // A page that unpacks to more or fewer bytes than its header says.
        let root = super::folder();
        let path = root.path().join("x.parquet");
        let at = first_size(&bytes);
        for by in [-2_i8, 2] {
            let mut broken = bytes.clone();
            broken[at] = broken[at].wrapping_add_signed(by);
            std::fs::write(&path, broken).expect("written");
            let error = all(&path).expect("a table").dataset.image(0);
            let error = error.expect_err("a wrong size").to_string();
            assert!(error.contains("a page does not unpack to"), "{error}");
        }
    }
}

/// Where the unpacked size of the first page is: behind its kind, a number in two bytes.
fn first_size(file: &[u8]) -> usize {
    let header = file[4..].first_chunk::<4>().expect("a header");
    assert!(
        matches!(header, [0x15, _, 0x15, 0x80..=0xff]),
        "{header:x?}"
    );
    4 + 3
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

fn unlabelled() {
    let root = folder();
    let path = root.path().join("x.parquet");
    write(&path, &[("image", pictures(3))], None, PLAIN);
    let (set, _) = open_unlabelled(&[source(&path).expect("a table")]).expect("images");
    assert_eq!(
        (0..3).map(|i| number(&set, i)).collect::<Vec<_>>(),
        [0, 1, 2]
    );
}
