//! `--device`, with drivers that are not what they should be.
//!
//! The drivers are made here: small libraries under the name of NVIDIA's, first on the loader's
//! path. So the tests say the same on machines with and without a GPU.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::support::{Said, vitcuda};

const LIBRARY: &str = "libcuda.so.1";

/// Builds a driver from C.
fn driver(source: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("driver.c");
    fs::write(&file, source).unwrap();
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(folder.path().join(LIBRARY))
        .arg(&file)
        .status();
    assert!(status.expect("a C compiler").success());
    folder
}

/// A driver whose cuInit answers `init` and which shows `count` GPUs.
fn driver_with(init: u32, count: u32) -> tempfile::TempDir {
    driver_of(init, count, 12080, (9, 0))
}

/// The same, of this version (12080 is CUDA 12.8), its GPUs of this compute capability.
pub fn driver_of(
    init: u32,
    count: u32,
    version: u32,
    (major, minor): (u32, u32),
) -> tempfile::TempDir {
    driver(&format!(
        r#"
        #include <string.h>
        int cuInit(unsigned flags) {{ return flags ? 1 : {init}; }}
        int cuDriverGetVersion(int *version) {{ *version = {version}; return 0; }}
        int cuDeviceGetCount(int *count) {{ *count = {count}; return 0; }}
        int cuDeviceGetName(char *name, int length, int device) {{
            strncpy(name, "Test GPU", length);
            return device < {count} ? 0 : 101;
        }}
        int cuDeviceGetAttribute(int *value, int attribute, int device) {{
            *value = attribute == 75 ? {major} : attribute == 76 ? {minor} : 0;
            return device < {count} ? 0 : 101;
        }}
        "#
    ))
}

/// A short run that needs a device, with the driver in `folder`.
fn bench(folder: &Path, device: &str) -> Said {
    let output = vitcuda()
        .env("LD_LIBRARY_PATH", folder)
        .args(["bench", "--step", "--model", "vit_digits_patch2_8"])
        .args(["--repeats", "1"])
        .args(["--device", device])
        .output();
    output.expect("the binary starts").into()
}

#[test]
fn a_library_that_is_no_driver_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(LIBRARY), "not a library").unwrap();
    bench(folder.path(), "cuda").failed(5).mentions(&[
        "no CUDA driver",
        LIBRARY,
        "help: run with --device cpu",
    ]);
    let auto = bench(folder.path(), "auto").well();
    let notices: Vec<&str> = auto.stderr.lines().collect();
    assert_eq!(notices.len(), 1, "{}", auto.stderr);
    assert!(notices[0].contains("running on the CPU: no CUDA driver"));
}

#[test]
fn a_driver_that_lacks_a_function_is_refused() {
    let folder = driver("int cuInit(unsigned flags) { return 0; }");
    bench(folder.path(), "cuda")
        .failed(5)
        .mentions(&["it has no function cuDriverGetVersion"]);
}

#[test]
fn a_driver_that_does_not_start_gives_its_code() {
    for (status, meaning) in [
        (100, "no CUDA-capable device is detected"),
        (803, "different versions"),
        (42, "see CUresult"),
    ] {
        bench(driver_with(status, 1).path(), "cuda")
            .failed(5)
            .mentions(&[&format!("cuInit returned {status}"), meaning]);
    }
}

#[test]
fn a_driver_without_gpus_is_refused() {
    bench(driver_with(0, 0).path(), "cuda")
        .failed(5)
        .mentions(&["shows no GPU"]);
}

#[test]
fn auto_without_nvrtc_says_so_and_takes_the_cpu() {
    let (folder, empty) = (driver_with(0, 1), tempfile::tempdir().unwrap());
    let run = |device| -> Said {
        let output = vitcuda()
            .env("LD_LIBRARY_PATH", folder.path())
            .env("VITCUDA_NVRTC", empty.path())
            .args(["bench", "--model", "vit_digits_patch2_8", "--repeats", "1"])
            .args(["--device", device])
            .output();
        output.expect("the binary starts").into()
    };
    let fact = "VITCUDA_NVRTC: no libnvrtc in";
    run("auto").well().mentions(&["running on the CPU", fact]);
    run("cuda").failed(5).mentions(&[fact]);
    run("cuda:1")
        .failed(5)
        .mentions(&["cuda:1 does not exist; the driver shows 1 GPU"]);
}

#[test]
fn the_cpu_needs_no_driver_and_says_nothing() {
    let folder = driver("int cuInit(unsigned flags) { return *(volatile int *)0; }");
    let said = bench(folder.path(), "cpu").well();
    assert_eq!(said.stderr, "");
}

#[test]
fn a_precision_that_a_device_lacks_is_named() {
    let folder = driver_with(100, 0); // no device
    let run = |device, precision| -> Said {
        let output = vitcuda()
            .env("LD_LIBRARY_PATH", folder.path())
            .args(["bench", "--step", "--model", "vit_digits_patch2_8"])
            .args(["--repeats", "1", "--device", device])
            .args(["--precision", precision])
            .output();
        output.expect("the binary starts").into()
    };
    assert_eq!(run("cpu", "fp32").well().stderr, "");
    run("cpu", "bf16")
        .well()
        .mentions(&["the CPU computes in f32, not in bf16"]);
    run("auto", "fp32")
        .well()
        .mentions(&["running on the CPU: GPUs compute in fp16 or bf16"]);
    run("cuda", "fp32")
        .failed(2)
        .mentions(&["`--precision fp32` is for the CPU", "--device cpu"]);
}
