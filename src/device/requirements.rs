//! What a driver and a GPU must be for the kernels to run.

use super::cuda;
use super::element::ElementType;
use crate::error::{Error, Result};

/// Oldest driver that is used: NVIDIA's 525, the first of CUDA 12.
pub const OLDEST_DRIVER: (u32, u32) = (12, 0);
/// Oldest compute capability: tensor cores with `mma.sync.m16n8k8`.
pub const OLDEST_CAPABILITY: (u32, u32) = (7, 5);

/// The GPU `ordinal` of `driver`, if it can do what is asked.
pub(super) fn usable(
    driver: &cuda::Driver,
    ordinal: usize,
    element: ElementType,
) -> Result<&cuda::Gpu> {
    let (major, minor) = driver.version;
    if driver.version < OLDEST_DRIVER {
        return Err(Error::device(
            format!(
                "the NVIDIA driver is too old: it understands CUDA {major}.{minor}, and 12.0 is needed"
            ),
            "update the driver to version 525 or later, or run with --device cpu",
        ));
    }
    let Some(gpu) = driver.gpus.get(ordinal) else {
        return Err(Error::device(
            format!(
                "cuda:{ordinal} does not exist; the driver shows {} GPU(s)",
                driver.gpus.len()
            ),
            "run with --device cpu, or take one that exists",
        ));
    };
    let capability @ (major, minor) = gpu.compute_capability;
    if capability < OLDEST_CAPABILITY {
        return Err(Error::device(
            format!(
                "{} (sm_{major}{minor}) is too old: the kernels need the tensor cores of sm_75 (Turing, 2018) or later",
                gpu.name
            ),
            "run with --device cpu",
        ));
    }
    if capability < element.needs() {
        return Err(Error::device(
            format!(
                "{} (sm_{major}{minor}) has no {element} tensor cores",
                gpu.name
            ),
            "take f16, which every GPU from sm_75 on has",
        ));
    }
    Ok(gpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn driver(version: (u32, u32), capability: (u32, u32)) -> cuda::Driver {
        cuda::Driver {
            library: "libcuda.so.1".into(),
            version,
            gpus: vec![cuda::Gpu {
                name: "Test GPU".into(),
                compute_capability: capability,
            }],
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_the_reason() {
        let refusal = |version, capability, ordinal, element| {
            let driver = driver(version, capability);
            let error = usable(&driver, ordinal, element).unwrap_err();
            assert_eq!(error.exit_code(), 5);
            assert!(error.help().is_some());
            error.to_string()
        };
        let old = refusal((11, 8), (8, 0), 0, ElementType::F16);
        assert!(old.contains("CUDA 11.8") && old.contains("12.0"), "{old}");
        let volta = refusal((12, 0), (7, 0), 0, ElementType::F16);
        assert!(volta.contains("Test GPU (sm_70) is too old"), "{volta}");
        let none = refusal((12, 0), (8, 0), 1, ElementType::F16);
        assert!(none.contains("cuda:1 does not exist"), "{none}");
        let turing = refusal((12, 0), (7, 5), 0, ElementType::Bf16);
        assert!(turing.contains("no bf16 tensor cores"), "{turing}");
    }

    #[test]
    fn the_oldest_that_will_do() {
        assert!(usable(&driver((12, 0), (7, 5)), 0, ElementType::F16).is_ok());
        assert!(usable(&driver((12, 0), (8, 0)), 0, ElementType::Bf16).is_ok());
    }
}
