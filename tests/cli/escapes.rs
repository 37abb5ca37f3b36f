//! Names that are made to play with the terminal are shown, and do nothing.
#![cfg(unix)]

use std::fs;
use std::path::Path;

use super::support::{red_and_blue, run_in};

/// Sets a title, clears the screen, and turns the reading direction.
const CLASS: &str = "re\x1b]0;owned\x07\x1b[2Jd";
const FILE: &str = "\x1b[31m\u{202e}gnp.png";

fn is_harmless(text: &str) -> bool {
    !text.contains(['\x1b', '\x07', '\u{202e}', '\u{9b}'])
}

fn photos(folder: &Path) {
    let photos = folder.join("photos");
    red_and_blue(&photos, 8);
    fs::rename(photos.join("red"), photos.join(CLASS)).unwrap();
    fs::rename(
        photos.join(CLASS).join("00.png"),
        photos.join(CLASS).join(FILE),
    )
    .unwrap();
    fs::write(photos.join(CLASS).join("\x1b[5mbad.png"), "no picture").unwrap();
}

#[test]
fn escapes_in_names_are_shown_and_not_obeyed() {
    let folder = tempfile::tempdir().unwrap();
    photos(folder.path());
    let train = "train photos --model vit_digits_patch2_8 --max-steps 2 -o model";
    for line in [
        train,
        "eval model photos",
        "predict model photos",
        "data stats photos",
        "info model",
        "predict model \x1b[31mabsent.png",
        "train photos --model model/\x1b[31m",
        "report model",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let said = run_in(folder.path(), &words);
        assert!(is_harmless(&said.stdout), "{line}: {:?}", said.stdout);
        assert!(is_harmless(&said.stderr), "{line}: {:?}", said.stderr);
        if line == train {
            assert!(
                said.stderr.contains(r"re\u{1b}]0;owned\u{7}\u{1b}[2Jd"),
                "{}",
                said.stderr
            );
        }
    }
    let card = fs::read_to_string(folder.path().join("model/README.md")).unwrap();
    assert!(is_harmless(&card), "{card:?}");
    assert!(card.contains(r"re\u{1b}]0;owned"), "{card}");
}

/// Programs get the names as they are.
#[test]
fn json_keeps_names_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    photos(folder.path());
    let train = "train photos --model vit_digits_patch2_8 --max-steps 2 -o model --quiet";
    run_in(folder.path(), &train.split(' ').collect::<Vec<_>>()).well();
    let image = format!("photos/{CLASS}/{FILE}");
    let said = run_in(folder.path(), &["predict", "model", &image, "--json"]).well();
    assert_eq!(said.json_lines()[0]["image"], image);
    assert!(!said.stdout.contains('\x1b'), "{:?}", said.stdout);
}
