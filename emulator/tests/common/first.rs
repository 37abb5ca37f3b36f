//! Standing first on the library path. Tests of the whole engine include this file, too.
#![allow(dead_code)] // each test binary uses its own part

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

const READY: &str = "VITCUDA_EMULATOR_FIRST";

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
    let error = Command::new(own)
        .args(std::env::args_os().skip(1))
        .env("LD_LIBRARY_PATH", path)
        .env(READY, "1")
        .exec();
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
