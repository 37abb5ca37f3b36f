//! The kernels of every registered operation against the f64 reference, on emulated GPUs.
//!
//! The emulator (a crate beside this one) stands in the place of libcuda and libnvrtc, and compiles
//! the kernels with NVIDIA's NVRTC, which `scripts/test.sh` fetches. Without it the tests are reported
//! as ignored; with `VITCUDA_REQUIRE_EMULATOR=1`, as in CI, they fail instead.

#[cfg(target_os = "linux")]
mod bench;
#[cfg(target_os = "linux")]
mod compiling;
#[cfg(target_os = "linux")]
mod device;
#[cfg(target_os = "linux")]
mod edges;
#[cfg(target_os = "linux")]
mod emulated;
#[cfg(target_os = "linux")]
mod ends;
#[cfg(target_os = "linux")]
mod linear;
#[cfg(target_os = "linux")]
mod prove;
#[cfg(target_os = "linux")]
mod registry;
#[cfg(target_os = "linux")]
mod step;

/// What one operation's kernels do beyond the registry's checks.
#[cfg(target_os = "linux")]
type Test = fn(&vitcuda::device::Gpu) -> Result<(), libtest_mimic::Failed>;

#[cfg(target_os = "linux")]
fn main() {
    let devices = emulated::start(&["sm_75", "sm_80"]);
    let mut trials = registry::trials(devices);
    trials.extend(linear::trials(devices));
    trials.extend(prove::trials(devices));
    trials.extend(bench::trials(devices));
    trials.extend(device::trials(devices));
    trials.extend(compiling::trials(devices));
    let tests = ends::TESTS.into_iter().chain(step::TESTS);
    for (fact, test) in tests.chain(edges::TESTS) {
        for device @ (architecture, element) in registry::DEVICES {
            let name = format!("{fact}: {architecture} {element}");
            trials.push(devices.trial(name, device, test));
        }
    }
    trials.push(emulated::real_gpu());
    emulated::run(trials);
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("the emulator is made for Linux: no kernel was tested");
}
