//! What a kernel is to the host: a text, a specialisation of it, typed arguments, a geometry.

use bytemuck::NoUninit;

use super::memory::Ptr;

/// A header of `kernels/`.
#[derive(Debug)]
pub struct Header<'a> {
    /// As kernels include it.
    pub name: &'a str,
    pub text: &'a str,
}

/// A file with kernels.
#[derive(Debug)]
pub struct Source<'a> {
    /// Its name in `kernels/`.
    pub name: &'a str,
    pub text: &'a str,
    /// Of the text and all headers.
    pub hash: u128,
}

/// A kernel with its arguments: one field a parameter, by its name.
///
/// `build.rs` implements it for a struct of each `__global__` function.
pub trait Kernel {
    /// The file in `kernels/`.
    const FILE: &'static str;
    /// The function.
    const NAME: &'static str;

    /// Hands over the arguments, in the order of the parameters.
    fn arguments(&self, to: &mut Arguments);

    /// The file compiled with these macros; [`VITCUDA_BF16`](super::ElementType::Bf16) is the
    /// device's to add.
    fn specialise(defines: &[(&'static str, i64)]) -> Specialisation {
        Specialisation {
            file: Self::FILE,
            defines: defines.to_vec(),
        }
    }
}

/// A kernel file and the macros that it is compiled with.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Specialisation {
    /// The file in `kernels/`.
    pub file: &'static str,
    /// Names and values, each `-DNAME=VALUE`.
    pub defines: Vec<(&'static str, i64)>,
}

impl std::fmt::Display for Specialisation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.file)?;
        self.defines
            .iter()
            .try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

/// A kernel that is going to be launched: what must be compiled, and looked up in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Launch {
    pub spec: Specialisation,
    /// The function.
    pub kernel: &'static str,
    pub geometry: Geometry,
}

/// Blocks, threads and shared memory of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Geometry {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    /// Dynamic shared memory of a block, in bytes.
    pub shared: u32,
    /// Blocks that a multiprocessor must be able to run at once, for the launcher's sake: it chose
    /// the grid, or the kernel its registers, by them. The driver is not told.
    pub resident: u32,
}

impl Geometry {
    /// `blocks` blocks of `threads` threads, no dynamic shared memory.
    ///
    /// # Panics
    /// If there are more blocks than a grid can have (2³¹ − 1).
    pub fn line(blocks: usize, threads: u32) -> Self {
        Self::plane(blocks, 1, threads)
    }

    /// A grid of `x` · `y` blocks; `y` is at most 65,535.
    ///
    /// # Panics
    /// If there are more blocks than a grid can have.
    pub fn plane(x: usize, y: usize, threads: u32) -> Self {
        assert!(x <= i32::MAX as usize && y <= 65_535, "grid of {x}·{y}");
        Self {
            grid: [x as u32, y as u32, 1],
            block: [threads, 1, 1],
            shared: 0,
            resident: 1,
        }
    }

    /// The same with `bytes` of dynamic shared memory a block.
    pub fn shared(mut self, bytes: usize) -> Self {
        self.shared = u32::try_from(bytes).expect("shared memory is small");
        self
    }

    /// The same, where the launcher counts on `blocks` blocks a multiprocessor.
    pub fn resident(mut self, blocks: usize) -> Self {
        self.resident = u32::try_from(blocks).expect("a few");
        self
    }
}

/// Arguments laid out as `cuLaunchKernel`'s `extra` form wants them: each aligned to its size.
///
/// In this form the driver knows the size of the whole, and the emulator compares it with the
/// kernel's parameters; an array of pointers would tell them nothing.
#[derive(Debug, Default)]
pub struct Arguments {
    bytes: Vec<u8>,
}

impl Arguments {
    /// Adds the next argument.
    pub fn push(&mut self, value: impl Argument) {
        value.append(self);
    }

    /// The buffer so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// In this form the driver takes the parameters where they lie: one that wants more alignment
    /// than the buffer has (a `CUtensorMap` wants 64 bytes) could not be given so.
    fn append<T: NoUninit>(&mut self, value: T) {
        const { assert!(size_of::<T>() <= 8, "a parameter is a scalar or a pointer") };
        let value = bytemuck::bytes_of(&value);
        let start = self.bytes.len().next_multiple_of(value.len());
        self.bytes.resize(start, 0);
        self.bytes.extend_from_slice(value);
    }
}

/// What a kernel can be given.
pub trait Argument {
    /// Adds itself to `to`.
    fn append(self, to: &mut Arguments);
}

macro_rules! scalars {
    ($($scalar:ty)*) => {$(
        impl Argument for $scalar {
            fn append(self, to: &mut Arguments) {
                to.append(self);
            }
        }
    )*};
}

scalars!(i32 u32 i64 f32);

impl<T> Argument for Ptr<T> {
    fn append(self, to: &mut Arguments) {
        to.append(self.address());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_aligned_to_their_size_and_end_without_padding() {
        let mut arguments = Arguments::default();
        arguments.push(1i32);
        arguments.push(Ptr::<f32>::NULL);
        arguments.push(2.0f32);
        assert_eq!(arguments.bytes().len(), 20);
        assert_eq!(arguments.bytes()[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(arguments.bytes()[16..], 2.0f32.to_ne_bytes());
    }
}
