//! Which file is which split, which column holds what, and what the labels are.

use libtest_mimic::Trial;
use vitcuda::Error;
use vitcuda::data::source::{Part, open, open_part};
use vitcuda::data::{DataSpec, Source};

use super::{CAT_DOG, all, folder, labels, named, number, refused, source, table};
use crate::plain;
use crate::tables::{Column, PLAIN, picture, pictures, write};

pub fn trials() -> Vec<Trial> {
    vec![
        plain("splits come from the names of files", splits),
        plain("several data sets in a folder are refused", configurations),
        plain(
            "names keep their order, rows without a label are left out",
            class_labels,
        ),
        plain("numbers and text are classes too", other_labels),
        plain("columns are found by type and name", columns),
    ]
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
