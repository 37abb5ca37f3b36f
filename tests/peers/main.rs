//! The programs that people use beside this one: they read what it writes, it reads what they
//! write.
//!
//! Runs where `VITCUDA_PYTHON` is a Python with the packages of `requirements.txt`, as in CI; no test
//! is left out then but those that say that they need PyTorch.

#[path = "../common/mod.rs"]
mod common;
mod datasets;
mod parquet;
mod tensorboard;
mod transformers;

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use libtest_mimic::{Arguments, Failed, Trial};

use common::shared_dir;

fn main() {
    let trials = [
        transformers::trials(),
        tensorboard::trials(),
        parquet::trials(),
        datasets::trials(),
    ];
    let trials = trials.into_iter().flatten().collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// The environment's Python, kept from asking the network.
fn python() -> Result<Command, Failed> {
    let python = std::env::var_os("VITCUDA_PYTHON").ok_or("VITCUDA_PYTHON is not set")?;
    let mut command = Command::new(python);
    command.env("HF_HUB_OFFLINE", "1");
    Ok(command)
}

/// A test that needs the Python.
fn with_python(name: &str, test: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Trial {
    let absent = std::env::var_os("VITCUDA_PYTHON").is_none();
    let label = if absent {
        format!("{name} [needs VITCUDA_PYTHON]")
    } else {
        name.to_owned()
    };
    Trial::test(label, test).with_ignored_flag(absent)
}

/// A test that needs the Python and the file or folder `needs` of the reference data.
fn with_both(
    name: &str,
    needs: &'static str,
    test: impl FnOnce(&Path) -> Result<(), Failed> + Send + 'static,
) -> Trial {
    let path = shared_dir().join(needs);
    let required = std::env::var_os("VITCUDA_REQUIRE_SHARED").is_some_and(|v| v == "1");
    if path.exists() || required {
        with_python(name, move || test(&path))
    } else {
        Trial::test(format!("{name} [needs {needs}, absent]"), || Ok(())).with_ignored_flag(true)
    }
}

/// Runs `command` and shows what it said; an error with its complaints where it fails.
fn run(command: &mut Command) -> Result<(), Failed> {
    let output = command.output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    print!("{}", text(&output.stdout));
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{}{}", text(&output.stdout), text(&output.stderr)).into())
    }
}

/// Runs a script of this folder.
fn script<S: AsRef<OsStr>>(
    name: &str,
    arguments: impl IntoIterator<Item = S>,
) -> Result<(), Failed> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers");
    run(python()?.arg(folder.join(name)).args(arguments))
}

/// Runs the binary on the CPU.
fn vitcuda<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Result<(), Failed> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitcuda"));
    run(command.env("VITCUDA_DEVICE", "cpu").args(arguments))
}
