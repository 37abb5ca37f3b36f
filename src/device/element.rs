//! The 16-bit type of activations and tensor-core inputs.

use bytemuck::{Pod, Zeroable};
use half::{bf16, f16};

/// A value of the device's [`ElementType`], as bits.
///
/// One type for f16 and bf16: which of them it is belongs to the [`Gpu`](super::Gpu) that the
/// memory is on, as `element` of the kernels belongs to how they were compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct Element(pub u16);

/// What [`Element`] means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ElementType {
    /// IEEE half precision: every GPU from sm_75 on.
    #[default]
    F16,
    /// f32 cut to 16 bits: sm_80 and later.
    Bf16,
}

impl ElementType {
    /// Rounds to nearest, ties to even; f16 overflows to infinity.
    pub fn from_f32(self, value: f32) -> Element {
        Element(match self {
            Self::F16 => f16::from_f32(value).to_bits(),
            Self::Bf16 => bf16::from_f32(value).to_bits(),
        })
    }

    /// Exact.
    pub fn to_f32(self, element: Element) -> f32 {
        match self {
            Self::F16 => f16::from_bits(element.0).to_f32(),
            Self::Bf16 => bf16::from_bits(element.0).to_f32(),
        }
    }

    /// The nearest value that the type has.
    pub fn round(self, value: f32) -> f32 {
        self.to_f32(self.from_f32(value))
    }

    /// Distance from 1 to the next larger value.
    pub fn epsilon(self) -> f64 {
        match self {
            Self::F16 => f16::EPSILON.to_f64(),
            Self::Bf16 => bf16::EPSILON.to_f64(),
        }
    }

    /// Smallest compute capability whose tensor cores multiply it: (major, minor).
    pub fn needs(self) -> (u32, u32) {
        match self {
            Self::F16 => (7, 5),
            Self::Bf16 => (8, 0),
        }
    }
}

impl std::fmt::Display for ElementType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}
