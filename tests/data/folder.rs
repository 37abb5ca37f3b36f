use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use tempfile::TempDir;
use vitcuda::data::source::{Part, open, open_part, open_unlabelled};
use vitcuda::data::{DataSpec, Dataset, Source, Splits};

use crate::plain;

pub fn trials() -> Vec<Trial> {
    vec![
        plain("classes and files sort by bytes", sorted),
        plain(
            "nested and upper-case files are found, hidden ones are not",
            found_and_hidden,
        ),
        plain("train and validation folders go by many names", split_names),
        plain("a class may be called train", class_named_train),
        plain("empty class folders are dropped and said", empty_classes),
        plain(
            "parts with different classes are refused",
            different_classes,
        ),
        plain("numbered classes out of order are pointed out", numbered),
        plain("each wrong path has its message", wrong_paths),
        plain("an unreadable folder is an error", unreadable),
        plain("images without labels", unlabelled),
        plain("labels follow the model's class names", model_classes),
    ]
}

/// A folder with these files (a name ending in `/` is a folder).
pub fn tree(files: &[&str]) -> TempDir {
    let root = tempfile::tempdir().expect("a folder");
    for file in files {
        let path = root.path().join(file);
        let folder = if file.ends_with('/') {
            path.as_path()
        } else {
            path.parent().expect("below the root")
        };
        std::fs::create_dir_all(folder).expect("a folder");
        if !file.ends_with('/') {
            std::fs::write(path, "").expect("a file");
        }
    }
    root
}

fn spec(root: impl Into<PathBuf>) -> DataSpec {
    DataSpec {
        validation_fraction: 0.5,
        ..DataSpec::new(Source::Folder(root.into()))
    }
}

fn opened(root: &TempDir) -> Splits {
    open(&spec(root.path())).expect("a data folder")
}

pub fn names(dataset: &Dataset) -> Vec<String> {
    (0..dataset.len()).map(|i| dataset.name(i)).collect()
}

fn whole(root: &TempDir) -> (Vec<String>, Vec<String>, Vec<String>) {
    let source = Source::Folder(root.path().to_owned());
    let all = open_part(&source, Part::Train).expect("a data folder");
    (all.classes, names(&all.dataset), all.notices)
}

fn sorted() {
    let root = tree(&["b/2.jpg", "b/10.jpg", "B/x.png", "a/z.gif", "é/1.webp"]);
    let (classes, files, notices) = whole(&root);
    assert_eq!(classes, ["B", "a", "b", "é"]);
    assert_eq!(
        files,
        ["B/x.png", "a/z.gif", "b/10.jpg", "b/2.jpg", "é/1.webp"]
    );
    assert!(notices.is_empty(), "{notices:?}");
}

fn found_and_hidden() {
    let root = tree(&[
        "a/1.JPG",
        "a/deep/er/2.jpeg",
        "a/.ipynb_checkpoints/1.jpg",
        "a/.DS_Store",
        "a/notes.txt",
        "a/scan.heic",
        "a/album.png/1.jpg",
        "b/1.bmp",
        ".git/config",
        "__MACOSX/b/1.jpg",
        "list.csv",
        "loose.png",
    ]);
    let (classes, files, notices) = whole(&root);
    assert_eq!(classes, ["a", "b"]);
    // A folder with an image's name is a bad image, to be listed when it is decoded.
    assert_eq!(
        files,
        ["a/1.JPG", "a/album.png", "a/deep/er/2.jpeg", "b/1.bmp"]
    );
    let said = notices.join("\n");
    assert!(said.contains("left out 4 hidden"), "{said}");
    assert!(
        said.contains("2 files without an image's ending: a/notes.txt, list.csv")
            && said.contains("1 images in formats that are not read: a/scan.heic"),
        "{said}"
    );
    assert!(
        said.contains("left out 1 images beside the class folders"),
        "{said}"
    );
}

fn split_names() {
    for (train, validation) in [("train", "val"), ("Train", "valid"), ("training", "test")] {
        let root = tree(&[
            &format!("{train}/a/1.jpg"),
            &format!("{train}/b/1.jpg"),
            &format!("{validation}/b/2.jpg"),
            "extra/a/1.jpg",
        ]);
        let splits = opened(&root);
        assert_eq!(splits.classes, ["a", "b"]);
        assert_eq!(names(&splits.train)[1], format!("{train}/b/1.jpg"));
        assert_eq!(names(&splits.validation), [format!("{validation}/b/2.jpg")]);
        assert_eq!(splits.validation.label(0), 1);
        let said = splits.notices.join("\n");
        assert!(
            said.contains(&format!("left alone beside {train}/: extra/")),
            "{said}"
        );
        assert!(said.contains("no validation images of `a`"), "{said}");
    }
    // `validation` is preferred to `test`; without either, the training part is split.
    let root = tree(&[
        "train/a/1.jpg",
        "train/b/1.jpg",
        "test/a/1.jpg",
        "validation/a/2.jpg",
    ]);
    assert_eq!(names(&opened(&root).validation), ["validation/a/2.jpg"]);
    let root = tree(&[
        "train/a/1.jpg",
        "train/a/2.jpg",
        "train/b/1.jpg",
        "train/b/2.jpg",
    ]);
    let splits = opened(&root);
    assert_eq!((splits.train.len(), splits.validation.len()), (2, 2));
}

fn class_named_train() {
    let root = tree(&["train/1.jpg", "plane/1.jpg", "test/1.jpg"]);
    assert_eq!(whole(&root).0, ["plane", "test", "train"]);
}

fn empty_classes() {
    let root = tree(&["a/1.jpg", "b/", "c/1.jpg", "d/readme.txt"]);
    let (classes, _, notices) = whole(&root);
    assert_eq!(classes, ["a", "c"]);
    assert!(
        notices
            .iter()
            .any(|n| n.contains("without images") && n.ends_with("`b`, `d`")),
        "{notices:?}"
    );
}

pub fn message(result: vitcuda::Result<impl Sized>) -> String {
    let Err(error) = result else {
        panic!("this should have failed")
    };
    assert_eq!(error.exit_code(), 3, "{error}");
    assert!(error.help().is_some(), "{error}");
    error.to_string()
}

fn different_classes() {
    let root = tree(&[
        "train/a/1.jpg",
        "train/b/1.jpg",
        "val/a/1.jpg",
        "val/c/1.jpg",
    ]);
    let found = message(open(&spec(root.path())));
    assert!(
        found.contains("val: has classes without training images: `c` (but not `b`)"),
        "{found}"
    );
    // An empty class folder in the training part does not make it a class.
    let root = tree(&["train/a/1.jpg", "train/b/1.jpg", "train/c/", "val/c/1.jpg"]);
    let found = message(open(&spec(root.path())));
    assert!(found.contains("without training images: `c`"), "{found}");
}

fn numbered() {
    let said = |root: TempDir| opened(&root).notices.join("\n");
    let odd = said(tree(&["1/a.jpg", "2/a.jpg", "10/a.jpg"]));
    assert!(
        odd.contains("sort as text") && odd.contains("class index 0 is `1`"),
        "{odd}"
    );
    let zero_based = said(tree(&["0/a.jpg", "1/a.jpg", "2/a.jpg", "10/a.jpg"]));
    assert!(zero_based.contains("class index 2 is `10`"), "{zero_based}");
    assert!(!said(tree(&["01/a.jpg", "02/a.jpg", "10/a.jpg"])).contains("sort as text"));
    assert!(!said(tree(&["2/a.jpg", "10/a.jpg", "x/a.jpg"])).contains("sort as text"));
}

fn wrong_paths() {
    let root = tree(&[
        "flat/1.jpg",
        "flat/2.png",
        "empty/",
        "hollow/a/",
        "hollow/b/",
        "one/cat/1.jpg",
        "val_only/val/a/1.jpg",
    ]);
    for (below, wanted) in [
        ("missing", "missing: there is no such folder"),
        ("flat/1.jpg", "1.jpg: it is a file, not a folder"),
        ("flat", "flat: it holds 2 images but no class folders"),
        ("empty", "empty: it holds no class folders"),
        ("hollow", "hollow: no images in its 2 folders (a, b)"),
        ("one", "one: there is a single class, `cat`"),
        (
            "val_only",
            "val_only: there is a `val` folder but no `train` folder",
        ),
    ] {
        let found = message(open(&spec(root.path().join(below))));
        assert!(found.contains(wanted), "{found}");
    }
    let one = Source::Folder(root.path().join("one"));
    assert_eq!(
        open_part(&one, Part::Validation)
            .expect("one class is enough")
            .classes,
        ["cat"]
    );
}

#[cfg(unix)]
fn unreadable() {
    use std::os::unix::fs::PermissionsExt;
    let root = tree(&["a/1.jpg", "b/1.jpg"]);
    let closed = root.path().join("b");
    let set_mode = |mode| std::fs::set_permissions(&closed, PermissionsExt::from_mode(mode));
    set_mode(0o000).expect("our own folder");
    let result = open(&spec(root.path()));
    // Root reads everything.
    let is_root = std::fs::read_dir(&closed).is_ok();
    set_mode(0o755).expect("our own folder");
    if !is_root {
        let found = message(result);
        assert!(
            found.contains("b: the folder cannot be read: Permission denied"),
            "{found}"
        );
    }
}

#[cfg(not(unix))]
fn unreadable() {}

fn unlabelled() {
    let root = tree(&[
        "in/b.jpg",
        "in/a/c.png",
        "in/a.txt",
        "single.dat",
        "none/x.txt",
    ]);
    let at = |below: &str| root.path().join(below);
    let (folder, notices) = open_unlabelled(&[Source::Folder(at("in"))]).expect("images");
    assert_eq!(names(&folder), ["a/c.png", "b.jpg"]);
    assert_eq!(notices.len(), 1, "{notices:?}");
    let (mixed, _) =
        open_unlabelled(&[at("single.dat"), at("in")].map(Source::Folder)).expect("images");
    assert_eq!(mixed.len(), 3);
    assert_eq!(mixed.path(0), Some(at("single.dat").as_path()));
    assert_eq!(Path::new(&mixed.name(0)), at("single.dat"));
    assert!(message(open_unlabelled(&[Source::Folder(at("nope.jpg"))])).contains("no such file"));
    assert!(message(open_unlabelled(&[Source::Folder(at("none"))])).contains("it holds no images"));
}

fn model_classes() {
    let root = tree(&["dog/1.jpg", "cat/1.jpg"]);
    let source = Source::Folder(root.path().to_owned());
    let open = || open_part(&source, Part::Validation).expect("a data folder");
    let classes = ["dog", "bird", "cat"].map(String::from);
    let set = open()
        .with_classes(&classes, root.path())
        .expect("known classes");
    assert_eq!(names(&set.dataset), ["cat/1.jpg", "dog/1.jpg"]);
    assert_eq!([0, 1].map(|i| set.dataset.label(i)), [2, 0]);
    let found = message(open().with_classes(&classes[..2], root.path()));
    assert!(found.contains("the model has no class `cat`"), "{found}");
}
