//! Compiled kernel files: the format of the "cubin", loading one, and its kernels' signatures.

use std::ffi::{CStr, c_char};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::exec::{Runtime, runtime};
use crate::status::{Result, Status};

/// First bytes of a cubin: magic, then three little-endian u64: length of the whole, architecture,
/// fingerprint of the runtime's interface; then a shared object.
const MAGIC: &[u8; 16] = b"vitcuda-emulated";
const HEADER: usize = 16 + 3 * 8;

/// One parameter, as the compiler sees it (prelude/entry.h).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    pub bytes: u32,
    pub align: u32,
    /// 0 a value, 1 a pointer, 2 a pointer to const.
    pub pointer: u32,
    pub element_align: u32,
    /// 0 other, 1 integer, 2 float, 3 bool.
    pub sort: u32,
}

#[repr(C)]
struct KernelInfo {
    name: *const c_char,
    invoke: unsafe extern "C" fn(*mut *mut u8),
    parameters: *const Parameter,
    count: u32,
    max_threads: u32,
    min_blocks: u32,
}

/// A `__global__` function.
pub struct Kernel {
    pub name: String,
    pub invoke: unsafe extern "C" fn(*mut *mut u8),
    pub parameters: Vec<Parameter>,
    /// Of `__launch_bounds__`, 0 where not given.
    pub max_threads: u32,
    pub min_blocks: u32,
    pub module: Arc<Image>,
}

/// The loaded shared object.
pub struct Image {
    library: libloading::Library,
    path: String,
    base: usize,
    end: usize,
    // Keeps /proc/self/fd/N valid for addr2line.
    _file: std::fs::File,
}

impl Image {
    /// Whether the address lies in the image: constants and `__device__` variables.
    pub fn contains(&self, address: usize) -> bool {
        (self.base..self.end).contains(&address)
    }

    /// File of the shared object and the address it was loaded at.
    pub fn image(&self) -> (&str, usize) {
        (&self.path, self.base)
    }
}

/// Wraps a shared object for `arch` into a cubin.
pub fn pack(shared_object: &[u8], arch: u32, interface: u64) -> Vec<u8> {
    let mut cubin = MAGIC.to_vec();
    let length = (HEADER + shared_object.len()) as u64;
    for word in [length, arch as u64, interface] {
        cubin.extend(word.to_le_bytes());
    }
    cubin.extend(shared_object);
    cubin
}

/// Whether the bytes are a cubin, all of it.
pub fn is_whole(cubin: &[u8]) -> bool {
    let length = cubin.get(MAGIC.len()..).and_then(<[u8]>::first_chunk);
    let length = length.map(|bytes| u64::from_le_bytes(*bytes));
    cubin.starts_with(MAGIC) && cubin.len() >= HEADER && length == Some(cubin.len() as u64)
}

/// Loads a cubin for a device of `arch`.
///
/// # Safety
/// `image` points to a whole cubin (its length stands in it).
pub unsafe fn load(image: *const u8, arch: u32) -> Result<Vec<Arc<Kernel>>> {
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
    let (made_for, interface) = (word(24) as u32, word(32));
    if interface != crate::nvrtc::interface() {
        return Err(refuse(
            Status::ERROR_INVALID_IMAGE,
            "the cubin was made by another version of the emulator".into(),
        ));
    }
    if made_for / 10 != arch / 10 || made_for > arch {
        return Err(refuse(
            Status::ERROR_NO_BINARY_FOR_GPU,
            format!("the cubin is for sm_{made_for}, this device is sm_{arch}"),
        ));
    }
    // SAFETY: our own NVRTC made the object, against this runtime's table.
    unsafe { link(&bytes[HEADER..]) }.map_err(|text| refuse(Status::ERROR_INVALID_IMAGE, text))
}

fn unique_path() -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("vitcuda-kernel-{}-{count}.so", std::process::id()))
}

/// # Safety
/// `object` was made by this emulator's compiler: its code is loaded and run.
unsafe fn link(object: &[u8]) -> Result<Vec<Arc<Kernel>>, String> {
    // A name of its own for each: the loader takes equal paths for the same library. The open file
    // outlives its name, for addr2line.
    let named = unique_path();
    std::fs::write(&named, object).map_err(|error| error.to_string())?;
    let file = std::fs::File::open(&named).map_err(|error| error.to_string())?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    // SAFETY: an object without initialisers but the compiler's.
    let library = unsafe { libloading::Library::new(&named) }.map_err(|error| error.to_string());
    std::fs::remove_file(&named).map_err(|error| error.to_string())?;
    let library = library?;
    // SAFETY: symbols and types of prelude/entry.h, whose fingerprint was compared.
    unsafe {
        let bind: libloading::Symbol<unsafe extern "C" fn(&'static Runtime)> = library
            .get(b"vitcuda_bind")
            .map_err(|error| error.to_string())?;
        bind(runtime());
        let range: libloading::Symbol<unsafe extern "C" fn(*mut usize)> = library
            .get(b"vitcuda_image")
            .map_err(|error| error.to_string())?;
        let mut ends = [0usize; 2];
        range(ends.as_mut_ptr());
        let table: libloading::Symbol<unsafe extern "C" fn() -> *const KernelInfo> = library
            .get(b"vitcuda_kernels")
            .map_err(|error| error.to_string())?;
        let mut info = table();
        let image = Arc::new(Image {
            library,
            path,
            base: ends[0],
            end: ends[1],
            _file: file,
        });
        let mut kernels = Vec::new();
        while !(*info).name.is_null() {
            let one = &*info;
            let parameters = std::slice::from_raw_parts(one.parameters, one.count as usize);
            kernels.push(Arc::new(Kernel {
                name: CStr::from_ptr(one.name).to_string_lossy().into_owned(),
                invoke: one.invoke,
                parameters: parameters.to_vec(),
                max_threads: one.max_threads,
                min_blocks: one.min_blocks,
                module: image.clone(),
            }));
            info = info.add(1);
        }
        Ok(kernels)
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?} at {:#x} ({:?})",
            self.path, self.base, self.library
        )
    }
}
