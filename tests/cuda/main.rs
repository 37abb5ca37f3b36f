//! The CUDA engine on emulated GPUs: the whole model against the reference, steps as graphs, runs
//! through the command line.
//!
//! The emulator (a crate beside this one) stands in the place of libcuda and libnvrtc. Without NVIDIA's
//! NVRTC, or without the reference data, tests are reported as ignored; see `tests/kernels`.

#[cfg(target_os = "linux")]
#[path = "../common/mod.rs"]
mod common;
#[cfg(target_os = "linux")]
#[path = "../kernels/emulated.rs"]
mod emulated;
#[cfg(target_os = "linux")]
mod engine;
#[cfg(target_os = "linux")]
mod host;
#[cfg(target_os = "linux")]
mod launches;
#[cfg(target_os = "linux")]
mod mixed;
#[cfg(target_os = "linux")]
mod model;
#[cfg(target_os = "linux")]
#[path = "../recipe/on_any_device.rs"]
mod on_any_device;
#[cfg(target_os = "linux")]
mod recipe;
#[path = "../common/run_files.rs"]
mod run_files;
#[cfg(target_os = "linux")]
mod runs;
#[cfg(target_os = "linux")]
mod trouble;

#[cfg(target_os = "linux")]
fn main() {
    let devices = emulated::start(&["sm_75", "sm_80"]);
    let mut trials = Vec::new();
    for device @ (architecture, element) in model::DEVICES {
        let name = format!("tiny_vit: {architecture} {element}");
        trials.push(with_shared(
            devices,
            name,
            "golden/tiny_vit",
            device,
            model::tiny_vit,
        ));
    }
    let device = ("sm_80", vitcuda::device::ElementType::F16);
    let name = "ViT-S: one step on one photo".to_owned();
    trials.push(with_shared(devices, name, ".", device, model::vit_small));
    let name = "a small DINOv2, folded".to_owned();
    trials.push(devices.trial(name, device, model::tiny_dinov2));
    let name = "a step of a preset launches fused kernels only".to_owned();
    trials.push(devices.trial(name, device, launches::nothing_stands_alone));
    trials.extend(engine::trials(devices));
    trials.extend(host::trials(devices));
    trials.extend(recipe::trials(devices));
    trials.extend(runs::trials(devices));
    trials.extend(trouble::trials(devices));
    emulated::run(trials);
}

/// A test that needs the file or folder `needs` of the reference data.
#[cfg(target_os = "linux")]
fn with_shared(
    devices: emulated::Devices,
    name: String,
    needs: &str,
    device: (&'static str, vitcuda::device::ElementType),
    test: fn(&vitcuda::device::Gpu, &std::path::Path) -> Result<(), libtest_mimic::Failed>,
) -> libtest_mimic::Trial {
    let path = common::shared_dir().join(needs);
    let required = std::env::var_os("VITCUDA_REQUIRE_SHARED").is_some_and(|v| v == "1");
    if path.exists() || required {
        devices.trial(name, device, move |gpu| test(gpu, &path))
    } else {
        devices
            .trial(
                format!("{name} [needs {needs}, absent]"),
                device,
                |_| Ok(()),
            )
            .with_ignored_flag(true)
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("the emulator is made for Linux: no kernel was tested");
}
