//! Folders laid out in the ways in which data sets come.

use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use vitcuda::data::source::{Part, open, open_part};
use vitcuda::data::{Columns, Contents, DataSpec, Source};

use crate::folder::{message, names, tree};
use crate::pictures::png_of;
use crate::plain;

pub fn trials() -> Vec<Trial> {
    vec![
        plain("splits go by the names that people give them", split_names),
        plain("a test part is there to be asked for", test_part),
        plain(
            "class folders may be called like splits",
            classes_like_splits,
        ),
        plain("a folder too many is entered and said", wrapped),
        plain("tables beside the images give their labels", metadata),
        plain("folders that save_to_disk wrote are read", saved),
        plain("broken Arrow files are refused", broken_arrow),
    ]
}

fn contents(root: &Path) -> Contents {
    let source = Source::find(root, &Columns::default());
    source.and_then(|s| s.contents()).expect("a data set")
}

fn splits(root: &Path) -> Vec<(String, usize)> {
    let contents = contents(root);
    let split = |s: &vitcuda::data::Split| (s.name.clone(), s.dataset.len());
    contents.splits.iter().map(split).collect()
}

fn split_names() {
    for (train, other, split) in [
        ("train", "dev", "validation"),
        ("train", "val", "validation"),
        ("Training", "valid", "validation"),
        ("seg_train", "seg_test", "test"),
        ("training_set", "test_set", "test"),
        ("train-images", "validation-images", "validation"),
    ] {
        let root = tree(&[
            &format!("{train}/cat/1.jpg"),
            &format!("{train}/dog/1.jpg"),
            &format!("{other}/cat/1.jpg"),
            "seg_pred/1.jpg",
        ]);
        let wanted = [("train".to_owned(), 2), (split.to_owned(), 1)];
        assert_eq!(splits(root.path()), wanted, "{train}, {other}");
        let said = contents(root.path()).notices.join("\n");
        assert!(said.contains("seg_pred/"), "{said}");
    }
}

fn test_part() {
    let root = tree(&[
        "train/cat/1.jpg",
        "train/dog/1.jpg",
        "validation/cat/2.jpg",
        "test/dog/3.jpg",
        "test/dog/4.jpg",
    ]);
    let source = Source::Folder(root.path().to_owned());
    let test = open_part(&source, Part::Named("test".into())).expect("a test part");
    assert_eq!(names(&test.dataset), ["test/dog/3.jpg", "test/dog/4.jpg"]);
    let spec = DataSpec::new(source);
    let splits = open(&spec).expect("splits");
    assert_eq!(names(&splits.validation), ["validation/cat/2.jpg"]);
    let said = splits.notices.join("\n");
    assert!(said.contains("splits that are not used: test"), "{said}");

    // Without a validation part the test part is taken, and that is said.
    std::fs::remove_dir_all(root.path().join("validation")).expect("our own folder");
    let splits = open(&spec).expect("splits");
    assert_eq!(splits.validation.len(), 2);
    let said = splits.notices.join("\n");
    assert!(said.contains("picks the best checkpoint"), "{said}");
    let asked = DataSpec {
        eval_split: Some("test".into()),
        ..spec
    };
    let said = open(&asked).expect("splits").notices.join("\n");
    assert!(!said.contains("picks the best"), "{said}");
}

fn classes_like_splits() {
    for files in [
        &["train_station/1.jpg", "bus_stop/1.jpg"][..],
        &["train_station/a/1.jpg", "bus_stop/a/1.jpg"],
        &["test_tube/1.jpg", "dev_board/1.jpg"],
    ] {
        let root = tree(files);
        let contents = contents(root.path());
        assert_eq!(contents.splits.len(), 1);
        assert_eq!(contents.splits[0].classes.len(), 2);
        let said = contents.notices.join("\n");
        assert!(said.contains("taken as classes, not as splits"), "{said}");
    }
}

fn wrapped() {
    for (files, inner) in [
        (
            &["PetImages/cat/1.jpg", "PetImages/dog/1.jpg"][..],
            "PetImages/",
        ),
        (&["a/b/cat/1.jpg", "a/b/dog/1.jpg", "readme.txt"], "a/b/"),
        (&["data/train/cat/1.jpg", "data/train/dog/1.jpg"], "data/"),
    ] {
        let root = tree(files);
        let contents = contents(root.path());
        assert_eq!(contents.splits[0].classes, ["cat", "dog"]);
        assert_eq!(names(&contents.splits[0].dataset), files[..2]);
        let said = contents.notices.join("\n");
        assert!(said.contains(&format!("{inner} is entered")), "{said}");
    }
    // A single class is one.
    let root = tree(&["cat/deep/1.jpg"]);
    let source = Source::Folder(root.path().to_owned());
    assert!(message(open(&DataSpec::new(source))).contains("a single class, `cat`"));
}

fn write(path: PathBuf, text: &str) {
    std::fs::write(path, text).expect("a file");
}

fn metadata() {
    let root = tree(&["1.jpg", "2.jpg", "3.jpg"]);
    write(
        root.path().join("metadata.csv"),
        "file_name,label\n2.jpg,dog\n1.jpg,cat\n",
    );
    let set = contents(root.path());
    assert_eq!(set.splits[0].classes, ["cat", "dog"]);
    assert_eq!(names(&set.splits[0].dataset), ["2.jpg", "1.jpg"]);

    let root = tree(&["train/1.jpg", "train/2.jpg", "test/1.jpg"]);
    let line = |file: &str, label| format!("{{\"file_name\": \"{file}\", \"label\": {label}}}\n");
    let train = line("1.jpg", 1) + &line("2.jpg", 0);
    write(root.path().join("train/metadata.jsonl"), &train);
    write(root.path().join("test/metadata.jsonl"), &line("1.jpg", 1));
    let set = contents(root.path());
    let wanted = [("train".to_owned(), 2), ("test".to_owned(), 1)];
    assert_eq!(splits(root.path()), wanted);
    assert_eq!(
        names(&set.splits[0].dataset),
        ["train/1.jpg", "train/2.jpg"]
    );
    assert_eq!(set.splits[0].dataset.label(0), 1);

    // At the top, folders tell the split.
    let root = tree(&["train/1.jpg", "test/1.jpg"]);
    write(
        root.path().join("metadata.csv"),
        "file_name,label\ntrain/1.jpg,dog\ntest/1.jpg,cat\n",
    );
    let wanted = [("train".to_owned(), 1), ("test".to_owned(), 1)];
    assert_eq!(splits(root.path()), wanted);

    // A table without labels leaves them to the folders.
    let root = tree(&["cat/1.jpg", "dog/1.jpg"]);
    write(
        root.path().join("metadata.csv"),
        "file_name,caption\ncat/1.jpg,a cat\n",
    );
    assert_eq!(contents(root.path()).splits[0].classes, ["cat", "dog"]);
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/saved")
}

/// `saved` comes from `tests/peers/make_datasets.py`: row n has red n and label n modulo 3 of `c`, `a`,
/// `b`; row 5 has no image, row 7 no label.
fn saved() {
    let set = contents(&fixture());
    let wanted = [("train".to_owned(), 8), ("test".to_owned(), 4)];
    assert_eq!(splits(&fixture()), wanted);
    let train = &set.splits[0];
    assert_eq!(train.classes, ["c", "a", "b"]);
    let numbers = [0, 1, 2, 3, 4, 5, 6, 8];
    for (i, number) in numbers.into_iter().enumerate() {
        assert_eq!(train.dataset.label(i), number % 3);
        match train.dataset.image(i) {
            Ok(image) => assert_eq!(u32::from(image.pixels[0]), number),
            Err(reason) => assert_eq!(
                (number, reason.to_string()),
                (5, "the row holds no image".into())
            ),
        }
    }
    assert_eq!(
        train.dataset.name(7),
        "train/data-00000-of-00001.arrow#image[8]"
    );
    let said = set.notices.join("\n");
    assert!(said.contains("left out 1 of the 9 rows of train"), "{said}");
    // One split by itself; one file by itself.
    assert_eq!(splits(&fixture().join("train")), [("train".to_owned(), 8)]);
    let file = fixture().join("test/data-00000-of-00001.arrow");
    assert_eq!(contents(&file).splits[0].dataset.len(), 4);
    // A manifest may name its rows.
    let root = tree(&[]);
    write(
        root.path().join("list.csv"),
        &format!("path,label\n{}#image[3],x\n", file.display()),
    );
    let listed = contents(&root.path().join("list.csv"));
    let image = listed.splits[0].dataset.image(0).expect("an image");
    assert_eq!(image.pixels[0], 23);
}

fn broken_arrow() {
    let good = std::fs::read(fixture().join("train/data-00000-of-00001.arrow")).expect("a file");
    let root = tree(&[]);
    let path = root.path().join("x.arrow");
    let open = |bytes: &[u8]| {
        std::fs::write(&path, bytes).expect("a file");
        let set = Source::find(&path, &Columns::default())?.contents()?;
        // Whatever the rows hold, they hold it without a panic.
        let dataset = &set.splits[0].dataset;
        (0..dataset.len()).for_each(|i| drop(dataset.image(i)));
        Ok(())
    };
    open(&good).expect("the fixture");
    for length in 0..good.len() - 8 {
        open(&good[..length]).expect_err("cut short");
    }
    for at in 0..good.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bytes = good.clone();
            bytes[at] = value;
            let _: vitcuda::Result<()> = open(&bytes);
        }
    }
    std::fs::write(&path, png_of(&crate::pictures::noise(2, 2))).expect("a file");
    let found = message(Source::find(&path, &Columns::default()).and_then(|s| s.contents()));
    assert!(
        found.contains("it is no Arrow stream that can be read"),
        "{found}"
    );
}
