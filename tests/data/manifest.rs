use std::path::Path;

use libtest_mimic::Trial;
use tempfile::TempDir;
use vitcuda::data::source::{Part, open, open_part, open_unlabelled};
use vitcuda::data::{Columns, DataSpec, Dataset, Labelled, Source, Splits, manifest};
use vitcuda::{Error, Result};

use crate::plain;
use crate::tables::{Column, PLAIN, picture, pictures, write};

pub fn trials() -> Vec<Trial> {
    vec![
        plain("tables with and without a header", headers),
        plain("JSON lines", json_lines),
        plain("splits and classes come from their columns", splits),
        plain("columns can be named", columns),
        plain("each wrong line has its message", wrong),
        plain("a split written down is read back as it was", round_trips),
        plain("what CSV cannot tell is refused", csv_limits),
        plain("images without labels", unlabelled),
    ]
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        std::fs::write(root.path().join(name), text).expect("a file");
    }
    root
}

fn read(path: &Path) -> Result<Labelled> {
    open_part(&Source::find(path, &Columns::default())?, Part::Train)
}

/// A manifest of this name and text.
fn text(name: &str, text: &str) -> Result<Labelled> {
    read(&folder(&[(name, text)]).path().join(name))
}

/// Name and class of each image.
fn rows(set: &Labelled) -> Vec<(String, &str)> {
    let row = |i| {
        (
            set.dataset.name(i),
            set.classes[set.dataset.label(i) as usize].as_str(),
        )
    };
    (0..set.dataset.len()).map(row).collect()
}

fn headers() {
    let expected = [("b/1.jpg", "dog"), ("a, b.png", "cat")];
    for (name, table) in [
        ("x.csv", "path,label\nb/1.jpg,dog\n\"a, b.png\",cat\n"),
        ("x.csv", "\u{feff}b/1.jpg,dog\r\n\"a, b.png\",cat"),
        (
            "x.csv",
            "Label;File_Name;extra\ndog;b/1.jpg;\ncat;a, b.png;7\n",
        ),
        ("X.TSV", "file_name\tlabel\nb/1.jpg\tdog\n\na, b.png\tcat\n"),
    ] {
        let set = text(name, table).expect(table);
        assert_eq!(set.classes, ["cat", "dog"], "{table}");
        let found = rows(&set);
        let found: Vec<(&str, &str)> = found.iter().map(|(n, c)| (n.as_str(), *c)).collect();
        assert_eq!(found, expected, "{table}");
    }
}

fn json_lines() {
    let lines = "{\"classes\": [\"dog\", \"cat\", \"bird\"]}\n\
                 {\"path\": \"1.jpg\", \"label\": \"cat\", \"boxes\": [1, 2]}\n\n\
                 {\"label\": \"dog\", \"path\": \"2.jpg\"}\n";
    let set = text("x.jsonl", lines).expect("a manifest");
    assert_eq!(set.classes, ["dog", "cat", "bird"]);
    assert_eq!(
        rows(&set),
        [("1.jpg".into(), "cat"), ("2.jpg".into(), "dog")]
    );
    assert!(
        set.notices
            .join("\n")
            .contains("no training images of `bird`")
    );
    // Numbers sort by size, as `datasets` reads them.
    let numbers = "{\"path\": \"1.jpg\", \"label\": 10}\n{\"path\": \"2.jpg\", \"label\": 9}\n";
    assert_eq!(
        text("x.ndjson", numbers).expect("a manifest").classes,
        ["9", "10"]
    );
}

fn splits() {
    let table = "path,label,split\n1.jpg,a,train\n2.jpg,b,val\n3.jpg,b,train\n4.jpg,a,test\n";
    let root = folder(&[("x.csv", table)]);
    let source = Source::find(&root.path().join("x.csv"), &Columns::default()).unwrap();
    let found = open(&DataSpec::new(source)).expect("splits");
    let names = |set: &Dataset| (0..set.len()).map(|i| set.name(i)).collect::<Vec<_>>();
    assert_eq!(names(&found.train), ["1.jpg", "3.jpg"]);
    assert_eq!(names(&found.validation), ["2.jpg"]);
    assert_eq!(found.validation.label(0), 1);
    let said = found.notices.join("\n");
    assert!(said.contains("splits that are not used: test"), "{said}");
    assert!(said.contains("no validation images of `a`"), "{said}");
}

fn columns() {
    let root = folder(&[("x.csv", "photo_of,kind,label\n1.jpg,x,a\n2.jpg,y,b\n")]);
    let path = root.path().join("x.csv");
    let with = |image: &str, label: Option<&str>| {
        let columns = Columns {
            image: Some(image.into()),
            label: label.map(str::to_owned),
        };
        Source::find(&path, &columns).and_then(|source| open_part(&source, Part::Train))
    };
    assert_eq!(
        with("photo_of", Some("kind")).expect("columns").classes,
        ["x", "y"]
    );
    let error = with("photos", None).expect_err("no such column");
    assert!(
        error.help().unwrap().contains("did you mean `photo_of`"),
        "{error:?}"
    );
    let error = read(&path).expect_err("no usual name").to_string();
    assert!(
        error.contains("known to hold paths of images; it has photo_of, kind, label"),
        "{error}"
    );
}

fn wrong() {
    for (name, table, wanted) in [
        ("x.csv", "", "it lists no images"),
        ("x.csv", "path,label\n", "it lists no images"),
        (
            "x.csv",
            "path,label\n1.jpg\n",
            "line 2: found 1 fields, wanted 2",
        ),
        (
            "x.csv",
            "path,label\n1.jpg,\n",
            "line 2: nothing in column `label`",
        ),
        (
            "x.csv",
            "path,label\n\n\"1.jpg,a\n",
            "line 3: the quote never ends",
        ),
        (
            "x.csv",
            "path,label\nhttp://x/1.jpg,a\n",
            "line 2: `http://x/1.jpg` is an address",
        ),
        ("x.csv", "path,label\nx.parquet#image[0],a\n", "x.parquet"),
        ("x.jsonl", "{\"path\": 1\n", "line 1: it is not JSON"),
        (
            "x.jsonl",
            "[1]\n",
            "line 1: found a value that is no object",
        ),
        (
            "x.jsonl",
            "{\"path\": \"1.jpg\", \"label\": null}\n",
            "line 1: nothing in column `label`",
        ),
        (
            "x.jsonl",
            "{\"classes\": [\"a\"]}\n{\"path\": \"1.jpg\", \"label\": \"b\"}\n",
            "the class `b` is not among those of its first line: a",
        ),
    ] {
        let error = text(name, table).expect_err(table);
        assert!(error.to_string().contains(wanted), "{error}");
    }
    let missing = read(Path::new("missing.csv")).expect_err("no such file");
    assert!(missing.to_string().contains("missing.csv"), "{missing}");
}

/// The bytes of pixels and the class of each image of both parts.
fn content(splits: &Splits) -> [Vec<(Vec<u8>, String)>; 2] {
    [&splits.train, &splits.validation].map(|part| {
        let image = |i| {
            let class = &splits.classes[part.label(i) as usize];
            (part.image(i).expect("a picture").pixels, class.clone())
        };
        (0..part.len()).map(image).collect()
    })
}

fn round_trips() {
    let root = folder(&[]);
    let at = |name: &str| root.path().join(name);
    for class in ["photos/cat \"x\", y", "photos/dog"] {
        std::fs::create_dir_all(at(class)).expect("a folder");
        for n in 0..12 {
            let file = at(class).join(format!("{n}.png"));
            std::fs::write(file, picture(n + class.len() * 100)).expect("a file");
        }
    }
    let labels = Column::Longs((0..30).map(|n| Some(n % 2)).collect());
    let features = r#"{"labels": {"names": ["dog", "cat", "bird"], "_type": "ClassLabel"}}"#;
    let columns = [("image", pictures(30)), ("labels", labels)];
    write(&at("table/x.parquet"), &columns, Some(features), PLAIN);
    std::fs::create_dir(at("elsewhere")).expect("a folder");
    for (data, manifests) in [
        ("photos", &["split.csv", "elsewhere/split.jsonl"][..]),
        ("table", &["table.jsonl", "elsewhere/table.jsonl"]),
    ] {
        let spec = DataSpec {
            train_samples: Some(9),
            eval_samples: Some(5),
            ..DataSpec::new(Source::find(&at(data), &Columns::default()).unwrap())
        };
        let splits = open(&spec).expect("a split");
        for name in manifests {
            manifest::write(&at(name), &splits).expect("written");
            let source = Source::find(&at(name), &Columns::default()).unwrap();
            let again = open(&DataSpec::new(source)).expect("the manifest");
            assert_eq!(again.classes, splits.classes, "{name}");
            assert_eq!(content(&again), content(&splits), "{name}");
        }
    }
}

fn csv_limits() {
    let root = folder(&[(
        "x.jsonl",
        "{\"classes\": [\"b\", \"a\"]}\n{\"path\": \"1.png\", \"label\": \"a\"}\n{\"path\": \"2.png\", \"label\": \"b\"}\n{\"path\": \"3.png\", \"label\": \"a\"}\n",
    )]);
    for name in ["1.png", "2.png", "3.png"] {
        std::fs::write(root.path().join(name), picture(1)).expect("a file");
    }
    let source = Source::find(&root.path().join("x.jsonl"), &Columns::default()).unwrap();
    let splits = open(&DataSpec::new(source)).expect("a split");
    for (name, wanted) in [
        ("y.csv", "which CSV cannot tell"),
        ("y.txt", "of which format"),
    ] {
        let error = manifest::write(&root.path().join(name), &splits).expect_err(name);
        assert!(matches!(error, Error::Usage { .. }), "{error}");
        assert!(error.to_string().contains(wanted), "{error}");
        assert!(!root.path().join(name).exists());
    }
}

fn unlabelled() {
    let root = folder(&[("x.csv", "path\n1.png\n2.png\n")]);
    std::fs::write(root.path().join("2.png"), picture(5)).expect("a file");
    let path = root.path().join("x.csv");
    let (set, _) = open_unlabelled(&[Source::find(&path, &Columns::default()).expect("a table")])
        .expect("images");
    assert_eq!(set.len(), 2);
    let missing = set.image(0).expect_err("no such file").to_string();
    assert!(missing.contains("it cannot be read"), "{missing}");
    assert_eq!(set.image(1).expect("a picture").pixels[0], 5);
}
