//! What is refused, and in which words.

use libtest_mimic::Trial;
use vitcuda::data::source::{Part, open_part};
use vitcuda::data::{Columns, Source};

use super::rows::LAYOUTS;
use super::{CAT_DOG, all, folder, named, refused, table, three_hundred};
use crate::common::with_shared;
use crate::plain;
use crate::tables::{Column, PLAIN, picture, pictures, write};

pub fn trials() -> Vec<Trial> {
    vec![
        plain("each wrong column has its message", wrong_columns),
        plain("wrong labels are refused", wrong_labels),
        with_shared(
            "Parquet files that claim what they cannot hold",
            "data/bad_inputs/memory",
            claims,
        ),
        plain(
            "files that are something else, or broken, are refused",
            broken,
        ),
    ]
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

/// 2³¹ rows in 6 kilobytes; a page of 2.1 gigabytes in 33.
fn claims(folder: &std::path::Path) -> Result<(), libtest_mimic::Failed> {
    let rows = all(&folder.join("rows_2e31.parquet"));
    refused(rows, &["bytes are too few for the", "rows it claims"]);
    let bomb = match all(&folder.join("bomb_zstd.parquet")) {
        Err(error) => error.to_string(),
        Ok(set) => set.dataset.image(0).expect_err("a bomb").to_string(),
    };
    assert!(bomb.contains("more than it can hold"), "{bomb}");
    Ok(())
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
