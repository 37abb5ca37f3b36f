//! `vitcuda doctor`, with and without what a GPU needs.

use std::path::{Path, PathBuf};

use super::devices::{driver_of, no_driver};
use super::support::{Said, vitcuda};

/// Runs doctor with the driver in `folder` and nothing of this machine: NVRTC only where
/// `VITCUDA_NVRTC` leads.
fn doctor(folder: &Path, nvrtc: &Path, words: &[&str]) -> Said {
    let output = vitcuda()
        .env("LD_LIBRARY_PATH", folder)
        .env("VITCUDA_NVRTC", nvrtc)
        .env("VITCUDA_CACHE", folder)
        .arg("doctor")
        .args(words)
        .output();
    output.expect("the binary starts").into()
}

/// The emulator under NVRTC's name: it calls itself version 13.
fn nvrtc() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let deps = own.parent().unwrap();
    let name = "libvitcuda_emulator.so";
    let places = [deps.join(name), deps.with_file_name(name)];
    let mut found = places.into_iter().filter(|place| place.exists());
    found.next().expect("built with the tests")
}

#[track_caller]
fn says(said: &Said, texts: &[&str]) {
    for text in texts {
        assert!(said.stdout.contains(text), "`{text}`: {}", said.stdout);
    }
}

#[test]
fn without_anything_it_says_what_is_missing_and_how_to_get_it() {
    let (driver, empty) = (no_driver(), tempfile::tempdir().unwrap());
    let said = doctor(driver.path(), empty.path(), &[]).well();
    says(
        &said,
        &[
            "0.1.0 (linux ",
            "no CUDA driver",
            "help: run with --device cpu, or install the NVIDIA driver",
            "VITCUDA_NVRTC: no libnvrtc in",
            "help: let it name the file",
            "for --device cpu only: no CUDA driver",
        ],
    );
    assert_eq!(said.stderr, "");
}

#[test]
fn json_has_the_same_and_whether_a_gpu_is_ready() {
    let (driver, empty) = (no_driver(), tempfile::tempdir().unwrap());
    let said = doctor(driver.path(), empty.path(), &["--json"]).well();
    let [report] = &said.json_lines()[..] else {
        panic!("one line: {}", said.stdout)
    };
    assert_eq!(report["ready"], false);
    assert!(
        report["driver"]["missing"]
            .as_str()
            .unwrap()
            .contains("no CUDA driver")
    );
    assert!(report["nvrtc"]["help"].is_string());
}

#[test]
fn a_gpu_that_was_asked_for_must_be_ready() {
    let (driver, empty) = (no_driver(), tempfile::tempdir().unwrap());
    for words in [&["--device", "cuda"][..], &["--full"]] {
        let said = doctor(driver.path(), empty.path(), words);
        says(&said, &["no CUDA driver"]);
        assert_eq!(said.code, Some(5), "{words:?}");
        said.mentions(&["error: no CUDA driver", "help: "]);
    }
}

#[test]
fn a_driver_that_is_too_old_is_named() {
    let driver = driver_of(0, 1, 11080, (8, 6));
    let said = doctor(driver.path(), &nvrtc(), &["--device", "cuda"]);
    says(&said, &["libcuda.so, CUDA 11.8", "Test GPU, sm_86"]);
    assert_eq!(said.code, Some(5));
    said.mentions(&[
        "too old",
        "CUDA 11.8",
        "12.0 is needed",
        "help: update the driver to version 525",
    ]);
}

#[test]
fn a_gpu_that_is_too_old_is_named() {
    let driver = driver_of(0, 1, 13000, (7, 0));
    let said = doctor(driver.path(), &nvrtc(), &["--device", "cuda"]);
    assert_eq!(said.code, Some(5));
    said.mentions(&[
        "Test GPU (sm_70) is too old",
        "sm_75",
        "help: run with --device cpu",
    ]);
}

#[test]
fn an_nvrtc_newer_than_the_driver_is_refused() {
    let driver = driver_of(0, 1, 12040, (8, 6));
    let said = doctor(driver.path(), &nvrtc(), &["--device", "cuda"]);
    assert_eq!(said.code, Some(5));
    said.mentions(&[
        "is newer than the driver, which understands CUDA 12.4",
        "help: pip install \"nvidia-cuda-nvrtc-cu12<12.5\"",
    ]);
}

#[test]
fn an_nvrtc_that_does_not_know_the_gpu_is_refused() {
    let driver = driver_of(0, 1, 13000, (14, 2));
    let said = doctor(driver.path(), &nvrtc(), &["--device", "cuda"]);
    assert_eq!(said.code, Some(5));
    said.mentions(&["does not know sm_142"]);
}

#[test]
fn a_table_of_kernels_needs_nvrtc() {
    let (driver, empty) = (no_driver(), tempfile::tempdir().unwrap());
    let said = doctor(driver.path(), empty.path(), &["--kernels"]);
    assert_eq!(said.code, Some(5));
    said.mentions(&["VITCUDA_NVRTC: no libnvrtc in"]);
}

#[test]
fn faults_are_planted_only_where_the_checks_have_passed() {
    let (driver, empty) = (no_driver(), tempfile::tempdir().unwrap());
    let said = doctor(driver.path(), empty.path(), &["--prove"]);
    assert_eq!(said.code, Some(2));
    said.mentions(&["--full"]);
    let said = doctor(driver.path(), empty.path(), &["--full", "--prove"]);
    assert_eq!(said.code, Some(5));
    said.mentions(&["error: no CUDA driver"]);
}
