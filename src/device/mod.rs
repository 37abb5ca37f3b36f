//! What a model runs on, and how it is chosen. The only place that knows cudarc.

pub mod architecture;
pub mod cache;
pub mod compiler;
pub mod cuda;
mod element;
mod fnv;
mod gpu;
pub mod kernel;
pub mod kernels;
pub mod memory;
mod module;
pub mod nvrtc;
mod stream;
pub mod structs;

use std::fmt;
use std::str::FromStr;

pub use element::{Element, ElementType};
pub use gpu::{Gpu, OLDEST_CAPABILITY, OLDEST_DRIVER, Properties};
pub use kernel::{Geometry, Kernel, Specialisation};
pub use memory::{Buffer, Ptr, Slice};
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

/// A device this version has an engine for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    Cpu,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
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

/// Finds the device for `choice`, with `probe` looking for a CUDA driver ([`cuda::probe`]); it is
/// called only where the answer depends on it.
///
/// [`Error::Device`] where a GPU was asked for and cannot be used.
pub fn select(
    choice: DeviceChoice,
    probe: impl FnOnce() -> Result<cuda::Driver>,
) -> Result<Selection> {
    let cpu = |notice| Selection {
        device: Device::Cpu,
        notice,
    };
    match choice {
        DeviceChoice::Cpu => Ok(cpu(None)),
        DeviceChoice::Auto => {
            let reason = match probe() {
                Ok(driver) => no_engine(&driver),
                Err(error) => error.to_string(),
            };
            Ok(cpu(Some(format!("running on the CPU: {reason}"))))
        }
        DeviceChoice::Cuda(ordinal) => {
            let driver = probe()?;
            let found = driver.gpus.len();
            let problem = match ordinal < found {
                true => no_engine(&driver),
                false => format!("cuda:{ordinal} does not exist; the driver shows {found} GPU(s)"),
            };
            Err(Error::device(problem, "run with --device cpu"))
        }
    }
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
            "run with CUDA_LAUNCH_BLOCKING=1 to see the call at fault; vitcuda doctor checks the device",
        )
    }
}

fn no_engine(driver: &cuda::Driver) -> String {
    format!("{driver} found, but this version has no CUDA engine yet")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_gpu() -> Result<cuda::Driver> {
        Ok(cuda::Driver {
            version: (13, 0),
            gpus: vec![cuda::Gpu {
                name: "NVIDIA T4".into(),
                compute_capability: (7, 5),
            }],
        })
    }

    fn no_driver() -> Result<cuda::Driver> {
        Err(Error::device("no CUDA driver", ""))
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
    fn cpu_does_not_look_for_a_driver() {
        let selection = select(DeviceChoice::Cpu, || panic!("probed")).unwrap();
        assert_eq!(selection.notice, None);
    }

    #[test]
    fn auto_says_why_it_took_the_cpu() {
        let notice = |probe: fn() -> Result<cuda::Driver>| {
            let selection = select(DeviceChoice::Auto, probe).unwrap();
            assert_eq!(selection.device, Device::Cpu);
            selection.notice.unwrap()
        };
        assert!(notice(no_driver).contains("no CUDA driver"));
        assert!(notice(one_gpu).contains("no CUDA engine"));
        assert!(!notice(one_gpu).contains('\n'));
    }

    #[test]
    fn cuda_is_refused_with_the_reason() {
        let refusal = |ordinal, probe: fn() -> Result<cuda::Driver>| {
            let error = select(DeviceChoice::Cuda(ordinal), probe).unwrap_err();
            assert_eq!(error.exit_code(), 5);
            error.to_string()
        };
        assert!(refusal(0, no_driver).contains("no CUDA driver"));
        assert!(refusal(0, one_gpu).contains("NVIDIA T4"));
        assert!(refusal(1, one_gpu).contains("cuda:1 does not exist"));
    }
}
