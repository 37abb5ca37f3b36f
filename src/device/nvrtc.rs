//! NVRTC: from CUDA text to a cubin for the device at hand.
//!
//! The library is opened by path, since cudarc's own loader looks for fixed names only and panics
//! where there is none. Cubins rather than PTX: a PTX newer than the driver would not load.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::ptr;

use libloading::{Library, Symbol};

mod find;

pub use find::{Wanted, find, open, package};

use super::kernel::{Header, Source};
use super::library::file_of;

/// Oldest NVRTC that is used: the kernels are compiled by it, and by later ones, in the tests.
pub const OLDEST_NVRTC: (u32, u32) = (12, 0);

/// A loaded NVRTC.
#[derive(Debug)]
pub struct Nvrtc {
    api: Api,
    /// (major, minor).
    pub version: (u32, u32),
    /// The file, where it is known.
    pub path: PathBuf,
    /// What led to it: `VITCUDA_NVRTC`, `the loader's path`…
    pub origin: &'static str,
    /// Bytes of the file, 0 where unknown: patch releases share a version number.
    pub size: u64,
    /// Architectures it compiles for, as 75 for sm_75; empty where it cannot say.
    pub architectures: Vec<u32>,
}

/// What came of a compilation.
#[derive(Debug)]
pub struct Compiled {
    pub cubin: Vec<u8>,
    /// With `--ptxas-options=-v`: registers, spills and shared memory of each kernel.
    pub log: String,
}

/// Why a text did not compile.
#[derive(Debug)]
pub struct Failure {
    /// NVRTC's name for it.
    pub status: String,
    /// The compiler's messages.
    pub log: String,
}

type Program = *mut c_void;
/// `nvrtcVersion`.
type Version = unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int;

/// The functions that are used, with the signatures of `nvrtc.h`.
#[derive(Debug)]
struct Api {
    version: Version,
    error_string: unsafe extern "C" fn(c_int) -> *const c_char,
    count_archs: unsafe extern "C" fn(*mut c_int) -> c_int,
    list_archs: unsafe extern "C" fn(*mut c_int) -> c_int,
    create: unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> c_int,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int,
    log_size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
    log: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    cubin_size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
    cubin: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    destroy: unsafe extern "C" fn(*mut Program) -> c_int,
    /// Stays loaded: NVRTC does not bear being unloaded and loaded again.
    _library: ManuallyDrop<Library>,
}

impl Api {
    fn of(library: Library) -> Result<Self, libloading::Error> {
        // SAFETY: each symbol gets the type that nvrtc.h declares for its name.
        unsafe {
            Ok(Self {
                version: *library.get("nvrtcVersion")?,
                error_string: *library.get("nvrtcGetErrorString")?,
                count_archs: *library.get("nvrtcGetNumSupportedArchs")?,
                list_archs: *library.get("nvrtcGetSupportedArchs")?,
                create: *library.get("nvrtcCreateProgram")?,
                compile: *library.get("nvrtcCompileProgram")?,
                log_size: *library.get("nvrtcGetProgramLogSize")?,
                log: *library.get("nvrtcGetProgramLog")?,
                cubin_size: *library.get("nvrtcGetCUBINSize")?,
                cubin: *library.get("nvrtcGetCUBIN")?,
                destroy: *library.get("nvrtcDestroyProgram")?,
                _library: ManuallyDrop::new(library),
            })
        }
    }
}

/// (major, minor); asked before anything else, since an old library lacks later functions.
fn version(library: &Library) -> Result<(u32, u32), String> {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the type that nvrtc.h declares for this name; it writes two ints.
    let status = unsafe {
        let version: Symbol<Version> = library.get("nvrtcVersion").map_err(reason)?;
        version(&mut major, &mut minor)
    };
    if status != 0 {
        return Err(format!("nvrtcVersion returned {status}"));
    }
    Ok((major as u32, minor as u32))
}

impl Nvrtc {
    /// Opens the library `name`, a path or a name for the loader; the reason if it cannot be used.
    fn open(name: &Path, origin: &'static str) -> Result<Self, String> {
        preload_builtins(name);
        // SAFETY: loading runs the library's initialisers; the file is what the person, the
        // loader's path or an NVIDIA package calls NVRTC.
        let library = unsafe { Library::new(name) }.map_err(reason)?;
        let version = version(&library)?;
        if version < OLDEST_NVRTC {
            let ((major, minor), (least_major, least_minor)) = (version, OLDEST_NVRTC);
            // It stays loaded, as every NVRTC.
            std::mem::forget(library);
            return Err(format!(
                "version {major}.{minor} is too old: {least_major}.{least_minor} is needed"
            ));
        }
        let api = Api::of(library).map_err(reason)?;
        let path = file_of(api.version as *const c_void).unwrap_or_else(|| name.to_owned());
        Ok(Self {
            version,
            size: path.metadata().map_or(0, |file| file.len()),
            architectures: api.architectures(),
            path,
            origin,
            api,
        })
    }

    /// Compiles `source` with `options`, the headers in memory.
    pub fn compile(
        &self,
        source: &Source,
        headers: &[Header],
        options: &[String],
    ) -> Result<Compiled, Failure> {
        let text = |text: &str| CString::new(text).expect("kernels and options have no zero byte");
        let (names, texts): (Vec<_>, Vec<_>) = headers
            .iter()
            .map(|header| (text(header.name), text(header.text)))
            .unzip();
        let options: Vec<CString> = options.iter().map(|option| text(option)).collect();
        let program =
            ProgramHandle::new(self, &text(source.text), &text(source.name), &texts, &names)?;
        program.compile(&options)
    }
}

impl Api {
    fn architectures(&self) -> Vec<u32> {
        let mut count = 0;
        // SAFETY: the function writes one int.
        if unsafe { (self.count_archs)(&mut count) } != 0 {
            return Vec::new();
        }
        let mut archs = vec![0; count.max(0) as usize];
        // SAFETY: the function writes as many ints as the one above says.
        match unsafe { (self.list_archs)(archs.as_mut_ptr()) } {
            0 => archs.into_iter().map(|arch| arch as u32).collect(),
            _ => Vec::new(),
        }
    }

    fn failure(&self, status: c_int, log: String) -> Failure {
        // SAFETY: the function returns a static string for any number.
        let name = unsafe { CStr::from_ptr((self.error_string)(status)) };
        Failure {
            status: name.to_string_lossy().into_owned(),
            log,
        }
    }
}

/// An `nvrtcProgram`, destroyed when dropped.
struct ProgramHandle<'a> {
    api: &'a Api,
    program: Program,
}

impl<'a> ProgramHandle<'a> {
    fn new(
        nvrtc: &'a Nvrtc,
        text: &CStr,
        name: &CStr,
        headers: &[CString],
        names: &[CString],
    ) -> Result<Self, Failure> {
        let api = &nvrtc.api;
        let mut program = ptr::null_mut();
        // SAFETY: C strings, and as many headers as names; NVRTC copies them.
        let status = unsafe {
            (api.create)(
                &mut program,
                text.as_ptr(),
                name.as_ptr(),
                headers.len() as c_int,
                pointers(headers).as_ptr(),
                pointers(names).as_ptr(),
            )
        };
        match status {
            0 => Ok(Self { api, program }),
            _ => Err(api.failure(status, String::new())),
        }
    }

    fn compile(&self, options: &[CString]) -> Result<Compiled, Failure> {
        let api = self.api;
        // SAFETY: a live program, and as many C strings as it is told.
        let status = unsafe {
            (api.compile)(
                self.program,
                options.len() as c_int,
                pointers(options).as_ptr(),
            )
        };
        let mut log = self.bytes(api.log_size, api.log).unwrap_or_default();
        log.pop(); // the closing zero
        let log = String::from_utf8_lossy(&log).trim().to_owned();
        if status != 0 {
            return Err(api.failure(status, log));
        }
        match self.bytes(api.cubin_size, api.cubin) {
            Ok(cubin) => Ok(Compiled { cubin, log }),
            Err(status) => Err(api.failure(status, log)),
        }
    }

    /// What one of NVRTC's pairs of functions gives: the size, then the bytes.
    fn bytes(
        &self,
        size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
        get: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    ) -> Result<Vec<u8>, c_int> {
        let mut length = 0;
        // SAFETY: a live program; the function writes one size.
        let status = unsafe { size(self.program, &mut length) };
        if status != 0 {
            return Err(status);
        }
        let mut bytes = vec![0u8; length];
        // SAFETY: a live program, and room for the size it has named.
        match unsafe { get(self.program, bytes.as_mut_ptr().cast()) } {
            0 => Ok(bytes),
            status => Err(status),
        }
    }
}

impl Drop for ProgramHandle<'_> {
    fn drop(&mut self) {
        // SAFETY: created by `new`, destroyed once.
        unsafe { (self.api.destroy)(&mut self.program) };
    }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).collect()
}

/// The operating system's reason, which libloading keeps as the source of its error.
fn reason(error: libloading::Error) -> String {
    let source = std::error::Error::source(&error);
    source.map_or_else(|| error.to_string(), ToString::to_string)
}

/// Loads the library's companion first: the wheel of CUDA 13.0 does not say where it lies, and a
/// compilation would end with "failed to open libnvrtc-builtins".
fn preload_builtins(name: &Path) {
    let Some(folder) = name.parent().filter(|p| !p.as_os_str().is_empty()) else {
        return;
    };
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        if entry
            .file_name()
            .to_string_lossy()
            .contains("nvrtc-builtins")
        {
            // SAFETY: NVIDIA's own companion of the library that is opened next.
            if let Ok(library) = unsafe { Library::new(entry.path()) } {
                std::mem::forget(library);
            }
        }
    }
}
