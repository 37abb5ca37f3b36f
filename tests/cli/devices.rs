//! `--device`, with drivers that are not what they should be.
//!
//! The drivers are made here: small libraries under the name of NVIDIA's, first on the loader's
//! path. So the tests say the same on machines with and without a GPU.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::nvrtc;
use super::support::{Said, vitcuda};

/// The name that is looked for first, and the one that drivers install.
const LIBRARIES: [&str; 2] = ["libcuda.so", "libcuda.so.1"];

/// Builds a library from C.
pub fn build(library: &Path, source: &str) {
    fs::create_dir_all(library.parent().unwrap()).unwrap();
    let file = library.with_extension("c");
    fs::write(&file, source).unwrap();
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([library, &file])
        .status();
    assert!(status.expect("a C compiler").success());
}

/// Builds a driver from C.
fn driver(source: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    build(&folder.path().join(LIBRARIES[0]), source);
    folder
}

/// The driver's names, and none of them leads to one.
pub fn no_driver() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in LIBRARIES {
        fs::write(folder.path().join(name), "not a library").unwrap();
    }
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
        // So far and no further.
        int cuDeviceGet(int *device, int ordinal) {{ return 101; }}
        int cuGetErrorName(int code, const char **name) {{ return 1; }}
        int cuGetErrorString(int code, const char **text) {{ return 1; }}
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
    let folder = no_driver();
    bench(folder.path(), "cuda").failed(5).mentions(&[
        "no CUDA driver",
        LIBRARIES[1],
        "help: run with --device cpu",
    ]);
    let auto = bench(folder.path(), "auto").well();
    let notices: Vec<&str> = auto.stderr.lines().collect();
    assert_eq!(notices.len(), 1, "{}", auto.stderr);
    assert!(notices[0].contains("running on the CPU: no CUDA driver"));
}

#[test]
fn that_there_is_no_gpu_is_said_once_a_day_and_machine() {
    let (folder, cache) = (no_driver(), tempfile::tempdir().unwrap());
    let run = |cache: &Path| -> Said {
        let output = vitcuda()
            .env("LD_LIBRARY_PATH", folder.path())
            .env("VITCUDA_CACHE", cache)
            .args(["bench", "--step", "--model", "vit_digits_patch2_8"])
            .args(["--repeats", "1", "--device", "auto"])
            .output();
        Said::from(output.expect("the binary starts")).well()
    };
    let line = "running on the CPU: no CUDA driver";
    run(cache.path()).mentions(&[line]);
    assert_eq!(run(cache.path()).stderr, "");
    // Yesterday's word, or another machine's, is none of today here.
    for entry in fs::read_dir(cache.path()).unwrap() {
        let path = entry.unwrap().path();
        let said = fs::read_to_string(&path).unwrap();
        let (day, text) = said.split_once(' ').unwrap();
        let yesterday = day.parse::<u64>().unwrap() - 1;
        fs::write(&path, format!("{yesterday} {text}")).unwrap();
    }
    run(cache.path()).mentions(&[line]);
    // What cannot be kept is said each time.
    let nowhere = folder.path().join(LIBRARIES[0]);
    run(&nowhere).mentions(&[line]);
    run(&nowhere).mentions(&[line]);
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
        (
            802,
            "help: on a machine with NVSwitch start nvidia-fabricmanager",
        ),
        (803, "different versions"),
        (804, "help: take the folder `compat` out of LD_LIBRARY_PATH"),
        (42, "a code that this driver has no name for"),
    ] {
        bench(driver_with(status, 1).path(), "cuda")
            .failed(5)
            .mentions(&[&format!("cuInit returned {status}"), meaning]);
    }
}

#[test]
fn a_code_that_only_the_driver_knows_has_the_drivers_name() {
    let folder = driver(
        r#"
        int cuInit(unsigned flags) { return 4242; }
        int cuDriverGetVersion(int *version) { return 0; }
        int cuDeviceGetCount(int *count) { return 0; }
        int cuDeviceGetName(char *name, int length, int device) { return 0; }
        int cuDeviceGetAttribute(int *value, int attribute, int device) { return 0; }
        int cuGetErrorName(int code, const char **name) { *name = "CUDA_ERROR_OF_A_TEST"; return code != 4242; }
        int cuGetErrorString(int code, const char **text) { *text = "all is well"; return code != 4242; }
        "#,
    );
    bench(folder.path(), "cuda").failed(5).mentions(&[
        "cuInit returned 4242 (CUDA_ERROR_OF_A_TEST: all is well)",
        LIBRARIES[0],
    ]);
}

/// cudarc calls the file that it finds first; where another one was looked at, as here one that
/// works, the failure would come later and name nothing.
#[test]
fn the_driver_that_is_looked_at_is_the_one_that_would_run() {
    let (broken, works) = (driver_with(803, 0), driver_with(0, 1));
    let file = works.path().join(LIBRARIES[0]);
    fs::copy(file, broken.path().join(LIBRARIES[1])).unwrap();
    let first = broken.path().join(LIBRARIES[0]);
    bench(broken.path(), "cuda")
        .failed(5)
        .mentions(&["cuInit returned 803", &format!("in {}", first.display())]);
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
fn auto_with_an_nvrtc_that_refuses_a_kernel_says_so_in_a_line_and_takes_the_cpu() {
    let folder = driver_with(0, 1);
    nvrtc::fake(&folder.path().join("libnvrtc.so"), (12, 906));
    let run = |device| -> Said {
        let output = vitcuda()
            .env("LD_LIBRARY_PATH", folder.path())
            .env("VITCUDA_NVRTC", folder.path())
            .env("VITCUDA_CACHE", folder.path())
            .args(["bench", "--step", "--model", "vit_digits_patch2_8"])
            .args(["--repeats", "1", "--device", device])
            .output();
        output.expect("the binary starts").into()
    };
    let said = run("auto").well();
    let notices: Vec<&str> = said.stderr.lines().collect();
    assert_eq!(notices.len(), 1, "{}", said.stderr);
    for part in [
        "running on the CPU: NVRTC 12.906 cannot compile ",
        " for sm_90 (NVRTC_ERROR_COMPILATION): ",
        nvrtc::LOG,
    ] {
        assert!(notices[0].contains(part), "`{part}`: {}", notices[0]);
    }
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
