//! What the linker is asked for.

use std::env;
use std::process::Command;

/// Has functions of the same code folded into one, which makes the program 700 kB smaller, where
/// the linker can: LLD, which rustc comes with and takes by itself on 64-bit Linux from 1.90 on.
pub fn fold_equal_functions() {
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|v| v == value);
    if is("TARGET", "x86_64-unknown-linux-gnu")
        && is("HOST", "x86_64-unknown-linux-gnu")
        && !another_linker()
        && minor_version().is_some_and(|minor| minor >= 90)
    {
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    }
}

/// Whether the user says what to link with.
fn another_linker() -> bool {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let chosen = ["linker", "fuse-ld", "link-self-contained"];
    env::var_os("RUSTC_LINKER").is_some() || chosen.iter().any(|word| flags.contains(word))
}

/// 90 of `rustc 1.90.0 (…)`.
fn minor_version() -> Option<u32> {
    let output = Command::new(env::var_os("RUSTC")?)
        .arg("--version")
        .output();
    let text = String::from_utf8(output.ok()?.stdout).ok()?;
    text.split('.').nth(1)?.parse().ok()
}
