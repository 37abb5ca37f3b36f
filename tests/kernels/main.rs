//! The kernels of every registered operation against the f64 reference, on emulated GPUs.
//!
//! The emulator (a crate beside this one) stands in the place of libcuda and libnvrtc, and compiles
//! the kernels with the C++ compiler. Without one the tests are reported as ignored; with
//! `VITCUDA_REQUIRE_EMULATOR=1`, as in CI, they fail instead.

#[cfg(target_os = "linux")]
mod emulated;
#[cfg(target_os = "linux")]
mod linear;
#[cfg(target_os = "linux")]
mod registry;

#[cfg(target_os = "linux")]
fn main() {
    let devices = emulated::start(&["sm_75", "sm_80"]);
    let mut arguments = libtest_mimic::Arguments::from_args();
    arguments.test_threads = Some(1); // the counters are the process's
    let mut trials = registry::trials(devices);
    trials.extend(linear::trials(devices));
    libtest_mimic::run(&arguments, trials).exit();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("the emulator is made for Linux: no kernel was tested");
}
