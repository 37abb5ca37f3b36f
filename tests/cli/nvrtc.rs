//! Which NVRTC is taken, of several in the places where people have them.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::devices::{build, driver_of};
use super::support::{Said, vitcuda};

/// What [`fake`] says about every kernel.
pub const LOG: &str = "kernel.cu(1): error: not by this compiler";

/// Builds an NVRTC that calls itself `version`, knows Turing to Hopper and refuses every text.
pub fn fake(library: &Path, (major, minor): (u32, u32)) {
    build(
        library,
        &format!(
            r#"
            #include <string.h>
            static const char log[] = "{LOG}\nand more";
            static const int known[] = {{75, 80, 86, 89, 90}};
            int nvrtcVersion(int *major, int *minor) {{ *major = {major}; *minor = {minor}; return 0; }}
            const char *nvrtcGetErrorString(int status) {{ return "NVRTC_ERROR_COMPILATION"; }}
            int nvrtcGetNumSupportedArchs(int *count) {{ *count = 5; return 0; }}
            int nvrtcGetSupportedArchs(int *archs) {{ memcpy(archs, known, sizeof known); return 0; }}
            int nvrtcCreateProgram(void **program) {{ *program = (void *)known; return 0; }}
            int nvrtcCompileProgram(void *program) {{ return 6; }}
            int nvrtcGetProgramLogSize(void *program, size_t *size) {{ *size = sizeof log; return 0; }}
            int nvrtcGetProgramLog(void *program, char *to) {{ memcpy(to, log, sizeof log); return 0; }}
            int nvrtcGetCUBINSize(void *program, size_t *size) {{ return 6; }}
            int nvrtcGetCUBIN(void *program, char *to) {{ return 6; }}
            int nvrtcDestroyProgram(void **program) {{ return 0; }}
            "#
        ),
    );
}

/// Doctor with a driver of CUDA 12.8 in `folder` and what else lies there, and nothing of this
/// machine's environment.
fn doctor(folder: &Path, change: impl FnOnce(&mut Command)) -> Said {
    let mut command = vitcuda();
    command
        .env("LD_LIBRARY_PATH", folder)
        .env("HOME", folder)
        .env("PATH", folder)
        .env("VITCUDA_CACHE", folder)
        .arg("doctor");
    for variable in [
        "VITCUDA_NVRTC",
        "VIRTUAL_ENV",
        "CONDA_PREFIX",
        "CUDA_HOME",
        "CUDA_PATH",
    ] {
        command.env_remove(variable);
    }
    change(&mut command);
    command.output().expect("the binary starts").into()
}

/// The places, in the order in which they are looked at.
fn places(folder: &Path) -> Vec<PathBuf> {
    [
        "libnvrtc.so",
        "toolkit/lib64/libnvrtc.so.12",
        "toolkit/targets/x86_64-linux/lib/libnvrtc.so.12",
        "conda/lib/libnvrtc.so.12",
        "conda/targets/sbsa-linux/lib/libnvrtc.so.12",
        "python/lib/python3.9/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
    ]
    .map(|place| folder.join(place))
    .into()
}

/// Versions that no release of NVIDIA's has, above all that this machine may have.
#[test]
fn the_newest_of_all_places_is_taken() {
    let driver = driver_of(0, 1, 12080, (8, 6));
    let folder = driver.path();
    let places = places(folder);
    for (i, place) in places.iter().enumerate() {
        fake(place, (12, 979 - i as u32));
    }
    // Newer still, and of no use with this driver.
    fake(&folder.join("toolkit/lib/libnvrtc.so.13"), (13, 990));
    for (i, place) in places.iter().enumerate() {
        let version = (12, 980 + i as u32);
        fake(place, version);
        let said = doctor(folder, |command| {
            command
                .env("CUDA_HOME", folder.join("toolkit"))
                .env("CONDA_PREFIX", folder.join("conda"))
                .env("VIRTUAL_ENV", folder.join("python"));
        });
        let wanted = format!("12.{}, {}", version.1, place.display());
        assert!(said.stdout.contains(&wanted), "{wanted}: {}", said.stdout);
    }
}

#[test]
fn one_that_is_too_old_is_refused_with_its_version() {
    let driver = driver_of(0, 1, 12080, (8, 6));
    let library = driver.path().join("old/libnvrtc.so");
    // Without the functions that came later.
    build(
        &library,
        "int nvrtcVersion(int *major, int *minor) { *major = 11; *minor = 1; return 0; }",
    );
    let said = doctor(driver.path(), |command| {
        command.env("VITCUDA_NVRTC", &library);
    });
    for part in [
        "libnvrtc.so: version 11.1 is too old: 12.0 is needed",
        "help: pip install \"nvidia-cuda-nvrtc-cu12<12.9\" (no toolkit is needed)",
    ] {
        assert!(said.stdout.contains(part), "`{part}`: {}", said.stdout);
    }
}

#[test]
fn the_package_is_that_for_the_driver() {
    for (version, package) in [
        (12020, "pip install \"nvidia-cuda-nvrtc-cu12<12.3\""),
        (13000, "pip install \"nvidia-cuda-nvrtc<13.1\""),
    ] {
        let driver = driver_of(0, 1, version, (8, 6));
        let library = driver.path().join("of-14/libnvrtc.so");
        fake(&library, (14, 0));
        let said = doctor(driver.path(), |command| {
            command.env("VITCUDA_NVRTC", &library);
        });
        for part in ["version 14.0 is newer than the driver", package] {
            assert!(said.stdout.contains(part), "`{part}`: {}", said.stdout);
        }
    }
}

#[test]
fn a_gpu_that_it_does_not_know_is_named() {
    for (major, minor) in [(8, 7), (8, 8), (11, 0), (10, 3), (12, 1)] {
        let driver = driver_of(0, 1, 12080, (major, minor));
        let library = driver.path().join("old/libnvrtc.so");
        fake(&library, (12, 0));
        let said = doctor(driver.path(), |command| {
            command.env("VITCUDA_NVRTC", &library);
        });
        let part = format!("version 12.0 does not know sm_{major}{minor}");
        assert!(said.stdout.contains(&part), "`{part}`: {}", said.stdout);
    }
}
