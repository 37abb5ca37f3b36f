//! Compiled kernel files: the form of the "cubin", loading one, and its kernels' signatures.
//!
//! An image is PTX behind a header, so that what NVRTC made travels through a program's caches as a
//! cubin does.

use std::collections::HashMap;
use std::sync::Arc;

use crate::memory::{self, Home};
use crate::ptx::{self, Program};
use crate::status::{Result, Status};

/// First bytes of an image: magic, then three little-endian u64: length of the whole, architecture,
/// version of the NVRTC that made it (1000 major + 10 minor); then PTX.
const MAGIC: &[u8; 16] = b"vitcuda-emul-ptx";
const HEADER: usize = 16 + 3 * 8;

/// A `__global__` function.
pub struct Kernel {
    pub program: Program,
    /// Kept as long as a kernel may run: the module's variables.
    _variables: Arc<Variables>,
}

/// Device memory of a module's variables, by their names.
#[derive(Default)]
struct Variables(HashMap<String, usize>);

impl Drop for Variables {
    fn drop(&mut self) {
        for &base in self.0.values() {
            // Allocated by `place` and freed nowhere else: it cannot be refused.
            let _ = memory::free(base);
        }
    }
}

/// Wraps PTX for `arch` into an image.
pub fn pack(ptx: &[u8], arch: u32, (major, minor): (u32, u32)) -> Vec<u8> {
    let mut image = MAGIC.to_vec();
    let length = (HEADER + ptx.len()) as u64;
    for word in [length, arch.into(), (1000 * major + 10 * minor).into()] {
        image.extend(word.to_le_bytes());
    }
    image.extend(ptx);
    image
}

/// Whether the bytes are an image, all of it.
pub fn is_whole(image: &[u8]) -> bool {
    let length = image.get(MAGIC.len()..).and_then(<[u8]>::first_chunk);
    let length = length.map(|bytes| u64::from_le_bytes(*bytes));
    image.starts_with(MAGIC) && image.len() >= HEADER && length == Some(image.len() as u64)
}

/// Version of the NVRTC that made the image; `None` if it is none of ours.
///
/// # Safety
/// `image` points to a whole image (its length stands in it).
pub unsafe fn made_by(image: *const u8) -> Option<(u32, u32)> {
    // SAFETY: a C image has at least a magic number; reading stops at the first wrong byte, and the
    // header follows the magic.
    unsafe {
        let known = (0..MAGIC.len()).all(|i| *image.add(i) == MAGIC[i]);
        let version =
            known.then(|| u64::from_le_bytes(*(image.add(32) as *const [u8; 8])) as u32)?;
        Some((version / 1000, version % 1000 / 10))
    }
}

/// Loads an image for the device `ordinal` of `arch`.
///
/// # Safety
/// `image` points to a whole image (its length stands in it).
pub unsafe fn load(image: *const u8, arch: u32, ordinal: usize) -> Result<Vec<Arc<Kernel>>> {
    let refuse = |status, text: String| {
        crate::report::say(&format!("cuModuleLoadData: {text}"));
        status
    };
    // SAFETY: a C image has at least a magic number; reading stops at the first wrong byte.
    let known = (0..MAGIC.len()).all(|i| unsafe { *image.add(i) } == MAGIC[i]);
    if !known {
        return Err(refuse(
            Status::ERROR_INVALID_IMAGE,
            "this is no cubin that the emulator's NVRTC made".into(),
        ));
    }
    // SAFETY: the header follows the magic, and the length covers the whole, says the caller.
    let bytes = unsafe {
        let length = u64::from_le_bytes(*(image.add(16) as *const [u8; 8])) as usize;
        std::slice::from_raw_parts(image, length)
    };
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let made_for = word(24) as u32;
    if made_for / 10 != arch / 10 || made_for > arch {
        return Err(refuse(
            Status::ERROR_NO_BINARY_FOR_GPU,
            format!("the cubin is for sm_{made_for}, this device is sm_{arch}"),
        ));
    }
    let text = String::from_utf8_lossy(&bytes[HEADER..]);
    kernels(&text, ordinal).map_err(|(status, text)| refuse(status, text))
}

fn kernels(text: &str, ordinal: usize) -> Result<Vec<Arc<Kernel>>, (Status, String)> {
    let invalid = |text| (Status::ERROR_INVALID_IMAGE, text);
    let module = Arc::new(ptx::Module::parse(text).map_err(invalid)?);
    let mut variables = Variables::default();
    let mut refused = None;
    let mut address_of = |variable: &ptx::Variable| {
        if let Some(&base) = variables.0.get(&variable.name) {
            return base as u64;
        }
        match place(variable, ordinal) {
            Ok(base) => {
                variables.0.insert(variable.name.clone(), base);
                base as u64
            }
            Err(status) => {
                let (name, bytes) = (&variable.name, variable.bytes);
                refused = Some((status, format!("no room for `{name}` of {bytes} bytes")));
                0
            }
        }
    };
    let programs = ptx::kernels(&module, &mut address_of).map_err(invalid);
    if let Some(refused) = refused {
        return Err(refused);
    }
    let variables = Arc::new(variables);
    let kernels = programs?.into_iter().map(|program| {
        Arc::new(Kernel {
            program,
            _variables: variables.clone(),
        })
    });
    Ok(kernels.collect())
}

/// Puts a variable of the module in device memory.
fn place(variable: &ptx::Variable, ordinal: usize) -> Result<usize> {
    let bytes = variable.bytes.max(1) as usize;
    let base = memory::allocate(bytes, Home::Device(ordinal))?;
    let mut initial = variable.initial.clone();
    initial.resize(bytes, 0);
    // SAFETY: just allocated, and as long.
    unsafe { std::ptr::copy_nonoverlapping(initial.as_ptr(), base as *mut u8, bytes) };
    memory::mark_initialised(base, bytes);
    Ok(base)
}
