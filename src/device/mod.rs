//! What a model runs on, and how it is chosen. The only place that knows cudarc.

pub mod architecture;
pub mod cache;
pub mod compiler;
pub mod cuda;
mod element;
mod gpu;
pub mod kernel;
pub mod kernels;
mod launch;
mod library;
pub mod memory;
mod module;
pub mod nvrtc;
mod patch;
mod record;
mod requirements;
mod stream;
pub mod structs;
mod target;

use std::fmt;
use std::str::FromStr;

pub use element::{Element, ElementType};
pub use gpu::{Gpu, Properties};
pub use kernel::{Geometry, Kernel, Launch, Specialisation};
pub use memory::{Buffer, Ptr, Slice};
pub use patch::Patch;
pub use record::Record;
pub use requirements::{OLDEST_CAPABILITY, OLDEST_DRIVER};
pub use stream::{Event, Graph, Pinned, Stream, Timing};

use crate::error::{Error, Result};

/// What the person asked for: `auto`, `cpu`, `cuda` or `cuda:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The first usable GPU, else the CPU.
    #[default]
    Auto,
    Cpu,
    /// The GPU of this ordinal, in the driver's order.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|ordinal| ordinal.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| "expected auto, cpu, cuda or cuda:N".to_owned()),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

/// Where a model is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// In f32.
    Cpu,
    /// The GPU of this ordinal, in the driver's order, with 16-bit values of this type.
    Cuda {
        ordinal: usize,
        element: ElementType,
    },
}

impl Device {
    /// Type of what products are made of.
    pub fn precision(self) -> &'static str {
        match self {
            Self::Cpu => "f32",
            Self::Cuda { element, .. } => element.name(),
        }
    }
}

impl Device {
    /// What it computes with: two runs that agree in this agree in every bit.
    pub fn numbers(&self) -> String {
        match self {
            Self::Cpu => "cpu, f32".to_owned(),
            Self::Cuda { element, .. } => format!("cuda, {element} mixed precision"),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda { ordinal, .. } => write!(f, "cuda:{ordinal}"),
        }
    }
}

/// The device that a choice came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    pub device: Device,
    /// One line for the person: what `auto` fell back to, and why.
    pub notice: Option<String>,
}

/// What a machine has; asked only where the answer matters.
pub struct Machine<P, N> {
    /// Looks for a CUDA driver: [`cuda::probe`].
    pub driver: P,
    /// Looks for a compiler that makes the kernels for a GPU.
    pub compiler: N,
}

/// Finds the device for `choice`; `element` is what a GPU is to compute with.
///
/// `auto` takes the first GPU that can, if there is also an NVRTC that compiles for it. A GPU that was asked for by
/// name is checked when it is opened, with [`Error::Device`] where it cannot be used.
pub fn select<P, N>(
    choice: DeviceChoice,
    element: ElementType,
    machine: Machine<P, N>,
) -> Result<Selection>
where
    P: FnOnce() -> Result<cuda::Driver>,
    N: FnOnce(nvrtc::Wanted) -> Result<()>,
{
    let cuda = |ordinal| Device::Cuda { ordinal, element };
    let (device, notice) = match choice {
        DeviceChoice::Cpu => (Device::Cpu, None),
        DeviceChoice::Cuda(ordinal) => (cuda(ordinal), None),
        DeviceChoice::Auto => match first_usable(element, machine) {
            Ok(ordinal) => (cuda(ordinal), None),
            Err(reason) => (
                Device::Cpu,
                Some(format!("running on the CPU: {}", in_a_line(&reason))),
            ),
        },
    };
    Ok(Selection { device, notice })
}

/// The problem, and the first line of what a compiler said about it.
fn in_a_line(reason: &Error) -> String {
    let reason = reason.to_string();
    let lines: Vec<&str> = reason.lines().take(2).map(str::trim).collect();
    lines.join(" ")
}

fn first_usable<P, N>(element: ElementType, machine: Machine<P, N>) -> Result<usize>
where
    P: FnOnce() -> Result<cuda::Driver>,
    N: FnOnce(nvrtc::Wanted) -> Result<()>,
{
    let driver = (machine.driver)()?;
    let found = (0..driver.gpus.len()).find_map(|ordinal| {
        let gpu = requirements::usable(&driver, ordinal, element).ok()?;
        Some((ordinal, gpu.compute_capability))
    });
    let Some((ordinal, capability)) = found else {
        // The reason is that of the first one; a driver without any does not answer.
        return requirements::usable(&driver, 0, element).map(|_| 0);
    };
    (machine.compiler)(nvrtc::Wanted {
        driver: Some(driver.version),
        capability: Some(capability),
    })?;
    Ok(ordinal)
}

/// An [`Error::Device`] that says what failed, and the driver's word for why.
fn driver_error(what: &str) -> impl Fn(cudarc::driver::DriverError) -> Error {
    move |error| {
        let why = match error.error_string() {
            Ok(text) => text.to_string_lossy().into_owned(),
            Err(_) => "unknown error".to_owned(),
        };
        Error::device(
            format!("{what}: {why} ({:?})", error.0),
            "run with VITCUDA_GRAPH=0 CUDA_LAUNCH_BLOCKING=1 to see the kernel at fault; vitcuda doctor checks the device",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpus(capabilities: &[(u32, u32)]) -> Result<cuda::Driver> {
        let gpu = |&compute_capability| cuda::Gpu {
            name: "Test GPU".into(),
            compute_capability,
        };
        Ok(cuda::Driver {
            library: "libcuda.so.1".into(),
            version: (13, 0),
            gpus: capabilities.iter().map(gpu).collect(),
        })
    }

    fn no_driver() -> Result<cuda::Driver> {
        Err(Error::device("no CUDA driver", ""))
    }

    fn auto(
        element: ElementType,
        driver: impl FnOnce() -> Result<cuda::Driver>,
        compiler: Result<()>,
    ) -> Selection {
        let machine = Machine {
            driver,
            compiler: |_| compiler,
        };
        select(DeviceChoice::Auto, element, machine).unwrap()
    }

    #[test]
    fn choices_read_back_as_written() {
        for (text, choice) in [
            ("auto", DeviceChoice::Auto),
            ("cpu", DeviceChoice::Cpu),
            ("cuda:0", DeviceChoice::Cuda(0)),
            ("cuda:3", DeviceChoice::Cuda(3)),
        ] {
            assert_eq!(text.parse(), Ok(choice));
            assert_eq!(choice.to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
            assert!(wrong.parse::<DeviceChoice>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_was_named_is_not_looked_for() {
        for choice in [DeviceChoice::Cpu, DeviceChoice::Cuda(2)] {
            let machine = Machine {
                driver: || panic!("probed"),
                compiler: |_| panic!("looked for"),
            };
            let selection = select(choice, ElementType::F16, machine).unwrap();
            assert_eq!(selection.device.to_string(), choice.to_string());
            assert_eq!(selection.notice, None);
        }
    }

    #[test]
    fn auto_takes_the_first_gpu_that_can() {
        let first = |element, capabilities: &'static [(u32, u32)]| {
            let selection = auto(element, || gpus(capabilities), Ok(()));
            assert_eq!(selection.notice, None);
            selection.device
        };
        let cuda = |ordinal, element| Device::Cuda { ordinal, element };
        let (f16, bf16) = (ElementType::F16, ElementType::Bf16);
        assert_eq!(first(f16, &[(7, 5), (8, 0)]), cuda(0, f16));
        assert_eq!(first(f16, &[(7, 0), (8, 0)]), cuda(1, f16));
        assert_eq!(first(bf16, &[(7, 5), (8, 0)]), cuda(1, bf16));
    }

    #[test]
    fn auto_says_why_it_took_the_cpu() {
        let notice = |driver: fn() -> Result<cuda::Driver>, compiler| {
            let selection = auto(ElementType::F16, driver, compiler);
            assert_eq!(selection.device, Device::Cpu);
            selection.notice.unwrap()
        };
        assert!(notice(no_driver, Ok(())).contains("no CUDA driver"));
        assert!(notice(|| gpus(&[(7, 0)]), Ok(())).contains("sm_70) is too old"));
        let no_nvrtc = Err(Error::device("no NVRTC", ""));
        assert!(notice(|| gpus(&[(8, 0)]), no_nvrtc).contains("no NVRTC"));
        let refused = Err(Error::device("cannot compile (X):\n  line 1\n  line 2", ""));
        let said = notice(|| gpus(&[(8, 0)]), refused);
        assert_eq!(said, "running on the CPU: cannot compile (X): line 1");
    }
}
