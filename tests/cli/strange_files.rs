//! Data that is not what it seems, or of which there is too much. Each run has a minute: what is
//! looked for here mostly shows as a run that never ends.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use super::pictures::crc32;
use super::support::{Said, red_and_blue};

/// Runs the binary on the CPU in `folder` after the shell commands `limits`, for a minute at most.
fn limited(folder: &Path, limits: &str, line: &str) -> Said {
    let binary = env!("CARGO_BIN_EXE_vitcuda");
    let output = Command::new("timeout")
        .args(["60", "sh", "-c", &format!("{limits}; exec {binary} {line}")])
        .env("VITCUDA_DEVICE", "cpu")
        .env("VITCUDA_THREADS", "2")
        .env("HF_HUB_OFFLINE", "1")
        .current_dir(folder)
        .output();
    output.expect("timeout, of coreutils").into()
}

fn words_in(folder: &Path, line: &str) -> Said {
    limited(folder, "true", line)
}

fn pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.expect("mkfifo, of coreutils").success());
}

#[test]
fn only_regular_files_are_opened() {
    let folder = tempfile::tempdir().unwrap();
    let at = |below: &str| folder.path().join(below);
    red_and_blue(&at("photos"), 2);
    pipe(&at("photos/red/pipe.png"));
    symlink("/dev/zero", at("photos/red/zero.png")).unwrap();
    let _socket = UnixListener::bind(at("photos/red/socket.png")).unwrap();
    fs::write(
        at("list.csv"),
        "path,label\nphotos/red/pipe.png,red\n/dev/zero,red\nphotos/red/00.png,red\nphotos/blue/00.png,blue\n",
    )
    .unwrap();
    let reasons = |line: &str| {
        let stats = words_in(folder.path(), line).well().json_lines();
        let bad = stats[0]["splits"][0]["bad"].as_array().unwrap().clone();
        let reason = |bad: &serde_json::Value| bad["reason"].as_str().unwrap().to_owned();
        bad.iter().map(reason).collect::<Vec<_>>()
    };
    let is = |kind| format!("it cannot be read: it is {kind}, not a regular file");
    assert_eq!(
        reasons("data stats photos --json"),
        [is("a pipe (FIFO)"), is("a socket"), is("a device")]
    );
    assert_eq!(
        reasons("data stats list.csv --json"),
        [is("a pipe (FIFO)"), is("a device")]
    );
    pipe(&at("table.csv"));
    pipe(&at("table.parquet"));
    fs::create_dir(at("model")).unwrap();
    symlink("/dev/zero", at("model/config.json")).unwrap();
    for (line, what) in [
        (
            "data stats table.csv",
            "table.csv: cannot read it: it is a pipe",
        ),
        (
            "data stats table.parquet",
            "table.parquet: cannot read it: it is a pipe",
        ),
        (
            "eval model photos",
            "config.json: cannot read it: it is a device",
        ),
    ] {
        words_in(folder.path(), line).failed(1).mentions(&[what]);
    }
}

/// A flat grey PNG, which takes few bytes.
fn flat_png(side: u32) -> Vec<u8> {
    let image = image::GrayImage::from_pixel(side, side, image::Luma([9]));
    let mut file = std::io::Cursor::new(Vec::new());
    image.write_to(&mut file, image::ImageFormat::Png).unwrap();
    file.into_inner()
}

#[test]
fn a_lack_of_memory_has_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let at = |below: &str| folder.path().join(below);
    red_and_blue(&at("photos"), 3);
    // A lie: 74 bytes for 1.4 gigabytes.
    let mut lie = flat_png(1);
    lie[16..26].copy_from_slice(&[0, 0, 0x34, 0x41, 0, 0, 0x34, 0x41, 16, 6]);
    let crc = crc32(&lie[12..29]);
    lie[29..33].copy_from_slice(&crc.to_be_bytes());
    fs::write(at("photos/red/lie.png"), lie).unwrap();
    // More lies: 30 bytes for half a gigabyte, and a table for eight.
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions");
    let webp = found.join("image/large_picture.webp");
    fs::copy(webp, at("photos/red/lie.webp")).unwrap();
    let table = found.join("parquet/children_that_are_not_there.parquet");
    fs::copy(table, at("lie.parquet")).unwrap();
    limited(folder.path(), "ulimit -v 600000", "data stats lie.parquet")
        .failed(3)
        .mentions(&["no Parquet file that can be read", "its schema"]);
    let stats = limited(
        folder.path(),
        "ulimit -v 600000",
        "data stats photos --json",
    );
    let stats = stats.well().json_lines();
    let bad = &stats[0]["splits"][0]["bad"];
    assert_eq!(bad.as_array().unwrap().len(), 2, "{bad}");
    // True, and too large for so little memory.
    fs::write(at("photos/red/true.png"), flat_png(13_000)).unwrap();
    limited(folder.path(), "ulimit -v 600000", "data stats photos")
        .failed(6)
        .mentions(&["true.png", "not enough memory"]);
    // However little there is: never an abort.
    for kibibytes in (30_000..400_000).step_by(30_000) {
        let limit = format!("ulimit -v {kibibytes}");
        let said = limited(folder.path(), &limit, "data stats photos");
        assert_eq!(said.code, Some(6), "{kibibytes}: {}", said.stderr);
    }
}

/// More classes than anything quadratic bears.
#[test]
fn many_classes_take_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = String::from("path,label,split\n");
    for n in 0..300_000 {
        let split = ["train", "validation"][n % 2];
        lines += &format!("missing.png,class {},{split}\n", n / 2);
        lines += &format!("missing.png,{split} {n},{split}\n");
    }
    fs::write(folder.path().join("list.csv"), lines).unwrap();
    let said = words_in(folder.path(), "data stats list.csv --quiet").well();
    assert!(said.stdout.contains("and 449900 more"), "{}", said.stdout);
}

#[test]
fn names_of_any_length_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    red_and_blue(&folder.path().join("photos"), 8);
    let long = "x".repeat(65_536);
    let mut lines = String::from("path,label\n");
    for i in 0..8 {
        lines += &format!("photos/red/{i:02}.png,{long}\nphotos/blue/{i:02}.png,\"two\nlines\"\n");
    }
    fs::write(folder.path().join("list.csv"), lines).unwrap();
    let said = words_in(folder.path(), "data stats list.csv").well();
    assert!(said.stdout.contains("xxx…  "), "{}", said.stdout);
    assert!(said.stdout.contains("two lines  "), "{}", said.stdout);
    words_in(
        folder.path(),
        "train list.csv --model vit_digits_patch2_8 --max-steps 1 --batch-size 4 -o model",
    )
    .well();
    let said = words_in(folder.path(), "eval model list.csv").well();
    assert!(said.stdout.contains("xxx…  "), "{}", said.stdout);
    words_in(folder.path(), "predict model photos").well();
}

#[test]
fn class_folders_that_are_no_text_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    red_and_blue(&photos, 2);
    for (from, to) in [("red", &b"caf\xe9"[..]), ("blue", b"caf\xe8")] {
        fs::rename(photos.join(from), photos.join(OsStr::from_bytes(to))).unwrap();
    }
    words_in(folder.path(), "data stats photos")
        .failed(3)
        .mentions(&["is not UTF-8: caf\\xe8", "rename it"]);
}
