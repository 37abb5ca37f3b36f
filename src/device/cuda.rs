//! Looking for a CUDA driver, without ever needing one.
//!
//! The driver's library is opened at run time, so the same binary starts on machines with and
//! without a GPU.

use std::error::Error as _;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;
use std::path::PathBuf;

use cudarc::driver::sys;
use libloading::{Library, Symbol};

use super::library::file_of;

use crate::error::{Error, Result};

/// File name of the driver's library, as the driver installs it.
const LIBRARY: &str = if cfg!(windows) {
    "nvcuda.dll"
} else {
    "libcuda.so.1"
};

/// A driver that started, with at least one GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Driver {
    /// The file, where it is known, else a name for the loader.
    pub library: PathBuf,
    /// Newest CUDA version that the driver understands: (major, minor).
    pub version: (u32, u32),
    /// In the driver's order; `cuda:N` is the N-th. Never empty.
    pub gpus: Vec<Gpu>,
}

/// One GPU, as the driver describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    pub name: String,
    /// (major, minor): (7, 5) is `sm_75`.
    pub compute_capability: (u32, u32),
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.version;
        write!(f, "a CUDA {major}.{minor} driver with ")?;
        for (i, gpu) in self.gpus.iter().enumerate() {
            let (sm_major, sm_minor) = gpu.compute_capability;
            let separator = if i == 0 { "" } else { ", " };
            write!(f, "{separator}{} (sm_{sm_major}{sm_minor})", gpu.name)?;
        }
        Ok(())
    }
}

/// Opens the driver's library, starts it and lists its GPUs.
///
/// [`Error::Device`] when there is no library, it lacks a function, it does not start (its error
/// code is named), or it shows no GPU.
pub fn probe() -> Result<Driver> {
    let api = Api::open()?;
    api.init()?;
    let version = api.number("cuDriverGetVersion", |out| {
        // SAFETY: the function writes one int through its only argument.
        unsafe { (api.driver_get_version)(out) }
    })?;
    let count = api.number("cuDeviceGetCount", |out| {
        // SAFETY: as above.
        unsafe { (api.device_get_count)(out) }
    })?;
    if count == 0 {
        return Err(Error::device("the CUDA driver shows no GPU", NO_GPU_HELP));
    }
    Ok(Driver {
        library: api.file.clone(),
        version: (version / 1000, version % 1000 / 10),
        gpus: (0..count)
            .map(|ordinal| api.gpu(ordinal))
            .collect::<Result<_>>()?,
    })
}

const NO_DRIVER_HELP: &str =
    "run with --device cpu, or install the NVIDIA driver (it brings libcuda; no toolkit is needed)";
const NO_GPU_HELP: &str = "run with --device cpu; on a machine that has a GPU, check nvidia-smi and CUDA_VISIBLE_DEVICES \
     (a container must be given the GPU)";

/// `CUresult`; 0 is success.
type Status = c_int;
/// `CUdevice`.
type Ordinal = c_int;

const COMPUTE_CAPABILITY_MAJOR: c_int = 75;
const COMPUTE_CAPABILITY_MINOR: c_int = 76;

/// `cuGetErrorName` and `cuGetErrorString`.
type Words = unsafe extern "C" fn(Status, *mut *const c_char) -> Status;

/// The functions that the probe calls, with the signatures of `cuda.h`. They stay loaded: the
/// library is the one that cudarc keeps.
struct Api {
    file: PathBuf,
    init: unsafe extern "C" fn(flags: u32) -> Status,
    driver_get_version: unsafe extern "C" fn(version: *mut c_int) -> Status,
    device_get_count: unsafe extern "C" fn(count: *mut c_int) -> Status,
    device_get_name: unsafe extern "C" fn(*mut c_char, length: c_int, Ordinal) -> Status,
    device_get_attribute: unsafe extern "C" fn(*mut c_int, attribute: c_int, Ordinal) -> Status,
    /// Names of error codes, and what they mean; not asked of a library that has none.
    error_name: Option<Words>,
    error_string: Option<Words>,
}

impl Api {
    /// The library that cudarc calls, which looks for several names: where the probe took another
    /// file, what it has seen would not be what runs.
    fn open() -> Result<Self> {
        // SAFETY: loading runs the library's initialisers; a file under the driver's name on the
        // loader's path is the driver, which any program may load. cudarc panics without one.
        let library = unsafe {
            if !sys::is_culib_present() {
                return Err(no_driver());
            }
            sys::culib()
        };
        // SAFETY: each symbol gets the type that cuda.h declares for its name.
        unsafe {
            let init = *symbol(library, "cuInit")?;
            Ok(Self {
                file: file_of(init as *const c_void).unwrap_or_else(|| LIBRARY.into()),
                init,
                driver_get_version: *symbol(library, "cuDriverGetVersion")?,
                device_get_count: *symbol(library, "cuDeviceGetCount")?,
                device_get_name: *symbol(library, "cuDeviceGetName")?,
                device_get_attribute: *symbol(library, "cuDeviceGetAttribute")?,
                error_name: library.get("cuGetErrorName").ok().map(|found| *found),
                error_string: library.get("cuGetErrorString").ok().map(|found| *found),
            })
        }
    }

    fn init(&self) -> Result<()> {
        // SAFETY: 0 is the only flag value that cuInit takes.
        self.check("cuInit", unsafe { (self.init)(0) })
    }

    /// Calls a function that writes one non-negative number.
    fn number(&self, function: &str, call: impl FnOnce(*mut c_int) -> Status) -> Result<u32> {
        let mut value: c_int = 0;
        self.check(function, call(&mut value))?;
        u32::try_from(value).map_err(|_| {
            Error::device(
                format!("the CUDA driver's {function} answered {value}"),
                NO_GPU_HELP,
            )
        })
    }

    fn gpu(&self, ordinal: u32) -> Result<Gpu> {
        let device = ordinal as Ordinal;
        let mut name = [0; 256];
        self.check("cuDeviceGetName", {
            // SAFETY: the function writes at most the given length, closing zero included.
            unsafe { (self.device_get_name)(name.as_mut_ptr(), name.len() as c_int, device) }
        })?;
        name[name.len() - 1] = 0;
        // SAFETY: the last byte is zero, so the string ends inside the array.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) };
        let attribute = |attribute| {
            self.number("cuDeviceGetAttribute", |out| {
                // SAFETY: the function writes one int; the ordinal is below the device count.
                unsafe { (self.device_get_attribute)(out, attribute, device) }
            })
        };
        Ok(Gpu {
            name: name.to_string_lossy().into_owned(),
            compute_capability: (
                attribute(COMPUTE_CAPABILITY_MAJOR)?,
                attribute(COMPUTE_CAPABILITY_MINOR)?,
            ),
        })
    }

    /// The error for a status other than 0, in words: what is known about how to help, else the
    /// driver's own.
    fn check(&self, function: &str, status: Status) -> Result<()> {
        let (meaning, help) = match status {
            0 => return Ok(()),
            34 => (
                "this is the toolkit's stub, not a driver",
                "take the folder of that file out of LD_LIBRARY_PATH, so that the driver's own is found",
            ),
            100 => ("no CUDA-capable device is detected", NO_GPU_HELP),
            802 => (
                "the system is not ready: the GPUs are still being connected",
                "on a machine with NVSwitch start nvidia-fabricmanager (of the driver's version) and wait \
                 until it has joined the GPUs; nvidia-smi -q shows `Fabric`",
            ),
            803 => (
                "the driver's library and the kernel module are of different versions",
                "restart the machine, or give the container the driver's library of its host",
            ),
            804 => (
                "this library is of CUDA's forward compatibility package, which this GPU is not for",
                "take the folder `compat` out of LD_LIBRARY_PATH, so that the driver's own library is found",
            ),
            999 => ("unknown error", NO_GPU_HELP),
            _ => ("", NO_GPU_HELP),
        };
        let meaning = match meaning {
            "" => self.words(status),
            known => known.to_owned(),
        };
        Err(Error::device(
            format!(
                "the CUDA driver does not start: {function} returned {status} ({meaning}) in {}",
                self.file.display()
            ),
            help,
        ))
    }

    /// The driver's name for a status, and what it says about it.
    fn words(&self, status: Status) -> String {
        let ask = |function: Option<Words>| {
            let mut text = std::ptr::null();
            // SAFETY: the function writes one pointer, to a static string or null.
            let known = unsafe { function?(status, &mut text) } == 0 && !text.is_null();
            // SAFETY: as said.
            known.then(|| {
                unsafe { CStr::from_ptr(text) }
                    .to_string_lossy()
                    .into_owned()
            })
        };
        let said: Vec<String> = [self.error_name, self.error_string]
            .into_iter()
            .filter_map(ask)
            .collect();
        if said.is_empty() {
            "a code that this driver has no name for".to_owned()
        } else {
            said.join(": ")
        }
    }
}

fn no_driver() -> Error {
    // SAFETY: as in `open`. The loader's reason, of the name that a driver has.
    let why = match unsafe { Library::new(LIBRARY) } {
        Err(error) => error.source().map_or(error.to_string(), |e| e.to_string()),
        Ok(_) => format!("{LIBRARY} could not be opened a moment ago"),
    };
    Error::device(format!("no CUDA driver: {why}"), NO_DRIVER_HELP)
}

/// # Safety
/// `T` must be the type of the function `name`.
unsafe fn symbol<'a, T>(library: &'a Library, name: &str) -> Result<Symbol<'a, T>> {
    // SAFETY: the caller's promise.
    unsafe { library.get(name) }.map_err(|_| {
        Error::device(
            format!("{LIBRARY} is no CUDA driver: it has no function {name}"),
            NO_DRIVER_HELP,
        )
    })
}
