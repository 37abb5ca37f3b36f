//! 16-bit floats as the kernels see them, and what a product of them may be off by.

use std::sync::Arc;

use cudarc::driver::{CudaSlice, CudaStream};
use half::{bf16, f16};

/// A 16-bit float as the kernels see it.
pub trait Element: Copy + Into<f64> + 'static {
    const OPTIONS: &'static [&'static str];
    fn round(x: f32) -> Self;
    fn bits(self) -> u16;
    fn float(self) -> f32;
}
impl Element for f16 {
    const OPTIONS: &'static [&'static str] = &[];
    fn round(x: f32) -> Self {
        Self::from_f32(x)
    }
    fn bits(self) -> u16 {
        self.to_bits()
    }
    fn float(self) -> f32 {
        self.to_f32()
    }
}
impl Element for bf16 {
    const OPTIONS: &'static [&'static str] = &["-DVITCUDA_BF16"];
    fn round(x: f32) -> Self {
        Self::from_f32(x)
    }
    fn bits(self) -> u16 {
        self.to_bits()
    }
    fn float(self) -> f32 {
        self.to_f32()
    }
}

pub fn upload<T: Element>(stream: &Arc<CudaStream>, values: &[T]) -> CudaSlice<u16> {
    let bits: Vec<u16> = values.iter().map(|x| x.bits()).collect();
    stream.clone_htod(&bits).expect("a copy")
}

/// `depth` additions in f32, each off by at most half a unit in the last place of the partial sum.
pub fn assert_close(found: &[f32], expected: &[(f64, f64)], depth: usize) {
    for (i, (&found, &(sum, size))) in found.iter().zip(expected).enumerate() {
        let tolerance = (depth as f64 + 2.0) * f64::from(f32::EPSILON) * (size + 1.0);
        let error = (f64::from(found) - sum).abs();
        assert!(
            error <= tolerance,
            "element {i}: {found} is not {sum} ± {tolerance}"
        );
    }
}
