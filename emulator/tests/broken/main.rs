//! Kernels and calls that are wrong on purpose: each must be caught, with a message that says what
//! and where. Every case runs in a process of its own, for a caught kernel ends its context.

mod cases;
#[path = "../common/mod.rs"]
mod common;
mod driver;
mod programs;

use std::process::Command;

use cases::CASES;
use common::{compile, function_with, trial};
use cudarc::driver::{CudaContext, DriverError, PushKernelArg};
use libtest_mimic::{Arguments, Failed, Trial};
use programs::{Device, KERNELS, Outcome, geometry};

const CASE: &str = "VITCUDA_BROKEN_CASE";

/// A wrong program, and how it must end.
pub struct Case {
    pub name: &'static str,
    pub arch: u32,
    /// Result code that the API must give.
    pub status: &'static str,
    /// What the message must contain.
    pub message: &'static [&'static str],
    /// Environment variables that it runs with.
    pub settings: &'static [(&'static str, &'static str)],
    pub run: fn(&Device) -> Outcome,
}

fn main() {
    common::stand_first();
    if let Ok(name) = std::env::var(CASE) {
        return act(&name);
    }
    let tests = all_cases().map(|case| trial(case.name.into(), move || judge(case)));
    let mut tests: Vec<Trial> = tests.collect();
    tests.push(trial(
        "a result that depends on thread order differs between seeds".into(),
        seeds_differ,
    ));
    tests.push(trial(
        "a wrong fragment layout gives wrong numbers".into(),
        wrong_fragments,
    ));
    tests.push(trial(
        "uninitialised global memory is NaN".into(),
        fresh_memory_is_nan,
    ));
    tests.push(trial(
        "compiler errors carry the line of the source".into(),
        compiler_errors,
    ));
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}

fn all_cases() -> impl Iterator<Item = &'static Case> {
    CASES.iter().chain(driver::CASES)
}

/// In the child: runs the case and prints the status it ended with.
fn act(name: &str) {
    let case = all_cases()
        .find(|case| case.name == name)
        .expect("the parent knows the cases");
    println!("{}", status_of(case.run));
}

fn status_of(run: fn(&Device) -> Outcome) -> String {
    let context = match CudaContext::new(0) {
        Ok(context) => context,
        Err(DriverError(code)) => return format!("{code:?}"),
    };
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream().expect("a stream");
    let device = Device { context, stream };
    let status = match run(&device) {
        Ok(()) => "CUDA_SUCCESS".to_owned(),
        Err(DriverError(code)) => format!("{code:?}"),
    };
    std::mem::forget(device); // its drop would stumble over the lost context
    status
}

fn child(case: &str, arch: u32, settings: &[(&str, &str)]) -> (String, String) {
    let own = std::env::current_exe().expect("a running test has a path");
    let output = Command::new(own)
        .env(CASE, case)
        .env("VITCUDA_EMULATE", format!("sm_{arch}"))
        .envs(settings.iter().copied())
        .output()
        .expect("the test can start itself");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn judge(case: &Case) -> Result<(), Failed> {
    let (status, stderr) = child(case.name, case.arch, case.settings);
    if status != case.status {
        return Err(format!(
            "ended with `{status}` instead of `{}`:\n{stderr}",
            case.status
        )
        .into());
    }
    match case.message.iter().find(|part| !stderr.contains(**part)) {
        Some(part) => Err(format!("`{part}` is not in the message:\n{stderr}").into()),
        None => Ok(()),
    }
}

/// The last of the threads that write one number.
fn seeds_differ() -> Result<(), Failed> {
    let device = CudaContext::new(0).expect("a device is played");
    let stream = device.default_stream();
    let kernel = function_with(&device, KERNELS, "order_dependent", &[]);
    let run = |seed: u32| {
        // SAFETY: the other threads read the environment only while a launch starts.
        unsafe { std::env::set_var("VITCUDA_EMULATOR_SEED", seed.to_string()) };
        let mut state = stream.alloc_zeros::<f32>(2).expect("memory");
        unsafe {
            stream
                .launch_builder(&kernel)
                .arg(&mut state)
                .launch(geometry(1, 256, 0))
        }
        .expect("a launch");
        stream.clone_dtoh(&state).expect("a copy")[0].to_bits()
    };
    let results: Vec<u32> = (0..4).map(run).collect();
    if results.iter().all(|&one| one == results[0]) {
        return Err(format!("four seeds, one result: {results:x?}").into());
    }
    assert_eq!(run(3), results[3], "a seed repeats itself");
    Ok(())
}

/// Exchanging two registers of a fragment must show: mma does not forgive it.
fn wrong_fragments() -> Result<(), Failed> {
    let device = CudaContext::new(0).expect("a device is played");
    let stream = device.default_stream();
    let multiply = |name: &str| {
        let kernel = function_with(&device, KERNELS, name, &[]);
        let a: Vec<u16> = common::noise(256, 1)
            .into_iter()
            .map(|x| half::f16::from_f32(x).to_bits())
            .collect();
        let a = stream.clone_htod(&a).expect("a copy");
        let mut c = stream.alloc_zeros::<f32>(128).expect("memory");
        unsafe {
            stream
                .launch_builder(&kernel)
                .arg(&mut c)
                .arg(&a)
                .launch(geometry(1, 32, 0))
        }
        .expect("a launch");
        stream.clone_dtoh(&c).expect("a copy")
    };
    let right = multiply("right_fragments");
    for name in [
        "exchanged_a_registers",
        "exchanged_b_registers",
        "transposed_a",
    ] {
        let wrong = multiply(name);
        let different = right
            .iter()
            .zip(&wrong)
            .filter(|(r, w)| (*r - *w).abs() > 0.01)
            .count();
        assert!(
            different > 64,
            "{name}: only {different} of 128 numbers differ"
        );
    }
    Ok(())
}

fn fresh_memory_is_nan() -> Result<(), Failed> {
    let stream = CudaContext::new(0)
        .expect("a device is played")
        .default_stream();
    let fresh = unsafe { stream.alloc::<f32>(33) }.expect("memory");
    let values = stream.clone_dtoh(&fresh).expect("a copy");
    assert!(values.iter().all(|value| value.is_nan()));
    Ok(())
}

fn compiler_errors() -> Result<(), Failed> {
    let log = compile("#include \"common.cuh\"\n\nextern \"C\" __global__ void f(float* x) {\n  x[0] = nothing;\n}\n", 80, &[]).unwrap_err();
    assert!(
        log.contains("test.cu(4)") && log.contains("error") && log.contains("nothing"),
        "{log}"
    );
    let log = compile("__global__ void f() {}", 80, &["--no-such-option"]).unwrap_err();
    assert!(
        log.contains("--no-such-option"),
        "{log}"
    );
    let log = compile("#include <stdint.h>\n", 80, &[]).unwrap_err();
    assert!(log.contains("stdint.h"), "NVRTC brings no headers: {log}");
    Ok(())
}
