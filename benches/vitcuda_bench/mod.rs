//! `cargo bench` times what `vitcuda bench` does, and nothing else: it runs the program.

use std::process::{Command, ExitCode};

/// Runs `vitcuda bench WHAT` with the flags that follow `--` on cargo's command line.
pub fn run(what: &str) -> ExitCode {
    // Cargo adds a flag of its own.
    let flags = std::env::args().skip(1).filter(|flag| flag != "--bench");
    let status = Command::new(env!("CARGO_BIN_EXE_vitcuda"))
        .args(["bench", what])
        .args(flags)
        .status()
        .expect("the program was built");
    match status.code() {
        Some(code) => ExitCode::from(code as u8),
        None => ExitCode::FAILURE,
    }
}
