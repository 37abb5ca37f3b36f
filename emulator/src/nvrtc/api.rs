//! The C ABI of `libnvrtc`.
//!
//! # Safety
//!
//! A caller promises of each pointer what NVRTC's documentation says of it: room for one value, or for
//! as many bytes as the call before it told, or a C string. That is the one contract of all functions
//! here; programs are numbers, looked up, and refused if they are none.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int};
use std::sync::{Mutex, MutexGuard, OnceLock};

use super::compile::{Source, compile};
use super::{interface, options};
use crate::module::pack;

/// What `nvrtcGetSupportedArchs` lists.
pub const ARCHITECTURES: [c_int; 9] = [75, 80, 86, 87, 89, 90, 100, 103, 120];

const SUCCESS: c_int = 0;
const OUT_OF_INPUT: c_int = 3; // NVRTC_ERROR_INVALID_INPUT
const INVALID_PROGRAM: c_int = 4;
const INVALID_OPTION: c_int = 5;
const COMPILATION: c_int = 6;
const NO_LOWERED_NAMES: c_int = 9;
const NAME_NOT_VALID: c_int = 10;

#[derive(Default)]
struct Program {
    name: String,
    source: String,
    headers: Vec<(String, String)>,
    expressions: Vec<CString>,
    log: CString,
    cubin: Option<Vec<u8>>,
}

fn programs() -> MutexGuard<'static, HashMap<usize, Program>> {
    static PROGRAMS: OnceLock<Mutex<HashMap<usize, Program>>> = OnceLock::new();
    let programs = PROGRAMS.get_or_init(Mutex::default).lock();
    programs.unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Runs `f` on the program behind the handle.
fn with(handle: usize, f: impl FnOnce(&mut Program) -> c_int) -> c_int {
    programs().get_mut(&handle).map_or(INVALID_PROGRAM, f)
}

/// # Safety
/// `text` is a C string or null.
unsafe fn string(text: *const c_char) -> Option<String> {
    // SAFETY: says the caller.
    (!text.is_null()).then(|| {
        unsafe { CStr::from_ptr(text) }
            .to_string_lossy()
            .into_owned()
    })
}

/// 13, and a minor number that changes with the emulator: caches must not mix its cubins with
/// those of a GPU, nor with those of another build.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcVersion(major: *mut c_int, minor: *mut c_int) -> c_int {
    // SAFETY: NVRTC's contract.
    unsafe {
        *major = 13;
        *minor = 1000 + (interface() % 1_000_000) as c_int;
    }
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn nvrtcGetErrorString(result: c_int) -> *const c_char {
    let text = match result {
        SUCCESS => c"NVRTC_SUCCESS",
        1 => c"NVRTC_ERROR_OUT_OF_MEMORY",
        2 => c"NVRTC_ERROR_PROGRAM_CREATION_FAILURE",
        OUT_OF_INPUT => c"NVRTC_ERROR_INVALID_INPUT",
        INVALID_PROGRAM => c"NVRTC_ERROR_INVALID_PROGRAM",
        INVALID_OPTION => c"NVRTC_ERROR_INVALID_OPTION",
        COMPILATION => c"NVRTC_ERROR_COMPILATION",
        NO_LOWERED_NAMES => c"NVRTC_ERROR_NO_LOWERED_NAMES_BEFORE_COMPILATION",
        NAME_NOT_VALID => c"NVRTC_ERROR_NAME_EXPRESSION_NOT_VALID",
        _ => c"NVRTC_ERROR unknown",
    };
    text.as_ptr()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcGetNumSupportedArchs(count: *mut c_int) -> c_int {
    // SAFETY: NVRTC's contract.
    unsafe { *count = ARCHITECTURES.len() as c_int };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcGetSupportedArchs(archs: *mut c_int) -> c_int {
    // SAFETY: NVRTC's contract: room for as many as the call above says.
    unsafe { std::ptr::copy_nonoverlapping(ARCHITECTURES.as_ptr(), archs, ARCHITECTURES.len()) };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcCreateProgram(
    program: *mut usize,
    source: *const c_char,
    name: *const c_char,
    count: c_int,
    headers: *const *const c_char,
    names: *const *const c_char,
) -> c_int {
    // SAFETY: NVRTC's contract: C strings, `count` headers and names.
    unsafe {
        let Some(text) = string(source) else {
            return OUT_OF_INPUT;
        };
        let header = |i: usize| Some((string(*names.add(i))?, string(*headers.add(i))?));
        let Some(headers) = (0..count.max(0) as usize).map(header).collect() else {
            return OUT_OF_INPUT;
        };
        let name = string(name).filter(|name| !name.is_empty());
        let made = Program {
            name: name.unwrap_or("default_program".into()),
            source: text,
            headers,
            ..Program::default()
        };
        let mut programs = programs();
        let handle = (1..)
            .find(|i| !programs.contains_key(&(i * 16)))
            .unwrap_or(1)
            * 16;
        programs.insert(handle, made);
        *program = handle;
    }
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcDestroyProgram(program: *mut usize) -> c_int {
    // SAFETY: NVRTC's contract.
    let handle = unsafe { std::mem::take(&mut *program) };
    programs()
        .remove(&handle)
        .map_or(INVALID_PROGRAM, |_| SUCCESS)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcCompileProgram(
    program: usize,
    count: c_int,
    arguments: *const *const c_char,
) -> c_int {
    // SAFETY: NVRTC's contract: `count` C strings.
    let arguments = unsafe {
        (0..count.max(0) as usize)
            .map(|i| string(*arguments.add(i)))
            .collect::<Option<Vec<_>>>()
    };
    let Some(arguments) = arguments else {
        return OUT_OF_INPUT;
    };
    let log = |text: String| CString::new(text.replace('\0', "")).unwrap_or_default();
    let options = match options::parse(&arguments) {
        Ok(options) => options,
        Err(text) => {
            return with(program, |one| {
                one.log = log(text + "\n");
                INVALID_OPTION
            });
        }
    };
    // Compiled outside the lock: programs are compiled in parallel.
    let mut taken = (String::new(), String::new(), Vec::new());
    let known = with(program, |one| {
        taken = (one.name.clone(), one.source.clone(), one.headers.clone());
        SUCCESS
    });
    if known != SUCCESS {
        return known;
    }
    let (name, text, headers) = &taken;
    let compiled = compile(
        &Source {
            name,
            text,
            headers,
        },
        &options,
    );
    with(program, |one| {
        one.log = log(compiled.log);
        one.cubin = compiled
            .object
            .map(|object| pack(&object, options.arch, interface()));
        if one.cubin.is_some() {
            SUCCESS
        } else {
            COMPILATION
        }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcGetProgramLogSize(program: usize, size: *mut usize) -> c_int {
    with(program, |one| {
        // SAFETY: NVRTC's contract.
        unsafe { *size = one.log.as_bytes_with_nul().len() };
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcGetProgramLog(program: usize, log: *mut c_char) -> c_int {
    with(program, |one| {
        let bytes = one.log.as_bytes_with_nul();
        // SAFETY: NVRTC's contract: room for the size given above.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), log, bytes.len()) };
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcGetCUBINSize(program: usize, size: *mut usize) -> c_int {
    with(program, |one| {
        // SAFETY: NVRTC's contract.
        unsafe { *size = one.cubin.as_ref().map_or(0, Vec::len) };
        if one.cubin.is_some() {
            SUCCESS
        } else {
            INVALID_PROGRAM
        }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcGetCUBIN(program: usize, cubin: *mut c_char) -> c_int {
    with(program, |one| {
        let Some(bytes) = &one.cubin else {
            return INVALID_PROGRAM;
        };
        // SAFETY: NVRTC's contract: room for the size given above.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), cubin, bytes.len()) };
        SUCCESS
    })
}

/// There is no PTX; programs that load what they get do not notice.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcGetPTXSize(program: usize, size: *mut usize) -> c_int {
    // SAFETY: same contract.
    unsafe { nvrtcGetCUBINSize(program, size) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcGetPTX(program: usize, ptx: *mut c_char) -> c_int {
    // SAFETY: same contract.
    unsafe { nvrtcGetCUBIN(program, ptx) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcAddNameExpression(program: usize, name: *const c_char) -> c_int {
    // SAFETY: NVRTC's contract.
    let Some(name) = (unsafe { string(name) }) else {
        return OUT_OF_INPUT;
    };
    with(program, |one| {
        one.expressions.push(CString::new(name).unwrap_or_default());
        SUCCESS
    })
}

/// Kernels are `extern "C"`: a name is its own lowered name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcGetLoweredName(
    program: usize,
    name: *const c_char,
    lowered: *mut *const c_char,
) -> c_int {
    with(program, |one| {
        if one.cubin.is_none() {
            return NO_LOWERED_NAMES;
        }
        // SAFETY: NVRTC's contract.
        let wanted = unsafe { CStr::from_ptr(name) };
        let plain = wanted
            .to_bytes()
            .strip_prefix(b"&")
            .unwrap_or(wanted.to_bytes());
        let known = one.expressions.iter().find(|one| one.as_c_str() == wanted);
        let Some(known) = known.filter(|_| {
            plain
                .iter()
                .all(|&c| c.is_ascii_alphanumeric() || c == b'_')
        }) else {
            return NAME_NOT_VALID;
        };
        // SAFETY: the string lives as long as the program, as NVRTC promises.
        unsafe { *lowered = known.as_ptr().add(wanted.to_bytes().len() - plain.len()) };
        SUCCESS
    })
}
