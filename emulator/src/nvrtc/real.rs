//! The real library behind this one.

use std::ffi::{CStr, CString, c_char, c_int};
use std::sync::OnceLock;

use libloading::Library;

/// Names the library that compiles.
const VARIABLE: &str = "VITCUDA_TEST_NVRTC";

/// A program as it was handed over.
#[derive(Debug, Clone, Default)]
pub struct Source {
    pub name: String,
    pub text: String,
    /// Name and text of each header.
    pub headers: Vec<(String, String)>,
}

/// What a compilation gave: PTX, or a result code; and the compiler's words.
pub struct Compiled {
    pub result: Result<Vec<u8>, c_int>,
    pub log: String,
}

/// The loaded library.
pub struct Nvrtc {
    library: Library,
    pub version: (u32, u32),
    pub architectures: Vec<c_int>,
}

/// The library, loaded once; why not, in words.
pub fn nvrtc() -> Result<&'static Nvrtc, &'static str> {
    static NVRTC: OnceLock<Result<Nvrtc, String>> = OnceLock::new();
    NVRTC.get_or_init(Nvrtc::load).as_ref().map_err(String::as_str)
}

type Create = unsafe extern "C" fn(
    *mut usize,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> c_int;
type Compile = unsafe extern "C" fn(usize, c_int, *const *const c_char) -> c_int;
type Size = unsafe extern "C" fn(usize, *mut usize) -> c_int;
type Get = unsafe extern "C" fn(usize, *mut c_char) -> c_int;

fn text(text: &str) -> CString {
    CString::new(text.replace('\0', "")).expect("zeros were removed")
}

impl Nvrtc {
    fn load() -> Result<Self, String> {
        let help = format!(
            "the emulator hands kernels to a real NVRTC: let {VARIABLE} name its libnvrtc.so (scripts/test.sh fetches one)"
        );
        let path = std::env::var_os(VARIABLE).ok_or(help)?;
        // SAFETY: NVIDIA's library; its initialisers are its own.
        let library = unsafe { Library::new(&path) };
        let library = library.map_err(|error| format!("{VARIABLE}={}: {error}", path.to_string_lossy()))?;
        let mut nvrtc = Self { library, version: (0, 0), architectures: Vec::new() };
        let (mut major, mut minor, mut count) = (0, 0, 0);
        // SAFETY: the signatures are NVRTC's.
        unsafe {
            let version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int = nvrtc.symbol("nvrtcVersion")?;
            version(&mut major, &mut minor);
            let number: unsafe extern "C" fn(*mut c_int) -> c_int = nvrtc.symbol("nvrtcGetNumSupportedArchs")?;
            number(&mut count);
            nvrtc.architectures = vec![0; count.max(0) as usize];
            let list: unsafe extern "C" fn(*mut c_int) -> c_int = nvrtc.symbol("nvrtcGetSupportedArchs")?;
            list(nvrtc.architectures.as_mut_ptr());
        }
        nvrtc.version = (major as u32, minor as u32);
        Ok(nvrtc)
    }

    /// # Safety
    /// `T` is the function's signature.
    unsafe fn symbol<T: Copy>(&self, name: &str) -> Result<T, String> {
        // SAFETY: says the caller.
        let found = unsafe { self.library.get::<T>(name.as_bytes()) };
        found.map(|one| *one).map_err(|error| error.to_string())
    }

    /// Compiles to PTX.
    pub fn compile(&self, source: &Source, options: &[String]) -> Result<Compiled, String> {
        let pointers = |strings: &[CString]| strings.iter().map(|one| one.as_ptr()).collect::<Vec<_>>();
        let names: Vec<CString> = source.headers.iter().map(|(name, _)| text(name)).collect();
        let headers: Vec<CString> = source.headers.iter().map(|(_, header)| text(header)).collect();
        let options: Vec<CString> = options.iter().map(|one| text(one)).collect();
        let (name, body) = (text(&source.name), text(&source.text));
        // SAFETY: the signatures are NVRTC's; all strings live until the program is destroyed.
        unsafe {
            let mut program = 0;
            let create: Create = self.symbol("nvrtcCreateProgram")?;
            let (names, headers) = (pointers(&names), pointers(&headers));
            let count = names.len() as c_int;
            let made = create(&mut program, body.as_ptr(), name.as_ptr(), count, headers.as_ptr(), names.as_ptr());
            if made != 0 {
                return Ok(Compiled { result: Err(made), log: String::new() });
            }
            let compile: Compile = self.symbol("nvrtcCompileProgram")?;
            let code = compile(program, options.len() as c_int, pointers(&options).as_ptr());
            let log = self.bytes(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog")?;
            let result = match code {
                0 => Ok(self.bytes(program, "nvrtcGetPTXSize", "nvrtcGetPTX")?),
                code => Err(code),
            };
            let destroy: unsafe extern "C" fn(*mut usize) -> c_int = self.symbol("nvrtcDestroyProgram")?;
            destroy(&mut program);
            Ok(Compiled { result, log: String::from_utf8_lossy(&log).into_owned() })
        }
    }

    /// What two calls give: a size, and as many bytes with a zero at the end.
    ///
    /// # Safety
    /// `program` is one, and the names are of functions of [`Size`] and [`Get`].
    unsafe fn bytes(&self, program: usize, size: &str, get: &str) -> Result<Vec<u8>, String> {
        // SAFETY: says the caller.
        unsafe {
            let size: Size = self.symbol(size)?;
            let get: Get = self.symbol(get)?;
            let mut count = 0;
            size(program, &mut count);
            let mut bytes = vec![0u8; count + 1];
            get(program, bytes.as_mut_ptr().cast());
            let whole = CStr::from_bytes_until_nul(&bytes).unwrap_or_default();
            Ok(whole.to_bytes().to_vec())
        }
    }
}
