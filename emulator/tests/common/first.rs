//! Standing first on the library path, with NVIDIA's NVRTC behind the emulator's. Tests of the whole
//! engine include this file, too.
#![allow(dead_code)] // each test binary uses its own part

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Failed, Trial};

const READY: &str = "VITCUDA_EMULATOR_FIRST";
/// The NVRTC that the emulator's forwards to; `VITCUDA_NVRTC` is that of a real GPU.
const NVRTC: &str = "VITCUDA_TEST_NVRTC";

/// NVIDIA's NVRTC for tests: the file that `VITCUDA_TEST_NVRTC` names, or else the newest under
/// `target/nvrtc`, where `scripts/test.sh` puts one.
pub fn nvrtc() -> Option<PathBuf> {
    let named = std::env::var_os(NVRTC).filter(|value| !value.is_empty());
    let own = std::env::current_exe().expect("a running test has a path");
    let target = own.ancestors().nth(3).expect("target/profile/deps/test");
    named
        .map(PathBuf::from)
        .or_else(|| newest(&target.join("nvrtc")))
}

/// The library of the highest version in the folder and those in it.
fn newest(folder: &Path) -> Option<PathBuf> {
    let (mut folders, mut found) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if let Some(version) = name.strip_prefix("libnvrtc.so") {
                let numbers = version.split('.').filter_map(|part| part.parse().ok());
                found.push((numbers.collect::<Vec<u32>>(), path));
            }
        }
    }
    found.into_iter().max().map(|(_, path)| path)
}

/// A test on the emulator. Without an NVRTC it is reported as ignored, and fails with
/// `VITCUDA_REQUIRE_EMULATOR=1`.
pub fn trial(name: String, test: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Trial {
    if nvrtc().is_some() {
        return Trial::test(name, test);
    }
    let required = std::env::var_os("VITCUDA_REQUIRE_EMULATOR").is_some_and(|v| v == "1");
    let fail = || {
        Err("the emulator needs NVIDIA's NVRTC: scripts/test.sh fetches it, or let VITCUDA_TEST_NVRTC name it".into())
    };
    Trial::test(format!("{name} [needs NVRTC, absent]"), fail).with_ignored_flag(!required)
}

/// Whether the emulator stands first already.
pub fn is_first() -> bool {
    std::env::var_os(READY).is_some()
}

/// Starts this process again with the emulator first on the library path, unless it is already.
pub fn stand_first() {
    if is_first() {
        return;
    }
    let folder = links();
    let mut path = folder.into_os_string();
    if let Some(rest) = std::env::var_os("LD_LIBRARY_PATH").filter(|rest| !rest.is_empty()) {
        path.push(":");
        path.push(rest);
    }
    let own = std::env::current_exe().expect("a running test has a path");
    let mut again = Command::new(own);
    again
        .args(std::env::args_os().skip(1))
        .env("LD_LIBRARY_PATH", path)
        .env(READY, "1");
    if let Some(nvrtc) = nvrtc() {
        again.env(NVRTC, nvrtc);
    }
    let error = again.exec();
    panic!("cannot start again: {error}");
}

/// A folder in which the driver's and NVRTC's names lead to the emulator.
fn links() -> PathBuf {
    let own = std::env::current_exe().expect("a running test has a path");
    let deps = own.parent().expect("a test lies in a folder");
    let name = "libvitcuda_emulator.so";
    let library = [deps.join(name), deps.with_file_name(name)];
    let built = library
        .iter()
        .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)));
    let (_, library) = built
        .max()
        .expect("cargo builds the library before its tests");
    let folder = deps.with_file_name("emulator");
    std::fs::create_dir_all(&folder).expect("the target folder is writable");
    for link in [
        "libcuda.so",
        "libcuda.so.1",
        "libnvrtc.so",
        "libnvrtc.so.13",
        "libnvrtc.so.12",
    ] {
        let partial = folder.join(format!("{link}.{}", std::process::id()));
        std::os::unix::fs::symlink(library, &partial).expect("the target folder is writable");
        std::fs::rename(&partial, folder.join(link)).expect("the target folder is writable");
    }
    folder
}
