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

use super::real::{Source, nvrtc};
use super::{mutation, store};
use crate::module::pack;

const SUCCESS: c_int = 0;
const OUT_OF_INPUT: c_int = 3; // NVRTC_ERROR_INVALID_INPUT
const INVALID_PROGRAM: c_int = 4;
const INVALID_OPTION: c_int = 5;
const COMPILATION: c_int = 6;
const NO_LOWERED_NAMES: c_int = 9;
const NAME_NOT_VALID: c_int = 10;

#[derive(Default)]
struct Program {
    source: Source,
    expressions: Vec<CString>,
    log: CString,
    ptx: Option<CString>,
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

/// That of the real one; 0.0 where there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcVersion(major: *mut c_int, minor: *mut c_int) -> c_int {
    let version = nvrtc().map_or((0, 0), |nvrtc| nvrtc.version);
    // SAFETY: NVRTC's contract.
    unsafe {
        *major = version.0 as c_int;
        *minor = version.1 as c_int;
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

fn architectures() -> &'static [c_int] {
    nvrtc().map_or(&[], |nvrtc| &nvrtc.architectures)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcGetNumSupportedArchs(count: *mut c_int) -> c_int {
    // SAFETY: NVRTC's contract.
    unsafe { *count = architectures().len() as c_int };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcGetSupportedArchs(archs: *mut c_int) -> c_int {
    let known = architectures();
    // SAFETY: NVRTC's contract: room for as many as the call above says.
    unsafe { std::ptr::copy_nonoverlapping(known.as_ptr(), archs, known.len()) };
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
        let name = name.unwrap_or("default_program".into());
        let made = Program {
            source: Source { name, text, headers },
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
    // Compiled outside the lock: programs are compiled in parallel.
    let mut source = Source::default();
    let known = with(program, |one| {
        source = one.source.clone();
        SUCCESS
    });
    if known != SUCCESS {
        return known;
    }
    let (options, arch) = virtual_options(&arguments);
    let compiled = mutated(source).and_then(|source| store::compile(&source, &options));
    let (result, log) = match compiled {
        Ok(compiled) => (compiled.result, compiled.log),
        Err(why) => (Err(COMPILATION), why),
    };
    with(program, |one| {
        one.log = CString::new(log.replace('\0', "")).unwrap_or_default();
        let Ok(ptx) = &result else {
            return result.as_ref().err().copied().unwrap_or(COMPILATION);
        };
        one.ptx = CString::new(ptx.clone()).ok();
        one.cubin = arch.map(|arch| pack(ptx, arch, nvrtc().map_or((0, 0), |nvrtc| nvrtc.version)));
        SUCCESS
    })
}

/// The text with the slip that `VITCUDA_EMULATOR_MUTATION` names.
fn mutated(mut source: Source) -> Result<Source, String> {
    source.text = mutation::apply(&source.name, &source.text)?.into_owned();
    for (name, text) in &mut source.headers {
        *text = mutation::apply(name, text)?.into_owned();
    }
    Ok(source)
}

/// The options for PTX, and the real architecture that was asked for. ptxas is not asked, so its
/// options go.
fn virtual_options(arguments: &[String]) -> (Vec<String>, Option<u32>) {
    let mut arch = None;
    let mut options = Vec::new();
    let mut skip = false;
    for argument in arguments {
        let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
        match name {
            _ if std::mem::take(&mut skip) => {}
            "--ptxas-options" | "-Xptxas" => skip = value.is_empty(),
            "--gpu-architecture" | "-arch" if value.starts_with("sm_") => {
                arch = value[3..].trim_end_matches(['a', 'f']).parse().ok();
                options.push(format!("{name}=compute_{}", &value[3..]));
            }
            _ => options.push(argument.clone()),
        }
    }
    if !options.iter().any(|one| one == "--generate-line-info" || one == "-lineinfo") {
        options.push("--generate-line-info".to_owned()); // messages name lines
    }
    (options, arch)
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

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcGetPTXSize(program: usize, size: *mut usize) -> c_int {
    with(program, |one| {
        let Some(ptx) = &one.ptx else {
            return INVALID_PROGRAM;
        };
        // SAFETY: NVRTC's contract.
        unsafe { *size = ptx.as_bytes_with_nul().len() };
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcGetPTX(program: usize, ptx: *mut c_char) -> c_int {
    with(program, |one| {
        let Some(text) = &one.ptx else {
            return INVALID_PROGRAM;
        };
        let bytes = text.as_bytes_with_nul();
        // SAFETY: NVRTC's contract: room for the size given above.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), ptx, bytes.len()) };
        SUCCESS
    })
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
        if one.ptx.is_none() {
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
